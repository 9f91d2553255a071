"""What is sent: pictures, archives, JSON."""

import os
from pathlib import Path
from typing import Any, BinaryIO, Callable, Dict, Optional, Tuple, Union

ANY = "application/octet-stream"
SUFFIXES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
}

PathLike = Union[str, "os.PathLike[str]"]
Picture = Union[PathLike, bytes]
Transferred = Callable[[int, Optional[int]], None]  # bytes so far, and in all where that is known


class Counted:
    """A file as a body. progress : told the bytes read so far and their number."""

    def __init__(self, file: BinaryIO, progress: Optional[Transferred]):
        self._file, self._progress = file, progress
        self.size = os.fstat(file.fileno()).st_size
        self.kind = _archive_type(file.read(4))

    def seek(self, position: int) -> None:
        """Go to a place, in bytes."""
        self._file.seek(position)

    def read(self, size: int) -> bytes:
        """The next bytes."""
        data = self._file.read(size)
        if self._progress is not None:
            self._progress(self._file.tell(), self.size)
        return data


def body_headers(body: Any, kind: str) -> Dict[str, str]:
    """What tells of a body, None for none."""
    if body is None:
        return {}
    return {"Content-Type": kind, "Content-Length": str(body.size if isinstance(body, Counted) else len(body))}


def read_picture(picture: Picture) -> Tuple[bytes, str]:
    """The bytes of a picture, and their media type by what they start with, else by the file's ending."""
    if isinstance(picture, bytes):
        return picture, _picture_type(picture) or ANY
    path = Path(picture)
    data = path.read_bytes()
    return data, _picture_type(data) or SUFFIXES.get(path.suffix.lower(), ANY)


def _picture_type(data: bytes) -> str:
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    starts = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"), (b"BM", "image/bmp"))
    return next((kind for start, kind in starts if data.startswith(start)), "")


def _archive_type(start: bytes) -> str:
    starts = ((b"PK", "application/zip"), (b"\x1f\x8b", "application/gzip"))
    return next((kind for known, kind in starts if start.startswith(known)), ANY)
