"""How a camera of the kernel is read."""

import errno
import os
import struct
from pathlib import Path
from typing import Any, Callable, List, Optional

from service.camera.options import CameraOptions
from service.camera.shot import Shot
from service.camera.sources.base import Source
from service.errors import CameraError
from service.v4l2 import Node, format_names, query

_UNCONVERTED = ("MJPG", "JPEG", "YUYV")
_USB = "uvcvideo"
_MOST_NAMED = 8  # formats, in an error


class V4l2Source(Source):
    """A camera of the kernel, /dev/videoN: on USB (UVC), or on a ribbon cable (CSI) whose driver gives YUYV.

    Not yet seen on a board: `pytest -m board`. open_capture : opens the device, `cv2.VideoCapture`
    """

    kind, live = "v4l2", True

    def __init__(
        self,
        options: CameraOptions,
        open_capture: Optional[Callable[[str], Any]] = None,
        ask: Callable[[Path], Optional[Node]] = query,
    ):
        self._device = options.source
        node = ask(Path(self._device))
        if node is None:
            _complain(self._device)
        elif not node.takes_pictures:
            raise CameraError(f"{self._device} ({node.driver}) is not a camera: it gives no pictures of its own")
        self._capture = (open_capture or _open)(self._device)
        if not self._capture.isOpened():
            raise CameraError(f"{self._device} can't be opened as a camera: in use, or of a kind OpenCV doesn't read")
        # A camera on a ribbon cable can do YUYV; what OpenCV would choose from what else it offers is not sure.
        wanted = options.format or ("YUYV" if node.driver != _USB else "")
        try:
            self._ask_for(options, wanted, node.has_planes)
        except CameraError:
            self.close()
            raise

    def read(self) -> Shot:
        good, frame = self._capture.read()
        # After an unplug OpenCV may go on to report success, with no picture or an old one.
        if not good or frame is None:
            raise CameraError(f"{self._device} delivers no more frames")
        try:
            return Shot.of_capture(frame)
        except CameraError as error:
            raise CameraError(f"{self._device}: {error}") from error

    def close(self) -> None:
        self._capture.release()

    def _ask_for(self, options: CameraOptions, wanted: str, has_planes: bool) -> None:
        """Format, size and rate: drivers take what is nearest and say so only when asked."""
        import cv2

        if wanted:
            self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter_fourcc(*wanted))
        self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, options.width)
        self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, options.height)
        if options.fps:
            self._capture.set(cv2.CAP_PROP_FPS, options.fps)
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        got = _fourcc(self._capture.get(cv2.CAP_PROP_FOURCC))
        if options.format and got != options.format:
            given = _listed(format_names(Path(self._device))) or got or "another"
            raise CameraError(f"{self._device} doesn't give the format {options.format}, it gives {given}")
        # Unconverted, OpenCV gives planes as one row of bytes, and its process aborts when they are freed.
        self._capture.set(cv2.CAP_PROP_CONVERT_RGB, 0 if got in _UNCONVERTED and not has_planes else 1)


def _open(device: str) -> Any:
    import cv2

    return cv2.VideoCapture(device, cv2.CAP_V4L2)


def _complain(device: str) -> None:
    """Raise `CameraError` with the reason why a node can't be asked."""
    try:
        os.close(os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
            raise CameraError(f"there is no {device}") from error
        if error.errno in (errno.EACCES, errno.EPERM):
            raise CameraError(f"{device} may not be opened: this user has to be in the group video") from error
        raise CameraError(f"{device} can't be opened: {error.strerror}") from error
    raise CameraError(f"{device} is not a V4L2 device")


def _fourcc(value: float) -> str:
    return struct.pack("<I", int(value) & 0xFFFFFFFF).decode("latin-1").strip("\0 ")


def _listed(names: List[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
