"""The camera's process: one thread reads the source all the time, the other hands out the newest frame.

On the channel: ("next", after, width, height, with_jpeg, caption) gets ("frame", facts of a frame), with the
place and shape of its shared pixels, or ("lost", reason, frozen), after which the process ends; ("annotate", caption)
gets ("annotated", JPEG or None) of the frame handed out last. `frozen` is the digest of the picture the camera
stopped at, if it did: the next process passes over it.

Whoever asks quickly, again and again, waits for no decoding: the next frame is made while he does something else.
"""

import hashlib
import os
import threading
import time
from typing import Any, Dict, Optional

from service.camera.making import FrameMaker, Made
from service.camera.newest import NewestShot, Taken
from service.camera.options import CameraOptions, Patience
from service.camera.shot import Shot
from service.camera.sources import AUTO, WAITING, Source, open_source, resolve_camera
from service.camera.view import View
from service.errors import CameraError
from service.memory import keep_memory
from service.shared_pixels import SharedPixels

_SLOW = 0.25  # seconds between frames
_QUICK = 0.05  # seconds between an answer and the next question
_TOO_OLD = 0.1  # seconds, for what was made ahead
_PLACE = 0  # of the shared pixels


def run(channel, arguments: Dict[str, Any], pixels: SharedPixels) -> None:
    """Serve frames until the channel closes. arguments : options, patience, frozen."""
    options, patience = CameraOptions(*arguments["options"]), Patience(*arguments["patience"])
    _quieten(patience)
    keep_memory()
    newest = NewestShot(max(patience.frame, 3.0 / options.fps if options.fps else 0.0))
    reader = Reader(options, patience, newest, arguments["frozen"])
    threading.Thread(target=reader.run, daemon=True).start()
    desk = Desk(reader, newest, FrameMaker(View(options.rotate, options.mirror, options.region)), patience.frame / 2)
    while True:
        waiting = channel.poll(0)
        question = channel.recv()
        try:
            channel.send(desk.answer(question, waiting, pixels))
        except CameraError as error:
            channel.send(("lost", str(error), reader.frozen))
            return
        desk.make_ahead()


