"""The WSGI server: waitress, set up for clients that stream, stall, and send too much.

One thread an open stream, the rest for requests; bodies are read before a thread is used; a client
that reads nothing for ten seconds is dropped by the kernel, one that is too slow by the janitor.
"""

import logging
import resource
import socket
from contextlib import ExitStack, suppress
from typing import Any, Callable, Dict, Optional

import waitress.server
from flask import Flask
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.task import WSGITask

from coral_learn.versions import package_version, version_numbers
from service.errors import PortUnusable
from service.http.access import STANDING, UNREAD, Access, Standing
from service.http.bodies import Bodies
from service.http.janitor import Janitor
from service.http.lingering import LingeringChannel
from service.http.refusals import Busy, RefusalTask
from service.http.tls import Certificate, TlsListener
from service.metrics import Metrics

log = logging.getLogger(__name__)

_LOOK_UP = 1.0  # seconds
_WORKERS = 24  # threads besides those for streams
_MEGABYTE = 1024 * 1024
_USER_TIMEOUT_MS = 10000
# Before 3.0.1 looking ahead can be used to smuggle requests (GHSA-9298-4cf8-g4wj).
_LOOKAHEAD_SAFE = (3, 0, 1)
_PROXY_HEADERS = {"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"}


class GuardedParser(HTTPRequestParser):
    """Reads a body only from who may send one; the request then goes on without it, to be refused."""

    standing: Optional[Standing] = None
    unread = False
    command = path = ""  # waitress sets them once it has understood the first line

    def __init__(self, adj, access: Access, bodies: Bodies, peer: str, abandon: Callable[[], None]):
        super().__init__(adj)
        self._access, self._bodies, self._peer, self._abandon = access, bodies, peer, abandon
        self._stay = ExitStack()

    def received(self, data: bytes) -> int:
        before = self.headers_finished
        consumed = super().received(data)
        if self.headers_finished and not self.completed:
            if before:
                self._bodies.check(self, consumed, self._stay)
            else:
                self._judge()
        if self.error or self.unread:
            self._abandon()
            return len(data)  # what follows is the rest of this request, not another one
        if self.completed and not self.empty:
            self._bodies.end(self, self._stay)
        return consumed

    def close(self) -> None:
        """What waitress calls when the request is answered, or its connection is gone. Safe to call twice."""
        self._stay.close()
        super().close()

    def _judge(self) -> None:
        headers = self.headers
        address = client_address(self._peer, headers.get("X_FORWARDED_FOR", ""), self.adj.trusted_proxy)
        credentials = (headers.get(name, "") for name in ("AUTHORIZATION", "X_API_KEY", "COOKIE"))
        self.standing = self._access.standing(address, *credentials)
        if not self._access.takes_body(self.standing, self.path, self.content_length, self.chunked):
            self.unread = self.completed = True
            self.expect_continue = False  # waitress would ask for the body all the same
            headers["CONNECTION"] = "close"  # what comes next on this connection is that body
        else:
            self._bodies.begin(self, self.standing.scope, self._stay)


class GuardedTask(WSGITask):
    """Tells the application what was found out about a request before its body was read."""

    def get_environment(self) -> Dict[str, Any]:
        environ = super().get_environment()
        environ[UNREAD] = self.request.unread
        if self.request.standing is not None:
            environ[STANDING] = self.request.standing
        return environ


class Channel(LingeringChannel):
    """A connection that refuses with `RefusalTask` and guards bodies by the server's rules."""

    error_task_class = RefusalTask
    task_class = GuardedTask

    def __init__(self, server, sock, addr, adj, map=None):
        self._receiving = self._refused = False
        super().__init__(server, sock, (_plain_address(addr[0]), *addr[1:]), adj, map=map)

    def dispatch(self, add_task: Callable[[HTTPChannel], None]) -> None:
        """Have the oldest request answered, by a thread unless it is a refusal in the server's own."""
        if self._receiving and isinstance(self.requests[0].error, Busy):
            self._refused = True
        else:
            add_task(self)

    def parser_class(self, adj) -> GuardedParser:
        """A parser for one request."""
        return GuardedParser(adj, self.server.access, self.server.bodies, self.addr[0], self.abandon)

    def received(self, data: bytes) -> bool:
        """What waitress calls with what came in. Refusals of a crowd are sent at once, without another thread."""
        self._receiving = True
        result = super().received(data)
        self._receiving = False
        if self._refused:
            self._refused = False
            self.service()
        return result

    def handle_close(self) -> None:
        """The connection ends; waitress closes what came in whole, not what was on its way."""
        super().handle_close()
        if self.request is not None:
            self.request.close()


