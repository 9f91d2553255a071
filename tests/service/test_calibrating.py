"""The thread that measures the live model."""

import threading

import pytest

from service import calibrating
from service.calibrating import Calibrating


class StoppedAtTheWorstMoment(threading.Event):
    """Cleared just after the one who stops has set it."""

    def __init__(self, stop):
        super().__init__()
        self._stop = stop

    def clear(self):
        self._stop()
        super().clear()


class Answering:
    """Knows of a change."""

    def __init__(self, stop):
        self.changed = StoppedAtTheWorstMoment(stop)
        self.changed.set()


class Versions:
    """Saves nothing."""

    def save_live(self, always=False):
        """Nothing."""


@pytest.mark.parametrize("patience", [0.0, 0.01])
def test_stopped_between_a_change_and_its_measuring(monkeypatch, patience):
    """The thread ends, whenever it is told to."""
    monkeypatch.setattr(calibrating, "_QUIET", patience)
    measured = threading.Event()

    def stop():
        one._stopping.set()
        answering.changed.set()

    answering = Answering(stop)
    one = Calibrating(None, answering, Versions(), 0.05, 0.005)
    monkeypatch.setattr(one, "measure", measured.set)
    one.start()
    assert measured.wait(10.0)
    one._thread.join(10.0)
    assert not one._thread.is_alive()
