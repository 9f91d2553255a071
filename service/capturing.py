"""Teaching what the camera sees now: frames of one capture share a group, and those nearly the same are dropped."""

import threading
import time
import uuid
from collections import OrderedDict
from typing import List, NamedTuple, Optional, Tuple

import numpy as np

from coral_learn.training import SAME_PICTURE
from service.camera.supervisor import ONLINE
from service.errors import CameraError, ExtractorBusy, Unavailable
from service.learning import Answering
from service.lessons import Lessons, Outcome, Prepared
from service.live import LiveLoop
from service.store.examples import Origin

CAMERA = "camera"  # the source of such examples
MOST_FRAMES, LONGEST_INTERVAL, LONGEST_CAPTURE = 100, 10.0, 60.0  # of one call; the last two in seconds
_NEXT_FRAME = 10.0  # seconds to wait for one
_GOING_ON = 0.25  # seconds, where a capture goes on: who holds a button may have let go by then
_BURSTS, _FRAMES = 32, 200  # captures that are remembered, and frames of each


class Captured(NamedTuple):
    """What a capture brought.

    group : what its frames share; frames : how many were taken; near_duplicates : how many of them were dropped;
    missed : why there are not as many as asked for, None when there are
    """

    outcome: Outcome
    group: str
    frames: int
    near_duplicates: int
    missed: Optional[str]


class Burst:
    """The frames of one capture so far: the number of the last, and where those kept are, (D,) float32 each."""

    def __init__(self) -> None:
        self.last = 0
        self.directions: List[np.ndarray] = []


class Capturing:
    """Takes frames from the live loop and teaches them."""

    def __init__(self, live: LiveLoop, lessons: Lessons, answering: Answering):
        self._live, self._lessons, self._answering = live, lessons, answering
        self._lock = threading.Lock()
        self._bursts: OrderedDict[Tuple[str, str], Burst] = OrderedDict()

    def capture(
        self, name: str, count: int, interval: float, group: Optional[str] = None, create: bool = True
    ) -> Captured:
        """Teach a class `count` frames, `interval` seconds apart, each a new one.

        group : of an earlier capture that goes on; where there is no new frame yet it ends without one
        create : whether a missing class is made
        Raises `CameraError` where the camera is not there, and as `Lessons` does.
        """
        group = group or uuid.uuid4().hex
        burst, kept = self._burst(name, group), []
        frames, missed = 0, None
        due = time.monotonic()
        ends = due + LONGEST_CAPTURE
        while frames < count and missed is None:
            time.sleep(max(0.0, due - time.monotonic()))
            due += interval
            going_on = burst.last and not frames
            try:
                frame = self._live.picture(burst.last, _patience(going_on, ends), just_taken=True)
                burst.last = frame.number
                prepared = self._lessons.prepare(frame.jpeg)
                if self._is_new(burst, prepared):
                    kept.append(prepared)
                frames += 1
            except CameraError as error:
                if not frames and not (going_on and self._live.camera.state == ONLINE):
                    raise
                missed = str(error)
            except Unavailable as error:
                if not frames:
                    raise
                if not isinstance(error, ExtractorBusy):  # that may take the next frame
                    missed = str(error)
            if missed is None and frames < count and time.monotonic() >= ends:
                missed = f"a capture takes at most {LONGEST_CAPTURE:g} s"
        outcome = self._lessons.teach(name, kept, Origin(CAMERA, group), create=create)
        return Captured(outcome, group, frames, frames - len(kept), missed)

    def _burst(self, name: str, group: str) -> Burst:
        with self._lock:
            burst = self._bursts.setdefault((name, group), Burst())
            self._bursts.move_to_end((name, group))
            while len(self._bursts) > _BURSTS:
                self._bursts.popitem(last=False)
            return burst

    def _is_new(self, burst: Burst, prepared: Prepared) -> bool:
        """Whether a frame differs from those of its capture so far; if so it is one of them from now on."""
        self._answering.must_be_of(prepared.extractor)
        direction = self._answering.pipeline(prepared.embedding)[0].astype(np.float32)
        with self._lock:
            known = burst.directions
            if any(len(one) == len(direction) and one @ direction >= SAME_PICTURE for one in known):
                return False
            known.append(direction)
            del known[:-_FRAMES]
            return True


def _patience(going_on: bool, ends: float) -> float:
    """Seconds to wait for a frame of a capture that is over at a time of `time.monotonic`."""
    return _GOING_ON if going_on else max(0.0, min(_NEXT_FRAME, ends - time.monotonic()))
