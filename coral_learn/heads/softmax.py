"""Softmax regression: a fully-connected layer, trained by backpropagation (coral_learn/training)."""

from typing import Any, List, Sequence

import numpy as np

from coral_learn.errors import HeadStateError
from coral_learn.heads.base import Head, State, class_array, softmax
from coral_learn.heads.pipeline import EmbeddingPipeline, check_embeddings


class SoftmaxHead(Head):
    """A trained layer; a new class means training again.

    classes : C classes, sorted; weights : (C, D); biases : (C,)
    """

    kind = "softmax"

    def __init__(self, pipeline: EmbeddingPipeline, classes: Sequence[Any], weights: np.ndarray, biases: np.ndarray):
        super().__init__(pipeline)
        self._classes = list(classes)
        self._weights = check_embeddings(weights, pipeline.size).astype(np.float32, copy=True)
        self._biases = np.array(biases, np.float32)
        count, weights_shape, biases_shape = len(self._classes), self._weights.shape, self._biases.shape
        if weights_shape != (count, pipeline.size) or biases_shape != (count,):
            raise HeadStateError(f"{count} classes with weights of shape {weights_shape} and biases {biases_shape}")
        if not np.isfinite(self._biases).all():
            raise HeadStateError("the biases of a softmax head must be finite numbers")
        if self._classes != sorted(self._classes):
            raise HeadStateError("the classes of a softmax head must be sorted")

    @property
    def classes(self) -> List[Any]:
        return list(self._classes)

    def scores(self, embedding: np.ndarray) -> np.ndarray:
        self._must_have_learnt()
        direction = self.pipeline(embedding)[0].astype(np.float32)
        return softmax((self._weights @ direction + self._biases).astype(np.float64))

    def state(self) -> State:
        state = self.pipeline.state()
        state.update(
            kind=np.array(self.kind),
            classes=class_array(self._classes),
            weights=self._weights.copy(),
            biases=self._biases.copy(),
        )
        return state

    @classmethod
    def from_state(cls, state: State) -> "SoftmaxHead":
        return cls(EmbeddingPipeline.from_state(state), state["classes"].tolist(), state["weights"], state["biases"])
