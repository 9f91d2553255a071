"""What the server refuses by itself, before the application hears of it: as problem documents like all others."""

import logging
import time

from waitress.task import ErrorTask
from waitress.utilities import Error

from service.http import accounting
from service.http.problems import TITLES, compose

_CODES = {
    400: "bad_request",
    413: "body_too_large",
    431: "header_too_large",
    501: "not_implemented",
}


class NoRoom(Error):
    """A body has no room on the disk."""

    code, reason, problem = 507, "Insufficient Storage", "store_full"


class Crowded(Error):
    """Bodies that are on their way have no room in the memory."""

    code, reason, problem = 503, "Service Unavailable", "too_many_bodies"


class Busy(Error):
    """Too many requests of this kind are under way. The connection stays: the body was taken whole."""

    code, reason, problem = 503, "Service Unavailable", "extractor_busy"


class RefusalTask(ErrorTask):
    """Sends the refusal. Of the request nothing is sure: not even its first line may have been understood."""

    def execute(self) -> None:
        """What waitress calls."""
        request, error = self.request, self.request.error
        identity = accounting.request_id(request.headers, "X_REQUEST_ID")
        detail = {413: "the body is larger than this daemon takes"}.get(error.code, str(error.body) or error.reason)
        code = getattr(error, "problem", _CODES.get(error.code, "http_error"))
        text, kind = compose(request.path, error.code, code, detail, identity)
        body = text.encode()
        self.status = f"{error.code} {TITLES.get(error.code, error.reason)}"
        self.response_headers += [("Content-Type", kind), (accounting.HEADER, identity)]
        if error.code == 503:
            self.response_headers.append(("Retry-After", "1"))
        if not isinstance(error, Busy):
            self.response_headers.append(("Connection", "close"))
            self.close_on_finish = True
        self.content_length = self.content_bytes_written = len(body)
        # In one go: of a crowd's refusals most of the time was the system calls, and the lock they give away.
        self.channel.write_soon(self.build_response_header() + body)
        self.wrote_header = True
        self._account(identity)

    def _account(self, identity: str) -> None:
        request, seconds = self.request, time.monotonic() - self.channel.since
        status, busy = request.error.code, isinstance(request.error, Busy)
        self.channel.server.metrics.count_request(request.path if busy else None, request.command, status, seconds)
        # Of a crowd is told elsewhere, and how often.
        level = logging.WARNING if status >= 500 and not busy else logging.DEBUG
        accounting.write_down(level, request.command, request.path, status, seconds, request_id=identity)
