"""The import of an archive: picture after picture, in steps small enough for others to have their turn."""

import hashlib
import time
from collections import Counter
from typing import Any, Callable, Dict, List, Set, Union

from coral_learn.errors import ImageError
from coral_learn.image import ImageLimits, read_header
from service.embedder import EmbeddedPicture, Embedder, Patience, Unusable
from service.errors import ArchiveUnusable, Conflict, Invalid, NotFound, Unavailable
from service.extraction import ExtractorSupervisor
from service.learning import Answering, Teaching
from service.learning.outcome import Taught
from service.pictures import PictureReader
from service.store import Store
from service.store.container import Limits
from service.store.contents import SKIPPED, Contents, Packed
from service.store.contents import Unusable as UnusableMember
from service.store.examples import NewPicture, Origin, StoredExample
from service.store.jobs import StoredJob

IMPORT = "import"
_BATCH, _BATCH_BYTES = 50, 16 << 20
_PATIENCE = Patience(0.5)  # without end: whoever waits too long cancels it
_TELL = 0.25  # seconds between two reports

Report = Callable[[float, Dict[str, Any]], None]
Stop = Callable[[], bool]


class Importing:
    """Does the jobs of the kind "import". Keeps what it has imported, however it ends.

    limits : of a picture; most_bytes : what an archive may unpack to; on_model : called after the live model has learnt
    """

    def __init__(
        self,
        store: Store,
        extraction: ExtractorSupervisor,
        pictures: PictureReader,
        answering: Answering,
        teaching: Teaching,
        limits: ImageLimits,
        most_bytes: int,
        on_model: Callable[[], None],
    ):
        self._store, self._answering, self._teaching, self._on_model = store, answering, teaching, on_model
        self._embedder = Embedder(pictures, extraction, answering.must_have_extractor, _PATIENCE)
        self._limits, self._most_bytes = limits, most_bytes

    def run(self, job: StoredJob, report: Report, should_stop: Stop) -> None:
        """Import a job's archive. Raises `ArchiveUnusable`, `StoreError`, `NotFound`."""
        with self._store.incoming.open(job.id) as file:
            limits = Limits(self._limits.max_bytes, self._most_bytes)
            contents = Contents(file, limits, self._answering.must_have_extractor())
            tally = _Tally(report, contents, job.id, self._brought_before(job))
            batch = _Batch()
            for name in contents.disabled:
                self._create(name, tally, enabled=False)
            for item in contents.pictures():
                if should_stop():
                    return
                self._take(item, batch, tally, should_stop)
                tally.tell()
            if should_stop():
                return
            self._teach(batch, tally, should_stop)
        for name in contents.classes:
            if name not in contents.disabled:
                self._create(name, tally)
        tally.tell(at_once=True)
        if not tally.classes:
            raise ArchiveUnusable(tally.why_nothing(), "archive_empty")

    def _brought_before(self, job: StoredJob) -> Set[str]:
        """The examples that a job brought in before the daemon was started again."""
        if not job.metrics.get("restarted"):
            return set()
        steps = map(self._store.journal.get, self._store.journal.of_import(job.id))
        return {example for step in steps for example in step.details["examples"]}

    def _take(self, item, batch: "_Batch", tally: "_Tally", should_stop: Stop) -> None:
        """Prepare one picture for the batch; teach the batch before where this one can't join it."""
        tally.done += 1
        if isinstance(item, UnusableMember):
            tally.reasons[item.code] += 1
            return
        sha256 = hashlib.sha256(item.data).hexdigest()
        for known in self._store.examples.of_picture(sha256):
            if known.class_name == item.class_name:
                tally.count_known(known)
                return
        try:
            new = self._prepared(sha256, item, should_stop)
        except ImageError as error:
            tally.reasons[error.code] += 1
            return
        if isinstance(new, Unusable):
            tally.reasons[new.code] += 1
        if not isinstance(new, NewPicture):
            return
        if not batch.fits(item):
            self._teach(batch, tally, should_stop)
            tally.tell(at_once=True)
        batch.add(item.class_name, item.data, item.origin, new)

    def _prepared(self, sha256: str, item: Packed, should_stop: Stop) -> Union[NewPicture, Unusable, None]:
        """A picture with its embedding, or why there is none; None when the job is to stop. Raises `ImageError`."""
        embedding, made_by = item.embedding, item.extractor
        if embedding is None:
            made_by = self._answering.must_have_extractor().digest
            embedding = self._store.examples.embedding(sha256, made_by)
        if embedding is None:
            return self._embedded(sha256, item.data, should_stop)
        header = read_header(item.data, self._limits)  # enough: somebody has decoded it before
        return NewPicture(sha256, *header, len(item.data), embedding, made_by)

    def _embedded(self, sha256: str, data: bytes, should_stop: Stop) -> Union[NewPicture, Unusable, None]:
        """A picture with its embedding, however long that takes; None when the job is to stop."""
        embedded = self._embedder.embed(lambda: data, should_stop)
        if not isinstance(embedded, EmbeddedPicture):
            return embedded
        return NewPicture(sha256, *embedded.header, len(data), embedded.embedding, embedded.extractor)

    def _teach(self, batch: "_Batch", tally: "_Tally", should_stop: Stop) -> None:
        while batch.pictures and not should_stop():
            name = batch.class_name
            try:
                taught = self._teaching.import_examples(tally.job, name, batch.pictures, batch.data, batch.origins)
            except Unavailable:  # the extractor was exchanged since these were embedded
                time.sleep(_PATIENCE.pause)
                self._embed_again(batch, tally, should_stop)
            except (Conflict, Invalid) as error:
                tally.reasons[error.code] += len(batch.pictures)
                batch.clear()
            else:
                tally.count_taught(name, taught)
                self._on_model()
                batch.clear()

    def _embed_again(self, batch: "_Batch", tally: "_Tally", should_stop: Stop) -> None:
        before = list(zip(batch.pictures, batch.data, batch.origins))
        batch.clear()
        for picture, data, origin in before:
            new = self._embedded(picture.sha256, data, should_stop)
            if isinstance(new, Unusable):
                tally.reasons[new.code] += 1
            elif new is not None:
                batch.add(batch.class_name, data, origin, new)

    def _create(self, name: str, tally: "_Tally", enabled: bool = True) -> None:
        """Make a class that came without pictures that could be used, or disabled, unless it is there."""
        if name in tally.classes:
            return
        try:
            self._store.classes.get(name)
        except NotFound:
            try:
                self._teaching.import_class(tally.job, name, enabled)
            except Conflict as error:
                tally.reasons[error.code] += 1
                return
        tally.classes.add(name)


