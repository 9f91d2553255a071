"""What only a board can show. Run it there: pytest -m board

CORAL_LEARN_BOARD_MODEL names an extractor compiled for the Edge TPU, NAME_edgetpu.tflite, with the
plain NAME.tflite it was compiled from beside it; the Edge TPU tests skip without it. With
CORAL_LEARN_BOARD_UNPLUG=1 one test asks you to unplug the USB stick and to plug it in again; run that with -s -n 0.
Not yet seen on a board.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from coral_learn import Extractor
from coral_learn.errors import InvokeFailed
from coral_learn.runtime.edgetpu import find_edge_tpus, list_edge_tpus
from service.camera import CameraOptions
from service.camera.sources import open_source, resolve_camera
from service.extraction import ExtractorSupervisor
from service.extraction.supervisor import LOST, READY
from service.temperature import Temperature

pytestmark = pytest.mark.board
INVOKES = 500
PAUSED, PAUSE = 20, 3.0  # runs with seconds between them, in which the device goes to sleep
LOADS = 20
OPEN_IN_A_PROCESS = """
import sys
import numpy as np
from coral_learn import Extractor

extractor = Extractor(sys.argv[1], device="edgetpu")
extractor.warm_up()
print("loaded", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def model():
    """The compiled model."""
    name = os.environ.get("CORAL_LEARN_BOARD_MODEL")
    if not name:
        pytest.skip("CORAL_LEARN_BOARD_MODEL does not name a compiled model")
    return Path(name)


@pytest.fixture(scope="module")
def extractor(model):
    """The compiled model on the Edge TPU."""
    opened = Extractor(model, device="edgetpu")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def picture():
    """Noise with some structure."""
    random = np.random.RandomState(0)
    return np.kron(random.randint(0, 256, (8, 8, 3)), np.ones((40, 40, 1))).astype(np.uint8)


def test_edge_tpu_is_seen_by_the_kernel():
    """/dev/apex_N or a Coral USB device is there."""
    assert find_edge_tpus()


def test_model_runs_on_the_edge_tpu(extractor):
    """And says so."""
    assert extractor.info.device == "edgetpu"


def test_back_to_back_invokes_repeat(extractor, picture):
    """The same picture gives the same embedding, 500 times."""
    pixels = extractor.prepare(picture)
    first = extractor.embed_pixels(pixels)
    assert all(np.array_equal(first, extractor.embed_pixels(pixels)) for _ in range(INVOKES))


def test_edge_tpu_agrees_with_the_cpu(extractor, model, picture):
    """The plain twin gives nearly the same embedding."""
    plain = Extractor(model.with_name(model.name.replace("_edgetpu", "")), device="cpu")
    one, other = extractor.embed(picture), plain.embed(picture)
    assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 0.99


def test_runs_with_pauses_repeat(extractor, picture):
    """The same embedding also after the device has slept."""
    pixels = extractor.prepare(picture)
    first = extractor.embed_pixels(pixels)
    for _ in range(PAUSED):
        time.sleep(PAUSE)
        assert np.array_equal(first, extractor.embed_pixels(pixels))


def test_golden_picture(extractor):
    """The compiled model agrees with the manifest's golden picture, where it has one: else the CPU can't stand in."""
    extractor.warm_up()
    if extractor.manifest.golden() is None:
        pytest.skip(f"the manifest of {extractor.info.name} has no golden picture")


def test_wrong_input_fails_alone(extractor, picture):
    """The driver survives an input of another type."""
    with pytest.raises(InvokeFailed):
        extractor.runtime.invoke(np.zeros((1, 3), np.float32))
    assert np.isfinite(extractor.embed(picture)).all()


def test_fork_is_refused(extractor, picture):
    """A process made by fork does not touch the driver."""
    pixels = extractor.prepare(picture)
    child = os.fork()
    if child == 0:
        try:
            extractor.embed_pixels(pixels)
        except InvokeFailed:
            os._exit(3)
        os._exit(0)
    assert os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 3
    assert np.isfinite(extractor.embed_pixels(pixels)).all()


def test_listed_as_the_kernel_sees_it():
    """pycoral, where it is there, and /sys tell of as many Edge TPUs."""
    assert len(list_edge_tpus()) == len(find_edge_tpus())


def test_temperature_can_be_true():
    """A PCIe Edge TPU reports a temperature, and its link is not taken for dead; USB sticks have none."""
    temperature = Temperature()
    assert temperature.dead_link() is None
    if not any(name.startswith("/dev/apex") for name in find_edge_tpus()):
        pytest.skip("USB sticks have no temperature")
    if not any(name.startswith("apex") for name in temperature.read()):
        pytest.skip("this driver has no temperature file (google-coral/edgetpu#498)")
    assert all(5 < degrees < 110 for name, degrees in temperature.read().items() if name.startswith("apex"))


def test_second_process_is_refused(extractor, model):
    """By the lock, before the driver could harm the first."""
    assert extractor.info.device == "edgetpu"
    code = "import sys; from coral_learn import Extractor; Extractor(sys.argv[1], device='edgetpu')"
    done = subprocess.run([sys.executable, "-c", code, str(model)], stderr=subprocess.PIPE, check=False)
    assert b"another process holds the Edge TPU" in done.stderr


def test_camera_delivers_frames():
    """The first V4L2 camera gives pictures that change."""
    name = resolve_camera("auto")
    if name is None:
        pytest.skip("no V4L2 camera is connected")
    source = open_source(CameraOptions(name))
    frames = [source.read().decode()[0] for _ in range(10)]
    source.close()
    assert all(frame.ndim == 3 and frame.dtype == np.uint8 for frame in frames)
    assert any(not np.array_equal(frames[0], frame) for frame in frames[1:])


# -- last, because they close the extractor of the tests above -----------------------------------


@pytest.fixture
def let_go(extractor):
    """The device is free."""
    extractor.close()


@pytest.mark.usefixtures("let_go")
def test_loads_again_and_again(model):
    """Also after a process that held it was killed; prints how long each took."""
    took = []
    for _ in range(LOADS):
        began = time.monotonic()
        command = [sys.executable, "-c", OPEN_IN_A_PROCESS, str(model)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"loaded\n"
            took.append(time.monotonic() - began)
            process.kill()
    print(f"loading took {min(took):.1f} to {max(took):.1f} s")


@pytest.fixture
def supervised(model):
    """The extractor under its supervisor, ready."""
    supervisor = ExtractorSupervisor(str(model), "edgetpu", 1, 10.0, "wait", Temperature().dead_link)
    supervisor.start()
    wait_for(lambda: supervisor.health.state == READY, 130, supervisor)
    yield supervisor
    supervisor.stop()


def wait_for(condition, seconds, supervisor):
    """Wait until something holds."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, supervisor.health
        time.sleep(0.1)


@pytest.mark.usefixtures("let_go")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_recovers_from_a_driver_that_ends_its_process(supervised, number):
    """The next process has the device; prints how long that took."""
    pixels = np.zeros((supervised.info.input_height, supervised.info.input_width, 3), np.uint8)
    first = supervised.embed(pixels, 60).embedding
    os.kill(supervised.pid, number)
    wait_for(lambda: supervised.recovery is not None, 130, supervised)
    assert np.array_equal(first, supervised.embed(pixels, 60).embedding)
    print(f"recovery took {supervised.recovery:.1f} s")


@pytest.mark.usefixtures("let_go")
@pytest.mark.timeout(900)
def test_unplugged_and_plugged_in_again(supervised):
    """By hand: the reason says so, and it comes back by itself."""
    if not os.environ.get("CORAL_LEARN_BOARD_UNPLUG"):
        pytest.skip("CORAL_LEARN_BOARD_UNPLUG is not set")
    pixels = np.zeros((supervised.info.input_height, supervised.info.input_width, 3), np.uint8)
    print("\nunplug the Edge TPU now", flush=True)

    def lost():
        if supervised.health.state == READY:
            supervised.embed(pixels, 30)
        return supervised.health.state == LOST

    try:
        wait_for(lost, 300, supervised)
    except RuntimeError as error:
        print(f"refused meanwhile: {error}")
    print(f"lost: {supervised.health.reason}\nplug it in again now", flush=True)
    wait_for(lambda: supervised.health.state == READY, 300, supervised)
    assert np.isfinite(supervised.embed(pixels, 60).embedding).all()
    print(f"back {supervised.recovery:.1f} s after it was lost")
