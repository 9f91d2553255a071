"""Which examples a head has learnt, told by eight bytes each."""

import hashlib
from typing import Any, Dict, List, Sequence

import numpy as np

from coral_learn.errors import ExampleUnknown
from coral_learn.heads.base import check_label
from coral_learn.heads.state import State

_BYTES = 8


class Fingerprints:
    """Sums can't tell whether an example is in them; this can, so that only what was learnt is forgotten.

    Taken from the embedding as it came, so that another library version or another
    processor, whose rounding differs further on, knows it again.
    """

    def __init__(self):
        self._of: Dict[Any, np.ndarray] = {}

    def add(self, embeddings: np.ndarray, labels: Sequence[Any]) -> None:
        """Note (N, D) checked embeddings of N classes."""
        rows: Dict[Any, List[int]] = {}
        for row, label in enumerate(labels):
            rows.setdefault(label, []).append(row)
        prints = _prints(embeddings)
        for label in rows:
            self._append(label, prints[rows[label]])

    def take(self, embeddings: np.ndarray, label) -> None:
        """Strike out (N, D) embeddings of a class, all or none. Raises `ExampleUnknown`."""
        left = self._of.get(label, np.zeros(0, np.uint64))
        for one in _prints(embeddings):
            found = np.flatnonzero(left == one)
            if not len(found):
                raise ExampleUnknown(f"this example of the class {label!r} was never learnt, or is forgotten already")
            left = np.delete(left, found[0])
        self.drop(label)
        if len(left):
            self._of[label] = left

    def drop(self, label) -> None:
        """Strike out a class."""
        self._of.pop(label, None)

    def move(self, label, into) -> None:
        """Make the examples of a class those of another."""
        if label != into:
            self._append(check_label(into, list(self._of)), self._of.pop(label))

    def state(self, classes: List[Any]) -> State:
        """All of them, class by class in the given order, each class's sorted. (N,) uint64."""
        rows = [np.sort(self._of[label]) for label in classes]
        return {"fingerprints": np.concatenate(rows) if rows else np.zeros(0, np.uint64)}

    @classmethod
    def load(cls, state: State, classes: List[Any], counts: np.ndarray) -> "Fingerprints":
        """Those with this state. Raises `ValueError`, `KeyError`."""
        rows = np.asarray(state["fingerprints"])
        count = sum(counts.tolist())  # of Python's numbers, which have no end
        if rows.dtype != np.uint64 or rows.shape != (count,):
            raise ValueError(f"there should be {count} fingerprints, is {rows.dtype} of the shape {rows.shape}")
        fingerprints = cls()
        for label, part in zip(classes, np.split(rows, np.cumsum(counts)[:-1])):
            fingerprints._of[label] = part.copy()
        return fingerprints

    def _append(self, label, prints: np.ndarray) -> None:
        self._of[label] = np.concatenate([self._of.get(label, np.zeros(0, np.uint64)), prints])


def _prints(embeddings: np.ndarray) -> np.ndarray:
    rows = np.ascontiguousarray(np.atleast_2d(embeddings), "<f8") + 0.0  # of two zeros one
    digests = b"".join(hashlib.blake2b(row.tobytes(), digest_size=_BYTES).digest() for row in rows)
    return np.frombuffer(digests, "<u8").astype(np.uint64)
