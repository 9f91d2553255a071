"""Nearest neighbours: the examples themselves answer, each for its class, by their likeness."""

from collections import Counter
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from coral_learn.errors import ExampleUnknown, OptionError
from coral_learn.heads.base import (
    Evidence,
    IncrementalHead,
    State,
    check_label,
    class_array,
    class_taken,
    class_unknown,
    like_input,
    places_of,
)
from coral_learn.heads.pipeline import EmbeddingPipeline
from coral_learn.heads.state import names, number, numbers

# An example is kept in a byte a number, 1.3 kB for 1280. A cosine differs by 0.005 or less where many
# numbers matter alike, by 0.02 where a few outweigh all others.
_LEVELS = 127
# Up to here float32 adds whole numbers without rounding, in whatever order BLAS takes them.
_EXACT = 2.0**24
_ROWS_AT_ONCE = 4096
_COSINES_AT_ONCE = 1 << 22
_MOST_NEIGHBOURS = 1000
# How strongly a nearer neighbour outvotes a farther one, as a factor on the cosine.
_SHARPNESS = 20.0


class Neighbour(NamedTuple):
    """One of the nearest examples: its class, and the cosine to it, -1..1."""

    label: Any
    similarity: float


class _Index(NamedTuple):
    """The classes, sorted, and the place of each example's class among them, (N,)."""

    classes: List[Any]
    numbers: np.ndarray


class _Compared(NamedTuple):
    """M of the examples beside all N: the cosines (M, N), the place of each one's class (M,), who shares it (M, N)."""

    similarities: np.ndarray
    own: np.ndarray
    same: np.ndarray


