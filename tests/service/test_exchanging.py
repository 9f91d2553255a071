"""The exchange of the extractor, with real processes of it: on a CPU, and on an Edge TPU that isn't there."""

import json
import os
import shutil
import threading
import time

import pytest

from coral_learn.image import ImageLimits
from service.errors import ExtractorFailed, ExtractorUnavailable, StoreError
from service.extraction import ExtractorSupervisor
from service.extraction.supervisor import LOST, READY
from service.jobs.choice import EXCHANGE, ModelChoice
from service.jobs.exchanging import Exchange
from service.learning import Answering, Teaching, Versions
from service.metrics import Metrics
from service.pictures import PictureReader
from service.store import Store
from service.store.examples import NewPicture, Origin

PADDING = bytes(16)  # behind a model's end: the same model with another digest


class Parts:
    """A store with three pictures, and an extractor that has been loaded."""

    def __init__(self, folder, model, device, pictures, ready=True):
        self.store, self.setting = Store(folder), str(model)
        self.answering = Answering("imprinting")
        versions = Versions(self.store, self.answering, "imprinting", False)
        self.teaching = Teaching(self.store, self.answering, versions)
        self.reader = PictureReader(ImageLimits(), 2, Metrics())
        self.choice, self.queued = ModelChoice(self.store, self.setting), []
        self.extraction = ExtractorSupervisor(self.choice.model, device, 1, 10.0)

        def take_extractor(info, model_path):
            versions.adopt(info, model_path)
            self.choice.settle(info.digest, lambda *job: self.queued.append(job))

        self.extraction.on_ready, self.extraction.otherwise = take_extractor, self.choice.give_up
        self.extraction.start()
        if ready:
            self.wait_ready()
        for data in pictures:
            self.teach(data)

    @property
    def chosen(self):
        """The model that the next start would take."""
        return ModelChoice(self.store, self.setting).model

    def wait_ready(self):
        """Wait until the extractor is."""
        self.wait_for_state(READY)

    def wait_for_state(self, state):
        """Wait until the extractor is as it is to be."""
        ends = time.monotonic() + 30
        while self.extraction.health.state != state:
            assert time.monotonic() < ends, self.extraction.health
            time.sleep(0.02)

    def teach(self, data):
        """Teach a class a picture."""
        picture = self.reader.read(data, self.answering.extractor)
        embedded = self.extraction.embed(picture.pixels)
        new = NewPicture(picture.sha256, *picture.header, len(data), embedded.embedding, embedded.extractor)
        self.teaching.add_examples("red", [new], [data], Origin("upload"))

    def answers(self, data):
        """Whether the model that answers has the extractor that is loaded, and embeds a picture."""
        info = self.answering.must_be_of(self.extraction.info.digest)
        return self.extraction.embed(self.reader.read(data, info).pixels).extractor == info.digest

    def exchange(self, model, report=lambda *_: None, should_stop=lambda: False):
        """Run a new job of the kind; returns it."""
        job = self.store.jobs.add(EXCHANGE, {"model": str(model)})
        self.again(job, report, should_stop)
        return job

    def again(self, job, report=lambda *_: None, should_stop=lambda: False):
        """Run a job."""
        Exchange(self.store, self.extraction, self.reader, self.choice).run(job, report, should_stop)

    def close(self):
        """Stop it."""
        self.extraction.stop()
        self.store.close()


class Failing:
    """A supervisor whose extractor fails on every picture."""

    def __init__(self, inner):
        self._inner = inner

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def embed(self, _):
        raise ExtractorFailed("the extractor failed: on purpose")


@pytest.fixture
def pictures(make_picture, encode):
    """The files of three pictures."""
    return [encode(make_picture("red", seed)) for seed in range(3)]


@pytest.fixture
def open_parts(tmp_path, pictures):
    """open_parts(model, device): parts over one folder; all are closed at the end."""
    opened = []

    def start(model, device, taught=True, ready=True):
        opened.append(Parts(tmp_path / "data", model, device, pictures if taught else (), ready))
        return opened[-1]

    yield start
    for parts in opened:
        parts.close()


@pytest.fixture
def models(tmp_path, data):
    """A folder with compiled models: first, other (fine, of another digest), and lost, which does not start."""
    folder = tmp_path / "models"
    folder.mkdir()
    compiled = (data / "tiny_edgetpu.tflite").read_bytes()
    (folder / "first_edgetpu.tflite").write_bytes(compiled)
    shutil.copy(str(data / "tiny.tflite"), str(folder / "first.tflite"))
    (folder / "other_edgetpu.tflite").write_bytes(compiled + PADDING)
    shutil.copy(str(data / "tiny_float32.tflite"), str(folder / "other.tflite"))
    (folder / "lost_edgetpu.tflite").write_bytes(compiled + 2 * PADDING)  # the fake computes through its plain twin
    return folder


