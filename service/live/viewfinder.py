"""The newest picture of the camera, as JPEG, for whoever looks; made only while somebody does."""

import threading
import time
from typing import Callable, NamedTuple, Optional

from service.camera import CameraState, Frame
from service.camera.supervisor import LOST, NONE, ONLINE
from service.errors import CameraError

_INTEREST = 5.0  # seconds a picture is made for after somebody asked for one
_MOST = 40.0  # pictures a second; more than the 30 of most cameras, whose frames come a little early or late
_JUST_TAKEN = 1.0  # seconds
_TOO_OLD = 10.0  # seconds, for the newest frame
_SLOW = 3.0  # times the camera's own pause between two frames, for one that is slower still


class View(NamedTuple):
    """Which pictures of the next frame somebody wants."""

    plain: bool
    annotated: bool


class Viewfinder:
    """Holds the newest frame that has a picture. state : asks for the camera's state"""

    def __init__(self, state: Callable[[], CameraState]):
        self._state = state
        self._changed = threading.Condition()
        self._frame = {False: None, True: None}  # by whether it is annotated
        self._until = {False: 0.0, True: 0.0}
        self._due = 0.0
        self._newest = 0
        self._closed = False

    def wants(self, now: float) -> View:
        """What to make of the next frame. now : of `time.monotonic`"""
        if now < self._due:
            return View(False, False)
        first = self._frame[False] is None  # the next one of a slow camera may be long in coming
        return View(first or now < self._until[False], now < self._until[True])

    def put(self, frame: Frame, now: float) -> None:
        """Take the newest frame, with the pictures it has."""
        with self._changed:
            self._newest = frame.number
            if frame.jpeg is not None:
                self._frame[False] = frame
            if frame.annotated is not None:
                self._frame[True] = frame
            if frame.jpeg is not None or frame.annotated is not None:
                self._due = now + 1.0 / _MOST
                self._changed.notify_all()

    def forget(self) -> None:
        """The camera was lost: what was seen before is handed out no more, and who waits looks at its state again."""
        with self._changed:
            self._frame = {False: None, True: None}
            self._changed.notify_all()

    def close(self) -> None:
        """No picture will come any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def frame(self, timeout: float, after: int = 0, annotated: bool = False, just_taken: bool = False) -> Frame:
        """The newest frame with its picture: `jpeg`, or `annotated`.

        after : only one with a higher number; just_taken : only one as new as the camera can give
        Raises `CameraError` when the camera is not there, or gives none for `timeout` seconds.
        """
        asked = time.monotonic()

        def fresh() -> bool:
            self._until[annotated] = time.monotonic() + _INTEREST
            return self._fresh(self._frame[annotated], asked, after, just_taken)

        with self._changed:
            self._changed.wait_for(lambda: fresh() or self._gone(), timeout)
            if not fresh():
                raise CameraError(self._state().reason or f"the camera gave no new picture for {timeout:g} s")
            return self._frame[annotated]

    def _fresh(self, frame: Optional[Frame], asked: float, after: int, just_taken: bool) -> bool:
        """Whether this is one just taken, of a camera that is there, or, where that will do, the newest."""
        state = self._state()
        if frame is None or frame.number <= after or state.state != ONLINE:
            return False
        pause = 1.0 / state.fps if state.fps else 0.0
        if frame.came > asked - max(_JUST_TAKEN, pause):
            return True
        young = frame.came > time.monotonic() - max(_TOO_OLD, _SLOW * pause)
        return young and frame.number == self._newest and not just_taken

    def _gone(self) -> bool:
        return self._closed or self._state().state in (NONE, LOST)
