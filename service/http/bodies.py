"""Which bodies may be how large, and where the largest ones go while they come: to the data folder's disk.

A body stays in the memory, which spares the card; an archive may be many times the memory.
"""

import threading
from contextlib import ExitStack
from typing import Any

from waitress.buffers import FileBasedBuffer
from waitress.parser import HTTPRequestParser
from waitress.utilities import Error, RequestEntityTooLarge

from service.errors import ExtractorBusy, StoreError
from service.http.access import MANAGE
from service.http.crowd import Crowd
from service.http.refusals import Busy, Crowded, NoRoom
from service.store import Store
from service.store.incoming import Incoming

IMPORT_PATH = "/v1/import"
# So much too much is read all the same, and then refused: who still sends doesn't see an answer that comes before.
_SLACK = 1024 * 1024
_LARGEST_AT_ONCE = 8  # bodies of the largest size that the memory has room for at the same time


class SpooledBody(FileBasedBuffer):
    """What waitress writes a body to: a file that the import can take over as it is."""

    def __init__(self, incoming: Incoming):
        super().__init__(incoming.spool())
        self._incoming = incoming

    def close(self) -> None:
        """Remove the file unless it was taken over. Safe to call twice."""
        self._incoming.discard(self.file)
        self.remain = 0


class Allowance:
    """So many bytes of memory for all bodies together."""

    def __init__(self, most: int):
        self._most, self._held, self._lock = most, 0, threading.Lock()

    def hold(self, size: int, stay: ExitStack) -> bool:
        """Hold so many more until a stay ends. False when there aren't as many."""
        with self._lock:
            if self._held + size > self._most:
                return False
            self._held += size
        stay.callback(self._let_go, size)
        return True

    def _let_go(self, size: int) -> None:
        with self._lock:
            self._held -= size


class Bodies:
    """The rules of one daemon. largest_import : bytes of an archive; largest : of any other body.

    Each method judges a request; `stay` ends when it is answered.
    """

    def __init__(self, store: Store, crowd: Crowd, largest: int, largest_import: int):
        self._store, self._crowd = store, crowd
        self._largest, self.largest_import = largest + _SLACK, largest_import
        self._allowance = Allowance(_LARGEST_AT_ONCE * self._largest)

    def begin(self, request: HTTPRequestParser, scope: Any, stay: ExitStack) -> None:
        """One whose headers are here, and none of its body."""
        if request.command == "POST" and request.path == IMPORT_PATH and scope == MANAGE:
            try:
                # Twice: the archive, and then the pictures out of it.
                self._store.must_have_room(2 * request.content_length)
                request.body_rcv.buf = SpooledBody(self._store.incoming)
            except StoreError as error:
                _refuse(request, NoRoom(str(error)))
        elif request.content_length > self._largest:
            _refuse(request, RequestEntityTooLarge(f"exceeds {self._largest} bytes"))
        else:
            self._hold(request, request.body_bytes_received, stay)

    def check(self, request: HTTPRequestParser, received: int, stay: ExitStack) -> None:
        """One of whose body more bytes were received: one that comes in chunks doesn't say how many there will be."""
        if isinstance(request.body_rcv.getbuf(), SpooledBody):
            try:
                self._store.must_have_room()
            except StoreError as error:
                _refuse(request, NoRoom(str(error)))
        elif request.body_bytes_received > self._largest:
            _refuse(request, RequestEntityTooLarge(f"exceeds {self._largest} bytes"))
        else:
            self._hold(request, received, stay)

    def end(self, request: HTTPRequestParser, stay: ExitStack) -> None:
        """One that is whole: a crowd is refused here, before it takes threads."""
        try:
            self._crowd.admit(request.command, request.path, stay)
        except ExtractorBusy as error:
            request.error = Busy(str(error))

    def _hold(self, request: HTTPRequestParser, size: int, stay: ExitStack) -> None:
        if not self._allowance.hold(size, stay):
            _refuse(request, Crowded("the memory has no room for more bodies at the same time; send it again soon"))


def _refuse(request: HTTPRequestParser, error: Error) -> None:
    request.error, request.completed = error, True
    request.expect_continue = False  # waitress would ask for the body all the same
