"""Keeps the camera's process alive and hands out its newest frame.

Used by one thread, the live loop. Drivers and FFmpeg hang, so the process is judged by what it
delivers: no frame for a while, and it is killed and started anew, with growing pauses.
"""

import logging
import threading
from typing import NamedTuple, Optional

import numpy as np

from service.addresses import masked
from service.children import Child
from service.errors import CameraError, ChildError

log = logging.getLogger(__name__)

NONE, STARTING, ONLINE, LOST = "none", "starting", "online", "lost"
PAUSES = (0.0, 1.0, 2.0, 5.0, 10.0)  # seconds before each new start
_OPEN_TIMEOUT, _FRAME_TIMEOUT = 20.0, 10.0  # seconds for the first frame, and for each further one
_TARGET = "service.camera.child:run"


class Frame(NamedTuple):
    """A frame.

    captured : seconds since 1970; pixels : as the extractor takes them; jpeg : the whole, if asked for; annotated : the
    whole with a caption, if asked for
    """

    number: int
    captured: float
    pixels: np.ndarray
    jpeg: Optional[bytes]
    annotated: Optional[bytes] = None


class CameraState(NamedTuple):
    """none, starting, online or lost; why; and the source, without passwords."""

    state: str
    reason: str
    source: Optional[str]


class Camera:
    """The camera of one source.

    source : a resolved name, None for no camera; fps : frames a second at most, 0 for the
    source's own pace
    """

    def __init__(self, source: Optional[str], fps: float):
        self._arguments = {"source": source, "fps": fps}
        self._patience = max(_FRAME_TIMEOUT, 2.0 / fps + 5.0) if fps else _FRAME_TIMEOUT
        self._child: Optional[Child] = None
        self._failures = 0
        self._last, self._before = 0, 0
        self._stopping = threading.Event()
        reason = "no camera is configured or connected" if source is None else "the camera is being opened"
        self.state = CameraState(NONE if source is None else STARTING, reason, source and masked(source))

    def next(self, width: int, height: int, with_jpeg: bool, caption: Optional[str] = None) -> Frame:
        """The next frame, its pixels made for an input of this size. Raises `CameraError` when it was lost."""
        if self._child is None:
            self._start(width, height)
        timeout = self._patience if self.state.state == ONLINE else _OPEN_TIMEOUT
        try:
            self._child.channel.send(("next", self._last, with_jpeg or caption is not None))
            message = self._receive(timeout)
        except (EOFError, OSError):
            self._child.wait(1.0)
            raise self._lose("its process " + self._child.describe_end()) from None
        if message[0] == "lost":
            raise self._lose(message[1])
        _, self._last, captured, pixels, jpeg = message
        self._failures = 0
        if self.state.state != ONLINE:
            log.info("camera online: %s", self.state.source)
            self.state = CameraState(ONLINE, "", self.state.source)
        # Numbers go on over a restart of the process, so that clients can count on them.
        return Frame(self._before + self._last, captured, pixels, jpeg, None if caption is None else jpeg)

    def stop(self) -> None:
        """Make `next` end soon, from another thread."""
        self._stopping.set()
        child = self._child
        if child is not None:
            child.kill()

    def close(self) -> None:
        """End the process. Called by the thread that calls `next`."""
        child, self._child = self._child, None
        if child is not None and not child.release():
            log.error("the camera's process %d can't be killed, a driver holds it; it is given up", child.pid)

    def _start(self, width: int, height: int) -> None:
        if self._stopping.wait(PAUSES[min(self._failures, len(PAUSES) - 1)]):
            raise CameraError("the daemon is stopping")
        self._before, self._last = self._before + self._last, 0
        try:
            self._child = Child(_TARGET, dict(self._arguments, width=width, height=height))
        except ChildError as error:
            raise self._lose(str(error)) from error

    def _receive(self, timeout: float):
        if not self._child.channel.poll(timeout):
            raise self._lose(f"no frame for {timeout:g} s")
        return self._child.channel.recv()

    def _lose(self, reason: str) -> CameraError:
        reason = masked(reason)
        if not self._stopping.is_set():
            log.warning("the camera %s was lost: %s", self.state.source, reason)
        self.state = CameraState(LOST, reason, self.state.source)
        self._failures += 1
        self.close()
        return CameraError(reason)
