"""Teaching with pictures: from their bytes to stored examples, and what there is to say about each.

The one way in for uploads, captures of the camera and frames kept for review.
"""

import logging
import time
from typing import Any, Dict, List, NamedTuple, Optional, Set

import numpy as np

from coral_learn.errors import CoralLearnError
from service.calibrating import Calibrating
from service.embedder import embed_now
from service.errors import ServiceError
from service.extraction import ExtractorSupervisor
from service.learning import Answering, Teaching
from service.metrics import FROM_LESSON, Metrics
from service.pictures import Picture, PictureReader
from service.store import Store
from service.store.examples import NewPicture, Origin

log = logging.getLogger(__name__)

_SURELY_OTHER = 0.9
_QUICKLY_MEASURED = 100  # examples


class Prepared(NamedTuple):
    """A picture ready to be taught. embedding : (D,) float32; extractor : the digest of the one it is by"""

    picture: Picture
    embedding: np.ndarray
    extractor: str

    @property
    def facts(self) -> NewPicture:
        """What is stored of it."""
        picture = self.picture
        return NewPicture(picture.sha256, *picture.header, len(picture.data), self.embedding, self.extractor)


class Accepted(NamedTuple):
    """A picture that was stored; new : whether its class did not have it yet; warnings : in words."""

    example: str
    picture: Picture
    new: bool
    warnings: List[str]

    def as_dict(self) -> Dict[str, Any]:
        """For JSON."""
        header = self.picture.header
        return {
            "id": self.example,
            "sha256": self.picture.sha256,
            "width": header.width,
            "height": header.height,
            "duplicate": not self.new,
            "warnings": self.warnings,
        }


class Outcome(NamedTuple):
    """What a lesson brought.

    class_examples : how many the class has now; before, after : the live model's accuracy with each example left
    out, None where it was not measured; step : its number in the journal, None where nothing was new
    """

    class_name: str
    accepted: List[Accepted]
    class_examples: int
    model: Dict[str, Any]
    before: Optional[float]
    after: Optional[float]
    step: Optional[int]

    def as_dict(self) -> Dict[str, Any]:
        """For JSON."""
        return {
            "class": self.class_name,
            "accepted": [one.as_dict() for one in self.accepted],
            "class_examples": self.class_examples,
            "model": self.model,
            "accuracy": {"before": self.before, "after": self.after},
            "step": self.step,
        }


class Lessons:
    """Prepares pictures and teaches them to a class."""

    def __init__(
        self,
        store: Store,
        extraction: ExtractorSupervisor,
        pictures: PictureReader,
        answering: Answering,
        teaching: Teaching,
        calibrating: Calibrating,
        metrics: Metrics,
    ):
        self._store, self._extraction, self._pictures = store, extraction, pictures
        self._answering, self._teaching, self._calibrating = answering, teaching, calibrating
        self._metrics = metrics

    def prepare(self, data: bytes) -> Prepared:
        """Decode and embed a picture. Raises `coral_learn.errors.ImageError`, `Unavailable`."""
        present = self._answering.must_have_extractor
        picture, embedded = embed_now(self._extraction, present, lambda one: self._pictures.read(data, one))
        self._metrics.time_stages(FROM_LESSON, decode=picture.decode_ms, embed=embedded.milliseconds)
        return Prepared(picture, embedded.embedding, embedded.extractor)

    def teach(
        self, name: str, prepared: List[Prepared], origin: Origin, measure: bool = False, create: bool = True
    ) -> Outcome:
        """Store pictures in a class, made when missing, and teach them to the live model.

        measure : whether to measure the accuracy afterwards however long that takes; create : whether a missing class
        is made, else it raises `NotFound`. Raises `StoreError`, `Conflict`, `ExtractorUnavailable`; what is returned
        is on the disk.
        """
        prepared = [self._renewed(one) for one in prepared]
        words = [self._doubts(name, one) for one in prepared]  # what has to be read is read before it is stored
        disabled = bool(self._numbers(name) & self._answering.disabled)
        before = self._accuracy()
        facts, data = [one.facts for one in prepared], [one.picture.data for one in prepared]
        started = time.perf_counter()
        taught = self._teaching.add_examples(name, facts, data, origin, create)
        self._metrics.time_stages(FROM_LESSON, store=(time.perf_counter() - started) * 1000)
        accepted = [
            Accepted(added.example, one.picture, added.new, doubts + self._not_seen(added.example, name, disabled))
            for added, one, doubts in zip(taught.examples, prepared, words)
        ]
        model, after = self._answering.model, self._measured(measure)
        return Outcome(name, accepted, taught.class_examples, model, before, after, taught.step)

    def _renewed(self, one: Prepared) -> Prepared:
        """The same by the extractor in use: it may have been exchanged while the pictures after it were prepared."""
        in_use = self._answering.must_have_extractor().digest
        return one if one.extractor == in_use else self.prepare(one.picture.data)

    def _doubts(self, name: str, one: Prepared) -> List[str]:
        """What is doubtful about a picture before it is taught: in itself, to the model, beside what is stored."""
        answer, found = self._answering.classify(one.embedding, 1, one.extractor), list(one.picture.warnings)
        answered = self._numbers(name) - self._answering.disabled
        if answered and answer.label not in (None, name) and answer.score >= _SURELY_OTHER:
            found.append(f"it looks like {answer.label!r} ({answer.score:.0%}) rather than {name!r}")
        others = {other.class_name for other in self._store.examples.of_picture(one.picture.sha256)} - {name}
        return found + [f"the same picture is in the class {other!r} as well" for other in sorted(others)]

    def _numbers(self, name: str) -> Set[int]:
        """The number of the class of this name, if there is one."""
        return {number for number, known in self._answering.class_names().items() if known == name}

    def _not_seen(self, example: str, name: str, disabled: bool) -> List[str]:
        """A word of warning when what was taught is not in what answers."""
        if disabled:
            return [f"the class {name!r} is disabled: the picture is stored, and is taught once it is enabled"]
        if self._answering.has_seen(example):
            return []
        version = self._answering.model["version"]
        return [f"version {version} answers now and has not seen this picture: train again, or activate the live model"]

    def _accuracy(self) -> Optional[float]:
        """The live model's accuracy, each example left out, as it was last measured."""
        report = self._answering.live_report
        return report["left_out"]["accuracy"] if report is not None else None

    def _measured(self, asked: bool) -> Optional[float]:
        """The same by now: measured at once when asked for, or where that takes no time worth mentioning."""
        try:
            if not asked and self._store.examples.count() > _QUICKLY_MEASURED:
                return None
            self._calibrating.measure()
        except (CoralLearnError, ServiceError) as error:  # the pictures are stored: that must be said all the same
            log.warning("the live model could not be measured after a lesson: %s", error)
            return None
        return self._accuracy()
