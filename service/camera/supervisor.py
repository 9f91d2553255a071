"""Keeps the camera's process alive and hands out its newest frame.

Used by one thread, the live loop. Drivers and FFmpeg hang, so the process is judged by what it
delivers: no frame for a while, or the same picture all the time, and it is killed and started anew,
with growing pauses and without end.
"""

import logging
import os
import socket
import struct
import threading
import time
from typing import Any, Callable, Dict, NamedTuple, Optional

import numpy as np

from service.addresses import masked
from service.camera.options import CameraOptions, Patience
from service.camera.sources import AUTO, WAITING, resolve_camera
from service.children import Child
from service.errors import CameraError, ChildError

log = logging.getLogger(__name__)

NONE, STARTING, ONLINE, LOST = "none", "starting", "online", "lost"
_STEP = 0.1  # seconds after which a stop or a change is noticed
_MESSAGE = 5  # seconds a message may take once it has begun
_GOING = 2.0  # seconds for the process to be gone once it was killed
_TARGET = "service.camera.child:run"


class Frame(NamedTuple):
    """A frame.

    captured : seconds since 1970; came : the same moment of the monotonic clock, which nobody sets
    pixels : as the extractor takes them; jpeg : the whole picture, annotated : the same with the caption, each if
    asked for; width, height : of the whole picture, turned and cut as the options say
    """

    number: int
    captured: float
    came: float
    pixels: np.ndarray
    jpeg: Optional[bytes]
    annotated: Optional[bytes] = None
    width: int = 0
    height: int = 0


class CameraState(NamedTuple):
    """How the camera is.

    state : none, starting, online or lost; reason : why, "" when online; source : without passwords
    since : when this state began, in seconds since 1970; kind : v4l2, rtsp, http, video, folder or drawn, once known
    restarts : processes started after the first; width, height : of the newest picture; fps : of the source, as
    seen; broken : pictures that were damaged. The last two are brought up to date every few seconds.
    """

    state: str
    reason: str
    source: Optional[str]
    since: float = 0.0
    kind: Optional[str] = None
    restarts: int = 0
    width: Optional[int] = None
    height: Optional[int] = None
    fps: Optional[float] = None
    broken: int = 0


