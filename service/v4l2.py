"""Asking the kernel's video nodes what they are, without OpenCV and without starting them.

Facts: Linux media userspace API, "VIDIOC_QUERYCAP", "VIDIOC_ENUM_FMT", and <linux/videodev2.h>.
"""

import fcntl
import os
import struct
from pathlib import Path
from typing import Any, Callable, Iterator, List, NamedTuple, Optional

_CAPABILITY = struct.Struct("=16s32s32s6I")  # driver, card, bus, version, capabilities, those of the node, reserved
_FORMAT = struct.Struct("=3I32s5I")  # index, type, flags, description, pixel format, media bus code, reserved
_SIZE = struct.Struct("=11I")  # index, pixel format, type, width, height or a range of them, reserved
_QUERYCAP, _ENUM_FMT, _ENUM_FRAMESIZES = 0, 2, 74
_CAPTURE, _CAPTURE_PLANES = 0x00000001, 0x00001000
_OUTPUT, _OUTPUT_PLANES = 0x00000002, 0x00002000
_M2M, _M2M_PLANES = 0x00008000, 0x00004000
_OF_THE_NODE = 0x80000000  # the capabilities of this node alone are given as well
_SINGLE_PLANE_TYPE, _PLANES_TYPE = 1, 9
_BIG_ENDIAN = 0x80000000  # of a pixel format
_DISCRETE = 1
_READ, _READ_WRITE = 2, 3
_MOST = 64  # formats, or sizes of one: a broken driver must not keep us
# They say they capture, but what they give is made of pictures that something else has to feed them.
_PROCESSORS = ("bcm2835-isp", "pispbe")

Ioctl = Callable[[int, int, bytes], Any]


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

    @property
    def has_planes(self) -> bool:
        """Whether its pictures come by the interface for several planes only."""
        return not self.capabilities & _CAPTURE


class CameraFacts(NamedTuple):
    """A node as its driver describes it. formats : like "YUYV 640x480, 1280x720", empty when it is no camera."""

    card: str
    driver: str
    captures: bool
    formats: List[str]


def video_nodes(devices: Path = Path("/dev")) -> List[Path]:
    """All /dev/videoN, by number."""
    nodes = (path for path in devices.glob("video[0-9]*") if path.name[5:].isdigit())
    return sorted(nodes, key=lambda path: int(path.name[5:]))


def query(path: Path, ioctl: Ioctl = fcntl.ioctl) -> Optional[Node]:
    """What a node says of itself; None for what is no video node, or can't be opened."""
    try:
        with _Opened(path, ioctl) as opened:
            return opened.node()
    except OSError:
        return None


def can_capture(path: Path) -> bool:
    """Whether a node takes pictures."""
    node = query(path)
    return node is not None and node.takes_pictures


def describe(path: Path, ioctl: Ioctl = fcntl.ioctl) -> CameraFacts:
    """Ask a node for all that it tells. Raises `OSError` when it can't be opened or is no V4L2 node."""
    with _Opened(path, ioctl) as opened:
        node = opened.node()
        formats = list(map(opened.described, opened.codes(node))) if node.takes_pictures else []
        return CameraFacts(node.card, node.driver, node.takes_pictures, formats)


def format_names(path: Path, ioctl: Ioctl = fcntl.ioctl) -> List[str]:
    """The pixel formats of a camera, as four characters; none where it doesn't tell."""
    try:
        with _Opened(path, ioctl) as opened:
            return [_name(code) for code in opened.codes(opened.node())]
    except OSError:
        return []


class _Opened:
    """A node that is asked. Raises `OSError` when it can't be opened."""

    def __init__(self, path: Path, ioctl: Ioctl):
        self._ioctl = ioctl
        self._descriptor = os.open(str(path), os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def __enter__(self) -> "_Opened":
        return self

    def __exit__(self, *_) -> None:
        os.close(self._descriptor)

    def node(self) -> Node:
        data = self._ask(_READ, _QUERYCAP, bytes(_CAPABILITY.size))
        driver, card, _, _, of_device, of_node = _CAPABILITY.unpack(data)[:6]
        return Node(_text(driver), _text(card), of_node if of_device & _OF_THE_NODE else of_device)

    def codes(self, node: Node) -> Iterator[int]:
        kind = _PLANES_TYPE if node.has_planes else _SINGLE_PLANE_TYPE
        for index in range(_MOST):
            try:
                data = self._ask(_READ_WRITE, _ENUM_FMT, _FORMAT.pack(index, kind, 0, b"", *[0] * 5))
            except OSError:  # EINVAL: that was the last one
                return
            yield _FORMAT.unpack(data)[4]

    def described(self, code: int) -> str:
        sizes = ", ".join(self._sizes(code))
        return _name(code) + (f" {sizes}" if sizes else "")

    def _sizes(self, code: int) -> Iterator[str]:
        for index in range(_MOST):
            try:
                data = self._ask(_READ_WRITE, _ENUM_FRAMESIZES, _SIZE.pack(index, code, *[0] * 9))
            except OSError:
                return
            kind, first, second, _, third, fourth = _SIZE.unpack(data)[2:8]
            if kind != _DISCRETE:  # least and most width with a step, then height
                yield f"{first}x{third} to {second}x{fourth}"
                return
            yield f"{first}x{second}"

    def _ask(self, direction: int, number: int, data: bytes) -> bytes:
        """An ioctl of the letter V (asm-generic/ioctl.h)."""
        return self._ioctl(self._descriptor, direction << 30 | len(data) << 16 | ord("V") << 8 | number, data)


def _name(code: int) -> str:
    name = struct.pack("<I", code & ~_BIG_ENDIAN).decode("ascii", "replace").strip()
    return name + "-BE" if code & _BIG_ENDIAN else name


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "replace")
