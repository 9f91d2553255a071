"""Child processes: killed, let go, and never held up by what lies around."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from service.children import Child
from service.stderr import StderrReader

HERE = "service.extraction.child:run"


def test_nothing_is_imported_from_the_present_folder(tmp_path, monkeypatch):
    """A numpy.py in the folder the daemon was started in is not what its processes load."""
    (tmp_path / "numpy.py").write_text("open('imported', 'w').close()")
    monkeypatch.chdir(tmp_path)
    child = Child(HERE, {"model": str(tmp_path / "none"), "device": "cpu", "threads": 1}, shares_pixels=True)
    assert child.channel.recv()[:2] == ("failed", "ModelFileMissing")
    assert child.release()
    assert not (tmp_path / "imported").exists()


def test_end_in_words(tmp_path):
    """A child that was killed says by what."""
    child = Child(HERE, {"model": str(tmp_path / "none"), "device": "cpu", "threads": 1}, shares_pixels=True)
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
        child = Child(HERE, {"model": str(tmp_path / "none"), "device": "cpu", "threads": 1}, shares_pixels=True)
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


@pytest.fixture
def noisy():
    """noisy(memory=0, **work): a child that does this work; released at the end."""
    started = []

    def start(memory=0, **work):
        started.append(Child("tests.support.noisy_child:run", work, memory=memory))
        return started[-1]

    yield start
    for child in started:
        child.release()


def readers() -> list:
    """The threads that read standard errors."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("stderr of")]


def test_standard_error_goes_into_the_log(noisy, caplog):
    """Each line is a record under the name of the child's module, whoever wrote it; also one without an end."""
    with caplog.at_level("INFO"):
        child = noisy(say="a word", abort="the end")
        with pytest.raises(EOFError):
            child.channel.recv()
        assert child.wait(10)
    found = [(one.name, one.levelname, one.getMessage()) for one in caplog.records]
    name = "tests.support.noisy_child"
    assert found[:3] == [(name, "WARNING", text) for text in ("a word", "a word again", "the end")]
    assert child.last_words[:3] == ["a word", "a word again", "the end"]
    assert not readers()


def test_a_flood_stops_nobody(noisy, monkeypatch):
    """A child that writes megabytes while nobody reads is not held up; what has no room is lost."""
    may_read = threading.Event()
    monkeypatch.setattr(StderrReader, "_take", lambda *_: may_read.wait(60))
    child = noisy(flood=3_000_000)
    assert child.channel.poll(30), "the child waits for its standard error to be read"
    assert child.channel.recv() == "done"
    may_read.set()
    assert child.wait(10)


def test_reader_ends_with_its_child(noisy):
    """Even where a process of the child's lives on and holds its standard error."""
    child = noisy(leave=30)
    assert child.channel.recv() == "done"
    assert child.wait(10)
    assert not readers()


def test_memory_is_limited(noisy):
    """What is too much fails in the child; what is not, does not."""
    limit = 300 * 1024 * 1024
    child = noisy(memory=limit, take=limit // 2)
    assert child.channel.recv() == "done"
    child = noisy(memory=limit, take=2 * limit)
    with pytest.raises(EOFError):
        child.channel.recv()
    assert child.wait(10)
    assert child.exit_code == 1
    assert child.last_words[-1] == "MemoryError"


def test_imports_without_numpy():
    """The doctor starts processes to find out what is missing."""
    code = "import sys; sys.modules['numpy'] = None; import service.children"
    subprocess.run([sys.executable, "-c", code], check=True)
