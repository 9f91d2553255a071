"""What is counted, what is read when asked for, and that both are what Prometheus understands."""

import hashlib
import os
import threading

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from coral_learn.errors import ImageError
from coral_learn.extractor import ExtractorInfo
from coral_learn.image import ImageLimits
from service.camera import Camera, CameraOptions
from service.extraction import ExtractorSupervisor
from service.jobs import JobQueue
from service.jobs.options import read_options
from service.learning import Answering, Teaching, Versions
from service.live import DecisionRule, LiveLoop, Places, Watchers
from service.metrics import FROM_CAMERA, FROM_UPLOAD, MAX_CLASSES, Metrics
from service.pictures import PictureReader
from service.process import usage
from service.readings import Readings
from service.review import ReviewRing
from service.store import Store
from service.store.examples import NewPicture, Origin
from service.temperature import Temperature

INFO = ExtractorInfo("tiny", "e" * 64, "cpu", "", False, "none", 64, 32, 32)


def samples(metrics):
    """{(name without prefix, ((label, value), ...)): value} of the text."""
    return {
        (sample.name[len("coral_learn_") :], tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


class Parts:
    """The parts that readings are taken of, none of them started."""

    def __init__(self, folder, model, sysfs):
        self.metrics, self.store = Metrics(), Store(folder)
        self.extraction = ExtractorSupervisor("", "cpu", 1, 1.0)
        self.answering, self.watchers = Answering("imprinting"), Watchers(3)
        versions = Versions(self.store, self.answering, "imprinting", False)
        self.teaching = Teaching(self.store, self.answering, versions)
        self.jobs = JobQueue(self.store, self.answering, versions, self.metrics)
        self.review = ReviewRing(folder / "review", self.answering, self.store.must_have_room, 0)
        temperature = Temperature(sysfs)
        watching = self.watchers, Places(1, "look"), self.metrics, DecisionRule(), self.review, temperature
        self.live = LiveLoop(Camera(CameraOptions()), self.extraction, self.answering, *watching)
        watched = self.store, self.extraction, self.answering, self.jobs, self.live, self.watchers
        self.metrics.read_from(Readings(*watched, temperature, self.review))
        self.adopt = lambda: versions.adopt(INFO, model)

    def teach(self, name, count, first=0):
        """Teach a class some made-up pictures."""
        pictures = [
            NewPicture(hashlib.sha256(f"{name} {n}".encode()).hexdigest(), "PNG", 64, 48, 1, np.ones(64, np.float32))
            for n in range(first, first + count)
        ]
        self.teaching.add_examples(name, pictures, [b"x"] * count, Origin("upload"))

    def read(self, name, **labels):
        """One sample, None where there is none."""
        return samples(self.metrics).get((name, tuple(sorted(labels.items()))))


@pytest.fixture
def parts(tmp_path, tiny_model):
    """Parts over an empty store, without sensors."""
    made = Parts(tmp_path / "data", tiny_model, tmp_path / "sys")
    yield made
    made.store.close()


# -- counted ------------------------------------------------------------------------------------


def test_requests():
    """Counted by route, method and status, timed by route and method."""
    metrics = Metrics()
    metrics.count_request("/v1/classes/<name>", "GET", 200, 0.02)
    metrics.count_request("/v1/classes/<name>", "GET", 404, 0.04)
    found = samples(metrics)
    route = (("method", "GET"), ("route", "/v1/classes/<name>"))
    assert found["requests_total", (*route, ("status", "200"))] == 1
    assert found["requests_total", (*route, ("status", "404"))] == 1
    assert found["request_seconds_count", route] == 2
    assert found["request_seconds_sum", route] == pytest.approx(0.06)


def test_strangers_make_no_series():
    """Whatever paths and methods are tried, they are counted together."""
    metrics = Metrics()
    for number in range(50):
        metrics.count_request(None, f"M{number}", 405, 0.0)
    expected = (("method", "other"), ("route", "unmatched"), ("status", "405"))
    assert {key: value for key, value in samples(metrics).items() if key[0] == "requests_total"} == {
        ("requests_total", expected): 50
    }


def test_answers():
    """By class, with those that nothing fits apart; and the seconds of their stages."""
    metrics = Metrics()
    for label in ("cat", None, "cat"):
        metrics.count_answer(label)
    metrics.time_stages(FROM_UPLOAD, decode=20.0, embed=5.0, head=0.5)
    metrics.time_stages(FROM_CAMERA, embed=7.0, head=0.5)
    found = samples(metrics)
    assert found["predictions_total", (("class", "cat"),)] == 2
    assert found["unknown_total", ()] == 1
    assert found["stage_seconds_sum", (("origin", "upload"), ("stage", "decode"))] == pytest.approx(0.02)
    assert found["stage_seconds_sum", (("origin", "camera"), ("stage", "embed"))] == pytest.approx(0.007)
    assert ("stage_seconds_sum", (("origin", "camera"), ("stage", "decode"))) not in found


def test_classes_have_a_limit():
    """A thousand classes have a series each, all others one together, so that no answer is lost from the sum."""
    metrics = Metrics()
    for number in range(MAX_CLASSES + 20):
        metrics.count_answer(f"class {number}")
    metrics.count_answer("class 0")
    counted = {key[1][0][1]: value for key, value in samples(metrics).items() if key[0] == "predictions_total"}
    assert (len(counted), counted["class 0"], counted[""]) == (MAX_CLASSES + 1, 2, 20)
    assert sum(counted.values()) == MAX_CLASSES + 21


@pytest.mark.parametrize("name", ['say "x"', "back\\slash", "größer 🐈", "a{b}=c", " "])
def test_any_name_can_be_a_label(name):
    """What a class may be called is read back as it is."""
    metrics = Metrics()
    metrics.count_answer(name)
    assert samples(metrics)["predictions_total", (("class", name),)] == 1


def test_jobs_that_ended():
    """Counted by state; those that ran are timed by kind."""
    metrics = Metrics()
    metrics.count_job("train", "succeeded", 3.0)
    metrics.count_job("train", "cancelled", None)
    found = samples(metrics)
    assert found["jobs_total", (("state", "succeeded"),)] == found["jobs_total", (("state", "cancelled"),)] == 1
    assert found["job_seconds_count", (("kind", "train"),)] == 1
    assert found["job_seconds_sum", (("kind", "train"),)] == 3.0


def test_pictures_that_are_refused():
    """Counted by the code that clients get, wherever they come from."""
    metrics = Metrics()
    reader = PictureReader(ImageLimits(1000, 1000), 1, metrics)
    with pytest.raises(ImageError) as refused:
        reader.read(b"no picture", INFO)
    assert samples(metrics)["pictures_refused_total", (("code", refused.value.code),)] == 1


def test_counting_from_many_threads():
    """None is lost."""
    metrics = Metrics()
    threads = [
        threading.Thread(target=lambda: [metrics.count_answer("cat") for _ in range(1000)], daemon=True)
        for _ in range(4)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30)
    assert samples(metrics)["predictions_total", (("class", "cat"),)] == 4000


def test_each_daemon_counts_for_itself():
    """Two in one process know nothing of each other."""
    one, other = Metrics(), Metrics()
    one.count_answer(None)
    assert (samples(one)["unknown_total", ()], samples(other)["unknown_total", ()]) == (1, 0)


def test_no_series_of_creation_times():
    """The library's time of creation, one more series for each, is left out."""
    metrics = Metrics()
    metrics.count_answer("cat")
    metrics.count_job("train", "failed", 1.0)
    metrics.count_answer("fell_created")
    assert [name for name, _ in samples(metrics) if name.endswith("_created")] == []
    assert samples(metrics)["predictions_total", (("class", "fell_created"),)] == 1


# -- read ---------------------------------------------------------------------------------------


def test_what_is_taught_is_read_at_once(parts):
    """Examples by class, classes and revision follow each change, taken back or not."""
    parts.adopt()
    assert (parts.read("classes"), parts.read("examples")) == (0, 0)
    parts.teach("cat", 3)
    parts.teach("dog", 1)
    assert (parts.read("classes"), parts.read("examples"), parts.read("model_revision")) == (2, 4, 2)
    assert (parts.read("class_examples", **{"class": "cat"}), parts.read("class_examples", **{"class": "dog"})) == (
        3,
        1,
    )
    parts.teaching.rename_class("cat", "tiger")
    assert parts.read("class_examples", **{"class": "cat"}) is None
    assert parts.read("class_examples", **{"class": "tiger"}) == 3
    parts.teaching.delete_class("dog")
    assert (parts.read("classes"), parts.read("examples")) == (1, 3)
    parts.teaching.undo()
    assert (parts.read("classes"), parts.read("examples")) == (2, 4)


def test_no_more_than_a_thousand_classes_are_told(parts):
    """The rest is in the sums."""
    with parts.store.database.write() as connection:
        for number in range(MAX_CLASSES + 5):
            parts.store.classes.create(connection, f"class {number}")
    found = samples(parts.metrics)
    assert sum(name == "class_examples" for name, _ in found) == MAX_CLASSES
    assert found["classes", ()] == MAX_CLASSES + 5


def test_the_model_that_answers(parts):
    """Its version and head are labels; and so is what the extractor runs on, once there is one."""
    assert parts.read("model_info", version="live", head="imprinting") == 1
    assert not any(name == "extractor_info" for name, _ in samples(parts.metrics))
    parts.adopt()
    labels = (("degraded", "false"), ("device", "cpu"), ("name", "tiny"), ("runtime", "none"))
    assert samples(parts.metrics)["extractor_info", labels] == 1


def test_an_extractor_that_is_not_there(parts):
    """It is not up, and its process uses nothing; the daemon's own does."""
    assert (parts.read("extractor_up"), parts.read("extractor_waiting"), parts.read("extractor_starts_total")) == (
        0,
        0,
        0,
    )
    for name in ("resident_bytes", "cpu_seconds_total", "open_files", "threads"):
        assert parts.read("process_" + name, process="daemon") > 0
        assert parts.read("process_" + name, process="extractor") is None


def test_no_camera(parts):
    """There is nothing to say of frames then, rather than noughts."""
    assert not {"camera_up", "frames_total", "frame_age_seconds"} & {name for name, _ in samples(parts.metrics)}


def test_jobs_and_watchers(parts):
    """How many wait, and how many watch; a job cancelled before it ran has ended, too."""
    parts.watchers.places.enter()
    job = parts.jobs.train(read_options({"head": "imprinting"}))
    assert (parts.read("watchers"), parts.read("jobs_waiting")) == (1, 1)
    parts.jobs.cancel(job.id)
    assert (parts.read("jobs_waiting"), parts.read("jobs_total", state="cancelled")) == (0, 1)


def test_the_disk(parts):
    """Bytes free and bytes of the database, which grows as it is filled."""
    before = parts.read("database_bytes")
    parts.adopt()
    parts.teach("cat", 200)
    assert parts.read("database_bytes") > before > 0
    assert parts.read("disk_free_bytes") > 0


def test_a_store_that_fails(parts):
    """What can't be read is left out and said to be down; all the rest is told."""
    assert parts.read("store_up") == 1
    parts.store.close()
    assert (parts.read("store_up"), parts.read("examples"), parts.read("watchers")) == (0, None, 0)


def test_temperatures(parts, tmp_path):
    """By sensor, those that answer."""
    assert not any(name == "temperature_celsius" for name, _ in samples(parts.metrics))
    for name, text in (("apex/apex_0", "48800"), ("apex/apex_1", "-89700"), ("thermal/thermal_zone0", "40000")):
        (tmp_path / "sys" / "class" / name).mkdir(parents=True)
        (tmp_path / "sys" / "class" / name / "temp").write_text(text)
    assert parts.read("temperature_celsius", sensor="apex_0") == 48.8
    assert parts.read("temperature_celsius", sensor="apex_1") is None
    assert parts.read("temperature_celsius", sensor="thermal_zone0") == 40


def test_reading_writes_nothing(parts, tmp_path):
    """The data folder is after a hundred readings what it was before."""
    parts.adopt()
    parts.teach("cat", 3)

    def files():
        found = (path for path in (tmp_path / "data").rglob("*") if path.is_file() and path.suffix != ".sqlite-shm")
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in found}

    before = files()
    for _ in range(100):
        parts.metrics.text()
    assert files() == before


# -- processes ----------------------------------------------------------------------------------


def test_usage_of_this_process():
    """Resident memory in bytes, CPU time in seconds, files and threads; one more file is one more."""
    before = usage(os.getpid())
    assert before.resident > 1_000_000
    assert before.cpu > 0
    assert before.threads >= threading.active_count()
    with open(os.devnull):
        assert usage(os.getpid()).files == before.files + 1


def test_usage_with_a_name_full_of_traps(tmp_path):
    """A process may be called anything, brackets and blanks included."""
    stat = "7 (a) R (b c) S 1 1 1 0 -1 0 0 0 0 0 150 50 0 0 20 0 9 0 100 5000 3 0"
    (tmp_path / "7" / "fd").mkdir(parents=True)
    (tmp_path / "7" / "fd" / "0").touch()
    (tmp_path / "7" / "stat").write_text(stat)
    found = usage(7, tmp_path)
    assert found.cpu == 200 / os.sysconf("SC_CLK_TCK")
    assert (found.resident, found.files, found.threads) == (3 * os.sysconf("SC_PAGE_SIZE"), 1, 9)


@pytest.mark.parametrize("stat", [None, "", "7 (a) R 1"])
def test_usage_of_a_process_that_is_gone(tmp_path, stat):
    """None, never an error."""
    if stat is not None:
        (tmp_path / "7" / "fd").mkdir(parents=True)
        (tmp_path / "7" / "stat").write_text(stat)
    assert usage(7, tmp_path) is None
