"""How often the Edge TPU is tried while the CPU answers, and what an automatic choice makes of one that comes later."""

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from runtime_host import alone_with_edge_tpus, write_pycoral

from service.extraction import ExtractorSupervisor, comeback
from service.extraction.comeback import Comeback
from service.extraction.loading import Loaded
from service.extraction.supervisor import READY


@pytest.fixture
def folder(tiny_twins):
    """A folder with the plain and the compiled model."""
    return tiny_twins.parent


@pytest.fixture
def make(folder, bus):
    """make(device, dead_link=..., unseen=...): looks at the device as often as it is asked."""
    made = []

    def start(device, dead_link=lambda: None, unseen=True):
        wanted = {"model": str(folder / "tiny_edgetpu.tflite"), "device": device, "threads": 1}
        assert bus.sysfs.parent == Path(tempfile.gettempdir())
        made.append(Comeback(wanted, dead_link, unseen))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture
def hasty(monkeypatch):
    """No pause between looks; an hour between tries of a device that was there all along."""
    monkeypatch.setattr(comeback, "_LOOK_EVERY", 0.0)
    monkeypatch.setattr(comeback, "_PACE", (3600.0,))


def until_done(one, seconds=30.0):
    """What a try came to: a process and what it loaded, or None."""
    ends = time.monotonic() + seconds
    come = one.look()
    while come is None and one._trial is not None and time.monotonic() < ends:
        time.sleep(0.02)
        come = one.look()
    return come


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
    one.look()
    bus.marker.unlink()
    one.look()
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
    monkeypatch.setattr(comeback, "_LOOK_EVERY", 0.0)
    monkeypatch.setattr(comeback, "_PACE", (0.0, 3600.0))
    bus.show(45)
    one = make("fake:fail=1")
    assert until_done(one) is None
    assert until_done(one) is None
    assert one._tries == 1


@pytest.mark.usefixtures("hasty")
def test_what_was_never_there_is_not_tried_unseen(make, bus, monkeypatch):
    """After an automatic choice no process is started for nothing, however long no Edge TPU is connected."""
    monkeypatch.setattr(comeback, "_PACE", (0.0,))
    bus.unplug()
    one = make("fake", unseen=False)
    assert until_done(one) is None
    assert one._tries == 0


# -- an automatic choice ----------------------------------------------------------------------


@pytest.fixture
def unplugged(tmp_path, monkeypatch):
    """A file that, while it exists, has a stand-in for pycoral show no Edge TPU, and the kernel neither."""
    unplugged = tmp_path / "unplugged"
    root = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(write_pycoral(tmp_path)), root]))
    monkeypatch.setenv("FAKE_PYCORAL_UNPLUGGED", str(unplugged))
    monkeypatch.setattr(comeback, "seen_edge_tpus", lambda _: [] if unplugged.exists() else ["usb 2-2"])
    with alone_with_edge_tpus():
        yield unplugged


@pytest.fixture
def choose(folder, unplugged):
    """choose(): a supervisor that chooses the device automatically, for a model that has both files."""
    started = []
    assert not unplugged.exists()

    def start() -> ExtractorSupervisor:
        started.append(ExtractorSupervisor(str(folder / "tiny.tflite"), "auto", 1, 10.0))
        started[-1].start()
        until(lambda: started[-1].health.state == READY)
        return started[-1]

    yield start
    for one in started:
        one.stop()


def until(condition, seconds=60.0) -> None:
    """Wait until this holds."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


@pytest.mark.usefixtures("hasty")
def test_edge_tpu_that_comes_after_the_choice(choose, unplugged):
    """Plugged in after the start, it takes over without a word from anybody; nothing of what was asked is lost."""
    unplugged.touch()
    extraction = choose()
    assert (extraction.info.device, extraction.info.degraded) == ("cpu", False)
    assert extraction.info.reason == "no Edge TPU is connected"
    pixels = np.zeros((32, 32, 3), np.uint8)
    before = extraction.embed(pixels)
    unplugged.unlink()
    until(lambda: extraction.embed(pixels).device == "edgetpu")
    assert (extraction.info.reason, extraction.info.degraded) == ("an Edge TPU was connected after the start", False)
    assert extraction.info.digest == before.extractor
    np.testing.assert_allclose(extraction.embed(pixels).embedding, before.embedding, atol=0.05)
    assert (extraction.losses, extraction.stands_in, extraction.health.state) == (0, False, READY)


@pytest.mark.usefixtures("hasty")
def test_edge_tpu_that_comes_and_can_not_be_used(choose, unplugged, folder):
    """That is said, as long as it is there; the CPU goes on."""
    unplugged.touch()
    extraction = choose()
    compiled = folder / "tiny_edgetpu.tflite"
    kept = compiled.read_bytes()
    compiled.write_bytes(kept[:100])
    unplugged.unlink()
    until(lambda: extraction.info.degraded)
    assert extraction.info.reason.startswith("an Edge TPU is connected, but can't be used: ")
    assert extraction.embed(np.zeros((32, 32, 3), np.uint8)).device == "cpu"
    unplugged.touch()
    until(lambda: not extraction.info.degraded)
    assert extraction.info.reason == extraction.health.reason == "no Edge TPU is connected"


@pytest.mark.usefixtures("unplugged")
def test_without_a_compiled_file_nothing_is_awaited(choose, folder):
    """An Edge TPU would be of no use then; that one is there and is not used is said."""
    (folder / "tiny_edgetpu.tflite").unlink()
    extraction = choose()
    assert (extraction.info.device, extraction.info.degraded, extraction._comeback) == ("cpu", True, None)
