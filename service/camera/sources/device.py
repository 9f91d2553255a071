"""Cameras of the kernel: which of its video nodes take pictures, and how one is read.

Facts about nodes: Linux media userspace API, "VIDIOC_QUERYCAP" and <linux/videodev2.h>.
"""

import errno
import fcntl
import os
import struct
from pathlib import Path
from typing import Any, Callable, List, NamedTuple, Optional

from service.camera.options import CameraOptions
from service.camera.shot import Shot
from service.camera.sources.base import Source
from service.errors import CameraError

_QUERYCAP = 0x80685600  # _IOR('V', 0, struct v4l2_capability), which has 104 bytes
_CAPABILITY = struct.Struct("16s32s32sIII12x")
_CAPTURE, _CAPTURE_PLANES = 0x00000001, 0x00001000
_OUTPUT, _OUTPUT_PLANES = 0x00000002, 0x00002000
_M2M, _M2M_PLANES = 0x00008000, 0x00004000
_OF_THE_NODE = 0x80000000  # the capabilities of this node alone are given as well
# They say they capture, but what they give is made of pictures that something else has to feed them.
_PROCESSORS = ("bcm2835-isp", "pispbe")
_UNCONVERTED = ("MJPG", "JPEG", "YUYV")
_USB = "uvcvideo"


class Node(NamedTuple):
    """A video node: its driver, what it calls itself, and what it can do."""

    driver: str
    card: str
    capabilities: int

    @property
    def takes_pictures(self) -> bool:
        """Whether it is a camera, and neither metadata of one nor a codec."""
        if self.driver in _PROCESSORS or self.capabilities & (_M2M | _M2M_PLANES | _OUTPUT | _OUTPUT_PLANES):
            return False
        return bool(self.capabilities & (_CAPTURE | _CAPTURE_PLANES))


def video_nodes(devices: Path = Path("/dev")) -> List[Path]:
    """All /dev/videoN, by number."""
    nodes = (path for path in devices.glob("video[0-9]*") if path.name[5:].isdigit())
    return sorted(nodes, key=lambda path: int(path.name[5:]))


def query(path: Path, ioctl: Callable[..., Any] = fcntl.ioctl) -> Optional[Node]:
    """What a node says of itself; None for what is no video node, or can't be opened."""
    try:
        descriptor = os.open(str(path), os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        answer = bytearray(_CAPABILITY.size)
        ioctl(descriptor, _QUERYCAP, answer, True)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    driver, card, _, _, of_device, of_node = _CAPABILITY.unpack(bytes(answer))
    found = of_node if of_device & _OF_THE_NODE else of_device
    return Node(_text(driver), _text(card), found)


def can_capture(path: Path) -> bool:
    """Whether a node takes pictures."""
    node = query(path)
    return node is not None and node.takes_pictures


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
        self._ask_for(options, options.format or ("YUYV" if node is not None and node.driver != _USB else ""))

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

    def _ask_for(self, options: CameraOptions, wanted: str) -> None:
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
            raise CameraError(f"{self._device} doesn't give the format {options.format}, it gives {got or 'another'}")
        self._capture.set(cv2.CAP_PROP_CONVERT_RGB, 0 if got in _UNCONVERTED else 1)


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


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "replace")
