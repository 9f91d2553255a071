"""Which model answers: the live one, built from the store's examples, or a numbered version."""

import hashlib
import logging
import threading
from itertools import islice
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional

import numpy as np

from coral_learn.extractor import ExtractorInfo
from coral_learn.heads import Head, ImprintingHead, IncrementalHead, LinearDiscriminantHead
from coral_learn.manifest import Manifest, Pretrained
from coral_learn.training import INCREMENTAL
from service.errors import Conflict, Refused, SettingsError, StoreError
from service.learning.answering import LIVE, REVISION, Answering, Version
from service.learning.checkpoint import Checkpoint, Saved
from service.store import Store
from service.store.examples import Learnt
from service.store.jobs import StoredJob
from service.store.journal import ACTIVATE, DELETE_VERSION
from service.store.models import FinishedModel

log = logging.getLogger(__name__)

_LESSONS_AT_ONCE = 1000
_ACTIVE, _LIVE_HEAD = "active_model", "live_head"
_NEVER = -1


def can_keep(kind: str) -> bool:
    """Whether a kind of head can keep pre-trained classes beside taught ones."""
    return kind == ImprintingHead.kind


class Versions:
    """Builds, chooses and publishes models.

    head : kind of the live model until another was chosen
    keeps_classes : whether the extractor's pre-trained classes are answered as well
    """

    def __init__(self, store: Store, answering: Answering, head: str, keeps_classes: bool):
        self._store, self._answering, self._default_head = store, answering, head
        self.keeps_classes = keeps_classes
        self._checkpoint = Checkpoint(store.folder)
        self._saved_revision = _NEVER
        self._saving = threading.Lock()
        self._built = 0  # how often a live model was built; what is saved must be of the last

    # -- the live model ---------------------------------------------------------------------

    def adopt(self, info: ExtractorInfo, model_path: Path) -> None:
        """Take the extractor whose embeddings are to be used, and have the live model of it answer.

        Afterwards the version that answered before a restart does again.
        """
        with self._store.changing:
            now = self._answering.extractor
            if now is not None and now.digest == info.digest:
                # The compiled file instead of the plain one, or the other way round, when the device changed.
                self._answering.extractor, self._answering.model_path = info, model_path
                return
            self._answering.model_path = model_path
            manifest = Manifest.of(model_path)
            kind = self._store.note(_LIVE_HEAD) or self._default_head
            if self.keeps_classes and not can_keep(kind):
                log.warning("the live head is %s instead of %s, which can't keep classes", self._default_head, kind)
                kind = self._default_head
            self._answer_live(kind, info, manifest, int(self._store.note(REVISION) or 0))
            self._restore_version()
        self._check_newest()

    def rebuild(self) -> None:
        """Build the live model anew from every stored example."""
        with self._store.changing:
            answering = self._answering
            with self._saving:
                self._checkpoint.remove()
            revision = int(self._store.note(REVISION) or 0) + 1
            with self._store.database.write() as connection:
                self._store.set_note(connection, REVISION, str(revision))
            kind = answering.live_facts["head"]
            self._answer_live(kind, answering.must_have_extractor(), answering.manifest, revision)
            self._restore_version()

    def teach_anew(self, revision: int) -> None:
        """Make the live model, as of a revision, of what is stored, with what was saved of it: after many changes."""
        with self._store.changing:
            answering = self._answering
            if answering.extractor is not None:
                self._answer_live(answering.live_facts["head"], answering.extractor, answering.manifest, revision)

    def load_again(self) -> None:
        """Read the version that answers from the disk again: classes it had to drop may be back."""
        with self._store.changing:
            if self._answering.version is not None:
                self._restore_version()

    def save_live(self, always: bool = False) -> None:
        """Write the live model down, so that the next start is fast; unless hardly anything is new."""
        with self._store.changing:
            if self._answering.extractor is None:
                return
            live = self._answering.copy_live()
            lessons, count = abs(live.revision - self._saved_revision), sum(live.copy.counts.values())
            if not lessons or not self._checkpoint.worth_it(count, count if always else lessons):
                return
            taught = self._store.examples.taught(self._answering.extractor.digest)
            key = self._key(live.copy.kind, self._answering.extractor, self._answering.manifest)
            built = self._built
        with self._saving:
            if built == self._built:
                self._checkpoint.save(key, Saved(live.copy, taught))
                self._saved_revision = live.revision

    def _answer_live(self, kind: str, info: ExtractorInfo, manifest: Manifest, revision: int) -> None:
        saved = self._checkpoint.load(self._key(kind, info, manifest))
        head = None if saved is None else self._brought_up_to_date(saved, info)
        if head is None:
            head = INCREMENTAL[kind].suited(info.embedding_size, manifest.mean_embedding)
            if self.keeps_classes:
                _keep_pretrained(head, manifest)
            self._teach(head, self._store.examples.learnt(info.digest))
            self._saved_revision = _NEVER
        else:
            self._saved_revision = revision
        self._built += 1
        pretrained = manifest.pretrained().names if self.keeps_classes else []
        self._answering.take_live(head, revision, info, manifest, pretrained)
        log.info("live model ready: %d classes, revision %d", len(head.classes), revision)

    def _brought_up_to_date(self, saved: Saved, info: ExtractorInfo) -> Optional[IncrementalHead]:
        """The saved head with what changed since; None where that can't be done exactly."""
        head, now = saved.head, self._store.examples.taught(info.digest)
        gone = {class_id for example, class_id in saved.taught.items() if now.get(example) != class_id}
        if gone and isinstance(head, LinearDiscriminantHead):
            return None  # its examples are gone, and it can't drop a class without a trace of them
        for class_id in gone & set(head.counts):
            head.remove(class_id)
        fresh = {
            class_id for example, class_id in now.items() if class_id in gone or saved.taught.get(example) != class_id
        }
        known = {example for example, class_id in saved.taught.items() if class_id not in gone}
        for class_id in sorted(fresh):
            lessons = self._store.examples.learnt_of(info.digest, class_id)
            self._teach(head, (one for one in lessons if one.id not in known))
        return head

    def _teach(self, head: IncrementalHead, lessons: Iterable[Learnt]) -> None:
        lessons = iter(lessons)
        while True:
            some = list(islice(lessons, _LESSONS_AT_ONCE))
            if not some:
                return
            head.learn_many(np.stack([one.embedding for one in some]), [one.class_id for one in some])

    def _key(self, kind: str, info: ExtractorInfo, manifest: Manifest) -> Dict[str, str]:
        """What a saved live model must have been made with to be of use."""
        mean = manifest.mean_embedding
        digest = "" if mean is None else hashlib.sha256(mean.tobytes()).hexdigest()
        kept = manifest.digest if self.keeps_classes else ""
        return {"head": kind, "extractor": info.digest, "mean": digest, "kept": kept}

    # -- versions ---------------------------------------------------------------------------

    def activate(self, number: int) -> None:
        """Let a numbered version answer from now on. Raises `NotFound`, `Conflict`, `StoreError`."""
        self._answering.must_have_extractor()
        with self._store.changing:
            version = self._load(number)
            self._note_active(str(number))
            self._answering.take_version(version)

    def promote(self, number: int, compared_with: Dict[str, Any]) -> Optional[str]:
        """Let a version answer that did better, unless something speaks against it: that is returned then, in words.

        compared_with : the model it did better than, "version" and "head". Raises as `activate`.
        """
        with self._store.changing:
            objection = self._objection(number, compared_with)
            if objection is None:
                self.activate(number)
            return objection

    def _objection(self, number: int, compared_with: Dict[str, Any]) -> Optional[str]:
        """Why a version is not to answer unasked: what it would take away, or that it was compared with another."""
        advice = f"train again, or activate version {number} by hand"
        if self.keeps_classes:
            return "versions hold taught classes only, the pre-trained ones would be lost"
        now = self._answering.model
        if any(now[fact] != compared_with[fact] for fact in ("version", "head")):
            return f"{now['version']} ({now['head']}) was activated meanwhile, with which it was not compared: {advice}"
        missing = self._unknown_to(self._load(number).head)
        if missing:
            return f"it does not know {', '.join(map(repr, missing))}, which came meanwhile: {advice}"
        return None

    def _unknown_to(self, head: Head) -> List[str]:
        """The names of the enabled classes with examples that a head was not taught."""
        taught = set(self._store.examples.taught(self._answering.must_have_extractor().digest).values())
        return sorted(self._answering.class_name(class_id) for class_id in taught - set(head.classes))

    def activate_live(self, head: Optional[str] = None) -> None:
        """Let the live model answer again, with another kind of head where one is given. Raises `Conflict`."""
        info = self._answering.must_have_extractor()
        if self.keeps_classes and head is not None and not can_keep(head):
            raise Conflict(
                f"the pre-trained classes are kept (keep-classes), which the head {head} can't do", "classes_kept"
            )
        with self._store.changing:
            self._note_active(LIVE, head)
            if head not in (None, self._answering.live_facts["head"]):
                self._answer_live(head, info, self._answering.manifest, self._answering.revision)
            self._answering.take_version(None)

    def add(self, job: StoredJob, finished: FinishedModel) -> int:
        """Publish what a training job made; returns the version."""
        with self._store.database.write() as connection:
            return self._store.models.add(connection, job.id, finished)

    def delete(self, number: int) -> None:
        """Remove a version with its files, for good. Raises `NotFound`, `Conflict` for the one that answers."""
        with self._store.changing:
            stored, now = self._store.models.get(number), self._answering.model
            if now["version"] == number:
                raise Conflict(f"version {number} answers now: activate another model first", "model_in_use")
            with self._store.database.write() as connection:
                if self._store.note(_ACTIVE) == str(number):  # it could not answer since the last start
                    self._store.set_note(connection, _ACTIVE, LIVE)
                self._store.models.delete(connection, number)
                step = self._store.journal.open(connection, DELETE_VERSION)
                self._store.journal.close(connection, step, {"model": str(number), "head": stored.head})
        self._store.models.remove_files(stored)

    def unseen(self) -> Dict[str, Any]:
        """What the answering model was not taught of what is enabled: how many examples, and classes by name."""
        version = self._answering.version
        if version is None:
            return {"examples": 0, "classes": []}
        disabled, labels = self._answering.disabled, self._store.examples.labels()
        new = [number for example, number in labels if example not in version.seen and number not in disabled]
        known, names = set(version.head.classes), self._answering.class_names()
        classes = {names.get(class_id) for class_id in new if class_id not in known}
        return {"examples": len(new), "classes": sorted(name for name in classes if name)}

    def _note_active(self, name: str, head: Optional[str] = None) -> None:
        with self._store.database.write() as connection:
            before = self._store.note(_ACTIVE) or LIVE
            self._store.set_note(connection, _ACTIVE, name)
            if head is not None:
                self._store.set_note(connection, _LIVE_HEAD, head)
            step = self._store.journal.open(connection, ACTIVATE)
            self._store.journal.close(connection, step, {"model": name, "before": before, "head": head})

    def _restore_version(self) -> None:
        active = self._store.note(_ACTIVE) or LIVE
        if active == LIVE:
            return
        try:
            self._answering.take_version(self._load(int(active)))
        except (Refused, StoreError) as error:
            log.error("model version %s can't answer, the live model does: %s", active, error)
            self._answering.take_version(None)

    def _check_newest(self) -> None:
        """Say so at once when the newest version is damaged, not only when somebody wants it to answer."""
        for newest in self._store.models.all()[:1]:
            try:
                self._store.models.head(newest)
            except StoreError as error:
                log.error("the newest version, %d, is damaged; train again: %s", newest.version, error)

    def load(self, number: int) -> Head:
        """The head of a version, without classes that are gone or disabled by now. Raises as `activate`."""
        head = self._load(number).head
        self._answering.drop_absent(head)
        return head

    def _load(self, number: int) -> Version:
        """A version with its head. Raises `NotFound`, `Conflict`, `StoreError`."""
        stored = self._store.models.get(number)
        if stored.extractor != self._answering.extractor.digest:
            raise Conflict(f"version {number} was trained with another extractor", "other_extractor")
        return Version(stored, self._store.models.head(stored), set(self._store.models.taught_with(stored)))


def pretrained_of(manifest: Manifest) -> Pretrained:
    """The pre-trained layer whose classes are to be kept. Raises `SettingsError` for an extractor without."""
    pretrained = manifest.pretrained()
    if pretrained is None:
        raise SettingsError(
            f"--keep-classes needs a model with pre-trained classes, {manifest.name} has none; "
            "coral-learn models cut makes one of a classifier"
        )
    return pretrained


def _keep_pretrained(head: ImprintingHead, manifest: Manifest) -> None:
    pretrained = pretrained_of(manifest)
    if manifest.mean_embedding is None:
        log.warning(
            "%s has no mean embedding: many answers of its own classes will be lost to taught ones "
            "(coral-learn models cut --pictures makes one)",
            manifest.name,
        )
    numbers: List[int] = [-1 - index for index in range(len(pretrained.names))]
    head.keep(pretrained.weights, numbers, pretrained.biases, manifest.radius)
