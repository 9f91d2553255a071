"""The thread that measures the live model."""

import threading

import numpy as np
import pytest

from coral_learn.extractor import ExtractorInfo
from service import calibrating
from service.calibrating import Calibrating
from service.learning import Answering as RealAnswering
from service.learning import Teaching
from service.learning import Versions as RealVersions
from service.store import Store
from service.store.examples import NewPicture, Origin

INFO = ExtractorInfo("tiny", "e" * 64, "cpu", "", False, "none", 64, 32, 32)


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


def test_what_comes_while_the_sample_is_chosen_is_measured_next(tmp_path, tiny_model, monkeypatch):
    """A report that lacks it is of the revision before, so it is made again."""
    store, answering = Store(tmp_path / "data"), RealAnswering("imprinting")
    versions = RealVersions(store, answering, "imprinting", False)
    teaching = Teaching(store, answering, versions)
    versions.adopt(INFO, tiny_model)

    def teach(name, *numbers):
        vectors = [np.random.RandomState(number).uniform(0, 2, 64).astype(np.float32) for number in numbers]
        new = [NewPicture(f"{n:064x}", "PNG", 64, 48, 1, vector) for n, vector in zip(numbers, vectors)]
        teaching.add_examples(name, new, [b"x"] * len(new), Origin("upload"))

    outline = store.examples.outline

    def outline_then_teach(extractor):
        found = outline(extractor)
        if not store.classes.find("late"):
            teach("late", 7, 8)
        return found

    teach("a", 1, 2)
    teach("b", 3, 4)
    monkeypatch.setattr(store.examples, "outline", outline_then_teach)
    one = Calibrating(store, answering, versions, 0.05, 1.0)
    one.measure()
    assert answering.live_report["left_out"]["examples"] == 4
    assert answering.live_report["revision"] < answering.revision
    assert answering.changed.is_set()
    one.measure()
    assert answering.live_report["left_out"]["examples"] == 6
    assert answering.live_report["revision"] == answering.revision
    store.close()