class NeighboursHead(IncrementalHead):
    """Incremental, exact, and as large as what it was taught.

    neighbours : how many of the nearest examples vote. A logit is the cosine to a class's voters,
        softly summed.
    """

    kind = "knn"
    scale = 5.0

    def __init__(self, pipeline: EmbeddingPipeline, neighbours: int = 5):
        super().__init__(pipeline)
        whole = isinstance(neighbours, (int, np.integer)) and not isinstance(neighbours, bool)
        if not whole or not 1 <= neighbours <= _MOST_NEIGHBOURS:
            raise OptionError(f"neighbours must be a whole number from 1 to {_MOST_NEIGHBOURS}, got {neighbours!r}")
        self.neighbours = int(neighbours)
        self._rows = np.zeros((0, pipeline.size), np.int8)  # with room to spare at the end
        self._lengths = np.zeros(0, np.float32)
        self._labels: List[Any] = []
        self._index: Optional[_Index] = None

    @property
    def classes(self) -> List[Any]:
        return list(self._indexed().classes)

    @property
    def counts(self) -> Dict[Any, int]:
        return dict(sorted(Counter(self._labels).items()))

    def learn_many(self, embeddings: np.ndarray, labels: Sequence[Any]) -> None:
        directions, labels = self._checked(embeddings, labels, self._labels[:1])
        used, needed = len(self._labels), len(self._labels) + len(labels)
        if needed > len(self._rows):
            room = max(needed, used + used // 4)
            rows, lengths = np.zeros((room, self.pipeline.size), np.int8), np.zeros(room, np.float32)
            rows[:used], lengths[:used] = self._rows[:used], self._lengths[:used]
            self._rows, self._lengths = rows, lengths
        self._rows[used:needed], self._lengths[used:needed] = _in_bytes(directions)
        self._labels.extend(labels)
        self._index = None

    def forget_many(self, embeddings: np.ndarray, label) -> None:
        rows, _ = _in_bytes(self.pipeline(embeddings))
        places: Dict[bytes, List[int]] = {}
        for index in self._of(label):
            places.setdefault(self._rows[index].tobytes(), []).append(index)
        found: List[int] = []
        for row in rows:
            same = places.get(row.tobytes())
            if not same:
                raise ExampleUnknown(f"this example of the class {label!r} was never learnt, or is forgotten already")
            found.append(same.pop())
        self._delete(found)

    def rename(self, label, new) -> None:
        mine, new = self._of(label), check_label(new, self._labels)
        if new != label and new in self.counts:
            raise class_taken(new)
        for index in mine:
            self._labels[index] = new
        self._index = None

    def merge(self, label, into) -> None:
        mine, _ = self._of(label), self._of(into)
        for index in mine:
            self._labels[index] = check_label(into, self._labels)
        self._index = None

    def remove(self, label) -> None:
        self._delete(self._of(label))

    def logits(self, embeddings: np.ndarray) -> np.ndarray:
        return self.weigh(embeddings).logits

    def weigh(self, embeddings: np.ndarray) -> Evidence:
        """Familiarity is the cosine to the nearest example of all."""
        self._must_have_learnt()
        similarities = self._similarities(self.pipeline(embeddings))
        highest = similarities.max(axis=1).astype(np.float64)
        return Evidence(like_input(self._vote(similarities), embeddings), like_input(highest, embeddings))

    def nearest(self, embedding: np.ndarray, count: int) -> List[Neighbour]:
        """The examples most like an embedding (D,), nearest first."""
        similarities = self._similarities(self.pipeline(embedding))[0]
        order = self._nearest(similarities, count)
        return [Neighbour(self._labels[index], float(similarities[index])) for index in order]

    def leave_one_out(self, embeddings: np.ndarray, labels: Sequence[Any]) -> Evidence:
        found = []
        for similarities, own, same in self._compared(embeddings, labels):
            rows = np.arange(len(own))
            # An example's nearest of its own class is itself.
            itself = np.where(same, similarities, -np.inf).argmax(axis=1)
            similarities[rows, itself] = -np.inf
            logits = self._vote(similarities)
            alone = same.sum(axis=1) == 1
            logits[rows[alone], own[alone]] = -np.inf
            found.append(Evidence(logits, similarities.max(axis=1).astype(np.float64)))
        return _joined(found)

    def leave_all_out(self, embeddings: np.ndarray, labels: Sequence[Any]) -> Evidence:
        left, found = self._all_but(embeddings, labels), []
        emptied = np.setdiff1d(self._indexed().numbers, self._indexed().numbers[left])
        for similarities, _, _ in self._compared(embeddings, labels):
            similarities[:, ~left] = -np.inf
            logits = self._vote(similarities)
            logits[:, emptied] = -np.inf
            found.append(Evidence(logits, similarities.max(axis=1).astype(np.float64)))
        return _joined(found)

    def as_strangers(self, embeddings: np.ndarray, labels: Sequence[Any]) -> np.ndarray:
        found = [
            np.where(same, -np.inf, similarities).max(axis=1).astype(np.float64)
            for similarities, _, same in self._compared(embeddings, labels)
        ]
        return np.concatenate(found)

    def _all_but(self, embeddings: np.ndarray, labels: Sequence[Any]) -> np.ndarray:
        """Which examples are left without these, (N,) bool: an example's nearest of its own class is itself."""
        self._must_have_learnt()
        directions, labels = self._checked(embeddings, labels, self._labels[:1])
        classes, of_examples = self._indexed()
        own, left = places_of(labels, classes), np.ones(len(of_examples), bool)
        for place in np.unique(own):
            rows = np.flatnonzero(of_examples == place)
            for similarities in self._similarities(directions[own == place], rows):
                left[rows[np.where(left[rows], similarities, -np.inf).argmax()]] = False
        return left

    def _compared(self, embeddings: np.ndarray, labels: Sequence[Any]) -> Iterator[_Compared]:
        """Examples beside all examples, so many at a time that it takes little memory."""
        self._must_have_learnt()
        directions, labels = self._checked(embeddings, labels, self._labels[:1])
        classes, of_examples = self._indexed()
        own, some = places_of(labels, classes), max(1, _COSINES_AT_ONCE // len(of_examples))
        for start in range(0, max(1, len(own)), some):
            places = own[start : start + some]
            yield _Compared(
                self._similarities(directions[start : start + some]), places, of_examples[None, :] == places[:, None]
            )

    def state(self) -> State:
        used, classes = len(self._labels), self.classes
        # In an order of their own, so that the order of teaching leaves no trace.
        order = sorted(range(used), key=lambda i: (self._labels[i], self._rows[i].tobytes(), float(self._lengths[i])))
        state = self._common_state()
        state.update(
            classes=class_array(classes),
            neighbours=np.array(self.neighbours, np.int64),
            numbers=self._indexed().numbers[order].astype(np.int32),
            rows=self._rows[order],
            lengths=self._lengths[order],
        )
        return state

    @classmethod
    def from_state(cls, state: State) -> "NeighboursHead":
        head = cls(EmbeddingPipeline.from_state(state), int(number(state, "neighbours", "whole", 1, _MOST_NEIGHBOURS)))
        classes, places = names(state, "classes"), numbers(state, "numbers", "whole")
        if places.ndim != 1 or (places < 0).any():
            raise ValueError("numbers should be a row of places among the classes")
        head._labels = [classes[place] for place in places]
        rows = numbers(state, "rows", "whole", (len(places), head.pipeline.size))
        lengths = numbers(state, "lengths", "real", (len(places),))
        if (np.abs(rows.astype(np.int64)) > _LEVELS).any() or (lengths <= 0).any():
            raise ValueError(f"rows should be from -{_LEVELS} to {_LEVELS}, and lengths above 0")
        head._rows, head._lengths = rows.astype(np.int8), lengths.astype(np.float32)
        if classes != head.classes:
            raise ValueError("the classes must be sorted, each of them once and with an example")
        return head

    def _of(self, label) -> List[int]:
        label = check_label(label, self._labels)
        mine = [index for index, other in enumerate(self._labels) if other == label]
        if not mine:
            raise class_unknown(label, self.classes)
        return mine

    def _delete(self, indices: Sequence[int]) -> None:
        gone = set(indices)
        left = [index for index in range(len(self._labels)) if index not in gone]
        self._rows, self._lengths = self._rows[left], self._lengths[left]
        self._labels = [self._labels[index] for index in left]
        self._index = None

    def _indexed(self) -> _Index:
        if self._index is None:
            classes = sorted(set(self._labels))
            self._index = _Index(classes, places_of(self._labels, classes))
        return self._index

    def _similarities(self, directions: np.ndarray, among: Optional[np.ndarray] = None) -> np.ndarray:
        """Cosine to every example, or to those with these indices, (M, N) float32.

        Both sides are whole numbers, so that equal examples get equal cosines wherever they lie in memory.
        """
        used = len(self._labels) if among is None else len(among)
        queries, lengths = _in_bytes(directions)
        result, queries = np.empty((len(directions), used), np.float32), queries.astype(np.float32).T
        for start in range(0, used, _ROWS_AT_ONCE):
            stop = min(start + _ROWS_AT_ONCE, used)
            some = slice(start, stop) if among is None else among[start:stop]
            rows = self._rows[some].astype(np.float32) @ queries
            result[:, start:stop] = (rows * self._lengths[some, None] * lengths).T
        return result

    def _nearest(self, similarities: np.ndarray, count: int) -> List[int]:
        """The `count` most similar, nearest first; of equal ones by class, then by content, whenever they came."""
        count = min(count, len(similarities))
        if not count:
            return []
        bar = np.partition(similarities, len(similarities) - count)[len(similarities) - count]
        candidates = np.flatnonzero(similarities >= bar)
        key = [(-similarities[i], self._labels[i], self._rows[i].tobytes()) for i in candidates]
        return [int(candidates[place]) for place in sorted(range(len(key)), key=key.__getitem__)[:count]]

    def _vote(self, similarities: np.ndarray) -> np.ndarray:
        """Logits from cosines to every example; those at minus infinity have no vote. (M, N) to (M, C)."""
        count = min(self.neighbours, similarities.shape[1])
        nearest = np.array([self._nearest(row, count) for row in similarities], np.int64).reshape(-1, count)
        rows = np.arange(len(similarities))[:, None]
        votes = np.exp(_SHARPNESS * similarities[rows, nearest].astype(np.float64))
        sums = np.zeros((len(similarities), len(self.classes)))
        np.add.at(sums, (np.broadcast_to(rows, nearest.shape), self._indexed().numbers[nearest]), votes)
        # A class without a voter is farther than the last voter.
        farthest = similarities[rows[:, 0], nearest[:, -1]].astype(np.float64)[:, None]
        floor = np.where(np.isfinite(farthest), farthest, -1.0) - 1 / _SHARPNESS
        with np.errstate(divide="ignore"):
            return np.maximum(np.log(sums) / _SHARPNESS, floor)


def _joined(parts: List[Evidence]) -> Evidence:
    return Evidence(*(np.concatenate(arrays) for arrays in zip(*parts)))


def _in_bytes(directions: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """(N, D) int8 rows, and the factors (N,) float32 that make them length 1 again."""
    peaks = np.maximum(np.abs(directions).max(axis=1, keepdims=True), 1e-12) if len(directions) else np.ones((0, 1))
    levels = min(_LEVELS, int(np.sqrt(_EXACT / directions.shape[1])))
    rows = np.rint(directions / peaks * levels)
    lengths = np.maximum(np.linalg.norm(rows, axis=1), 1e-12)
    return rows.astype(np.int8), (1 / lengths).astype(np.float32)
