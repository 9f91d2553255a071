"""The map: stored examples on a plane, those that look alike to the extractor near each other."""

import threading
from typing import List, NamedTuple, Optional, Tuple

import numpy as np

from coral_learn.projection import principal_components
from coral_learn.training import Sample
from service.learning import Answering
from service.store import Store

LARGEST = 5000


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
            outline = self._store.examples.outline(key.extractor)
            chosen = Sample.of(outline.classes, keys=outline.rows, most=size).chosen
            rows = [outline.rows[index] for index in chosen]
            pipeline = self._answering.pipeline
            examples: List[Tuple[str, int]] = []
            directions = [np.zeros((0, pipeline.size), np.float32)]
            for some in self._store.examples.learnt_in_rows(key.extractor, rows):
                examples += [(one.id, one.class_id) for one in some]
                directions.append(pipeline(np.stack([one.embedding for one in some])).astype(np.float32))
        found = principal_components(np.concatenate(directions))
        places = [Place(*one, float(x), float(y)) for one, (x, y) in zip(examples, found.points)]
        return Map(key, places, tuple(float(one) for one in found.explained), len(outline.rows))
