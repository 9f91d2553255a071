"""Which bodies may be how large, and where the largest ones go while they come: to the data folder's disk.

A body stays in the memory, which spares the card; an archive may be many times the memory.
"""

from contextlib import ExitStack
from typing import Any

from waitress.buffers import FileBasedBuffer
from waitress.parser import HTTPRequestParser
from waitress.utilities import Error, RequestEntityTooLarge

from service.errors import ExtractorBusy, StoreError
from service.http.access import MANAGE
from service.http.crowd import Crowd
from service.store import Store
from service.store.incoming import Incoming

IMPORT_PATH = "/v1/import"
# So much too much is read all the same, and then refused: who still sends doesn't see an answer that comes before.
_SLACK = 1024 * 1024


class NoRoom(Error):
    """A body has no room on the disk."""

    code, reason = 507, "Insufficient Storage"


class Busy(Error):
    """Too many requests of this kind are under way. The connection stays: the body was taken whole."""

    code, reason = 503, "Service Unavailable"


class SpooledBody(FileBasedBuffer):
    """What waitress writes a body to: a file that the import can take over as it is."""

    def __init__(self, incoming: Incoming):
        super().__init__(incoming.spool())
        self._incoming = incoming

    def close(self) -> None:
        """Remove the file unless it was taken over. Safe to call twice."""
        self._incoming.discard(self.file)
        self.remain = 0


class Bodies:
    """The rules of one daemon. largest_import : bytes of an archive; largest : of any other body."""

    def __init__(self, store: Store, crowd: Crowd, largest: int, largest_import: int):
        self._store, self._crowd = store, crowd
        self._largest, self.largest_import = largest + _SLACK, largest_import

    def begin(self, request: HTTPRequestParser, scope: Any) -> None:
        """Judge a request whose headers are here, and none of its body."""
        if request.command == "POST" and request.path == IMPORT_PATH and scope == MANAGE:
            try:
                # Twice: the archive, and then the pictures out of it.
                self._store.must_have_room(2 * request.content_length)
                request.body_rcv.buf = SpooledBody(self._store.incoming)
            except StoreError as error:
                _refuse(request, NoRoom(str(error)))
        elif request.content_length > self._largest:
            _refuse(request, RequestEntityTooLarge(f"exceeds {self._largest} bytes"))

    def check(self, request: HTTPRequestParser) -> None:
        """Judge it again with more of its body; one that comes in chunks doesn't say how large it is."""
        if isinstance(request.body_rcv.getbuf(), SpooledBody):
            try:
                self._store.must_have_room()
            except StoreError as error:
                _refuse(request, NoRoom(str(error)))
        elif request.body_bytes_received > self._largest:
            _refuse(request, RequestEntityTooLarge(f"exceeds {self._largest} bytes"))

    def end(self, request: HTTPRequestParser, stay: ExitStack) -> None:
        """Judge a request that is whole: a crowd is refused here, before it takes threads.

        stay : ends when it is answered
        """
        try:
            self._crowd.admit(request.command, request.path, stay)
        except ExtractorBusy as error:
            request.error = Busy(str(error))


def _refuse(request: HTTPRequestParser, error: Error) -> None:
    request.error, request.completed = error, True
    request.expect_continue = False  # waitress would ask for the body all the same
