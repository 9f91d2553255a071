"""When the CPU may stand in for the Edge TPU, and how a process is loaded."""

import time

import numpy as np
import pytest

from service.errors import NoStandIn
from service.extraction.loading import Failed, Loading
from service.extraction.stand_in import twins_of


@pytest.fixture
def folder(tiny_twins):
    """A folder with the plain and the compiled model."""
    return tiny_twins.parent


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
