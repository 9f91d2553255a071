"""Child processes: killed, let go, and never held up by what lies around."""

import os
import signal

import pytest

from service.children import Child

HERE = "service.extraction.child:run"


def test_nothing_is_imported_from_the_present_folder(tmp_path, monkeypatch):
    """A numpy.py in the folder the daemon was started in is not what its processes load."""
    (tmp_path / "numpy.py").write_text("open('imported', 'w').close()")
    monkeypatch.chdir(tmp_path)
    child = Child(HERE, {"model": str(tmp_path / "none"), "device": "cpu", "threads": 1})
    assert child.channel.recv()[:2] == ("failed", "ModelFileMissing")
    assert child.release()
    assert not (tmp_path / "imported").exists()


def test_end_in_words(tmp_path):
    """A child that was killed says by what."""
    child = Child(HERE, {"model": str(tmp_path / "none"), "device": "cpu", "threads": 1})
    child.kill()
    assert child.wait(10)
    assert child.describe_end() == "was ended by SIGKILL"
    assert child.release()
    with pytest.raises(OSError):
        child.channel.send(1)


def test_nothing_is_left_open(tmp_path):
    """Starting and releasing leaves as many open files as before."""
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        child = Child(HERE, {"model": str(tmp_path / "none"), "device": "cpu", "threads": 1})
        child.channel.recv()
        child.release()
    assert len(os.listdir("/proc/self/fd")) == before


def test_writing_to_a_stopped_child_ends(monkeypatch):
    """It fails after a while instead of waiting for ever."""
    monkeypatch.setattr("service.children._SEND_TIMEOUT", 1)
    child = Child("tests.nowhere:run", {})
    os.kill(child.pid, signal.SIGSTOP)
    with pytest.raises(OSError):
        child.channel.send(bytes(10_000_000))
    assert child.release()
