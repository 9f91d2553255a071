"""The model that answers now, and every change of what it was taught.

A change is first on the disk and then in the model. The live model learns with each example; a
numbered version answers in its place once it is activated, and never changes. Heads know classes
by number, so renaming one costs nothing; a pre-trained class i has the number -1 - i.
"""

import logging
import threading
from copy import deepcopy
from itertools import islice
from pathlib import Path
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Set, Tuple

import numpy as np

from coral_learn.classifier import Prediction, rank
from coral_learn.extractor import ExtractorInfo
from coral_learn.heads import Head, ImprintingHead, IncrementalHead
from coral_learn.manifest import Manifest
from coral_learn.training import INCREMENTAL, choose_classes
from service.errors import Conflict, ExtractorUnavailable, Refused, SettingsError, StoreError
from service.store import Store
from service.store.classes import StoredClass
from service.store.examples import NewPicture, StoredExample
from service.store.jobs import StoredJob
from service.store.models import FinishedModel, StoredModel

log = logging.getLogger(__name__)

LIVE = "live"
_LESSONS_AT_ONCE = 1000
_ACTIVE, _REVISION, _LIVE_HEAD = "active_model", "live_revision", "live_head"


def can_keep(kind: str) -> bool:
    """Whether a kind of head can keep pre-trained classes beside taught ones."""
    return kind == ImprintingHead.kind


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
    """A class as clients see it."""

    name: str
    examples: int
    pretrained: bool


class Added(NamedTuple):
    """An example that was stored, and whether it is new in its class."""

    example: str
    new: bool


class LiveCopy(NamedTuple):
    """The live model, a copy of it at a revision, and a sample of what it was taught: whole classes.

    embeddings : (N, D) float32; labels : N
    """

    live: IncrementalHead
    copy: IncrementalHead
    revision: int
    embeddings: np.ndarray
    labels: List[int]


