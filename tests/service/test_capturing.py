"""Captures of many frames that don't go as they should."""

import time
from typing import List, NamedTuple

import numpy as np
import pytest

from service import capturing
from service.camera import CameraState, Frame
from service.camera.supervisor import ONLINE
from service.capturing import Capturing
from service.errors import ExtractorBusy, ExtractorUnavailable, ServiceError

PIXELS = np.zeros((1, 1, 3), np.uint8)


class Live:
    """A camera with a new frame whenever it is asked."""

    def __init__(self):
        self.camera = CameraState(ONLINE, "", "camera")
        self._number = 0

    def picture(self, *_, **__) -> Frame:
        self._number += 1
        return Frame(self._number, time.time(), time.monotonic(), PIXELS, b"%d" % self._number)


class One(NamedTuple):
    """What was made of a frame."""

    data: bytes
    embedding: np.ndarray
    extractor: str = "e"


class Lessons:
    """Takes each picture but those it is told to fail at, by number. taught : what it was given in the end"""

    def __init__(self, failures):
        self._failures, self.taught = failures, None

    def prepare(self, data: bytes) -> One:
        number = int(data)
        if number in self._failures:
            raise self._failures[number]
        embedding = np.zeros(64)
        embedding[number] = 1.0
        return One(data, embedding)

    def teach(self, _name: str, kept: List[One], _origin, **_) -> None:
        self.taught = [int(one.data) for one in kept]


class Answering:
    """Compares embeddings as they are."""

    def must_be_of(self, digest: str) -> None:
        """It is."""

    def pipeline(self, embedding: np.ndarray) -> np.ndarray:
        return embedding[None]


@pytest.mark.parametrize(
    ("failures", "taught", "missed"),
    [
        ({3: ExtractorBusy("full")}, [1, 2, 4, 5, 6], None),  # passed over, and another one taken instead
        ({3: ExtractorUnavailable("it was lost")}, [1, 2], "it was lost"),
    ],
)
def test_what_was_taken_is_kept(failures, taught, missed):
    """A failure in the middle costs no frame that was taken before."""
    lessons = Lessons(failures)
    found = Capturing(Live(), lessons, Answering()).capture("ball", 5, 0.0)
    assert (lessons.taught, found.frames, found.near_duplicates, found.missed) == (taught, len(taught), 0, missed)


@pytest.mark.parametrize("error", [ExtractorBusy("full"), ExtractorUnavailable("it was lost")])
def test_nothing_was_taken(error):
    """Where it fails at the first frame it fails as a whole, so that it may be tried again."""
    lessons = Lessons({1: error})
    with pytest.raises(ServiceError, match=str(error)):
        Capturing(Live(), lessons, Answering()).capture("ball", 5, 0.0)
    assert lessons.taught is None


@pytest.mark.parametrize("busy", [False, True])
def test_it_ends_in_time(monkeypatch, busy):
    """Whatever the pace of the camera, and how long the extractor is busy."""
    monkeypatch.setattr(capturing, "LONGEST_CAPTURE", 0.3)
    failures = {number: ExtractorBusy("full") for number in range(2, 60)} if busy else {}
    lessons = Lessons(failures)
    found = Capturing(Live(), lessons, Answering()).capture("ball", 50, 0.05)
    assert "at most 0.3 s" in found.missed
    assert 1 <= found.frames == len(lessons.taught) < 10
