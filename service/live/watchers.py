"""The newest event of each kind, for everybody who watches."""

import json
import threading
from typing import Any, Dict, List, NamedTuple

from service.errors import TooManyStreams


class Event(NamedTuple):
    """Something to tell watchers: a number that grows, a kind, and JSON text."""

    number: int
    kind: str
    data: str


class Places:
    """A limited number of places for streams of one kind."""

    def __init__(self, places: int, what: str):
        self._places, self._what = places, what
        self._lock = threading.Lock()
        self.taken = 0

    def enter(self) -> None:
        """Take a place. Raises `TooManyStreams`."""
        with self._lock:
            if self.taken >= self._places:
                raise TooManyStreams(f"{self._places} clients {self._what} already", retry_after=5)
            self.taken += 1

    def leave(self) -> None:
        """Give the place back."""
        with self._lock:
            self.taken -= 1


class Watchers:
    """The newest event of each kind, for any number of readers. A slow one misses events; it delays nobody."""

    def __init__(self, places: int):
        self.places = Places(places, "watch")
        self._changed = threading.Condition()
        self._newest: Dict[str, Event] = {}
        self._number = 0
        self._closed = threading.Event()

    def publish(self, kind: str, data: Dict[str, Any]) -> None:
        """Tell everybody."""
        text = json.dumps(data, ensure_ascii=False)
        with self._changed:
            self._number += 1
            self._newest[kind] = Event(self._number, kind, text)
            self._changed.notify_all()

    def forget(self, kind: str) -> None:
        """Tell those who come from now on nothing of this kind, until something new is published."""
        with self._changed:
            self._newest.pop(kind, None)

    def wait(self, after: int, timeout: float) -> List[Event]:
        """The newest event of each kind that came after this number, oldest first; none after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self.closed or self._number > after, timeout)
            return sorted(event for event in self._newest.values() if event.number > after)

    @property
    def closed(self) -> bool:
        """Whether watching is over."""
        return self._closed.is_set()

    def rest(self, seconds: float) -> None:
        """Wait, but no longer than watching goes on."""
        self._closed.wait(seconds)

    def close(self) -> None:
        """Let everybody go."""
        with self._changed:
            self._closed.set()
            self._changed.notify_all()