def test_edge_tpu_takes_the_new_one(open_parts, models, pictures):
    """The new one answers at once, and is remembered for the next start; also when it is named by its plain twin."""
    parts = open_parts(models / "first_edgetpu.tflite", "fake")
    assert parts.extraction.info.device == "edgetpu"
    before = parts.extraction.info.digest
    parts.exchange(models / "other.tflite")
    assert parts.answers(pictures[0])
    assert parts.extraction.info.digest != before
    assert parts.chosen == str(models / "other.tflite")
    assert parts.extraction.losses == 0


def test_edge_tpu_goes_back(open_parts, models, pictures):
    """A model that does not start is said to, the one before answers again and is taken by the next start."""
    parts = open_parts(models / "first_edgetpu.tflite", "fake")
    parts.exchange(models / "other_edgetpu.tflite")
    before = parts.extraction.info
    with pytest.raises(
        ExtractorUnavailable, match=r"does not start: .*lost\.tflite.*; the one before, .* answers again"
    ):
        parts.exchange(models / "lost_edgetpu.tflite")
    assert parts.extraction.info == before
    assert parts.answers(pictures[0])
    assert parts.chosen == str(models / "other_edgetpu.tflite")


def test_edge_tpu_cancelled_while_it_loads(open_parts, models, pictures):
    """A model called off while it is being loaded is let go; the one before answers."""
    os.mkfifo(str(models / "lost.tflite"))  # whoever opens it waits
    parts, asked = open_parts(models / "first_edgetpu.tflite", "fake"), threading.Event()

    def should_stop():
        if parts.extraction.health.exchanges == 1:
            asked.set()
        return asked.is_set()

    before = parts.extraction.info
    job = parts.exchange(models / "lost_edgetpu.tflite", should_stop=should_stop)
    assert asked.is_set()
    assert (parts.extraction.info, parts.chosen) == (before, parts.setting)
    assert parts.answers(pictures[0])
    assert parts.store.jobs.get(job.id).error is None


def test_neither_starts(open_parts, models):
    """Where the one before is gone as well the job says so, and it is tried until it is back."""
    parts = open_parts(models / "first_edgetpu.tflite", "fake")
    plain = models / "first.tflite"
    plain.rename(models / "away")
    with pytest.raises(ExtractorUnavailable, match=r"does not start: .*; and the one before, .* can't be used either"):
        parts.exchange(models / "lost_edgetpu.tflite")
    (models / "away").rename(plain)
    parts.wait_ready()
    assert parts.chosen == parts.setting


def test_stopped_while_the_new_one_loads(open_parts, models, pictures):
    """A daemon that ends meanwhile comes up with the one before; the job, not ended, is done then."""
    os.mkfifo(str(models / "lost.tflite"))
    parts, told = open_parts(models / "first_edgetpu.tflite", "fake"), []

    def should_stop():
        if parts.extraction.health.exchanges == 1:
            parts.extraction.interrupt()  # as a daemon does, some time before its jobs are told
            told.append(True)
        return len(told) > 5

    job = parts.exchange(models / "lost_edgetpu.tflite", should_stop=should_stop)
    parts.close()
    (models / "lost.tflite").unlink()
    shutil.copy(str(models / "other.tflite"), str(models / "lost.tflite"))
    again = open_parts(parts.setting, "fake", taught=False)
    assert again.extraction.model == parts.setting
    assert again.answers(pictures[0])
    again.again(job)
    assert again.chosen == str(models / "lost_edgetpu.tflite")


def test_done_but_not_ended(open_parts, models):
    """A job done again although it had done all is no conflict; another one for the same model is."""
    parts = open_parts(models / "first_edgetpu.tflite", "fake")
    job = parts.exchange(models / "other_edgetpu.tflite")
    starts = parts.extraction.health.starts
    parts.again(job)
    with pytest.raises(ValueError, match="in use already"):
        parts.exchange(models / "other_edgetpu.tflite")
    assert parts.extraction.health.starts == starts


def test_cpu_embeds_first(open_parts, tiny_model, data, pictures):
    """On a CPU every picture has its embedding by the time the new one answers."""
    parts, told = open_parts(tiny_model, "cpu"), []
    parts.exchange(data / "tiny_float32.tflite", lambda progress, metrics: told.append((progress, metrics)))
    assert told[-1] == (1.0, {"embedded": 3, "unusable": 0, "left": 0})
    assert parts.store.examples.without_embedding(parts.extraction.info.digest) == []
    assert parts.answers(pictures[0])
    assert parts.chosen == str(data / "tiny_float32.tflite")


