"""Softmax regression: a fully-connected layer, trained by backpropagation (coral_learn/training)."""

from typing import Any, List, Optional, Sequence

import numpy as np

from coral_learn.errors import HeadStateError
from coral_learn.heads.base import Evidence, Head, State, check_label, class_array, class_unknown, like_input
from coral_learn.heads.pipeline import EmbeddingPipeline, check_embeddings
from coral_learn.heads.state import names, numbers


class SoftmaxHead(Head):
    """A trained layer; a new class means training again.

    classes : C classes, sorted; weights : (C, D); biases : (C,)
    means : (C, D), the mean direction of each class's examples: a layer trained to tell classes
        apart says nothing of what is none of them, the likeness to their means does. None where
        nothing is to be refused.
    """

    kind = "softmax"
    centred = False  # training finds what examples share by itself; without it three points better at one example

    def __init__(
        self,
        pipeline: EmbeddingPipeline,
        classes: Sequence[Any],
        weights: np.ndarray,
        biases: np.ndarray,
        means: Optional[np.ndarray] = None,
    ):
        super().__init__(pipeline)
        self._classes = list(classes)
        self._weights = check_embeddings(weights, pipeline.size).astype(np.float32, copy=True)
        self._biases = np.array(biases, np.float32)
        count, weights_shape, biases_shape = len(self._classes), self._weights.shape, self._biases.shape
        if weights_shape != (count, pipeline.size) or biases_shape != (count,):
            raise HeadStateError(f"{count} classes with weights of shape {weights_shape} and biases {biases_shape}")
        if not np.isfinite(self._biases).all():
            raise HeadStateError("the biases of a softmax head must be finite numbers")
        self._means = None if means is None else check_embeddings(means, pipeline.size).astype(np.float32, copy=True)
        if self._means is not None:
            if self._means.shape != weights_shape:
                raise HeadStateError(f"{count} classes with means of shape {self._means.shape}")
            lengths = np.linalg.norm(self._means, axis=1, keepdims=True)
            if (np.abs(lengths - 1) > 1e-5).any():  # what was scaled once stays as it is, to the bit
                self._means /= np.maximum(lengths, 1e-12)
        if self._classes != sorted(self._classes):
            raise HeadStateError("the classes of a softmax head must be sorted")

    @property
    def classes(self) -> List[Any]:
        return list(self._classes)

    @property
    def weights(self) -> np.ndarray:
        """The linear layer behind the pipeline: logits = weights @ direction + biases. (C, D) float32."""
        return self._weights.copy()

    @property
    def biases(self) -> np.ndarray:
        """(C,) float32."""
        return self._biases.copy()

    def logits(self, embeddings: np.ndarray) -> np.ndarray:
        return self.weigh(embeddings).logits

    def weigh(self, embeddings: np.ndarray) -> Evidence:
        """Familiarity is the highest cosine to the mean of a class; infinity where the means are not known."""
        self._must_have_learnt()
        directions = self.pipeline(embeddings).astype(np.float32)
        logits, familiarity = directions @ self._weights.T + self._biases, np.full(len(directions), np.inf)
        if self._means is not None:
            familiarity = (directions @ self._means.T).astype(np.float64).max(axis=1)
        return Evidence(like_input(logits.astype(np.float64), embeddings), like_input(familiarity, embeddings))

    def remove(self, label) -> None:
        label = check_label(label, self._classes)
        if label not in self._classes:
            raise class_unknown(label, self._classes)
        left = [place for place, other in enumerate(self._classes) if other != label]
        self._classes = [self._classes[place] for place in left]
        self._weights, self._biases = self._weights[left], self._biases[left]
        self._means = None if self._means is None else self._means[left]

    def state(self) -> State:
        state = self._common_state()
        if self._means is not None:
            state["means"] = self._means.copy()
        state.update(
            classes=class_array(self._classes),
            weights=self._weights.copy(),
            biases=self._biases.copy(),
        )
        return state

    @classmethod
    def from_state(cls, state: State) -> "SoftmaxHead":
        pipeline, classes = EmbeddingPipeline.from_state(state), names(state, "classes")
        shape = (len(classes), pipeline.size)
        means = numbers(state, "means", "real", shape) if "means" in state else None
        weights, biases = numbers(state, "weights", "real", shape), numbers(state, "biases", "real", shape[:1])
        return cls(pipeline, classes, weights, biases, means)
