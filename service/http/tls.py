"""TLS in front of waitress, which has none.

A thread takes the connections of the public listener, unwraps them, and passes the bytes on through
a socket pair whose other end waitress gets as if it had accepted it, with the client's own address.
So nothing in between listens, and no header has to tell who the client is.
"""

import asyncio
import logging
import os
import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import Any, Callable, Dict, Optional, Set, Tuple

from service.errors import SettingsError

log = logging.getLogger(__name__)

LOOK_SECONDS = 60.0  # between two looks at the files
HANDSHAKE_SECONDS = 10.0
STALL_SECONDS = 15.0  # for a client that reads nothing
_CLOSING_SECONDS = 2.0  # for what is still to be sent, and for the client's farewell
_POLL_SECONDS = 0.05
_STOP_SECONDS = 1.0


def tls_context(certificate: str, key: str) -> ssl.SSLContext:
    """What a server with this certificate and key, PEM files, needs. Raises `SettingsError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    for path in (certificate, key):
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            raise SettingsError(f"{path} can't be read: {error.strerror}; tls_cert and tls_key name it") from error
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")  # never ask at a terminal
    except (ssl.SSLError, ValueError) as error:
        raise SettingsError(
            f"tls_cert {certificate} and tls_key {key} are not a certificate and its key, in PEM and without a "
            f"passphrase: {error}"
        ) from error
    return context


class Certificate:
    """A certificate and its key in files that are renewed while the daemon runs. Raises `SettingsError`.

    now : a clock that never runs back, in seconds
    """

    def __init__(self, certificate: str, key: str, now: Callable[[], float] = time.monotonic):
        self._paths, self._now = (certificate, key), now
        self._stamps = self._look()  # before they are read: what changes meanwhile is seen the next time
        self._context = tls_context(certificate, key)
        self._due = now() + LOOK_SECONDS

    def look_soon(self) -> None:
        """Have the files looked at with the next handshake. Safe in a signal's handler."""
        self._due = 0.0

    @property
    def context(self) -> ssl.SSLContext:
        """What a handshake that begins now needs. Files that can't be used leave what was before."""
        if self._now() >= self._due:
            self._due = self._now() + LOOK_SECONDS
            stamps = self._look()
            if stamps != self._stamps:
                self._stamps = stamps
                self._read()
        return self._context

    def _read(self) -> None:
        try:
            self._context = tls_context(*self._paths)
        except SettingsError as error:
            log.error("the certificate was changed and is not taken over, the one before is used on: %s", error)
        else:
            log.info("the certificate %s was changed and is used from now on", self._paths[0])

    def _look(self) -> Tuple[Optional[Tuple[int, int, int]], ...]:
        """What tells whether the files are others: of what a link names, because renewing changes links."""
        return tuple(_stamp(path) for path in self._paths)


def _stamp(path: str) -> Optional[Tuple[int, int, int]]:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


