"""Server-Sent Events: a response that holds one of the places for watchers."""

from typing import Iterator

from flask import Response

from service.live import Watchers

HEARTBEAT = 3.0  # seconds; a write is what notices that a client has gone


class EventStream:
    """Iterates over blocks of text and gives the place back when it is closed, started or not.

    A generator's own `finally` would not do: closed before its first step, as for HEAD, it never runs.
    """

    def __init__(self, watchers: Watchers, blocks: Iterator[str]):
        watchers.enter()
        self._watchers, self._blocks, self._open = watchers, blocks, True

    def __iter__(self) -> "EventStream":
        return self

    def __next__(self) -> str:
        return next(self._blocks)

    def close(self) -> None:
        """Give the place back. Safe to call twice."""
        if self._open:
            self._open = False
            self._watchers.leave()


def event_response(watchers: Watchers, blocks: Iterator[str]) -> Response:
    """A response of events. Raises `TooManyStreams` when no place is free."""
    return Response(EventStream(watchers, blocks), mimetype="text/event-stream")


def block(kind: str, data: str, number: int = 0) -> str:
    """One event as text; data : JSON, one line."""
    return f"event: {kind}\n" + (f"id: {number}\n" if number else "") + f"data: {data}\n\n"
