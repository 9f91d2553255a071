"""Exact sums of directions, class by class."""

from bisect import bisect_left
from typing import Any, List, Sequence

import numpy as np

from coral_learn.heads.base import check_label, class_array, class_taken, class_unknown, places_of
from coral_learn.heads.state import State, names, numbers

# Sums are kept in steps of 2**-40 as whole numbers: adding and taking away is exact in any order,
# for 2**23 examples a class, and a step is far below an embedding's own precision.
STEP = 2.0**-40


class ClassSums:
    """What is left of the examples of each class: how many, and the sum of their directions.

    classes : sorted, so that the order of teaching can't change an answer
    counts : (C,) int64; sums : (C, D) int64, in steps of `STEP`
    """

    def __init__(self, size: int):
        self.size = size
        self.classes: List[Any] = []
        self.counts = np.zeros(0, np.int64)
        self.sums = np.zeros((0, size), np.int64)

    def means(self) -> np.ndarray:
        """Mean direction of each class, (C, D) float64."""
        return self.sums * STEP / self.counts[:, None]

    def mean(self, label) -> np.ndarray:
        """Mean direction of one class, (D,) float64. Raises `ClassUnknown`."""
        row = self.find(label)
        return self.sums[row] * STEP / self.counts[row]

    def count(self, label) -> int:
        """Examples of a class, 0 for one that isn't there."""
        return int(self.counts[self.find(label)]) if label in self.classes else 0

    def find(self, label) -> int:
        """The row of a class. Raises `ClassUnknown`."""
        label = check_label(label, self.classes)
        index = bisect_left(self.classes, label)
        if index == len(self.classes) or self.classes[index] != label:
            raise class_unknown(label, self.classes)
        return index

    def named(self, label):
        """A class's name as it is kept. Raises `ClassUnknown`."""
        return self.classes[self.find(label)]

    def add(self, directions: np.ndarray, labels: Sequence[Any]) -> None:
        """Add (N, D) directions to the classes of N checked labels."""
        self._make_room(labels)
        steps, rows = to_steps(directions), places_of(labels, self.classes)
        for row in np.unique(rows):
            self.sums[row] += steps[rows == row].sum(axis=0)
        self.counts += np.bincount(rows, minlength=len(self.classes))

    def take(self, directions: np.ndarray, label) -> None:
        """Take (N, D) directions that are in it of one class away; a class without examples is gone."""
        index = self.find(label)
        if len(directions) == self.counts[index]:
            self.drop(label)
            return
        self.sums[index] -= to_steps(directions).sum(axis=0)
        self.counts[index] -= len(directions)

    def drop(self, label) -> None:
        """Take a class away. Raises `ClassUnknown`."""
        index = self.find(label)
        del self.classes[index]
        self.counts, self.sums = np.delete(self.counts, index), np.delete(self.sums, index, axis=0)

    def rename(self, label, new) -> None:
        """Give a class a name that no other has. Raises `ClassUnknown`, `ClassNameInvalid`."""
        index, new = self.find(label), check_label(new, self.classes)
        if new in self.classes and new != label:
            raise class_taken(new)
        count, total = self.counts[index], self.sums[index].copy()
        self.drop(label)
        self._make_room([new])
        self.counts[self.find(new)], self.sums[self.find(new)] = count, total

    def merge(self, label, into) -> None:
        """Make a class's examples those of another. Raises `ClassUnknown`."""
        source, target = self.find(label), self.find(into)
        if source != target:
            self.counts[target] += self.counts[source]
            self.sums[target] += self.sums[source]
            self.drop(label)

    def state(self) -> State:
        """Arrays that `load` takes."""
        return {"classes": class_array(self.classes), "counts": self.counts.copy(), "sums": self.sums.copy()}

    @classmethod
    def load(cls, size: int, state: State) -> "ClassSums":
        """The sums with this state. Raises `ValueError`, `KeyError`."""
        sums = cls(size)
        sums.classes = names(state, "classes")
        sums.counts = numbers(state, "counts", "whole", (len(sums.classes),)).astype(np.int64)
        sums.sums = numbers(state, "sums", "whole", (len(sums.classes), size)).astype(np.int64)
        if sums.classes != sorted(sums.classes):
            raise ValueError("the classes must be sorted")
        if (sums.counts < 1).any():
            raise ValueError("every class must have an example")
        return sums

    def _make_room(self, labels: Sequence[Any]) -> None:
        """Empty rows for classes that are new, all at once: each array is copied once, however many there are."""
        classes = sorted(set(self.classes) | set(labels))
        if len(classes) == len(self.classes):
            return
        old = places_of(self.classes, classes)
        counts, sums = np.zeros(len(classes), np.int64), np.zeros((len(classes), self.size), np.int64)
        counts[old], sums[old] = self.counts, self.sums
        self.classes, self.counts, self.sums = classes, counts, sums


def to_steps(directions: np.ndarray) -> np.ndarray:
    """Directions as whole numbers of `STEP`."""
    return np.rint(directions / STEP).astype(np.int64)
