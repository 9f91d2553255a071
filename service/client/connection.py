"""One connection to a daemon, which may be kept open."""

import http.client
import selectors
import socket
from typing import Any, Dict, NamedTuple, Optional

from service.client.address import Address
from service.client.bodies import Counted


class Request(NamedTuple):
    """A request as it is sent. target : path and query; body : None, bytes, or a file as `Counted`"""

    method: str
    target: str
    body: Any
    headers: Dict[str, str]


class Connection:
    """One connection, opened when it is needed."""

    def __init__(self, address: Address):
        host, port, tls = address.host, address.port, address.tls
        self._response: Optional[http.client.HTTPResponse] = None
        self._connection = http.client.HTTPConnection(host, port)
        if tls is not None:
            self._connection = http.client.HTTPSConnection(host, port, context=tls)

    def send(self, request: Request, timeout: float) -> http.client.HTTPResponse:
        """Send a request; returns the answer, its body unread."""
        connection, body = self._connection, request.body
        if connection.sock is not None and is_readable(connection.sock):
            self.close()  # nothing is due, so it can only be the end: the daemon closes what is idle
        connection.timeout = timeout
        if connection.sock is not None:
            connection.sock.settimeout(timeout)
        if isinstance(body, Counted):
            body.seek(0)
        try:
            connection.request(request.method, request.target, body, request.headers)
        except (BrokenPipeError, ConnectionResetError):
            # A body that is too large is refused before all of it was read: the answer says so.
            if body is None or connection.sock is None:
                raise
        self._response = connection.getresponse()
        return self._response

    def close(self) -> None:
        """Close it; the next request opens it anew."""
        if self._response is not None:
            self._response.close()  # it holds the socket as well
            self._response = None
        self._connection.close()

    def __del__(self) -> None:
        self.close()


def is_readable(sock: socket.socket) -> bool:
    """Whether something came, or the end."""
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        return bool(selector.select(0))
