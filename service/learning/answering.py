"""The model that answers now, in memory.

The live model learns with each example; a numbered version answers in its place once it is
activated. Heads know classes by number, so renaming one costs nothing; a pre-trained class i has
the number -1 - i.
"""

import threading
from copy import deepcopy
from pathlib import Path
from typing import Any, Dict, FrozenSet, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np

from coral_learn.classifier import Prediction, rank
from coral_learn.extractor import ExtractorInfo
from coral_learn.heads import EmbeddingPipeline, Head, IncrementalHead
from coral_learn.manifest import Manifest
from service.errors import ExtractorUnavailable
from service.store.models import StoredModel

LIVE = "live"
REVISION = "live_revision"  # the note that holds it

_LESSONS_AT_ONCE = 1000

Lesson = Tuple[np.ndarray, int]  # an embedding, (D,) float32, and the number of its class


class Answer(NamedTuple):
    """What the model says: the best class, its score, the first classes, and which model said it.

    label : None for a picture of none of the classes, or before anything was taught
    """

    label: Optional[str]
    score: float
    predictions: List[Prediction]
    model: Dict[str, Any]

    def as_dict(self) -> Dict[str, Any]:
        """For JSON: class, score, predictions, model."""
        predictions = [{"class": one.label, "score": one.score} for one in self.predictions]
        return {"class": self.label, "score": self.score, "predictions": predictions, "model": self.model}


class ListedClass(NamedTuple):
    """A class as clients see it. enabled : whether it is taught and answered."""

    name: str
    examples: int
    pretrained: bool
    enabled: bool = True


class LiveCopy(NamedTuple):
    """The live model and a copy of it at a revision."""

    live: IncrementalHead
    copy: IncrementalHead
    revision: int


class Version(NamedTuple):
    """A numbered version with its head and the ids of the examples it was trained on."""

    stored: StoredModel
    head: Head
    seen: Set[str]


