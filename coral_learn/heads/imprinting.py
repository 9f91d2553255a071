"""Weight imprinting: a class's weight is the mean direction of its examples.

Qi, Brown, Lowe: Low-Shot Learning with Imprinted Weights, CVPR 2018
(https://arxiv.org/abs/1712.07136): the L2-normalised sum of L2-normalised embeddings.
"""

from typing import Any, Dict, List, Optional, Sequence

import numpy as np

from coral_learn.errors import ClassPretrained, EmbeddingMismatch
from coral_learn.heads.base import Evidence, IncrementalHead, State, check_labels, class_array, like_input, places_of
from coral_learn.heads.fingerprints import Fingerprints
from coral_learn.heads.pipeline import EmbeddingPipeline, check_embeddings
from coral_learn.heads.state import names, number, numbers
from coral_learn.heads.sums import STEP, ClassSums

_TINY = 1e-12


class ImprintingHead(IncrementalHead):
    """Incremental: one example makes a class, and forgetting is exact. Logits are cosines.

    >>> head = ImprintingHead(EmbeddingPipeline(2))
    >>> head.learn_one([1.0, 0.1], "flat")
    >>> head.learn_one([0.1, 1.0], "steep")
    >>> head.predict([0.9, 0.3])
    'flat'
    """

    kind = "imprinting"
    scale = 20.0  # what calibration finds for one to twenty examples of twenty classes, about

    def __init__(self, pipeline: EmbeddingPipeline):
        super().__init__(pipeline)
        self._sums, self._learnt = ClassSums(pipeline.size), Fingerprints()
        self._weights: Optional[np.ndarray] = None  # (C, D) float32, length 1 each; None until asked for
        self._kept: List[Any] = []
        self._kept_weights = np.zeros((0, pipeline.size), np.float32)
        self._kept_biases = np.zeros(0)
        self.kept_lead = 0.0

    @property
    def classes(self) -> List[Any]:
        return self._kept + self._sums.classes

    @property
    def kept(self) -> List[Any]:
        """The pre-trained classes, which come first."""
        return list(self._kept)

    @property
    def counts(self) -> Dict[Any, int]:
        return dict(zip(self._sums.classes, self._sums.counts.tolist()))

    @property
    def weights(self) -> np.ndarray:
        """The linear layer behind the pipeline: logits = weights @ direction + biases. (C, D) float32."""
        return np.concatenate([self._kept_weights, self._taught_weights()])

    @property
    def biases(self) -> np.ndarray:
        """(C,) float64: those of pre-trained classes with their lead (see `kept_lead`), 0 for taught ones."""
        return np.concatenate([self._kept_biases + self.kept_lead, np.zeros(len(self._sums.classes))])

    def keep(
        self,
        weights: np.ndarray,
        labels: Sequence[Any],
        biases: Optional[np.ndarray] = None,
        radius: Optional[float] = None,
    ) -> None:
        """Take over pre-trained classes, which can't be taught.

        weights : (C, D) rows of a linear layer over embeddings; what they share is taken out (it
            never decides between them) and all are scaled alike, to a mean length of 1, so that
            they compare with imprinted ones
        biases : (C,) of that layer; radius : the usual length of an embedding less the mean, which
            they are divided by. Without both the classes compare by their weights alone.

        `kept_lead` is added to their logits; calibration sets it.
        """
        rows = check_embeddings(weights, self.pipeline.size).astype(np.float64)
        if len(rows) != len(labels):
            raise EmbeddingMismatch(f"{len(rows)} rows of weights with {len(labels)} labels")
        labels = check_labels(labels, self.classes)
        if not labels:
            return
        if len(set(labels) | set(self.classes)) != len(labels) + len(self.classes):
            raise ClassPretrained("each class to keep needs a name of its own, that no class has yet")
        offsets = np.zeros(len(rows))
        if biases is not None and radius is not None:
            mean = np.zeros(self.pipeline.size) if self.pipeline.mean is None else self.pipeline.mean
            offsets = (rows @ mean + check_embeddings(biases, len(rows))[0]) / max(float(radius), _TINY)
        rows = rows - rows.mean(axis=0)
        length = max(float(np.linalg.norm(rows, axis=1).mean()), _TINY)
        rows, offsets = rows / length, (offsets - offsets.mean()) / length
        self._kept = self._kept + labels
        self._kept_biases = np.concatenate([self._kept_biases, offsets])
        self._kept_weights = np.concatenate([self._kept_weights, rows.astype(np.float32)])

    def learn_many(self, embeddings: np.ndarray, labels: Sequence[Any]) -> None:
        directions, labels = self._checked(embeddings, labels, self.classes[:1])
        self._must_be_teachable(*labels)
        self._sums.add(directions, labels)
        self._learnt.add(embeddings, labels)
        self._weights = None

    def forget_many(self, embeddings: np.ndarray, label) -> None:
        directions = self.pipeline(embeddings)
        self._must_be_teachable(label)
        self._learnt.take(embeddings, self._sums.named(label))
        self._sums.take(directions, label)
        self._weights = None

    def rename(self, label, new) -> None:
        self._must_be_teachable(label, new)
        self._sums.rename(label, new)
        self._learnt.move(label, new)
        self._weights = None

    def merge(self, label, into) -> None:
        self._must_be_teachable(label, into)
        self._sums.merge(label, into)
        self._learnt.move(label, into)
        self._weights = None

    def remove(self, label) -> None:
        self._must_be_teachable(label)
        self._learnt.drop(self._sums.named(label))
        self._sums.drop(label)
        self._weights = None

    def adopt_threshold(self, other: "ImprintingHead") -> None:
        super().adopt_threshold(other)
        self.kept_lead = other.kept_lead

    def logits(self, embeddings: np.ndarray) -> np.ndarray:
        self._must_have_learnt()
        return like_input(self._cosines(self.pipeline(embeddings)), embeddings)

    def _cosines(self, directions: np.ndarray) -> np.ndarray:
        """Logits of (N, D) directions, (N, C) float64."""
        directions = directions.astype(np.float32)
        kept = directions @ self._kept_weights.T + (self._kept_biases + self.kept_lead).astype(np.float32)
        return np.concatenate([kept, directions @ self._taught_weights().T], axis=1).astype(np.float64)

    def leave_one_out(self, embeddings: np.ndarray, labels: Sequence[Any]) -> Evidence:
        self._must_have_learnt()
        directions, labels = self._checked(embeddings, labels, self.classes[:1])
        logits, rows = self._cosines(directions), np.arange(len(labels))
        taught = places_of(labels, self._sums.classes)
        # Without x the sum s of its class is s - x, whose length follows from s.s, s.x and x.x.
        sums = self._sums.sums * STEP
        along = np.array([direction @ sums[row] for direction, row in zip(directions, taught)])
        length = np.einsum("nd,nd->n", directions, directions)
        left = np.maximum((sums * sums).sum(axis=1)[taught] - 2 * along + length, _TINY)
        alone = self._sums.counts[taught] == 1
        logits[rows, taught + len(self._kept)] = np.where(alone, -np.inf, (along - length) / np.sqrt(left))
        return Evidence(logits, logits.max(axis=1))

    def leave_all_out(self, embeddings: np.ndarray, labels: Sequence[Any]) -> Evidence:
        self._must_have_learnt()
        directions, labels = self._checked(embeddings, labels, self.classes[:1])
        logits, taught = self._cosines(directions), places_of(labels, self._sums.classes)
        for row in np.unique(taught):
            mine = taught == row
            left = self._sums.sums[row] * STEP - directions[mine].sum(axis=0)
            cosines = directions @ left / np.sqrt(max(float(left @ left), _TINY))
            logits[:, len(self._kept) + row] = -np.inf if mine.sum() == self._sums.counts[row] else cosines
        return Evidence(logits, logits.max(axis=1))

    def as_strangers(self, embeddings: np.ndarray, labels: Sequence[Any]) -> np.ndarray:
        self._must_have_learnt()
        directions, labels = self._checked(embeddings, labels, self.classes[:1])
        logits = self._cosines(directions)
        logits[np.arange(len(labels)), len(self._kept) + places_of(labels, self._sums.classes)] = -np.inf
        return logits.max(axis=1)

    def state(self) -> State:
        state = self._common_state()
        state.update(self._sums.state(), **self._learnt.state(self._sums.classes))
        state.update(
            kept_classes=class_array(self._kept),
            kept_weights=self._kept_weights.copy(),
            kept_biases=self._kept_biases.copy(),
            kept_lead=np.array(self.kept_lead, np.float64),
        )
        return state

    @classmethod
    def from_state(cls, state: State) -> "ImprintingHead":
        head = cls(EmbeddingPipeline.from_state(state))
        head._sums = ClassSums.load(head.pipeline.size, state)
        head._learnt = Fingerprints.load(state, head._sums.classes, head._sums.counts)
        head._kept = names(state, "kept_classes")
        shape = (len(head._kept), head.pipeline.size)
        head._kept_weights = numbers(state, "kept_weights", "real", shape).astype(np.float32)
        head._kept_biases = numbers(state, "kept_biases", "real", shape[:1]).astype(np.float64)
        head.kept_lead = number(state, "kept_lead", "real", -1e6, 1e6)
        if set(head._kept) & set(head._sums.classes):
            raise ValueError("a pre-trained class can't be a taught one as well")
        return head

    def _taught_weights(self) -> np.ndarray:
        if self._weights is None:
            directions = self._sums.sums * STEP
            lengths = np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), _TINY)
            self._weights = (directions / lengths).astype(np.float32)
        return self._weights

    def _must_be_teachable(self, *labels) -> None:
        for label in labels:
            if label in self._kept:
                raise ClassPretrained(f"the class {label!r} is pre-trained and can't be changed")
