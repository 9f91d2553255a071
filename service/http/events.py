"""Responses without an end: each holds one of the places for its kind; Server-Sent Events."""

from typing import Iterator, Union

from flask import Response

from service.live import Places, Watchers

HEARTBEAT = 3.0  # seconds; a write is what notices that a client has gone


class HeldStream:
    """Iterates over blocks and gives the place back when it is closed, started or not.

    A generator's own `finally` would not do: closed before its first step, as for HEAD, it never runs.
    """

    def __init__(self, places: Places, blocks: Iterator[Union[str, bytes]]):
        places.enter()
        self._places, self._blocks, self._open = places, blocks, True

    def __iter__(self) -> "HeldStream":
        return self

    def __next__(self) -> Union[str, bytes]:
        return next(self._blocks)

    def close(self) -> None:
        """Give the place back. Safe to call twice."""
        if self._open:
            self._open = False
            self._places.leave()


def event_response(watchers: Watchers, blocks: Iterator[str]) -> Response:
    """A response of events. Raises `TooManyStreams` when no place is free."""
    return Response(HeldStream(watchers.places, blocks), mimetype="text/event-stream")


def block(kind: str, data: str, number: int = 0) -> str:
    """One event as text; data : JSON, one line."""
    return f"event: {kind}\n" + (f"id: {number}\n" if number else "") + f"data: {data}\n\n"
