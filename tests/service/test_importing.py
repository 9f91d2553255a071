"""Imports in the queue: with an extractor that comes and goes, and over a restart."""

import hashlib
import io
import json
import threading
import time
import zipfile
from contextlib import closing

import numpy as np
import pytest

from coral_learn.extractor import ExtractorInfo
from coral_learn.image import ImageLimits
from service.errors import Conflict, ExtractorUnavailable
from service.extraction.supervisor import Embedded
from service.jobs import JobQueue
from service.jobs.importing import IMPORT, Importing
from service.learning import Answering, Teaching, Versions
from service.metrics import Metrics
from service.pictures import PictureReader
from service.store import Store
from service.store.archive import FORMAT, MANIFEST, VERSION, write_archive
from service.store.examples import NewPicture, Origin
from service.store.jobs import CANCELLED, ENDED, FAILED, QUEUED, RUNNING, SUCCEEDED

INFO = ExtractorInfo("tiny", "e" * 64, "cpu", "", False, "none", 64, 32, 32)


class SwitchedExtractor:
    """An extractor that answers while `there` is set, with the mean colours of a picture."""

    def __init__(self):
        self.there, self.asked = threading.Event(), threading.Event()
        self.digest, self._left = INFO.digest, None

    def lose_after(self, pictures):
        """Be lost after so many more; None for never."""
        self._left = pictures

    def embed(self, pixels):
        self.asked.set()
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                self._left = None
                self.there.clear()
        if not self.there.is_set():
            raise ExtractorUnavailable("it is lost")
        embedding = np.full(64, 1.0, np.float32)
        embedding[:3] = pixels.mean((0, 1))
        return Embedded(embedding, "cpu", 0.1, self.digest)


@pytest.fixture
def store(tmp_path):
    """An open store."""
    opened = Store(tmp_path / "data")
    yield opened
    opened.close()


@pytest.fixture
def extractor():
    """An extractor that is lost at first."""
    return SwitchedExtractor()


@pytest.fixture
def start_queue(store, extractor, tiny_model):
    """start_queue(): a queue that imports, as after a start of the daemon; all are stopped at the end."""
    queues = []

    def start():
        answering = Answering("imprinting")
        versions = Versions(store, answering, "imprinting", False)
        teaching = Teaching(store, answering, versions)
        versions.adopt(INFO, tiny_model)
        metrics, limits = Metrics(), ImageLimits()
        pictures = PictureReader(limits, 2, metrics)
        importing = Importing(store, extractor, pictures, answering, teaching, limits, 10**7, lambda: None)
        queue = JobQueue(store, answering, versions, metrics, workers={IMPORT: importing.run})
        queue.start()
        queues.append(queue)
        return queue

    yield start
    for queue in queues:
        queue.stop()


@pytest.fixture
def add_import(store, make_picture, encode):
    """add_import(queue, count=3): queue the import of so many pictures of a class."""

    def add(queue, count=3):
        file = store.incoming.spool()
        with zipfile.ZipFile(file, "w") as archive:
            for seed in range(count):
                archive.writestr(f"red/{seed}.jpg", encode(make_picture("red", seed)))
        job = queue.add(IMPORT, {}, lambda job_id: store.incoming.keep(file, job_id))
        store.incoming.discard(file)
        return job

    return add


def ended(queue, job):
    """The job once it has ended."""
    return queue.wait(job.id, lambda now: now.state in ENDED, 60.0)


def test_waits_for_the_extractor(store, start_queue, add_import, extractor):
    """A lost extractor fails no import; it goes on where it was."""
    queue = start_queue()
    job = add_import(queue)
    assert extractor.asked.wait(30)
    assert queue.get(job.id).state == RUNNING
    extractor.there.set()
    now = ended(queue, job)
    assert (now.state, now.metrics["accepted"], store.examples.count()) == (SUCCEEDED, 3, 3)


def test_cancelled_while_it_waits_for_the_extractor(store, start_queue, add_import, extractor):
    """Cancelling needs no extractor, and removes the archive."""
    queue = start_queue()
    job = add_import(queue)
    assert extractor.asked.wait(30)
    assert queue.cancel(job.id).state == CANCELLED
    assert list((store.folder / "incoming").iterdir()) == []
    with pytest.raises(Conflict):
        queue.cancel(job.id)


