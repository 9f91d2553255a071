"""What only a board can show. Run it there: pytest -m board

CORAL_LEARN_BOARD_MODEL names an extractor compiled for the Edge TPU, NAME_edgetpu.tflite, with the
plain NAME.tflite it was compiled from beside it; the Edge TPU tests skip without it. Not yet seen on a board.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from coral_learn import Extractor
from coral_learn.runtime.edgetpu import find_edge_tpus
from service.camera import CameraOptions
from service.camera.sources import open_source, resolve_camera

pytestmark = pytest.mark.board
INVOKES = 500


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
