"""What another extractor has not seen is embedded by a job, and no training begins before."""

import hashlib

import numpy as np
import pytest

from coral_learn.extractor import ExtractorInfo
from coral_learn.image import ImageLimits
from service.errors import ExtractorFailed, ExtractorUnavailable, StoreFull
from service.extraction.supervisor import Embedded
from service.jobs import JobQueue
from service.jobs.options import read_options
from service.jobs.queue import TRAIN
from service.jobs.reembedding import REEMBED, Reembedding
from service.learning import Answering, Teaching, Versions
from service.metrics import Metrics
from service.pictures import PictureReader
from service.store import Store
from service.store.examples import NewPicture, Origin
from service.store.jobs import CANCELLED, ENDED, FAILED, QUEUED, SUCCEEDED

BEFORE = ExtractorInfo("before", "b" * 64, "cpu", "", False, "none", 64, 32, 32)
NOW = BEFORE._replace(name="now", digest="e" * 64)
PICTURES = 6


class Extractor:
    """Stands in for the supervisor: embeds what it is given as long as `refuses` is None."""

    refuses = None

    def embed(self, pixels):
        """The embedding of some pixels."""
        if self.refuses is not None:
            raise self.refuses
        digest = hashlib.sha256(pixels.tobytes()).digest()
        return Embedded(np.random.RandomState(digest[0]).rand(64).astype(np.float32), "cpu", 1.0, NOW.digest)


class Parts:
    """A store with pictures that the extractor before has seen, and the parts over it that have taken the next."""

    def __init__(self, folder, tiny_model, pictures):
        self.store, self.extraction, self.stored = Store(folder), Extractor(), pictures
        self.answering = Answering("imprinting")
        self.versions = Versions(self.store, self.answering, "imprinting", False)
        self.teaching = Teaching(self.store, self.answering, self.versions)
        self.versions.adopt(BEFORE, tiny_model)
        for number, data in enumerate(pictures):
            new = NewPicture(hashlib.sha256(data).hexdigest(), "PNG", 64, 48, len(data), np.ones(64, np.float32))
            self.teaching.add_examples(f"class {number % 2}", [new], [data], Origin("upload"))
        reader = PictureReader(ImageLimits(), 2, Metrics())
        self.reembedding = Reembedding(self.store, self.extraction, reader, self.answering, self.teaching)
        workers = {REEMBED: self.reembedding.run}
        self.jobs = JobQueue(
            self.store,
            self.answering,
            self.versions,
            Metrics(),
            workers=workers,
            hold=lambda kind: self.reembedding.incomplete if kind == TRAIN else None,
        )
        self.reembedding.on_missing = lambda again: self.jobs.need(REEMBED, {}, again)
        self.reembedding.look(NOW.digest)
        self.versions.adopt(NOW, tiny_model)

    def of_kind(self, kind):
        """The jobs of a kind, newest first."""
        return [job for job in self.store.jobs.page(0, 100)[0] if job.kind == kind]

    def ended(self, job):
        """A job once it has ended."""
        return self.jobs.wait(job.id, lambda now: now.state in ENDED, 60)

    def close(self):
        """Stop it."""
        self.jobs.stop()
        self.store.close()


@pytest.fixture
def parts(tmp_path, tiny_model, make_picture, encode):
    """Parts whose queue is not started yet, with its job to embed."""
    opened = Parts(tmp_path / "data", tiny_model, [encode(make_picture("red", one), "PNG") for one in range(PICTURES)])
    yield opened
    if not opened.jobs._thread.is_alive():
        opened.jobs.start()
    opened.close()


def train(parts):
    """Queue a training."""
    return parts.jobs.train(read_options({"activate": "always", "held_out": 0}))


