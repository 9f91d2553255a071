"""Lets go clients that are too slow, so that they can't keep others out.

waitress itself would do some of it by the wall clock: set forward, that would end every connection that has no
answer under way, with half an upload; set back, none for as long. So all of it is done here, by the monotonic clock.
"""

import socket
import time
from contextlib import suppress
from typing import Any, Callable, List, Optional

from waitress.channel import HTTPChannel

HEADER_SECONDS = 10.0  # for the headers of a request, from the opening of the connection or their first byte
BODY_SECONDS = 30.0  # for a body, and the time it takes at the slowest
SLOWEST = 16 * 1024.0  # bytes of a body a second
STALL_SECONDS = 15.0  # for a client that doesn't take what it asked for
SILENT_SECONDS = 30.0  # for a client from which nothing comes, and who takes nothing, between two requests or in one
LOOK_SECONDS = 1.0  # between two looks
RESERVE = 16  # connections below the limit at which the idlest make room


class TimedChannel(HTTPChannel):
    """A connection that knows for how long it has been waiting, and for what."""

    def __init__(self, server, sock, addr, adj, map=None):
        super().__init__(server, sock, addr, adj, map=map)
        self.since = time.monotonic()  # when the request that is coming in began, or when the last one was whole
        self.between = False  # no request is coming in; the first one is awaited from the opening on
        self.dropped = False
        self.lingering_since: Optional[float] = None  # answered, and only open for the client to see that
        self._taken: Optional[float] = None
        self._taken_at = 0.0
        server.janitor.make_room(self)

    def received(self, data: bytes) -> bool:
        """What waitress calls with what came in."""
        if self.between:
            self.between, self.since = False, time.monotonic()
        result = super().received(data)
        if self.request is None:
            self.between, self.since = True, time.monotonic()
        return result

    def drop(self) -> None:
        """End the connection. waitress can't close a socket that never turns writable, and closes a shut one."""
        self.dropped = True
        with suppress(OSError):  # gone already
            self.socket.shutdown(socket.SHUT_RDWR)

    @property
    def answering(self) -> bool:
        """Whether a request is being answered, or its answer still being sent."""
        return bool(self.requests or self.total_outbufs_len)

    @property
    def in_body(self) -> bool:
        """Whether the headers of a request are here, but not yet all of its body."""
        return self.request is not None and self.request.headers_finished

    def overdue(self, now: float) -> bool:
        """Whether this client has been given time enough."""
        if self.last_activity != self._taken:  # by the wall clock, which may be set; so only its changes count
            self._taken, self._taken_at = self.last_activity, now
        if self.answering:
            if not self.total_outbufs_len:
                self._taken_at = now  # there is nothing to take yet
            return now - self._taken_at > STALL_SECONDS
        if now - self._taken_at > SILENT_SECONDS:
            return True
        if self.between:
            return False
        if self.in_body:
            return now - self.since > BODY_SECONDS + self.request.body_bytes_received / SLOWEST
        return now - self.since > HEADER_SECONDS


class Janitor:
    """Drops the overdue connections of a waitress server, and the idlest when there are too many.

    All of it runs in the server's own thread, which calls `look` in each round of its loop.
    """

    def __init__(self, server: Any, now: Callable[[], float] = time.monotonic):
        self._server, self._now = server, now
        self._due = 0.0

    def look(self) -> None:
        """Drop who is overdue, once a second at most."""
        now = self._now()
        if now < self._due:
            return
        self._due = now + LOOK_SECONDS
        channels: List[TimedChannel] = list(self._server.active_channels.values())
        for channel in channels:
            if not channel.dropped and channel.overdue(now):
                channel.drop()

    def make_room(self, newcomer: TimedChannel) -> None:
        """Near the limit, drop the connection that has been waiting longest.

        Those that are answered already go first, those in the middle of a body last.

        At the limit waitress accepts nobody, so whoever opens enough connections would shut all others out.
        """
        staying = [channel for channel in self._server.active_channels.values() if not channel.dropped]
        if len(staying) <= self._server.adj.connection_limit - RESERVE:
            return
        waiting = [channel for channel in staying if channel is not newcomer and not channel.answering]
        if waiting:
            min(waiting, key=lambda one: (one.lingering_since is None, one.in_body, one.since)).drop()
