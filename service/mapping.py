"""The map: stored examples on a plane, those that look alike to the extractor near each other."""

import threading
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from coral_learn.projection import principal_components
from service.learning import Answering
from service.store import Store

LARGEST = 5000
_ROWS_AT_ONCE = 500


class Place(NamedTuple):
    """Where an example is."""

    example: str
    class_id: int
    x: float
    y: float


class MapKey(NamedTuple):
    """What a map follows from: the same key, the same map."""

    revision: int
    extractor: str
    size: int


class Map(NamedTuple):
    """A map of a sample. explained : share of the variance along x and along y; total : examples there are"""

    key: MapKey
    places: List[Place]
    explained: Tuple[float, float]
    total: int


class ExampleMap:
    """Draws maps and keeps the newest, which holds until what is taught changes. Safe from any thread."""

    def __init__(self, store: Store, answering: Answering):
        self._store, self._answering = store, answering
        self._drawing = threading.Lock()  # one at a time: each takes a core for a moment
        self._newest: Optional[Map] = None

    def key(self, size: int) -> MapKey:
        """The key of the map of at most `size` examples as it is now. Raises `ExtractorUnavailable`."""
        extractor = self._answering.must_have_extractor()
        return MapKey(self._answering.revision, extractor.digest, size)

    def draw(self, size: int) -> Map:
        """The map of at most `size` examples, spread over the classes. Raises `ExtractorUnavailable`."""
        with self._drawing:
            newest = self._newest
            if newest is None or newest.key != self.key(size):
                self._newest = newest = self._draw(size)
            return newest

    def _draw(self, size: int) -> Map:
        with self._store.changing:  # so that all of it is of one revision
            key = self.key(size)
            classes = self._store.examples.classes_by_row(key.extractor)
            rows = spread(classes, size)
            pipeline = self._answering.pipeline
            examples: List[Tuple[str, int]] = []
            directions = [np.zeros((0, pipeline.size), np.float32)]
            for start in range(0, len(rows), _ROWS_AT_ONCE):
                some = self._store.examples.learnt_in_rows(key.extractor, rows[start : start + _ROWS_AT_ONCE])
                examples += [(one.id, one.class_id) for one in some]
                directions.append(pipeline(np.stack([one.embedding for one in some])).astype(np.float32))
        found = principal_components(np.concatenate(directions))
        places = [Place(*one, float(x), float(y)) for one, (x, y) in zip(examples, found.points)]
        return Map(key, places, tuple(float(one) for one in found.explained), len(classes))


def spread(classes: Dict[int, int], most: int) -> List[int]:
    """Rows of at most `most` examples out of {row: class}, in order; no class has more than another if that has more.

    Within a class they are as far apart as can be, the first one always among them.
    """
    by_class: Dict[int, List[int]] = {}
    for row in sorted(classes):
        by_class.setdefault(classes[row], []).append(row)
    left, chosen = most, []
    # The smallest first: what they don't use of their share is for the others.
    ordered = sorted(by_class.values(), key=len)
    for place, rows in enumerate(ordered):
        share = min(len(rows), -(-left // (len(ordered) - place)))
        chosen += _evenly(rows, share)
        left -= share
    return sorted(chosen)


def _evenly(rows: Sequence[int], count: int) -> List[int]:
    return [rows[place * len(rows) // count] for place in range(count)]