def test_cpu_goes_back(open_parts, tiny_model, data, tmp_path, pictures):
    """A file that embeds all beside and is gone when it is to take over leaves the one before answering."""
    parts, model = open_parts(tiny_model, "cpu"), tmp_path / "gone.tflite"
    shutil.copy(str(data / "tiny_float32.tflite"), str(model))
    before = parts.extraction.info

    def report(progress, _):
        if progress == 1.0:
            model.unlink()

    with pytest.raises(ExtractorUnavailable, match=r"does not start: .*gone\.tflite.* answers again"):
        parts.exchange(model, report)
    assert (parts.extraction.info, parts.chosen) == (before, parts.setting)
    assert parts.answers(pictures[0])


def test_cpu_cancelled_while_it_embeds(open_parts, tiny_model, data):
    """Called off in the middle, the process of the one before was never touched."""
    parts, cancelled = open_parts(tiny_model, "cpu"), threading.Event()
    starts = parts.extraction.health.starts
    parts.exchange(data / "tiny_float32.tflite", lambda *_: cancelled.set(), cancelled.is_set)
    assert cancelled.is_set()
    assert (parts.extraction.health.starts, parts.chosen) == (starts, parts.setting)


def test_one_that_embeds_nothing(open_parts, tiny_model, data, pictures):
    """A new one that is loaded and fails on every picture doesn't take over."""
    parts = open_parts(tiny_model, "cpu")
    beside = parts.extraction.beside
    parts.extraction.beside = lambda model: Failing(beside(model))
    with pytest.raises(ExtractorUnavailable, match="could embed none of 3 pictures: the extractor failed: on purpose"):
        parts.exchange(data / "tiny_float32.tflite")
    assert parts.chosen == parts.setting
    assert parts.answers(pictures[0])


def test_note_that_can_not_be_written(open_parts, models, pictures):
    """Where the choice can't be kept the one before answers again, as it would after the next start."""
    parts = open_parts(models / "first_edgetpu.tflite", "fake")
    before = parts.extraction.info
    with parts.store.database.write() as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON notes WHEN NEW.key = 'extractor_model' "
            "BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
    with pytest.raises(StoreError, match=r"the one before, .* answers again"):
        parts.exchange(models / "other_edgetpu.tflite")
    assert parts.extraction.info == before
    assert parts.answers(pictures[0])


def test_setting_changed_since(open_parts, models, tiny_model):
    """A model set anew at the command line is stronger than one exchanged for another before."""
    parts = open_parts(models / "first_edgetpu.tflite", "fake", taught=False)
    parts.exchange(models / "other_edgetpu.tflite")
    assert parts.chosen == str(models / "other_edgetpu.tflite")
    assert ModelChoice(parts.store, str(tiny_model)).model == str(tiny_model)


def spoil(path):
    """Make a model of nothing."""
    path.write_bytes(b"nothing")


@pytest.mark.parametrize("change", (spoil, os.unlink))
def test_exchanged_model_that_can_not_be_used(open_parts, models, tiny_model, caplog, change):
    """A model that answered last and is none any more gives way to the one that is set, and it is said."""
    parts = open_parts(tiny_model, "cpu", taught=False)
    other = models / "other.tflite"
    parts.exchange(other)
    assert parts.chosen == str(other)
    change(other)
    assert parts.chosen == parts.setting
    assert f"the model {other}, which answered last, can't be used" in caplog.text


def test_exchanged_model_that_lacks_what_is_wanted(open_parts, models, tiny_model, caplog):
    """One without what the settings have come to want of it gives way as well."""
    parts = open_parts(tiny_model, "cpu", taught=False)
    parts.exchange(models / "other.tflite")
    assert ModelChoice(parts.store, parts.setting, lambda _: False).model == parts.setting
    assert "it lacks what the settings want of it" in caplog.text


def test_another_one_where_none_can_be_loaded(tmp_path, open_parts, tiny_model, pictures):
    """An exchange repairs a daemon whose model does not start."""
    broken = tmp_path / "broken.tflite"
    shutil.copy(str(tiny_model), str(broken))
    open_parts(broken, "cpu").close()
    broken.write_bytes(broken.read_bytes()[:3000])
    parts = open_parts(broken, "cpu", taught=False, ready=False)
    parts.wait_for_state(LOST)
    assert parts.extraction.info is None
    parts.exchange(tiny_model)
    assert parts.answers(pictures[0])
    assert parts.chosen == str(tiny_model)


