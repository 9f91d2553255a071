"""JPEG files of a camera: complete them, and make them from pixels."""

from io import BytesIO

import numpy as np

from service.errors import CameraError

_QUALITY = 90
_START, _TABLES, _SCAN = b"\xff\xd8", 0xC4, 0xDA


def is_jpeg(data: bytes) -> bool:
    """Whether these bytes start as a JPEG does."""
    return data[:3] == b"\xff\xd8\xff"


def encode(rgb: np.ndarray) -> bytes:
    """A picture, (height, width, 3) uint8, as JPEG. Raises `CameraError`."""
    import cv2

    bgr = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2BGR)
    good, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not good:
        raise CameraError("a frame can't be encoded as JPEG")
    return data.tobytes()


def complete(data: bytes) -> bytes:
    """A JPEG with its Huffman tables.

    Cameras may leave the usual ones out (motion JPEG): decoders know them, browsers don't show such a picture.
    """
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        kind, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        if kind == _TABLES:
            return data
        if kind == _SCAN:
            return data[:position] + _usual_tables() + data[position:]
        position += 1 if kind == 0xFF else 2 + length  # 0xFF may be repeated to fill up
    return data


def _usual_tables() -> bytes:
    """The segments with the tables of ITU-T T.81, annex K.3, which libjpeg writes unless told otherwise."""
    from PIL import Image

    file = BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG")
    data, found, position = file.getvalue(), b"", 2
    while data[position + 1] != _SCAN:
        length = 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if data[position + 1] == _TABLES:
            found += data[position : position + length]
        position += length
    return found