class _Batch:
    """Pictures that are taught in one step: of one class, fifty or 16 MB at most."""

    def __init__(self) -> None:
        self.class_name = ""
        self.clear()

    def fits(self, item: Packed) -> bool:
        """Whether a picture may join."""
        if not self.pictures:
            return True
        full = len(self.pictures) >= _BATCH or self._bytes + len(item.data) > _BATCH_BYTES
        return not full and self.class_name == item.class_name

    def add(self, class_name: str, data: bytes, origin: Origin, new: NewPicture) -> None:
        """Add one that fits."""
        self.class_name = class_name
        self.pictures.append(new)
        self.data.append(data)
        self.origins.append(origin)
        self._bytes += len(data)

    def clear(self) -> None:
        """Begin anew."""
        self.pictures: List[NewPicture] = []
        self.data: List[bytes] = []
        self.origins: List[Origin] = []
        self._bytes = 0


class _Tally:
    """What became of an archive's pictures so far, and telling it.

    job : its id; before : the examples it brought in before the daemon was started again, which count as accepted, not
        as known before
    """

    def __init__(self, report: Report, contents: Contents, job: str, before: Set[str]):
        self.job = job
        self._report, self._total, self._told = report, contents.total, 0.0
        self._before = before  # less those that were counted: where one comes again it is twice in the archive
        self.done = self.accepted = self.duplicates = 0
        self.reasons: Dict[str, int] = Counter(contents.unusable)
        self.classes: Set[str] = set()

    def count_taught(self, class_name: str, taught: Taught) -> None:
        """Count pictures that were taught, or found in their class on that occasion."""
        self.classes.add(class_name)
        new = [one.example for one in taught.examples if one.new]
        self.accepted += len(new)
        self.duplicates += len(taught.examples) - len(new)

    def count_known(self, known: StoredExample) -> None:
        """Count a picture whose class has it already."""
        self.classes.add(known.class_name)
        if known.id in self._before:
            self._before.remove(known.id)
            self.accepted += 1
        else:
            self.duplicates += 1

    def tell(self, at_once: bool = False) -> None:
        """Report, but not too often."""
        now = time.monotonic()
        if at_once or now - self._told >= _TELL:
            self._told = now
            self._report(min(1.0, self.done / max(1, self._total)), self._metrics())

    def why_nothing(self) -> str:
        """For an archive of which nothing could be imported."""
        reasons = ", ".join(f"{code}: {count}" for code, count in sorted(self.reasons.items()))
        return f"nothing of the archive can be imported; it needs a folder a class with pictures ({reasons or 'empty'})"

    def _metrics(self) -> Dict[str, Any]:
        skipped = sum(self.reasons.get(code, 0) for code in SKIPPED)
        return {
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "rejected": sum(self.reasons.values()) - skipped,
            "skipped": skipped,
            "classes": len(self.classes),
            "reasons": dict(self.reasons),
        }
