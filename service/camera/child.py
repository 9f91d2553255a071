"""The camera's process: one thread reads the source all the time, the other hands out the newest frame.

On the channel: each ("next", after, with_jpeg) gets one ("frame", number, captured, pixels, jpeg),
or ("lost", reason) and the process ends. `pixels` are as the extractor takes them; the JPEG of the
whole frame is made when asked for, and of frames that are few.
"""

import threading
import time
from typing import Any, Dict, Optional

import numpy as np

from coral_learn import image
from service.camera.sources import Source, open_source
from service.errors import CameraError

_JPEG_QUALITY = 90
_SLOW = 0.25  # seconds between frames


class NewestFrame:
    """One place for the newest frame, with its number and time, for a writer and a reader."""

    def __init__(self):
        self._changed = threading.Condition()
        self._number, self._captured = 0, 0.0
        self._frame: Optional[np.ndarray] = None
        self._lost: Optional[str] = None

    def put(self, frame: np.ndarray) -> None:
        """Replace the frame."""
        with self._changed:
            self._number, self._captured, self._frame = self._number + 1, time.time(), frame
            self._changed.notify_all()

    def lose(self, reason: str) -> None:
        """No frame will come any more."""
        with self._changed:
            self._lost = reason
            self._changed.notify_all()

    def take(self, after: int):
        """Wait for a frame with a higher number: (number, captured, frame). Raises `CameraError`."""
        with self._changed:
            self._changed.wait_for(lambda: self._number > after or self._lost is not None)
            if self._number <= after:
                raise CameraError(self._lost)
            return self._number, self._captured, self._frame


def run(channel, arguments: Dict[str, Any]) -> None:
    """Serve frames until the channel closes. arguments : source, fps, width, height."""
    newest = NewestFrame()
    reader = threading.Thread(target=_read_all, args=(arguments, newest), daemon=True)
    reader.start()
    sent = time.monotonic()
    while True:
        _, after, with_jpeg = channel.recv()
        try:
            number, captured, frame = newest.take(after)
        except CameraError as error:
            channel.send(("lost", str(error)))
            return
        pixels = image.fit(frame, arguments["width"], arguments["height"])
        # From a slow source the next picture may be long in coming: this one may be asked for yet.
        now, before = time.monotonic(), sent
        with_jpeg, sent = with_jpeg or now - before > _SLOW, now
        channel.send(("frame", number, captured, pixels, _encode(frame) if with_jpeg else None))


def _read_all(arguments: Dict[str, Any], newest: NewestFrame) -> None:
    try:
        source = open_source(arguments["source"], arguments["fps"])
        _keep_newest(source, newest, 1.0 / arguments["fps"] if arguments["fps"] else 0.0)
    except CameraError as error:
        newest.lose(str(error))
    except Exception as error:  # whatever a driver throws: say so instead of falling silent
        newest.lose(f"reading the camera failed: {error}")


def _keep_newest(source: Source, newest: NewestFrame, interval: float) -> None:
    """Read all frames, so that the driver's queue stays empty, and pass on one each `interval` seconds."""
    due = time.monotonic()
    while True:
        frame, now = source.read(), time.monotonic()
        if now >= due - 0.5 * interval:
            newest.put(frame)
            due = max(due + interval, now)


def _encode(frame: np.ndarray) -> bytes:
    import cv2

    good, data = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not good:
        raise CameraError("a frame can't be encoded as JPEG")
    return data.tobytes()
