"""Connections whose request was refused before all of it was here.

Closed at once, such a connection would be reset by the kernel, because of what the client is still
sending, and the answer would be lost on its way. So what comes is read and thrown away for a while.
"""

import socket
import time
from contextlib import suppress
from typing import Optional

from service.http.janitor import TimedChannel

LINGER_SECONDS = 30.0
LINGER_IDLE_SECONDS = 5.0  # without anything coming
LINGER_BYTES = 256 * 1024 * 1024


class LingeringChannel(TimedChannel):
    """A connection that is not closed while a client may still be sending what was refused."""

    def __init__(self, server, sock, addr, adj, map=None):
        super().__init__(server, sock, addr, adj, map=map)
        self._abandoned = False
        self._thrown_away = 0
        self._heard = 0.0

    def abandon(self) -> None:
        """No more of the request that is coming in is wanted: only its answer is still sent."""
        self._abandoned, self._heard = True, time.monotonic()

    def received(self, data: bytes) -> bool:
        """What waitress calls with what came in."""
        if not self._abandoned:
            return super().received(data)
        self._heard = time.monotonic()
        self._thrown_away += len(data)
        if self._thrown_away > LINGER_BYTES:
            self.drop()
        return True

    def handle_close(self) -> None:
        """What waitress calls when all is sent, and when the connection is gone: then a second time."""
        if self._abandoned and self.lingering_since is None and self.connected and not self.total_outbufs_len:
            self.lingering_since, self.will_close = time.monotonic(), False
            # The socket pair to the TLS listener stays whole: with TLS there are no half connections.
            if self.socket.family != socket.AF_UNIX:
                with suppress(OSError):  # gone; reading will tell
                    self.socket.shutdown(socket.SHUT_WR)
        else:
            super().handle_close()

    def overdue(self, now: float) -> bool:
        """Whether this client has been given time enough."""
        since: Optional[float] = self.lingering_since
        if since is None:
            return super().overdue(now)
        return now - since > LINGER_SECONDS or now - self._heard > LINGER_IDLE_SECONDS