def _quieten(patience: Patience) -> None:
    """OpenCV and FFmpeg print addresses with their passwords; what is wrong is said by us."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(max(1, round(patience.frame / 2))))


class Reader:
    """Reads all that a source gives, so that no queue grows, and keeps the newest.

    kind : of the source, once it is open; broken : pictures that were damaged
    frozen : the digest of the picture a camera stopped at; one it gave before is passed over
    """

    def __init__(self, options: CameraOptions, patience: Patience, newest: NewestShot, frozen: Optional[bytes]):
        self._options, self._patience, self._newest = options, patience, newest
        self._interval = 1.0 / options.fps if options.fps else 0.0
        self._source: Optional[Source] = None
        self.frozen = frozen

    @property
    def name(self) -> Optional[str]:
        """What is read: the device that `auto` means, once it is found."""
        return self._options.source

    @property
    def kind(self) -> Optional[str]:
        return self._options.kind or (self._source.kind if self._source is not None else None)

    @property
    def broken(self) -> int:
        return self._source.broken if self._source is not None else 0

    def run(self) -> None:
        """Read until that fails."""
        try:
            self._options = _found(self._options)
            self._source = open_source(self._options, self._patience)
            self._read_all(self._source)
        except CameraError as error:
            self._newest.lose(str(error))
        except Exception as error:  # whatever a driver throws: say so instead of falling silent
            self._newest.lose(f"reading the camera failed: {type(error).__name__}: {error}")

    def _read_all(self, source: Source) -> None:
        before, changed = None, time.monotonic()
        due = changed
        while True:
            shot, now = source.read(), time.monotonic()
            if source.live and self._options.frozen_s:
                if self._is_new(shot, before):
                    before, changed, self.frozen = shot, now, None
                elif now - changed > self._options.frozen_s:
                    self.frozen = self.frozen or _digest(shot)
                    raise CameraError(f"its picture is frozen: not a bit changed for {self._options.frozen_s:g} s")
                if self.frozen is not None:
                    continue
            if now >= due - 0.5 * self._interval:
                self._newest.put(shot)
                due = max(due + self._interval, now)

    def _is_new(self, shot: Shot, before: Optional[Shot]) -> bool:
        if self.frozen is not None:
            return _digest(shot) != self.frozen
        return not shot.same_as(before)


def _found(options: CameraOptions) -> CameraOptions:
    """Options with the device that `auto` means. Raises `CameraError` when there is none."""
    if options.source != AUTO:
        return options
    source = resolve_camera(AUTO)
    if source is None:
        raise CameraError(WAITING)
    return options._replace(source=source)


class Desk:
    """Answers questions for frames. patience : seconds for which damaged pictures are passed over"""

    def __init__(self, reader: Reader, newest: NewestShot, maker: FrameMaker, patience: float):
        self._reader, self._newest, self._maker, self._patience = reader, newest, maker, patience
        self._last: Optional[Made] = None
        self._ahead: Optional[Made] = None
        self._ahead_of: Optional[Taken] = None
        self._number, self._answered, self._idle = 0, time.monotonic(), 1.0
        self._broken = 0

    def answer(self, question: tuple, waited: bool, pixels: SharedPixels) -> tuple:
        """One question. waited : whether it was there already. Raises `CameraError` when no frame will come."""
        self._idle = 0.0 if waited else time.monotonic() - self._answered
        if question[0] == "annotate":
            return "annotated", self._last and self._maker.annotated(self._last, question[1])
        _, after, width, height, with_jpeg, caption = question
        taken, made = self._take(after, width, height, with_jpeg, caption)
        # From a slow source the next picture may be long in coming: this one may be asked for yet.
        plain = with_jpeg or time.monotonic() - self._answered > _SLOW
        facts = {
            "number": taken.number,
            "captured": taken.captured,
            "came": taken.came,
            "pixels": (_PLACE, pixels.put(_PLACE, made.pixels)),
            "jpeg": self._maker.plain(made) if plain else None,
            "annotated": None if caption is None else self._maker.annotated(made, caption),
            "width": made.size[0],
            "height": made.size[1],
            "source": self._reader.name,
            "kind": self._reader.kind,
            "rate": self._newest.rate,
            "broken": self._broken + self._reader.broken,
        }
        self._last, self._number, self._answered = made, taken.number, time.monotonic()
        return "frame", facts

    def make_ahead(self) -> None:
        """Make the next frame before it is asked for, if it was asked for quickly the last time."""
        if self._last is None or self._idle > _QUICK:
            return
        try:
            self._ahead_of = self._newest.take(self._number)
            self._ahead = self._maker.make(self._ahead_of.shot, *self._last.wanted, whole=False)
        except CameraError:
            self._ahead_of = self._ahead = None  # found again, and told, at the next question

    def _take(self, after: int, width: int, height: int, plain: bool, text: Optional[str]):
        """The newest shot after a number that can be decoded, and what was made of it."""
        taken, made, self._ahead_of, self._ahead = self._ahead_of, self._ahead, None, None
        if made is not None and made.wanted == (width, height) and self._is_fresh(taken, after):
            return taken, made
        ends = time.monotonic() + self._patience
        while True:
            taken = self._newest.take(after)
            try:
                return taken, self._maker.make(
                    taken.shot, width, height, self._maker.needs_all(taken.shot, plain, text)
                )
            except CameraError as error:
                self._broken, after = self._broken + 1, taken.number
                if time.monotonic() > ends:
                    raise CameraError(f"its pictures can't be decoded; of the last one: {error}") from error

    @staticmethod
    def _is_fresh(taken: Taken, after: int) -> bool:
        return taken.number > after and time.monotonic() - taken.came <= _TOO_OLD


def _digest(shot: Shot) -> bytes:
    data = shot.data if shot.data is not None else shot.raw.tobytes()
    return hashlib.sha256(data).digest()
