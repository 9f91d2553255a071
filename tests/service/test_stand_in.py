"""When the CPU may stand in for the Edge TPU, and how often that is tried meanwhile."""

import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from coral_learn.runtime.fake_bus import FakeBus
from service.errors import NoStandIn
from service.extraction import stand_in
from service.extraction.loading import Failed, Loaded, Loading
from service.extraction.stand_in import StandIn, twins_of


@pytest.fixture
def folder(tiny_twins):
    """A folder with the plain and the compiled model."""
    return tiny_twins.parent


@pytest.fixture
def bus(tmp_path, monkeypatch):
    """Where the fake device of this test is plugged in, for child processes as well."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return FakeBus()


@pytest.fixture
def make(folder, bus):
    """make(device, dead_link=...): a stand-in that looks at the device as often as it is asked."""
    made = []

    def start(device, dead_link=lambda: None):
        wanted = {"model": str(folder / "tiny_edgetpu.tflite"), "device": device, "threads": 1}
        assert bus.sysfs.parent == Path(tempfile.gettempdir())
        made.append(StandIn(wanted, folder / "tiny.tflite", "it was lost", dead_link))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture
def hasty(monkeypatch):
    """No pause between looks; an hour between tries of a device that was there all along."""
    monkeypatch.setattr(stand_in, "_LOOK_EVERY", 0.0)
    monkeypatch.setattr(stand_in, "_PACE", (3600.0,))


def until_done(one, seconds=30.0):
    """What a try came to: a process and what it loaded, or None."""
    ends = time.monotonic() + seconds
    back = one.back()
    while back is None and one._trial is not None and time.monotonic() < ends:
        time.sleep(0.02)
        back = one.back()
    return back


@pytest.mark.parametrize("name", ["tiny.tflite", "tiny_edgetpu.tflite"])
def test_either_file_names_both(folder, name):
    """The model may be given by its plain or by its compiled file."""
    assert twins_of(str(folder / name)) == (folder / "tiny.tflite", folder / "tiny_edgetpu.tflite")


@pytest.mark.parametrize(
    ("model", "harm", "reason"),
    [
        ("tiny.tflite", lambda folder: (folder / "tiny_edgetpu.tflite").unlink(), r"tiny_edgetpu\.tflite lies beside"),
        ("tiny_edgetpu.tflite", lambda folder: (folder / "tiny.tflite").unlink(), r"plain file tiny\.tflite"),
        ("tiny_edgetpu.tflite", lambda folder: (folder / "tiny.json").unlink(), "two extractors"),
        ("tiny_edgetpu.tflite", lambda folder: (folder / "tiny.tflite").write_bytes(b"    TFL3"), "was changed"),
        ("none.tflite", lambda _: None, r"none\.tflite"),
        ("", lambda _: None, r"efficientnet_lite0_edgetpu\.tflite lies beside"),
    ],
)
def test_who_can_not_stand_in(folder, model, harm, reason):
    """A file that is missing or changed, or that nothing shows to be the same extractor; the reason names it."""
    harm(folder)
    with pytest.raises(NoStandIn, match=reason):
        twins_of(str(folder / model) if model else "")


@pytest.mark.usefixtures("hasty")
def test_tries_once_it_is_plugged_in(make, bus):
    """Unplugged, it isn't tried; plugged in, it is at once, and comes back with a process that is ready."""
    bus.unplug()
    one = make("fake")
    assert until_done(one) is None
    assert one._tries == 0
    bus.marker.unlink()
    child, loaded = until_done(one)
    assert isinstance(loaded, Loaded)
    assert (loaded.info.device, loaded.model_path.name) == ("edgetpu", "tiny_edgetpu.tflite")
    child.release()


@pytest.mark.usefixtures("hasty")
def test_a_try_that_fails(make, bus):
    """It leaves no process behind, and the next waits its time, unless the device is plugged in anew."""
    bus.unplug()
    one = make("fake:fail=1")
    bus.marker.unlink()
    assert until_done(one) is None
    assert one._tries == 1
    assert until_done(one) is None
    assert one._tries == 1
    bus.unplug()
    one.back()
    bus.marker.unlink()
    one.back()
    assert one._trial is not None


@pytest.mark.usefixtures("hasty", "bus")
def test_dead_link_is_not_tried(make):
    """While the temperature can't be true, nothing is tried; as soon as it can, it is."""
    dead = ["dead"]
    one = make("fake", lambda: dead[0])
    assert until_done(one) is None
    assert one._tries == 0
    dead[0] = None
    child, _ = until_done(one)
    child.release()


def test_slow_pace(make, bus, monkeypatch):
    """A device that is there all along, and was lost, is tried now and then, ever more seldom."""
    monkeypatch.setattr(stand_in, "_LOOK_EVERY", 0.0)
    monkeypatch.setattr(stand_in, "_PACE", (0.0, 3600.0))
    bus.show(45)
    one = make("fake:fail=1")
    assert until_done(one) is None
    assert until_done(one) is None
    assert one._tries == 1


def test_loading_says_how_it_failed(folder, bus):
    """In the words of the error; a process that is gone is no reason to wait."""
    loading = Loading({"model": str(folder / "tiny_edgetpu.tflite"), "device": "fake:absent", "threads": 1})
    assert wait_for(loading) == Failed("the fake Edge TPU was told to be absent")
    loading.child.release()
    loading = Loading({"model": str(folder / "tiny_edgetpu.tflite"), "device": "fake:abort=1", "threads": 1})
    assert wait_for(loading).reason == "its process was ended by SIGABRT while it loaded the model"
    loading.child.release()
    assert not bus.dead


def test_first_run_that_never_ends(folder, monkeypatch):
    """Has a shorter deadline than loading, which on USB takes long: after that it is known to be stuck."""
    monkeypatch.setattr("service.extraction.loading.WARM_UP_TIMEOUT", 0.2)
    loading = Loading({"model": str(folder / "tiny_edgetpu.tflite"), "device": "fake:hang=1", "threads": 1})
    found = wait_for(loading)
    assert found.stuck
    assert "did not run once" in found.reason
    loading.child.release()


def wait_for(loading):
    """What becomes of it, within a minute."""
    ends = time.monotonic() + 60
    found = None
    while found is None and time.monotonic() < ends:
        found = loading.look(0.1)
    return found


def test_golden_picture_is_looked_at_before_it_answers(folder, bus):
    """A compiled file that gives other embeddings than the plain one gets no further than that."""
    np.savez(str(folder / "tiny.npz"), golden=np.ones(64))
    loading = Loading({"model": str(folder / "tiny_edgetpu.tflite"), "device": "fake", "threads": 1})
    found = wait_for(loading)
    assert isinstance(found, Failed)
    assert "golden picture" in found.reason
    loading.child.release()
    assert bus.present