class TlsListener:
    """Takes TLS connections and hands over plain ones.

    listener : bound; hand_over : called with a socket and the client's address, in this thread
    limit : connections at the same time, those that only shake hands included
    """

    def __init__(
        self,
        certificate: Certificate,
        listener: socket.socket,
        hand_over: Callable[[socket.socket, Any], None],
        limit: int,
    ):
        self._certificate, self._hand_over, self._limit = certificate, hand_over, limit
        self._listener = listener.dup()
        self._listener.setblocking(False)
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda _, facts: log.debug("a TLS connection failed: %s", facts))
        self._thread = threading.Thread(target=self._run, name="tls", daemon=True)
        self._accepting: Optional[asyncio.Task[None]] = None
        self._serving: Set[asyncio.Task[None]] = set()
        self._shaking: Dict[socket.socket, None] = {}  # still shaking hands, oldest first
        self._leaving = 0  # told to go, not gone yet

    def start(self) -> None:
        """Begin to take connections."""
        self._listener.listen(1024)
        self._accepting = self._loop.create_task(self._accept())
        self._thread.start()

    def stop(self) -> None:
        """End every connection, within a second."""
        if self._thread.is_alive():
            with suppress(RuntimeError):  # ended meanwhile
                self._loop.call_soon_threadsafe(self._accepting.cancel)
            self._thread.join(_STOP_SECONDS)
        else:
            self._loop.close()
        self._listener.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            with suppress(asyncio.CancelledError):
                self._loop.run_until_complete(self._accepting)
            for task in self._serving:
                task.cancel()
            self._loop.run_until_complete(asyncio.sleep(0.05))  # each closes its sockets
        finally:
            self._loop.close()

    async def _accept(self) -> None:
        while True:
            try:
                await self._somebody()
                client, address = self._listener.accept()
            except BlockingIOError:  # gone already
                continue
            except OSError as error:  # no descriptor left
                log.debug("a connection was not taken: %s", error)
                await asyncio.sleep(0.1)
                continue
            client.setblocking(False)
            try:
                await self._place()
            except asyncio.CancelledError:
                client.close()
                raise
            task = self._loop.create_task(self._serve(client, address))
            self._serving.add(task)
            task.add_done_callback(self._ended)

    async def _somebody(self) -> None:
        """Wait until there is a connection to take. The loop's own way loses one when it is cancelled."""
        ready = self._loop.create_future()
        self._loop.add_reader(self._listener, lambda: ready.done() or ready.set_result(None))
        try:
            await ready
        finally:
            self._loop.remove_reader(self._listener)

    async def _place(self) -> None:
        """Wait for one; who hasn't even shaken hands yet has to make it."""
        while len(self._serving) - self._leaving >= self._limit:
            if self._shaking:
                oldest = next(iter(self._shaking))
                del self._shaking[oldest]
                self._leaving += 1
                with suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)
            else:
                await asyncio.sleep(0.01)

    def _ended(self, task: asyncio.Task) -> None:
        self._serving.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.debug("a TLS connection ended: %r", task.exception())

    async def _serve(self, client: socket.socket, address: Any) -> None:
        """One connection, from the handshake to its end."""
        outside, inside = _End(self._loop), _End(self._loop)
        outside.other, inside.other = inside, outside
        inner, given = socket.socketpair()
        self._shaking[client] = None
        try:
            await self._loop.create_connection(lambda: inside, sock=inner)
            await self._loop.connect_accepted_socket(
                lambda: outside, client, ssl=self._certificate.context, ssl_handshake_timeout=HANDSHAKE_SECONDS
            )
        except BaseException:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)  # closing alone would wait for the handshake on some versions
            inside.abort()
            given.close()
            raise
        finally:
            if client in self._shaking:
                del self._shaking[client]
            else:
                self._leaving -= 1
        try:
            self._hand_over(given, address)
            await outside.gone.wait()
        finally:
            outside.abort()
            inside.abort()


class _End(asyncio.Protocol):
    """One of two connections; what comes in here goes out at the other one, no faster than it is taken there."""

    other: "_End"

    def __init__(self, loop: asyncio.AbstractEventLoop):
        self._loop = loop
        self._transport: Optional[asyncio.Transport] = None
        self._deadline: Optional[asyncio.TimerHandle] = None
        self._closing = False
        self.gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.other.write(data)

    def eof_received(self) -> None:
        """Half a connection is of no use to anybody: both ends are closed."""
        self.other.close()

    def connection_lost(self, _: Optional[Exception]) -> None:
        self._forget_deadline()
        self.gone.set()
        self.other.close()

    def pause_writing(self) -> None:
        if not self._closing:
            self.other.pause(True)
            self._die_after(STALL_SECONDS)

    def resume_writing(self) -> None:
        if not self._closing:
            self._forget_deadline()
            self.other.pause(False)

    def pause(self, paused: bool) -> None:
        """Read no more from here until the other end has caught up."""
        with suppress(RuntimeError):  # closing, or so already
            if paused:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def write(self, data: bytes) -> None:
        """Send, unless it is closing."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """Send what is waiting, then close; not for ever, since a TLS peer may never say good-bye."""
        if not self._closing and self._transport is not None and not self.gone.is_set():
            self._closing = True
            self._die_after(STALL_SECONDS)
            self._close_when_sent()

    def _close_when_sent(self) -> None:
        if self.gone.is_set():
            return
        # Closed with much still to send, the TLS of some Python versions would cut it off.
        if self._transport.get_write_buffer_size() > 0:
            self._loop.call_later(_POLL_SECONDS, self._close_when_sent)
        else:
            self._transport.close()
            self._die_after(_CLOSING_SECONDS)

    def abort(self) -> None:
        """Close at once."""
        self._forget_deadline()
        if self._transport is not None:
            self._transport.abort()

    def _die_after(self, seconds: float) -> None:
        self._forget_deadline()
        self._deadline = self._loop.call_later(seconds, self.abort)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
