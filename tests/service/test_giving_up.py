"""An extractor's process that can't be killed, because a driver holds it, is given up."""

import os
import signal
import threading
import time

import numpy as np
import pytest

from service.children import Child
from service.extraction import ExtractorSupervisor
from service.extraction.supervisor import READY

PIXELS = np.zeros((32, 32, 3), np.uint8)


@pytest.fixture
def extraction(tiny_model):
    """A supervisor whose process has loaded the model; one that does not answer for a second is let go."""
    supervisor = ExtractorSupervisor(str(tiny_model), "cpu", 1, 1.0)
    supervisor.start()
    wait_for(lambda: supervisor.health.state == READY)
    yield supervisor
    supervisor.stop()


@pytest.fixture
def held(extraction, monkeypatch):
    """The process of that supervisor, which does nothing any more, and doesn't end when it is killed."""
    child = extraction._child
    kill = child._process.kill
    monkeypatch.setattr(child._process, "kill", lambda: None)
    monkeypatch.setattr(Child.release, "__defaults__", (0.5,))  # seconds instead of five
    os.kill(child.pid, signal.SIGSTOP)
    yield child
    kill()
    assert child.wait(10)


def wait_for(condition):
    """Wait until a condition holds."""
    ends = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_given_up_and_replaced(extraction, held, caplog):
    """It is left alone and said so in the log; whoever waited for it, and all after that, is answered by the next."""
    before = extraction.info
    assert len(extraction.embed(PIXELS, patience=60).embedding) == before.embedding_size
    assert extraction.pid not in (None, held.pid)
    assert held.exit_code is None, "it is there still"
    assert f"process {held.pid} can't be killed, a driver holds it; it is given up" in caplog.text
    assert (extraction.health.state, extraction.losses, extraction.health.starts) == (READY, 1, 2)
    assert extraction.embed(PIXELS).extractor == before.digest


def test_nobody_else_waits_for_it(extraction, held, tiny_model):
    """While one supervisor waits in vain for an end, another one's process answers."""
    lost = threading.Thread(target=extraction.embed, args=(PIXELS, 60))
    other = ExtractorSupervisor(str(tiny_model), "cpu", 1, 10.0)
    other.start()
    try:
        wait_for(lambda: other.health.state == READY)
        lost.start()
        while lost.is_alive():
            assert other.embed(PIXELS).embedding is not None
    finally:
        other.stop()
        lost.join(60)
    assert held.exit_code is None