def test_stopped_and_started_again(store, start_queue, add_import, extractor):
    """An import under way at a stop is no interrupted job: it runs again from its start."""
    queue = start_queue()
    job = add_import(queue)
    assert extractor.asked.wait(30)
    queue.stop()
    assert store.jobs.get(job.id).state == RUNNING
    store.sweep()
    extractor.there.set()
    now = ended(start_queue(), job)
    assert (now.state, now.metrics["accepted"], store.examples.count()) == (SUCCEEDED, 3, 3)
    assert list((store.folder / "incoming").iterdir()) == []


def test_other_jobs_are_interrupted(store, start_queue):
    """Only what can be done again from the start is."""
    training = store.jobs.add("train", {})
    store.jobs.update(training._replace(state=RUNNING, started=time.time()))
    start_queue()
    assert store.jobs.get(training.id).state == "interrupted"


def test_archive_that_is_gone(store, start_queue, add_import, extractor):
    """A job without its archive fails and says so; the next one has its turn."""
    queue = start_queue()
    first, second = add_import(queue), add_import(queue, 2)
    assert extractor.asked.wait(30)
    assert queue.get(second.id).state == QUEUED
    store.incoming.remove(second.id)
    extractor.there.set()
    assert ended(queue, first).state == SUCCEEDED
    now = ended(queue, second)
    assert (now.state, now.error["code"]) == (FAILED, "archive_not_found")


def test_known_pictures_need_no_extractor(start_queue, add_import, extractor):
    """What is there already is counted, not embedded again."""
    queue = start_queue()
    extractor.there.set()
    ended(queue, add_import(queue))
    extractor.there.clear()
    extractor.asked.clear()
    now = ended(queue, add_import(queue))
    assert (now.state, now.metrics["accepted"], now.metrics["duplicates"]) == (SUCCEEDED, 0, 3)
    assert not extractor.asked.is_set()


def test_exchanged_extractor(store, start_queue, add_import, extractor):
    """What another extractor has embedded meanwhile is embedded anew, not taught and not lost."""
    queue = start_queue()
    extractor.digest = "f" * 64
    extractor.there.set()
    job = add_import(queue)
    assert extractor.asked.wait(30.0)
    extractor.digest = INFO.digest
    now = ended(queue, job)
    assert (now.state, now.metrics["accepted"], store.examples.count()) == (SUCCEEDED, 3, 3)


def everything(store):
    """All classes with all that is known of their examples, but for ids and the order of classes."""
    found, _ = store.examples.page(None, 0, 1000)
    return {
        (one.name, one.enabled): [facts[3:] for facts in found if facts.class_id == one.id]
        for one in store.classes.all()
    }


def imported(queue, store, data):
    """The import of an archive, done."""
    file = store.incoming.spool()
    file.write(data)
    job = queue.add(IMPORT, {}, lambda job_id: store.incoming.keep(file, job_id))
    store.incoming.discard(file)
    return ended(queue, job)


def test_restored_backup(store, start_queue, make_picture, encode, tmp_path):
    """What an archive brings back is as it was: times, sources, groups, clients' names, classes disabled or empty."""
    first = Store(tmp_path / "first")
    with closing(first):
        with first.database.write() as connection:
            for name, enabled in (("on", True), ("off", False), ("none yet", True), ("none any more", False)):
                first.classes.create(connection, name, enabled)
            for seed in range(120):
                data = encode(make_picture("red", seed))
                sha256 = hashlib.sha256(data).hexdigest()
                first.images.save(sha256, data)
                new = NewPicture(sha256, "JPEG", 64, 48, len(data), np.full(64, seed, np.float32))
                name, source = ("on", "off")[seed % 2], ("upload", "camera", "import")[seed % 3]
                origin = Origin(
                    source, f"walk {seed % 7}" if seed % 5 else None, f"my {seed}" if seed % 4 else None, seed
                )
                first.examples.add(connection, first.classes.find_or_create(connection, name), new, origin)
                first.examples.save_embedding(connection, sha256, INFO.digest, new.embedding)
        before, archive = everything(first), b"".join(write_archive(first, INFO))
    now = imported(start_queue(), store, archive)  # no extractor is there: embeddings came along
    assert (now.state, now.metrics["accepted"], now.metrics["classes"]) == (SUCCEEDED, 120, 4)
    assert everything(store) == before
    taught = [one.embedding.tolist() for one in store.examples.learnt(INFO.digest)]
    assert taught == [[seed] * 64 for seed in range(0, 120, 2)]
    steps, _ = store.journal.page(0, 100)
    assert sorted(len(step.details["examples"]) for step in steps) == [0, 0, 0, 10, 10, 50, 50]


