"""What the library's tests share."""

import shutil
from contextlib import ExitStack, closing

import pytest

from coral_learn import Extractor


@pytest.fixture(scope="session")
def tiny(tiny_model):
    """The tests' extractor, loaded, on the CPU."""
    return Extractor(tiny_model, "cpu")


@pytest.fixture
def on_fake(tiny_model):
    """on_fake(device="fake"): the tests' extractor on a fake Edge TPU, which is let go after the test."""
    with ExitStack() as opened:

        def load(device="fake"):
            return opened.enter_context(closing(Extractor(tiny_model, device)))

        yield load


@pytest.fixture
def tiny_copy(tiny_model, tmp_path):
    """The tests' model alone in a folder of its own: no manifest, no compiled twin."""
    return shutil.copy(str(tiny_model), str(tmp_path / "tiny.tflite"))
