"""The parts of a multipart/x-mixed-replace body (motion JPEG over HTTP), as cameras really send it.

Boundaries come with and without their leading dashes in the header, lengths are missing or wrong,
and the line break before a boundary is left out: a part ends at its length, or else at the next boundary.
"""

from typing import Any, Iterator, Optional

from service.errors import CameraError

_MOST_LINE, _MOST_LINES = 4096, 64  # of a part's header
_PIECE = 65536  # bytes read at once


class Multipart:
    """Iterates over the bodies of the parts.

    stream : has `readline(limit)` and `read(count)`; content_type : of the whole, for its boundary;
    most : bytes of a part. Raises `CameraError` for what is no multipart or beyond the limits.
    """

    def __init__(self, stream: Any, content_type: str, most: int):
        self._stream, self._most = stream, most
        self._boundary = _boundary(content_type)

    def __iter__(self) -> Iterator[bytes]:
        self._find_boundary()
        while True:
            length = self._length()
            if length is None:
                yield self._until_boundary()
            else:
                yield self._exactly(length)
                self._find_boundary()

    def _line(self, limit: int) -> bytes:
        line = self._stream.readline(limit)
        if not line:
            raise CameraError("the connection was closed")
        return line

    def _find_boundary(self) -> None:
        """Skip to behind the next line with the boundary."""
        skipped = 0
        while skipped <= self._most:
            line = self._line(_PIECE)
            skipped += len(line)
            if self._boundary is None and line.startswith(b"--") and len(line) > 3:
                self._boundary = line.strip()  # no name was given: the first line has it
                return
            if self._boundary is not None and self._boundary in line:
                return
        raise CameraError(f"no boundary of a part within {self._most} bytes")

    def _length(self) -> Optional[int]:
        """Read a part's header: its length, if that is there."""
        length = None
        for _ in range(_MOST_LINES):
            line = self._line(_MOST_LINE)
            if not line.strip():
                return length
            if len(line) >= _MOST_LINE:
                raise CameraError(f"a line of a part's header has more than {_MOST_LINE} bytes")
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-length" and value.strip().isdigit():
                length = int(value)
                if length > self._most:
                    raise CameraError(f"a picture of {length} bytes, at most {self._most} are taken")
        raise CameraError(f"a part's header has more than {_MOST_LINES} lines")

    def _exactly(self, length: int) -> bytes:
        data = self._stream.read(length)
        if len(data) < length:
            raise CameraError("the connection was closed in the middle of a picture")
        return data

    def _until_boundary(self) -> bytes:
        found = bytearray()
        while len(found) <= self._most:
            searched = max(0, len(found) - len(self._boundary))  # it may lie across two pieces
            found += self._line(_PIECE)
            position = found.find(self._boundary, searched)
            if position >= 0:
                if not found.endswith(b"\n"):
                    self._line(_MOST_LINE)
                return bytes(found[:position]).rstrip(b"\r\n")
        raise CameraError(f"a picture of more than {self._most} bytes without an end")


def _boundary(content_type: str) -> Optional[bytes]:
    """With exactly two dashes in front, as it stands in the body; None when the type names none."""
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "boundary" and value.strip(' "-'):
            return b"--" + value.strip().strip('"').lstrip("-").encode("latin-1", "replace")
    return None