class Camera:
    """The camera of one source. `state` may be read, `stop` and `change` called from any thread.

    find : the device that `auto` means now, None while there is none
    """

    def __init__(
        self,
        options: CameraOptions,
        patience: Patience = Patience(),
        find: Callable[[str], Optional[str]] = resolve_camera,
    ):
        self._options, self._patience, self._find = options, patience, find
        self._child: Optional[Child] = None
        self._changing = threading.Lock()
        self._changed: Optional[CameraOptions] = None
        self._stopping, self._wake = threading.Event(), threading.Event()
        self._failures, self._starts = 0, 0
        self._last, self._before = 0, 0
        self._broken_before, self._broken = 0, 0
        self._frozen: Optional[bytes] = None
        self._asked: Optional[tuple] = None
        self._told = 0.0
        self.state = self._first_state()

    @property
    def options(self) -> CameraOptions:
        """What it was told last."""
        with self._changing:
            return self._changed or self._options

    @property
    def pid(self) -> Optional[int]:
        """Its process now, None when there is none."""
        child = self._child
        return None if child is None else child.pid

    def next(self, width: int, height: int, with_jpeg: bool, caption: Optional[str] = None) -> Frame:
        """The next frame, its pixels made for an input of this size.

        with_jpeg : the whole picture is wanted as well; caption : wanted is also one with this text in it.
        Raises `CameraError` when the camera was lost, there is none, or it was stopped.
        """
        self._take_change()
        if self._options.source is None:
            self._wake.wait(1.0)
            raise CameraError(self.state.reason)
        if self._child is None:
            self._start()
        facts = self._ask(("next", self._last, width, height, with_jpeg, caption))
        age = time.monotonic() - facts["came"]
        if age > self._longest_wait(ONLINE):
            raise self._lose(f"its newest frame is {age:.0f} s old")
        self._last, self._failures, self._frozen = facts["number"], 0, None
        self._tell(facts)
        # Numbers go on over a restart of the process, so that clients can count on them.
        number = self._before + self._last
        pixels = self._child.pixels.at(*facts["pixels"]).copy()
        made = (facts[name] for name in ("jpeg", "annotated", "width", "height"))
        return Frame(number, facts["captured"], facts["came"], pixels, *made)

    def annotated(self, caption: str) -> Optional[bytes]:
        """The frame that `next` gave last, whole, with a text in it, as JPEG; None when its process is gone.

        Called by the thread that calls `next`. Raises `CameraError` when the camera was lost.
        """
        if self._child is None or not self._last:
            return None
        return self._ask(("annotate", caption))

    def change(self, options: CameraOptions) -> None:
        """Have the source opened anew with other options, at once. Safe from any thread."""
        with self._changing:
            self._changed = options
            self._wake.set()
            self._kill()

    def stop(self) -> None:
        """Make `next` end soon, from another thread."""
        with self._changing:
            self._stopping.set()
            self._wake.set()
            self._kill()

    def close(self) -> None:
        """End the process. Called by the thread that calls `next`."""
        with self._changing:
            child, self._child = self._child, None
        if child is not None and not child.release(_GOING):
            log.error("the camera's process %d can't be killed, a driver holds it; it is given up", child.pid)

    def _kill(self) -> None:
        if self._child is not None:
            self._child.kill()

    def _take_change(self) -> None:
        """Go over to other options, if there are any."""
        with self._changing:
            options, self._changed = self._changed, None
            if options is None:
                return
            if not self._stopping.is_set():
                self._wake.clear()
        self.close()
        self._options, self._failures, self._frozen = options, 0, None
        self.state = self._first_state()

    def _first_state(self) -> CameraState:
        source = self._options.source
        reason = "no camera is configured" if source is None else WAITING
        source = self._find(AUTO) if source == AUTO else source
        restarts = max(0, self._starts - 1)
        state = CameraState(NONE, reason, None, time.time(), restarts=restarts)
        return state if source is None else _starting(state, source)

    def _source(self) -> str:
        """What the process is to open. Raises `CameraError` while `auto` finds nothing.

        After a loss `auto` goes to the process itself: the camera may come back as another device, and asking may hang.
        """
        if self._options.source != AUTO or self.state.state == LOST:
            return self._options.source
        if self.state.state == NONE:
            found = self._find(AUTO)
            if found is None:
                self._wake.wait(self._patience.search)
                raise CameraError(self.state.reason)
            log.info("a camera was connected: %s", found)
            self.state = _starting(self.state, found)
        return self.state.source

    def _start(self) -> None:
        pauses = self._patience.pauses
        self._wake.wait(pauses[min(self._failures, len(pauses) - 1)])
        self._check_wanted()
        options = self._options._replace(source=self._source())
        self._before, self._last = self._before + self._last, 0
        self._broken_before, self._broken = self._broken_before + self._broken, 0
        arguments = {"options": tuple(options), "patience": tuple(self._patience), "frozen": self._frozen}
        try:
            child = Child(_TARGET, arguments, shares_pixels=True)
        except ChildError as error:
            raise self._lose(str(error)) from error
        _bound_receiving(child)
        with self._changing:
            self._child = child
        self._starts += 1
        self.state = self.state._replace(restarts=self._starts - 1)

    def _check_wanted(self) -> None:
        """Raise `CameraError` when this camera is to stop or to change."""
        if self._stopping.is_set():
            raise CameraError("the daemon is stopping")
        if self._changed is not None:
            raise CameraError("the camera is being changed")

    def _ask(self, question: tuple) -> Any:
        """One exchange with the process. Raises `CameraError`."""
        timeout = self._longest_wait(self.state.state)
        try:
            self._child.channel.send(question)
            message = self._receive(timeout)
        except (EOFError, OSError):
            self._check_wanted()
            ended = self._child.wait(1.0)
            reason = "its process " + self._child.describe_end() if ended else "its process answers no more"
            raise self._lose(reason) from None
        if message[0] == "lost":
            self._frozen = message[2]
            raise self._lose(message[1])
        return message[1]

    def _longest_wait(self, state: str) -> float:
        """Seconds for a frame: slow sources get the time they need."""
        if state != ONLINE:
            return self._patience.first
        return max(self._patience.frame, 2.0 / self._options.fps + 5.0 if self._options.fps else 0.0)

    def _receive(self, timeout: float) -> tuple:
        ends = time.monotonic() + timeout
        while not self._child.has_news(min(_STEP, timeout)):
            self._check_wanted()
            if time.monotonic() > ends:
                raise self._lose(f"no frame for {timeout:g} s")
        return self._child.channel.recv()

    def _tell(self, facts: Dict[str, Any]) -> None:
        """Bring the state up to date; its figures now and then only, because whoever watches is told of each change."""
        state, now = self.state, time.monotonic()
        size = facts["width"], facts["height"]
        self._broken = facts["broken"]
        if state.state != ONLINE:
            source = masked(facts["source"])
            log.info("camera online: %s", source)
            state = state._replace(state=ONLINE, reason="", source=source, since=time.time(), fps=None)
            self._told = now
        elif now - self._told > self._patience.figures:
            self._told = now
            rate = facts["rate"]
            state = state._replace(fps=rate and float(f"{rate:.2g}"), broken=self._broken_before + self._broken)
        if state is not self.state or (state.width, state.height) != size:
            self.state = state._replace(kind=facts["kind"], width=size[0], height=size[1])

    def _lose(self, reason: str) -> CameraError:
        reason = masked(reason)
        self.close()
        if self._stopping.is_set() or self._changed is not None:
            return CameraError(reason)
        log.warning("the camera %s was lost: %s", self.state.source, reason)
        since = self.state.since if self.state.state == LOST else time.time()
        broken = self._broken_before + self._broken
        self.state = self.state._replace(state=LOST, reason=reason, since=since, fps=None, broken=broken)
        self._failures += 1
        return CameraError(reason)


def _starting(state: CameraState, source: str) -> CameraState:
    reason = "the camera is being opened"
    return state._replace(state=STARTING, reason=reason, source=masked(source), since=time.time())


def _bound_receiving(child: Child) -> None:
    """A process that is stopped in the middle of a message must not hold up who reads it."""
    with socket.socket(fileno=os.dup(child.channel.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", _MESSAGE, 0))