class Learner:
    """The heads in memory over the store. Safe from any thread once `adopt` has returned.

    keep_classes : answer with the extractor's pre-trained classes as well
    head : kind of the live model until another was chosen
    """

    def __init__(self, store: Store, head: str, keep_classes: bool):
        self._store, self.keeps_classes = store, keep_classes
        self._default_head = head
        self._changes = threading.RLock()  # one change at a time, disk and model together
        self._heads = threading.Lock()  # held for moments, so that answers never wait for the disk
        self._live: Optional[IncrementalHead] = None
        self._version: Optional[StoredModel] = None
        self._version_head: Optional[Head] = None
        self._revision = 0
        self._live_report: Optional[Dict[str, Any]] = None
        self._names: Dict[int, str] = store.classes.names()
        self._pretrained: List[str] = []
        self._seen: set = set()
        self._manifest: Optional[Manifest] = None
        self.extractor: Optional[ExtractorInfo] = None
        self.changed = threading.Event()  # set whenever the live model has learnt or forgotten something

    # -- starting ---------------------------------------------------------------------------

    def adopt(self, info: ExtractorInfo, model_path: Path) -> None:
        """Take the extractor whose embeddings are to be used, and rebuild the live model from the store."""
        with self._changes:
            if self.extractor is not None and self.extractor.digest == info.digest:
                self.extractor = info
                return
            self._manifest = Manifest.of(model_path)
            kind = self._store.note(_LIVE_HEAD) or self._default_head
            if self.keeps_classes and not can_keep(kind):
                log.warning("the live head is %s instead of %s, which can't keep classes", self._default_head, kind)
                kind = self._default_head
            live = self._build_live(info, kind)
            with self._heads:
                self._live, self.extractor, self._live_report = live, info, None
                self._version = self._version_head = None
                self._revision = int(self._store.note(_REVISION) or 0)
            self.changed.set()
            self._restore_version()
            log.info("live model ready: %d classes, revision %d", len(live.classes), self._revision)

    def _build_live(self, info: ExtractorInfo, kind: str) -> IncrementalHead:
        """The live model as the store's examples make it."""
        head = INCREMENTAL[kind].suited(info.embedding_size, self._manifest.mean_embedding)
        if self.keeps_classes:
            self._keep_pretrained(head)
        lessons = iter(self._store.examples.learnt(info.digest))
        while True:
            some = list(islice(lessons, _LESSONS_AT_ONCE))
            if not some:
                return head
            head.learn_many(np.stack([one.embedding for one in some]), [one.class_id for one in some])

    def _keep_pretrained(self, head: ImprintingHead) -> None:
        pretrained = self._manifest.pretrained()
        if pretrained is None:
            raise SettingsError(f"the model {self._manifest.name} has no pre-trained classes to keep")
        if self._manifest.mean_embedding is None:
            log.warning(
                "%s has no mean embedding: many answers of its own classes will be lost to taught ones "
                "(coral-learn models cut --pictures makes one)",
                self._manifest.name,
            )
        numbers = [-1 - index for index in range(len(pretrained.names))]
        head.keep(pretrained.weights, numbers, pretrained.biases, self._manifest.radius)
        self._pretrained = pretrained.names
        self._names.update({-1 - index: name for index, name in enumerate(pretrained.names)})

    def _restore_version(self) -> None:
        """Let the version that answered before the restart answer again."""
        active = self._store.note(_ACTIVE) or LIVE
        if active == LIVE:
            return
        try:
            self._put_to_work(*self._load(int(active)))
        except (Refused, StoreError) as error:
            log.error("model version %s can't answer, the live model does: %s", active, error)

    def _load(self, number: int) -> Tuple[StoredModel, Head, Set[str]]:
        """A version, its head and what it was taught. Raises `NotFound`, `Conflict`, `StoreError`."""
        version = self._store.models.get(number)
        if version.extractor != self.extractor.digest:
            raise Conflict(f"version {number} was trained with another extractor", "other_extractor")
        head = self._store.models.head(version)
        for class_id in set(head.classes) - set(self._names):
            head.remove(class_id)  # deleted since it was trained
        return version, head, set(self._store.models.taught_with(version))

    def _put_to_work(self, version: StoredModel, head: Head, seen: Set[str]) -> None:
        with self._heads:
            self._version, self._version_head, self._seen = version, head, seen

    # -- answering --------------------------------------------------------------------------

    def classify(self, embedding: np.ndarray, top_k: int) -> Answer:
        """The answer for one embedding. Raises `ExtractorUnavailable` before `adopt`."""
        with self._heads:
            head, model, names = self._answering(), self._model_tag(), self._names
            scored, known, classes = [], False, head.classes
            if classes:
                logits, familiarity = head.weigh(embedding)
                scored = list(zip(classes, head.calibration.scores(logits)))
                known = head.calibration.accepts(familiarity)
        if not scored:
            return Answer(None, 0.0, [], model)
        ranked = rank(np.array([score for _, score in scored]), [names[number] for number, _ in scored], top_k)
        predictions = [Prediction(name, round(score, 6)) for name, score in ranked]
        best = predictions[0]
        return Answer(best.label if known else None, best.score, predictions, model)

    @property
    def model(self) -> Dict[str, Any]:
        """Which model answers now: {"version", "head"}, with "revision" for the live one."""
        with self._heads:
            return self._model_tag()

    def _answering(self) -> Head:
        self.must_have_extractor()
        return self._version_head or self._live

    def _model_tag(self) -> Dict[str, Any]:
        if self._version is not None:
            return {"version": self._version.version, "head": self._version.head}
        kind = self._live.kind if self._live is not None else self._default_head
        return {"version": LIVE, "revision": self._revision, "head": kind}

    @property
    def mean_embedding(self) -> Optional[np.ndarray]:
        """The extractor's mean embedding, (D,), where it is known."""
        self.must_have_extractor()
        return self._manifest.mean_embedding

    def class_name(self, number: int) -> str:
        """The name of a class by its number, as reports of versions hold it."""
        with self._heads:
            return self._names.get(number, f"deleted class {number}")

    def live_facts(self) -> Dict[str, Any]:
        """The live model, answering or not: revision, head, and how many classes it was taught."""
        with self._heads:
            taught = 0 if self._live is None else len(self._live.counts)
            kind = self._live.kind if self._live is not None else self._default_head
            return {"version": LIVE, "revision": self._revision, "head": kind, "classes": taught}

    def unseen(self) -> Dict[str, Any]:
        """What the answering model was not taught: how many examples, and classes by name."""
        with self._heads:
            version, head, seen = self._version, self._version_head, self._seen
        if version is None:
            return {"examples": 0, "classes": []}
        new = [class_id for example, class_id in self._store.examples.labels() if example not in seen]
        known = set(head.classes)
        classes = {self._names.get(class_id) for class_id in new if class_id not in known}
        return {"examples": len(new), "classes": sorted(name for name in classes if name)}

    def has_seen(self, example: str) -> bool:
        """Whether the answering model was taught an example."""
        with self._heads:
            return self._version is None or example in self._seen

    # -- teaching ---------------------------------------------------------------------------

    def classes(self) -> List[ListedClass]:
        """Every class, taught ones first."""
        taught = [ListedClass(stored.name, stored.examples, False) for stored in self._store.classes.all()]
        return taught + [ListedClass(name, 0, True) for name in self._pretrained]

    def create_class(self, name: str) -> StoredClass:
        """Add a class without examples. Raises `Conflict`."""
        with self._changes:
            self._must_not_be_pretrained(name)
            with self._store.database.write() as connection:
                number = self._store.classes.create(connection, name)
            self._know(number, name)
        return StoredClass(number, name, 0)

    def rename_class(self, name: str, new_name: str) -> StoredClass:
        """Give a class another name; the model stays as it is. Raises `NotFound`, `Conflict`."""
        with self._changes:
            stored = self._find(name)
            self._must_not_be_pretrained(new_name)
            with self._store.database.write() as connection:
                self._store.classes.rename(connection, stored.id, new_name)
            self._know(stored.id, new_name)
        return stored._replace(name=new_name)

    def delete_class(self, name: str) -> int:
        """Remove a class with its examples; returns how many. Raises `NotFound`, `Conflict`."""
        with self._changes:
            stored = self._find(name)
            digest = self.extractor.digest if self.extractor is not None else ""
            learnt = [one.embedding for one in self._store.examples.learnt_of(digest, stored.id)]
            with self._store.database.write() as connection:
                examples = self._store.examples.of_class(connection, stored.id)
                unused = [one.sha256 for one in examples if self._store.examples.delete(connection, one)]
                self._store.classes.delete(connection, stored.id)
                revision = self._next_revision(connection)
            with self._heads:
                self._names = {number: other for number, other in self._names.items() if number != stored.id}
                if learnt:
                    self._live.forget_many(np.stack(learnt), stored.id)
                if self._version_head is not None and stored.id in self._version_head.classes:
                    self._version_head.remove(stored.id)
                self._revision = revision
            self.changed.set()
            self._remove_pictures(unused)
        return len(examples)

    def add_examples(
        self, name: str, pictures: List[NewPicture], data: Iterable[bytes], source: str, capture: Optional[str] = None
    ) -> List[Added]:
        """Store pictures in a class, made when missing, and teach them to the live model.

        When this returns they are on the disk, and the live model has learnt them. One transaction:
        all or none. Raises `StoreError`, `Conflict`.
        """
        extractor = self.must_have_extractor()
        with self._changes:
            self._must_not_be_pretrained(name)
            # Before the rows, so that a row always has its picture.
            for picture, content in zip(pictures, data):
                self._store.images.save(picture.sha256, content)
            # Older examples of these pictures may wait to be embedded anew; this does it for them.
            embeddings = {picture.sha256: picture.embedding for picture in pictures}
            overdue = [(embeddings[sha256], number) for sha256 in embeddings for number in self._overdue(sha256)]
            with self._store.database.write() as connection:
                class_id = self._store.classes.find_or_create(connection, name)
                added = []
                for picture in pictures:
                    example, new = self._store.examples.add(connection, class_id, picture, source, capture)
                    self._store.examples.save_embedding(connection, picture.sha256, extractor.digest, picture.embedding)
                    added.append(Added(example, new))
                revision = self._next_revision(connection)
            self._know(class_id, name)
            with self._heads:
                self._revision = revision
                for picture, one in zip(pictures, added):
                    if one.new:
                        self._live.learn_one(picture.embedding, class_id)
                for embedding, number in overdue:
                    self._live.learn_one(embedding, number)
            self.changed.set()
        return added

    def delete_example(self, example_id: str) -> StoredExample:
        """Remove an example; the live model answers as if it had never been. Raises `NotFound`."""
        extractor = self.must_have_extractor()
        with self._changes:
            example = self._store.examples.get(example_id)
            embedding = self._store.examples.embedding(example.sha256, extractor.digest)
            with self._store.database.write() as connection:
                unused = self._store.examples.delete(connection, example)
                revision = self._next_revision(connection)
            with self._heads:
                self._revision = revision
                if embedding is not None:
                    self._live.forget(embedding, example.class_id)
            self.changed.set()
            self._remove_pictures([example.sha256] if unused else [])
        return example

    def add_missing_embedding(self, sha256: str, embedding: np.ndarray) -> None:
        """Teach the live model a stored picture that this extractor had not seen."""
        extractor = self.must_have_extractor()
        with self._changes:
            overdue = self._overdue(sha256)
            if not overdue:
                return
            with self._store.database.write() as connection:
                self._store.examples.save_embedding(connection, sha256, extractor.digest, embedding)
                revision = self._next_revision(connection)
            with self._heads:
                self._revision = revision
                for number in overdue:
                    self._live.learn_one(embedding, number)
            self.changed.set()

    def take_copy(self) -> Optional[LiveCopy]:
        """The live model as it is now, to be measured without holding up answers or lessons; None before `adopt`."""
        with self._changes:
            if self.extractor is None:
                return None
            with self._heads:
                live, copy, revision = self._live, deepcopy(self._live), self._revision
            taught = copy.counts
            labels = [label for _, label in self._store.examples.labels() if label in taught]
            chosen = sorted({labels[index] for index in choose_classes(labels)})
            sample = [one for label in chosen for one in self._store.examples.learnt_of(self.extractor.digest, label)]
        embeddings = np.array([one.embedding for one in sample], np.float32).reshape(len(sample), copy.pipeline.size)
        return LiveCopy(live, copy, revision, embeddings, [one.class_id for one in sample])

    def adopt_measured(self, measured: LiveCopy, report: Dict[str, Any]) -> None:
        """Take over where "none of these" begins from a calibrated copy, and what was found with it.

        Scores keep the head's usual scale: they follow from the examples alone, not from when this
        was done last.
        """
        with self._heads:
            measured.live.adopt_threshold(measured.copy)
            if measured.live is self._live:
                self._live_report = dict(report, head=measured.live.kind, revision=measured.revision)

    @property
    def live_report(self) -> Optional[Dict[str, Any]]:
        """What was last found of the live model, with the revision it was found of; None before that."""
        with self._heads:
            return self._live_report

    # -- versions ---------------------------------------------------------------------------

    def activate(self, version: int) -> None:
        """Let a numbered version answer from now on. Raises `NotFound`, `Conflict`, `StoreError`."""
        self.must_have_extractor()
        with self._changes:
            loaded = self._load(version)
            with self._store.database.write() as connection:
                self._store.set_note(connection, _ACTIVE, str(version))
            self._put_to_work(*loaded)

    def activate_live(self, head: Optional[str] = None) -> None:
        """Let the live model answer again, with another kind of head where one is given. Raises `Conflict`."""
        extractor = self.must_have_extractor()
        if self.keeps_classes and head is not None and not can_keep(head):
            raise Conflict(
                f"the pre-trained classes are kept (keep-classes), which the head {head} can't do", "classes_kept"
            )
        with self._changes:
            with self._store.database.write() as connection:
                self._store.set_note(connection, _ACTIVE, LIVE)
                if head is not None:
                    self._store.set_note(connection, _LIVE_HEAD, head)
            live = self._live if head in (None, self._live.kind) else self._build_live(extractor, head)
            with self._heads:
                self._live, self._live_report = live, None
                self._version = self._version_head = None
                self._seen = set()
            self.changed.set()

    def add_version(self, job: StoredJob, finished: FinishedModel) -> int:
        """Publish what a training job made; returns the version."""
        with self._store.database.write() as connection:
            return self._store.models.add(connection, job.id, finished)

    # -- parts ------------------------------------------------------------------------------

    def must_have_extractor(self) -> ExtractorInfo:
        """The extractor in use. Raises `ExtractorUnavailable` before `adopt`."""
        if self.extractor is None:
            raise ExtractorUnavailable("the extractor has not been loaded yet", retry_after=2)
        return self.extractor

    def _overdue(self, sha256: str) -> List[int]:
        """The classes of the examples whose picture this extractor has not seen yet."""
        if self._store.examples.embedding(sha256, self.extractor.digest) is not None:
            return []
        return [example.class_id for example in self._store.examples.of_picture(sha256)]

    def _must_not_be_pretrained(self, name: str) -> None:
        if name in self._pretrained:
            raise Conflict(
                f"{name!r} is a pre-trained class and can't be changed; choose another name", "class_pretrained"
            )

    def _find(self, name: str) -> StoredClass:
        """A taught class. Raises `NotFound`, or `Conflict` for a pre-trained one."""
        found = self._store.classes.find(name)
        if found is None:
            self._must_not_be_pretrained(name)
        return found or self._store.classes.get(name)

    def _know(self, number: int, name: str) -> None:
        with self._heads:
            self._names = {**self._names, number: name}

    def _next_revision(self, connection) -> int:
        revision = self._revision + 1
        self._store.set_note(connection, _REVISION, str(revision))
        return revision

    def _remove_pictures(self, unused: List[str]) -> None:
        for sha256 in unused:
            self._store.images.remove(sha256)
