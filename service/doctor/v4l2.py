"""Asking a V4L2 node what it is (linux/videodev2.h), without OpenCV and without starting it."""

import fcntl
import os
import struct
from typing import Iterator, List, NamedTuple

_CAPABILITY = struct.Struct("=16s32s32s6I")  # driver, card, bus, version, capabilities, those of the node, reserved
_FORMAT = struct.Struct("=3I32s5I")  # index, type, flags, description, pixel format, media bus code, reserved
_SIZE = struct.Struct("=11I")  # index, pixel format, type, width, height or a range of them, reserved
_CAPTURE, _CAPTURE_PLANES, _OF_NODE = 0x1, 0x1000, 0x80000000
_SINGLE_PLANE_TYPE, _PLANES_TYPE = 1, 9
_DISCRETE = 1
_READ, _READ_WRITE = 2, 3
_MOST = 64  # formats, or sizes of one: a broken driver must not keep us


class CameraFacts(NamedTuple):
    """A node as its driver describes it. formats : like "YUYV 640x480, 1280x720", empty when it captures nothing."""

    card: str
    driver: str
    captures: bool
    formats: List[str]


def describe(node: str) -> CameraFacts:
    """Ask a node. Raises `OSError` when it can't be opened or is no V4L2 node."""
    opened = os.open(node, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        data = _ask(opened, _READ, 0, bytes(_CAPABILITY.size))
        driver, card, _, _, capabilities, of_node = _CAPABILITY.unpack(data)[:6]
        if capabilities & _OF_NODE:
            capabilities = of_node
        kind = _SINGLE_PLANE_TYPE if capabilities & _CAPTURE else _PLANES_TYPE
        captures = bool(capabilities & (_CAPTURE | _CAPTURE_PLANES))
        return CameraFacts(_text(card), _text(driver), captures, list(_formats(opened, kind)) if captures else [])
    finally:
        os.close(opened)


def _formats(opened: int, kind: int) -> Iterator[str]:
    for index in range(_MOST):
        try:
            data = _ask(opened, _READ_WRITE, 2, _FORMAT.pack(index, kind, 0, b"", *[0] * 5))
        except OSError:  # EINVAL: that was the last one
            return
        code = _FORMAT.unpack(data)[4]
        sizes = ", ".join(_sizes(opened, code))
        yield struct.pack("<I", code & 0x7FFFFFFF).decode("ascii", "replace").strip() + (f" {sizes}" if sizes else "")


def _sizes(opened: int, code: int) -> Iterator[str]:
    for index in range(_MOST):
        try:
            data = _ask(opened, _READ_WRITE, 74, _SIZE.pack(index, code, *[0] * 9))
        except OSError:
            return
        kind, first, second, _, third, fourth = _SIZE.unpack(data)[2:8]
        if kind != _DISCRETE:  # least and most width with a step, then height
            yield f"{first}x{third} to {second}x{fourth}"
            return
        yield f"{first}x{second}"


def _ask(opened: int, direction: int, number: int, data: bytes) -> bytes:
    """An ioctl of the letter V (asm-generic/ioctl.h)."""
    return fcntl.ioctl(opened, direction << 30 | len(data) << 16 | ord("V") << 8 | number, data)


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "replace")
