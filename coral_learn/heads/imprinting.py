"""Weight imprinting: a class's weight is the mean direction of its examples.

Qi, Brown, Lowe: Low-Shot Learning with Imprinted Weights, CVPR 2018
(https://arxiv.org/abs/1712.07136): the L2-normalised sum of L2-normalised embeddings.
"""

from bisect import bisect_left
from typing import Any, List, Optional, Sequence

import numpy as np

from coral_learn.errors import ClassPretrained, EmbeddingMismatch
from coral_learn.heads.base import IncrementalHead, State, check_label, class_array, class_unknown, softmax
from coral_learn.heads.pipeline import EmbeddingPipeline, check_embeddings

# Sums are kept in steps of 2**-40 as whole numbers: adding and taking away is exact in any order,
# for 2**23 examples a class, and a step is far below an embedding's own precision.
_STEPS = 2.0**40
# The factor on the cosine before softmax. Chosen by the log loss over 1, 2, 5 and 10 examples of 20
# classes of photographs; it only shapes scores, never their order.
SCALE = 28.0


class ImprintingHead(IncrementalHead):
    """Incremental: one example makes a class, and forgetting is exact.

    >>> head = ImprintingHead(EmbeddingPipeline(2))
    >>> head.learn_one([1.0, 0.1], "flat")
    >>> head.learn_one([0.1, 1.0], "steep")
    >>> head.predict([0.9, 0.3])
    'flat'
    """

    kind = "imprinting"

    def __init__(self, pipeline: EmbeddingPipeline):
        super().__init__(pipeline)
        self._classes: List[Any] = []
        self._sums = np.zeros((0, pipeline.size), np.int64)  # (C, D), in steps
        self._counts = np.zeros(0, np.int64)  # (C,); -1 marks a pre-trained class
        self._weights = np.zeros((0, pipeline.size), np.float32)  # (C, D), length 1 each

    @property
    def classes(self) -> List[Any]:
        return list(self._classes)

    @property
    def counts(self) -> List[Optional[int]]:
        """Examples learnt of each class, None for a pre-trained one."""
        return [None if count < 0 else int(count) for count in self._counts]

    def keep(self, weights: np.ndarray, labels: Sequence[Any]) -> None:
        """Take over pre-trained classes, which can't be taught.

        weights : (C, D) rows of a linear layer; what they share is taken out (it never decides
            between them) and each is scaled to length 1, so that they compare with imprinted ones.
        """
        rows = check_embeddings(weights, self.pipeline.size).astype(np.float64)
        if len(rows) != len(labels):
            raise EmbeddingMismatch(f"{len(rows)} rows of weights with {len(labels)} labels")
        labels = [check_label(label, self._classes) for label in labels]
        rows = rows - rows.mean(axis=0)
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        self._make_room(labels)
        for row, label in zip(_to_steps(rows), labels):
            index = self._find(label)
            self._sums[index], self._counts[index] = row, -1
            self._refresh(index)

    def learn_many(self, embeddings: np.ndarray, labels: Sequence[Any]) -> None:
        steps = _to_steps(self.pipeline(embeddings))
        if len(steps) != len(labels):
            raise EmbeddingMismatch(f"{len(steps)} embeddings with {len(labels)} labels")
        known = self._classes or [labels[0]] if len(labels) else []
        labels = [check_label(label, known) for label in labels]
        for label in labels:
            self._must_be_teachable(label)
        self._make_room(labels)
        for label in sorted(set(labels)):
            mine = [row for row, other in enumerate(labels) if other == label]
            index = self._find(label)
            self._sums[index] += steps[mine].sum(axis=0)
            self._counts[index] += len(mine)
            self._refresh(index)

    def forget(self, embedding: np.ndarray, label) -> None:
        steps = _to_steps(self.pipeline(embedding))[0]
        index = self._find(label)
        self._must_be_teachable(label)
        if self._counts[index] == 1:
            self._drop(index)
            return
        self._sums[index] -= steps
        self._counts[index] -= 1
        self._refresh(index)

    def remove_class(self, label) -> None:
        index = self._find(label)
        self._must_be_teachable(label)
        self._drop(index)

    def scores(self, embedding: np.ndarray) -> np.ndarray:
        self._must_have_learnt()
        return softmax(SCALE * self.similarities(embedding))

    def similarities(self, embedding: np.ndarray) -> np.ndarray:
        """Cosine of one embedding to each class's weight, (C,) float64, -1..1."""
        direction = self.pipeline(embedding)[0].astype(np.float32)
        return (self._weights @ direction).astype(np.float64)

    def state(self) -> State:
        state = self.pipeline.state()
        state.update(
            kind=np.array(self.kind),
            classes=class_array(self._classes),
            sums=self._sums.copy(),
            counts=self._counts.copy(),
        )
        return state

    @classmethod
    def from_state(cls, state: State) -> "ImprintingHead":
        head = cls(EmbeddingPipeline.from_state(state))
        head._classes = state["classes"].tolist()
        head._sums, head._counts = state["sums"].astype(np.int64), state["counts"].astype(np.int64)
        shape = (len(head._classes), head.pipeline.size)
        if head._sums.shape != shape or head._counts.shape != shape[:1]:
            raise ValueError(
                f"sums of shape {head._sums.shape} and counts of shape {head._counts.shape}, expected {shape}"
            )
        if head._classes != sorted(set(head._classes)):
            raise ValueError("the classes must be sorted, each of them once")
        head._weights = np.zeros(shape, np.float32)
        for index in range(shape[0]):
            head._refresh(index)
        return head

    def _make_room(self, labels: Sequence[Any]) -> None:
        """Empty rows for classes that are new, all at once: each array is copied once, however many there are."""
        classes = sorted(set(self._classes) | set(labels))
        if len(classes) == len(self._classes):
            return
        shape, old = (len(classes), self.pipeline.size), np.searchsorted(classes, self._classes)
        sums, counts, weights = np.zeros(shape, np.int64), np.zeros(shape[0], np.int64), np.zeros(shape, np.float32)
        if self._classes:
            sums[old], counts[old], weights[old] = self._sums, self._counts, self._weights
        self._classes, self._sums, self._counts, self._weights = classes, sums, counts, weights

    def _find(self, label) -> int:
        label = check_label(label, self._classes)
        index = bisect_left(self._classes, label)
        if index == len(self._classes) or self._classes[index] != label:
            raise class_unknown(label, self._classes)
        return index

    def _drop(self, index: int) -> None:
        del self._classes[index]
        self._sums = np.delete(self._sums, index, axis=0)
        self._counts = np.delete(self._counts, index)
        self._weights = np.delete(self._weights, index, axis=0)

    def _refresh(self, index: int) -> None:
        direction = self._sums[index] / _STEPS
        self._weights[index] = direction / max(float(np.linalg.norm(direction)), 1e-12)

    def _must_be_teachable(self, label) -> None:
        index = bisect_left(self._classes, label)
        if index < len(self._classes) and self._classes[index] == label and self._counts[index] < 0:
            raise ClassPretrained(f"the class {label!r} is pre-trained and can't be changed")


def _to_steps(directions: np.ndarray) -> np.ndarray:
    return np.rint(directions * _STEPS).astype(np.int64)
