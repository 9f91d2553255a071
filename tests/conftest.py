"""What the tests share: where the data are, and pictures made on the spot."""

import json
import os
import shutil
import signal
import sys
import tempfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from coral_learn import Extractor

TESTS = Path(__file__).resolve().parent
COLOURS = {
    "red": (200, 30, 30),
    "green": (30, 180, 40),
    "blue": (40, 60, 210),
    "yellow": (220, 210, 40),
    "grey": (128, 128, 128),
}

# Boards are slow, so no example has a deadline; the same examples for everyone who runs the suite.
settings.register_profile("suite", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("suite")

MEMORY, ENOUGH = Path("/dev/shm"), 2 << 30  # bytes


def pytest_configure():
    """Let bytecode be kept, let nobody compute in threads, and put temporary files into memory where there is enough.

    A test waits for the disk five times as long as it works. What a disk does when power is cut or it is full is
    tried on disks of its own, see tests/live/test_breaking.py.
    """
    # Hundreds of processes are started, and without bytecode each of them would compile all it imports.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    # It would hide what a process that can't write any more leaves in its buffers.
    os.environ.pop("PYTHONUNBUFFERED", None)
    # A shell ignores Ctrl-C for what it starts in the background, and all that is started from there would, too.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # With as many tests at a time as processors, such threads only wait for each other.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if "PYTEST_DEBUG_TEMPROOT" in os.environ or not os.access(str(MEMORY), os.W_OK):
        return
    if shutil.disk_usage(str(MEMORY)).free >= ENOUGH:
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Two more than processors: tests of daemons wait a third of their time."""
    return (os.cpu_count() or 1) + 2


@pytest.fixture(scope="session", autouse=True)
def own_temporary_folder(tmp_path_factory):
    """A folder for temporary files of this run alone: the fake Edge TPU's lock file is in there.

    Without it two runs of the suite at a time would find the fake device busy.
    """
    before = os.environ.get("TMPDIR")
    tempfile.tempdir = os.environ["TMPDIR"] = str(tmp_path_factory.mktemp("temporary"))
    yield
    tempfile.tempdir = None
    if before is None:
        del os.environ["TMPDIR"]
    else:
        os.environ["TMPDIR"] = before


@pytest.fixture
def unread():
    """The end to write to of a pipe that nobody reads any more."""
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real pictures and models beside the repository."""
    folder = TESTS.parent.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real pictures and models are not there: ../shared/data is absent")
    return folder


@pytest.fixture(scope="session")
def coral_models(shared_data):
    """The folder of models and pictures that Coral publishes."""
    folder = shared_data / "coral"
    if not folder.is_dir():
        pytest.skip("Coral's models are not there: ../shared/data/coral is absent")
    return folder


@pytest.fixture
def mobilenet(coral_models):
    """Coral's MobileNet v1 0.25, a whole classifier, uint8, 1001 classes, with labels inside."""
    return coral_models / "mobilenet_v1_0.25_128_quant.tflite"


@pytest.fixture(scope="session")
def data():
    """The folder of the tests' own files, see tests/data/build_tiny.py."""
    return TESTS / "data"


@pytest.fixture(scope="session")
def tiny_model(data):
    """A real extractor of 8 kB: 32 x 32 pixels in, 64 values out; its compiled twin lies beside it."""
    return data / "tiny.tflite"


@pytest.fixture
def tiny_twins(tiny_model, tmp_path, make_picture, encode):
    """A copy of the compiled tiny model, one extractor with the plain one beside it by a golden picture."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("tiny.tflite", "tiny_edgetpu.tflite"):
        shutil.copy(str(tiny_model.with_name(name)), str(folder / name))
    picture = make_picture("yellow")
    (folder / "golden.png").write_bytes(encode(picture, "PNG"))
    np.savez(str(folder / "tiny.npz"), golden=Extractor(tiny_model, "cpu").embed(picture))
    facts = json.loads(tiny_model.with_suffix(".json").read_text())
    facts["golden"] = {"image": "golden.png", "embedding": "tiny.npz:golden"}
    (folder / "tiny.json").write_text(json.dumps(facts))
    return folder / "tiny_edgetpu.tflite"


@pytest.fixture(scope="session")
def make_picture():
    """make_picture(colour, seed=0, width=64, height=48): RGB, (height, width, 3) uint8, with noise.

    colour : a name of `COLOURS`, or three numbers 0..255
    """

    def make(colour, seed=0, width=64, height=48):
        noise = np.random.RandomState(seed).normal(0, 12, (height, width, 3))
        return (np.array(COLOURS.get(colour, colour)) + noise).clip(0, 255).astype(np.uint8)

    return make


@pytest.fixture(scope="session")
def encode():
    """encode(pixels, format="JPEG", **options): the bytes of a file; pixels as an array or as a Pillow image."""

    def to_bytes(pixels, format="JPEG", **options):
        file = BytesIO()
        picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        picture.save(file, format, **options)
        return file.getvalue()

    return to_bytes