def test_training_waits_until_all_is_embedded(parts):
    """It says so while it is queued; then it has every example."""
    (job,) = parts.of_kind(REEMBED)
    assert (job.state, parts.reembedding.left) == (QUEUED, PICTURES)
    assert "6 stored pictures are still to be embedded" in parts.reembedding.incomplete
    training = train(parts)
    assert parts.jobs.why_waiting(training) == parts.reembedding.incomplete
    parts.jobs.start()
    training, job = parts.ended(training), parts.ended(job)
    assert (job.state, job.metrics) == (SUCCEEDED, {"embedded": PICTURES, "unusable": 0, "left": 0})
    assert (training.state, training.model["activated"]) == (SUCCEEDED, True), training.error
    assert training.started >= job.finished
    assert parts.store.models.all()[0].examples == PICTURES
    assert (parts.reembedding.left, parts.reembedding.incomplete, parts.jobs.why_waiting(training)) == (0, None, None)


def test_training_queued_before_the_restart_waits_as_well(parts):
    """The order in the queue is not what decides."""
    training = train(parts)
    with parts.store.database.write() as connection:
        connection.execute("UPDATE jobs SET created = 0 WHERE id = ?", (training.id,))
    parts.jobs.start()
    assert parts.ended(training).started >= parts.of_kind(REEMBED)[0].finished


def test_cancelled_and_begun_again(parts):
    """Training goes on waiting; one job more embeds the rest, however often it is asked for."""
    parts.extraction.refuses = ExtractorUnavailable("not now", retry_after=1)
    training, (job,) = train(parts), parts.of_kind(REEMBED)
    parts.jobs.start()
    parts.jobs.wait(job.id, lambda now: now.state != QUEUED, 60)
    parts.reembedding.look(NOW.digest)
    assert parts.of_kind(REEMBED) == [parts.store.jobs.get(job.id)], "the one that runs does it"
    assert parts.jobs.cancel(job.id).state == CANCELLED
    assert "6 stored pictures" in parts.jobs.why_waiting(parts.store.jobs.get(training.id))
    parts.extraction.refuses = None
    for _ in range(2):
        parts.reembedding.look(NOW.digest)
    assert parts.ended(training).state == SUCCEEDED
    assert len(parts.of_kind(REEMBED)) == 2


def test_pictures_that_can_not_be_embedded(parts):
    """They fail the job, in words, and hold nothing up any more."""
    parts.extraction.refuses = ExtractorFailed("on purpose")
    (job,) = parts.of_kind(REEMBED)
    parts.jobs.start()
    ended = parts.ended(job)
    assert (ended.state, "none of 6 pictures: on purpose" in ended.error["detail"]) == (FAILED, True), ended
    parts.reembedding.look(NOW.digest)
    assert (parts.reembedding.incomplete, len(parts.of_kind(REEMBED))) == (None, 1)


def test_a_picture_that_can_not_be_read(parts):
    """The others are embedded all the same."""
    path = parts.store.images.path(hashlib.sha256(parts.stored[0]).hexdigest())
    path.unlink()
    path.mkdir()
    parts.jobs.start()
    ended = parts.ended(parts.of_kind(REEMBED)[0])
    assert (ended.state, ended.metrics) == (SUCCEEDED, {"embedded": PICTURES - 1, "unusable": 1, "left": 0})


def test_no_room(parts, monkeypatch):
    """Below the floor the job fails with the reason, and training waits on."""
    monkeypatch.setattr(parts.store, "space", parts.store.space._replace(least_free=10**18))
    (job,) = parts.of_kind(REEMBED)
    parts.jobs.start()
    ended = parts.ended(job)
    assert (ended.state, ended.error["code"]) == (FAILED, StoreFull.code)
    assert parts.jobs.why_waiting(train(parts)) == parts.reembedding.incomplete is not None


def test_what_comes_back_is_embedded(parts):
    """An example of the time before, deleted and back, gets a job of its own."""
    example = parts.store.examples.page(None, 0, 1)[0][0].id
    parts.teaching.delete_example(example)
    parts.jobs.start()
    parts.ended(parts.of_kind(REEMBED)[0])
    parts.teaching.undo()
    parts.reembedding.look(NOW.digest)
    job = parts.of_kind(REEMBED)[0]
    assert parts.ended(job).metrics == {"embedded": 1, "unusable": 0, "left": 0}
    assert len(parts.of_kind(REEMBED)) == 2
