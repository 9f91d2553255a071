"""The WSGI server: waitress, set up for clients that stream, stall, and send too much.

One thread an open stream, the rest for requests; bodies are read before a thread is used; a client
that reads nothing for ten seconds is dropped by the kernel.
"""

import json
import socket
from typing import Type

import waitress.server
from flask import Flask
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.task import ErrorTask
from waitress.utilities import Error

from coral_learn.versions import package_version, version_numbers
from service.errors import PortUnusable
from service.http.access import TOKEN_HINT, Access
from service.http.problems import MEDIA_TYPE, TITLES, document

_WORKERS = 12  # threads besides those for streams
_MEGABYTE = 1024 * 1024
_USER_TIMEOUT_MS = 10000
# Before 3.0.1 looking ahead can be used to smuggle requests (GHSA-9298-4cf8-g4wj).
_LOOKAHEAD_SAFE = (3, 0, 1)


class ProblemTask(ErrorTask):
    """What waitress itself refuses leaves as a problem document, too."""

    def execute(self) -> None:
        error = self.request.error
        code = {401: "token_needed", 413: "body_too_large", 431: "header_too_large", 400: "bad_request"}.get(
            error.code, "http_error"
        )
        detail = {413: "the body is larger than this daemon takes"}.get(error.code, str(error.body) or error.reason)
        body = json.dumps(document(error.code, code, detail)).encode()
        self.status = f"{error.code} {TITLES.get(error.code, error.reason)}"
        self.response_headers += [("Content-Type", MEDIA_TYPE), ("Connection", "close")]
        self.close_on_finish = True
        self.content_length = len(body)
        self.write(body)


class TokenNeeded(Error):
    """A body was announced without a token."""

    code, reason = 401, "Unauthorized"


class GuardedParser(HTTPRequestParser):
    """Refuses a request with a body when its headers are there and hold no token."""

    access: Access

    def received(self, data: bytes) -> int:
        before = self.headers_finished
        consumed = super().received(data)
        if self.headers_finished and not before and not self.completed:
            headers = self.headers
            if not self.access.may_send_body(headers.get("AUTHORIZATION", ""), headers.get("X_API_KEY", "")):
                self.error, self.completed = TokenNeeded(TOKEN_HINT), True
        return consumed


def _channel_class(access: Access) -> Type[HTTPChannel]:
    """Connections that answer errors with `ProblemTask` and guard bodies by these rules."""
    parser = type("Parser", (GuardedParser,), {"access": access})
    return type("Channel", (HTTPChannel,), {"parser_class": parser, "error_task_class": ProblemTask})


def listen(host: str, port: int) -> socket.socket:
    """A bound socket. Raises `PortUnusable`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted connections inherit both: dead peers and full receive windows end them.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise PortUnusable(
            f"{host} port {port} can't be listened on: {error.strerror or error}. "
            "Is another daemon running? --port names another one"
        ) from error
    return listener


def create_server(app: Flask, access: Access, listener: socket.socket, max_upload_mb: float, max_streams: int):
    """A server whose `run` answers until SystemExit is raised in it."""
    largest = int(max_upload_mb * _MEGABYTE)
    lookahead = 1 if version_numbers(package_version("waitress")) >= _LOOKAHEAD_SAFE else 0
    server = waitress.server.create_server(
        app,
        sockets=[listener],
        threads=max_streams + _WORKERS,
        connection_limit=2 * max_streams + 100,
        max_request_body_size=largest + _MEGABYTE,
        inbuf_overflow=largest + 2 * _MEGABYTE,  # never to a file: on a board that wears the card
        max_request_header_size=16384,
        outbuf_high_watermark=262144,
        channel_timeout=30,
        cleanup_interval=5,
        asyncore_use_poll=True,
        expose_tracebacks=False,
        clear_untrusted_proxy_headers=True,
        channel_request_lookahead=lookahead,
        ident="coral-learn",
    )
    server.channel_class = _channel_class(access)
    return server