# -- started with another model ---------------------------------------------------------------


@pytest.fixture
def restarted(open_parts, tiny_model, tmp_path):
    """restarted(model, device): parts of which the first run had a model of its own, returned with them, and taught."""
    before = tmp_path / "before.tflite"
    shutil.copy(str(tiny_model), str(before))
    open_parts(before, "cpu").close()

    def restart(model, device="cpu", change=lambda _: None):
        change(before)
        return open_parts(model, device, taught=False), before

    return restart


def test_one_before_answers_until_the_end(restarted, data, pictures):
    """Started with another model, the one before answers, and a job leads to the other, which is then kept."""
    parts, before = restarted(data / "tiny_float32.tflite")
    assert parts.extraction.model == str(before)
    assert parts.answers(pictures[0])
    (kind, options), model = parts.queued[0], str(data / "tiny_float32.tflite")
    assert (kind, options) == (EXCHANGE, {"model": model, "setting": model})
    job = parts.store.jobs.add(kind, options)
    parts.again(job)
    assert parts.answers(pictures[0])
    assert (parts.extraction.model, parts.chosen) == (model, model)
    assert parts.store.examples.without_embedding(parts.extraction.info.digest) == []
    assert len(parts.queued) == 1


def test_one_before_still_answers_when_the_other_fails(restarted, open_parts, data, tmp_path, pictures):
    """A job that fails leaves the one before, also at the next start, which tries again."""
    lost = tmp_path / "lost.tflite"
    shutil.copy(str(data / "tiny_float32.tflite"), str(lost))
    parts, before = restarted(lost)
    lost.unlink()
    job = parts.store.jobs.add(*parts.queued[0])
    with pytest.raises(ValueError, match="lost"):
        parts.again(job)
    assert parts.answers(pictures[0])
    parts.close()
    shutil.copy(str(data / "tiny_float32.tflite"), str(lost))
    again = open_parts(lost, "cpu", taught=False)
    assert again.extraction.model == str(before)
    assert again.queued == parts.queued


@pytest.mark.parametrize("change", (os.unlink, lambda path: path.write_bytes(path.read_bytes() + PADDING)))
def test_one_before_is_gone(restarted, data, change):
    """Where the file of before is not the same any more the new one answers at once."""
    parts, _ = restarted(data / "tiny_float32.tflite", change=change)
    assert (parts.extraction.model, parts.queued) == (str(data / "tiny_float32.tflite"), [])


def test_one_before_does_not_start(restarted, models):
    """Where it can't be loaded as the daemon is set up now the new one is, and is what the next start takes."""
    parts, _ = restarted(models / "first_edgetpu.tflite", "fake")
    assert (parts.extraction.model, parts.queued) == (parts.setting, [])
    assert parts.extraction.info.device == "edgetpu"
    assert parts.chosen == parts.setting


def test_one_that_knows_as_much(restarted, open_parts, data):
    """A model that has seen every picture is taken at once, both ways; a job that leads to it has no more to do."""
    parts, before = restarted(data / "tiny_float32.tflite")
    other, job = parts.setting, parts.store.jobs.add(*parts.queued[0])
    parts.again(job)
    parts.close()
    for model in (str(before), other):
        again = open_parts(model, "cpu", taught=False)
        assert (again.extraction.model, again.queued) == (model, [])
        again.close()
    again = open_parts(other, "cpu", taught=False)
    starts = again.extraction.health.starts
    again.again(again.store.jobs.add(EXCHANGE, job.options))
    assert again.extraction.health.starts == starts


def test_job_of_a_setting_that_was_changed(restarted, open_parts, data):
    """A job that a start queued is refused once the daemon is told to use another model."""
    parts, before = restarted(data / "tiny_float32.tflite")
    job = parts.store.jobs.add(*parts.queued[0])
    parts.close()
    again = open_parts(before, "cpu", taught=False)
    with pytest.raises(ValueError, match="another model than this was set"):
        again.again(job)
    assert again.extraction.model == str(before)


def test_model_that_can_not_serve(restarted, data):
    """A model of before that lacks what is wanted now is not used; nor are notes that daemons wrote before."""
    parts, before = restarted(data / "tiny_float32.tflite")
    other = str(data / "tiny_float32.tflite")
    assert ModelChoice(parts.store, other).model == str(before)
    assert ModelChoice(parts.store, other, lambda _: False).model == other
    with parts.store.database.write() as connection:
        old = {"model": str(before), "instead_of": str(before), "job": "1"}
        parts.store.set_note(connection, "extractor_model", json.dumps(old))
    assert ModelChoice(parts.store, other).model == other