def client_address(peer: str, forwarded_for: str, trusted_proxy: Optional[str]) -> str:
    """Whom a request comes from: the peer, or whom it names when it is the trusted proxy. As waitress does."""
    named = forwarded_for.rpartition(",")[2].strip()
    if not named or trusted_proxy not in ("*", peer):
        return peer
    if named.startswith("["):
        return named[1:].partition("]")[0]
    return named.partition(":")[0] if named.count(":") == 1 else named


def _plain_address(address: str) -> str:
    """An IPv4 address as such where an IPv6 socket took the connection."""
    return address[7:] if address.startswith("::ffff:") and "." in address else address


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


def create_server(
    app: Flask,
    access: Access,
    listener: socket.socket,
    bodies: Bodies,
    metrics: Metrics,
    streams: int,
    trusted_proxy: str = "",
    encrypted: bool = False,
):
    """A server for `run_server`.

    streams : how many may be open; each holds a thread
    encrypted : connections come by `tls_listener` instead of straight from the listener
    """
    lookahead = 1 if version_numbers(package_version("waitress")) >= _LOOKAHEAD_SAFE else 0
    connections = 2 * streams + 100
    proxy = {"trusted_proxy": trusted_proxy, "trusted_proxy_headers": _PROXY_HEADERS} if trusted_proxy else {}
    server = waitress.server.create_server(
        app,
        sockets=[listener],
        threads=streams + _WORKERS,
        connection_limit=connections,
        max_request_body_size=bodies.largest_import + _MEGABYTE,
        inbuf_overflow=bodies.largest_import + _MEGABYTE,  # never to a file of its own, see `Bodies`
        max_request_header_size=16384,
        recv_bytes=262144,  # a picture in one go; in pieces of the usual 8192 half the time went there
        outbuf_high_watermark=262144,
        asyncore_use_poll=True,
        expose_tracebacks=False,
        clear_untrusted_proxy_headers=True,
        channel_request_lookahead=lookahead,
        url_scheme="https" if encrypted else "http",
        ident="coral-learn",
        **proxy,
    )
    server.channel_class, server.access, server.bodies, server.metrics = Channel, access, bodies, metrics
    server.handle_accept = _all_of(server)
    threads = server.add_task
    server.add_task = lambda channel: channel.dispatch(threads)
    server.janitor = Janitor(server)
    server.next_channel_cleanup = float("inf")  # never: the janitor does it by another clock
    server.accepting = not encrypted
    _allow_files(4 * connections + 512)
    return server


def _all_of(server) -> Callable[[], None]:
    """Take every connection that waits: by waitress one in each round of its loop, and those of a crowd are long."""
    accept = server.handle_accept

    def accept_all() -> None:
        before = None
        while before != len(server._map) and server.readable():
            before = len(server._map)
            accept()

    return accept_all


def run_server(server, ended: Callable[[], bool]) -> None:
    """Answer until `ended`, which is asked after whatever happens and each second.

    An exception out of a signal's handler would end it sooner, but also be lost where Python or
    waitress swallow one: in finalisers, in what a trigger calls.
    """
    while not ended():
        server.asyncore.loop(timeout=_LOOK_UP, use_poll=True, map=server._map, count=1)
        server.janitor.look()
    server.task_dispatcher.shutdown()


def tls_listener(server, certificate: Certificate, listener: socket.socket) -> TlsListener:
    """What takes the connections of a server that was created as encrypted."""

    def hand_over(connection: socket.socket, address: Any) -> None:
        def adopt() -> None:
            server.channel_class(server, connection, address, server.adj, map=server._map)

        server.trigger.pull_trigger(adopt)  # runs it in the server's own thread

    return TlsListener(certificate, listener, hand_over, server.adj.connection_limit)


def _allow_files(needed: int) -> None:
    """Let this process open so many files, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            log.debug("at most %d open files instead of %d", wanted, soft)