@pytest.mark.parametrize(
    "facts", [{"created": 1e300, "source": "a file"}, {"created": -1, "source": 7}, {"created": "x"}]
)
def test_backup_that_lies_about_origins(store, start_queue, extractor, make_picture, encode, facts):
    """What can't be is not taken over: the picture comes from an import, now."""
    data, file = encode(make_picture("red", 0)), io.BytesIO()
    listed = dict({"file": "red/1.jpg", "class": "red", "sha256": hashlib.sha256(data).hexdigest()}, **facts)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("red/1.jpg", data)
        archive.writestr(MANIFEST, json.dumps({"format": FORMAT, "version": VERSION, "examples": [listed]}))
    extractor.there.set()
    began = time.time()
    assert imported(start_queue(), store, file.getvalue()).state == SUCCEEDED
    ((one,), _) = store.examples.page(None, 0, 10)
    assert one.source == "import"
    assert began <= one.created <= time.time()


def test_few_steps_for_many_pictures(store, start_queue, extractor, make_picture, encode):
    """Pictures of a class are taught fifty at once, though its archive mixes the classes."""
    queue, file = start_queue(), io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for seed in range(120):
            archive.writestr(f"{('red', 'blue')[seed % 2]}/{seed}.png", encode(make_picture("red", seed), "PNG"))
    spooled = store.incoming.spool()
    spooled.write(file.getvalue())
    extractor.there.set()
    job = queue.add(IMPORT, {}, lambda job_id: store.incoming.keep(spooled, job_id))
    store.incoming.discard(spooled)
    assert ended(queue, job).metrics["accepted"] == 120
    steps, total = store.journal.page(0, 100)
    assert (total, {step.action for step in steps}) == (4, {"import"})
    assert sorted(len(step.details["examples"]) for step in steps) == [10, 10, 50, 50]


def test_restarted_import_counts_its_own(store, start_queue, extractor, make_picture, encode):
    """What a job brought in before a restart is accepted, not known; what was there before or comes twice is known."""
    queue, spooled = start_queue(), store.incoming.spool()
    pictures = [encode(make_picture("red", seed)) for seed in range(60)]
    with zipfile.ZipFile(spooled, "w") as archive:
        for seed, data in enumerate([*pictures, pictures[0], pictures[59]]):
            archive.writestr(f"red/{seed}.jpg", data)
    known = store.incoming.spool()
    with zipfile.ZipFile(known, "w") as archive:
        archive.writestr("red/known.jpg", pictures[7])
    extractor.there.set()
    ended(queue, queue.add(IMPORT, {}, lambda job_id: store.incoming.keep(known, job_id)))
    extractor.lose_after(55)
    job = queue.add(IMPORT, {}, lambda job_id: store.incoming.keep(spooled, job_id))
    for file in (known, spooled):
        store.incoming.discard(file)
    first = queue.wait(job.id, lambda now: now.metrics.get("accepted", 0) >= 50, 30.0)
    assert (first.metrics["accepted"], first.metrics.get("restarted")) == (50, None)
    queue.stop()
    extractor.lose_after(None)
    extractor.there.set()
    now = ended(start_queue(), job)
    assert (now.state, now.metrics["restarted"], now.started) == (SUCCEEDED, True, first.started)
    assert (now.metrics["accepted"], now.metrics["duplicates"], store.examples.count()) == (59, 3, 60)