class Answering:
    """Scores embeddings with the model that answers now. Safe from any thread.

    extractor : whose embeddings are used; None until `Versions.adopt`
    manifest, model_path : of that extractor; pipeline : what its embeddings go through before they are compared
    pretrained : names of the pre-trained classes that are kept
    changed : set whenever what is taught has changed
    changes : grows with every change of classes and examples
    """

    def __init__(self, kind: str):
        self._lock = threading.Lock()  # held for moments, so that answers never wait for the disk
        self._kind = kind  # of the live head until there is one
        self._live: Optional[IncrementalHead] = None
        self._version: Optional[Version] = None
        self._revision = 0
        self._report: Optional[Dict[str, Any]] = None
        self._names: Dict[int, str] = {}
        self._disabled: FrozenSet[int] = frozenset()
        self.pretrained: List[str] = []
        self.extractor: Optional[ExtractorInfo] = None
        self.manifest: Optional[Manifest] = None
        self.pipeline: Optional[EmbeddingPipeline] = None
        self.model_path: Optional[Path] = None
        self.changed = threading.Event()
        self.changes = 0

    # -- answers ----------------------------------------------------------------------------

    def classify(self, embedding: np.ndarray, top_k: int, extractor: Optional[str] = None) -> Answer:
        """The answer for one embedding, (D,), by the extractor with this digest. Raises `ExtractorUnavailable`."""
        with self._lock:
            self.must_be_of(extractor)
            head, model, names = self._head(), self._tag(), self._names
            classes, known = head.classes, False
            if classes:
                logits, familiarity = head.weigh(embedding)
                scores = head.calibration.scores(logits)
                known = head.calibration.accepts(familiarity)
        if not classes:
            return Answer(None, 0.0, [], model)
        ranked = rank(scores, [names[number] for number in classes], top_k)
        predictions = [Prediction(name, round(score, 6)) for name, score in ranked]
        best = predictions[0]
        return Answer(best.label if known else None, best.score, predictions, model)

    @property
    def model(self) -> Dict[str, Any]:
        """Which model answers now: {"version", "head"}, with "revision" for the live one."""
        with self._lock:
            return self._tag()

    @property
    def version(self) -> Optional[Version]:
        """The version that answers now; None when the live model does."""
        with self._lock:
            return self._version

    @property
    def live_facts(self) -> Dict[str, Any]:
        """The live model, answering or not: revision, head, and how many classes it was taught."""
        with self._lock:
            taught = 0 if self._live is None else len(self._live.counts)
            return {"version": LIVE, "revision": self._revision, "head": self._live_kind(), "classes": taught}

    @property
    def live_report(self) -> Optional[Dict[str, Any]]:
        """What was last found of the live model, with the revision it was found of; None before that."""
        with self._lock:
            return self._report

    @property
    def revision(self) -> int:
        """How often what is taught has changed."""
        with self._lock:
            return self._revision

    def class_name(self, number: int) -> str:
        """The name of a class by its number, as reports of versions hold it."""
        with self._lock:
            return self._names.get(number, f"deleted class {number}")

    def class_names(self) -> Dict[int, str]:
        """The name of every class by its number."""
        with self._lock:
            return self._names

    @property
    def disabled(self) -> FrozenSet[int]:
        """The numbers of the classes that are neither taught nor answered."""
        with self._lock:
            return self._disabled

    def drop_absent(self, head: Head) -> None:
        """Take those classes off a head that were deleted or disabled since it was trained."""
        with self._lock:
            self._drop_absent(head)

    def has_seen(self, example: str) -> bool:
        """Whether the answering model was taught an example."""
        with self._lock:
            return self._version is None or example in self._version.seen

    def must_have_extractor(self) -> ExtractorInfo:
        """The extractor in use. Raises `ExtractorUnavailable` before there is one."""
        if self.extractor is None:
            raise ExtractorUnavailable("the extractor has not been loaded yet", retry_after=2)
        return self.extractor

    def must_be_of(self, digest: Optional[str]) -> ExtractorInfo:
        """The extractor in use; where a digest is given it must be that one. Raises `ExtractorUnavailable`."""
        extractor = self.must_have_extractor()
        if digest not in (None, extractor.digest):
            raise ExtractorUnavailable("the extractor was exchanged while this was on its way; ask again")
        return extractor

    def pipeline_of(self, digest: str) -> EmbeddingPipeline:
        """What embeddings of this extractor go through. Raises `ExtractorUnavailable` for one not in use."""
        with self._lock:
            self.must_be_of(digest)
            return self.pipeline

    # -- changes ----------------------------------------------------------------------------

    def take_live(
        self, live: IncrementalHead, revision: int, extractor: ExtractorInfo, manifest: Manifest, pretrained: List[str]
    ) -> None:
        """Take this live model, of this extractor. A version that answers goes on, unless it is of another one."""
        # Made once: the manifest reads the mean embedding from the disk each time it is asked.
        pipeline = EmbeddingPipeline(extractor.embedding_size, manifest.mean_embedding)
        with self._lock:
            self._live, self._revision, self._report = live, revision, None
            if self._version is not None and self._version.stored.extractor != extractor.digest:
                self._version = None
            self.manifest, self.pipeline, self.pretrained = manifest, pipeline, pretrained
            self._names = {number: name for number, name in self._names.items() if number >= 0}
            self._names.update({-1 - index: name for index, name in enumerate(pretrained)})
            self.extractor = extractor
        self.changed.set()

    def take_version(self, version: Optional[Version]) -> None:
        """Let a version answer, without classes that are gone or disabled; or the live model again, with None."""
        with self._lock:
            if version is not None:
                self._drop_absent(version.head)
            self._version = version

    def expect(self, names: Dict[int, str], disabled: FrozenSet[int]) -> None:
        """Know the classes of a model that is about to answer. What is known of others holds until `settle`."""
        with self._lock:
            self._names, self._disabled = {**names, **self._names}, disabled

    def settle(self, names: Dict[int, str]) -> None:
        """Know these taught classes only."""
        with self._lock:
            self._settle(names)

    def change(
        self,
        names: Dict[int, str],
        disabled: FrozenSet[int],
        forget: Sequence[Lesson],
        learn: Sequence[Lesson],
        revision: int,
    ) -> None:
        """Take over the names of the taught classes, and let the live model forget examples, then learn others.

        disabled : the numbers of those that are not answered

        All of it between two answers. Raises `HeadError` where the model and the store don't agree.
        """
        many = len(forget) + len(learn) > _LESSONS_AT_ONCE
        if many:  # that takes a while, in which answers are wanted
            taught = self.copy_live().copy
            _teach(taught, forget, learn)
        with self._lock:
            self._settle(names)
            is_news, self._disabled, self._revision = revision != self._revision, disabled, revision
            if self._version is not None:
                self._drop_absent(self._version.head)
            if many:
                self._live = taught
            else:
                _teach(self._live, forget, learn)
        if is_news or forget or learn:
            self.changed.set()

    def copy_live(self) -> LiveCopy:
        """The live model as it is now, to be measured without holding up answers or lessons."""
        with self._lock:
            return LiveCopy(self._live, deepcopy(self._live), self._revision)

    def take_measured(self, measured: LiveCopy, report: Dict[str, Any]) -> None:
        """Take over where "none of these" begins from a calibrated copy, and what was found with it.

        Scores keep the head's usual scale: they follow from the examples alone, not from when this
        was done last.
        """
        with self._lock:
            measured.live.adopt_threshold(measured.copy)
            if measured.live is self._live:
                self._report = dict(report, head=measured.live.kind, revision=measured.revision)

    def take_findings(self, examined: LiveCopy, findings: List[Dict[str, Any]]) -> None:
        """Add what the doctor says to what was found of this copy, unless the live model has changed since."""
        with self._lock:
            report = self._report
            if examined.live is self._live and report is not None and report["revision"] == examined.revision:
                self._report = dict(report, findings=findings)

    def _settle(self, names: Dict[int, str]) -> None:
        kept = {number: name for number, name in self._names.items() if number < 0}
        self._names = {**kept, **names}
        self.changes += 1

    def _drop_absent(self, head: Head) -> None:
        for number in set(head.classes) - (set(self._names) - self._disabled):
            head.remove(number)

    def _head(self) -> Head:
        return self._live if self._version is None else self._version.head

    def _live_kind(self) -> str:
        return self._kind if self._live is None else self._live.kind

    def _tag(self) -> Dict[str, Any]:
        if self._version is not None:
            return {"version": self._version.stored.version, "head": self._version.stored.head}
        return {"version": LIVE, "revision": self._revision, "head": self._live_kind()}


def _teach(head: IncrementalHead, forget: Sequence[Lesson], learn: Sequence[Lesson]) -> None:
    for class_id, embeddings in _by_class(forget):
        head.forget_many(embeddings, class_id)
    for class_id, embeddings in _by_class(learn):
        head.learn_many(embeddings, [class_id] * len(embeddings))


def _by_class(lessons: Sequence[Lesson]) -> Iterator[Tuple[int, np.ndarray]]:
    """Some embeddings of a class at a time, (N, D): heads take several times the memory for them."""
    found: Dict[int, List[np.ndarray]] = {}
    for embedding, class_id in lessons:
        found.setdefault(class_id, []).append(embedding)
    for class_id, embeddings in found.items():
        for start in range(0, len(embeddings), _LESSONS_AT_ONCE):
            yield class_id, np.stack(embeddings[start : start + _LESSONS_AT_ONCE])
