"""Server-Sent Events, as they come."""

import http.client
import json
import time
from contextlib import ExitStack
from typing import Iterator, Optional

from service.client.answers import Event
from service.client.retrying import LONGEST_WAIT, patiently
from service.client.transport import Transport
from service.errors import ProblemError, Unreachable

_QUIET = 10.0  # seconds; a stream is never silent for longer
_BLOCK = 1 << 16  # bytes


class _Place:
    """Where a stream is. id : of the last event; wait : seconds before connecting again."""

    id, wait = "", 2.0


class Events:
    """Reads streams of events."""

    def __init__(self, transport: Transport):
        self._transport = transport

    def once(self, path: str, patient: bool = True, place: Optional[_Place] = None) -> Iterator[Event]:
        """The events of one connection; ends when the daemon ends it, raises `ConnectionLost` when it breaks."""
        place = _Place() if place is None else place
        timeout = max(self._transport.timeout, _QUIET)
        headers = {"Last_Event_ID": place.id} if place.id else {}
        with ExitStack() as stack:

            def attempt() -> http.client.HTTPResponse:
                return stack.enter_context(self._transport.opened(path, "text/event-stream", timeout, **headers))

            response = patiently(attempt) if patient else attempt()
            yield from self._parsed(response, place, timeout)

    def _parsed(self, response: http.client.HTTPResponse, place: _Place, timeout: float) -> Iterator[Event]:
        kind, lines = "message", []
        for line in self._lines(response, timeout):
            field, _, value = line.decode("utf-8", "replace").partition(":")
            value = value[1:] if value.startswith(" ") else value
            if field == "event":
                kind = value
            elif field == "data":
                lines.append(value)
            elif field == "id":
                place.id = value
            elif field == "retry" and value.isdecimal():
                place.wait = int(value) / 1000
            elif not line and lines:
                with self._transport.understood():
                    data = json.loads("\n".join(lines))
                yield Event(kind, data, place.id)
                kind, lines = "message", []

    def _lines(self, response: http.client.HTTPResponse, timeout: float) -> Iterator[bytes]:
        """The lines of an answer, as they come; readline() would take a break for an end."""
        rest = b""
        while True:
            with self._transport.translated(timeout):
                data = response.read1(_BLOCK)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            yield from (line.rstrip(b"\r") for line in lines)

    def reconnecting(self, path: str) -> Iterator[Event]:
        """The events of one connection after another; only the first one that fails raises."""
        place, failures, first = _Place(), 0, True
        while True:
            try:
                for event in self.once(path, first, place):
                    first, failures = False, 0
                    yield event
            except (Unreachable, ProblemError) as error:
                if first or (isinstance(error, ProblemError) and error.status != 503):
                    raise
            first = False
            time.sleep(min(place.wait * 2**failures, LONGEST_WAIT))
            failures = min(failures + 1, 16)
