"""A crowd before the extractor: so many requests may be under way, the others are refused before any work is done.

Looking at the extractor's queue alone is not enough: of many that come at the same moment each finds
room there, and those for whom there is none hear of it only when their pictures are decoded.
"""

import functools
import threading
from typing import Any, Callable, Optional

from flask import Flask

from service.errors import ExtractorBusy
from service.extraction import ExtractorSupervisor
from service.extraction.supervisor import QUEUE_LENGTH

SEATS = QUEUE_LENGTH + 4  # some decode while others wait; far fewer than the server has threads
OF_UPLOADS = SEATS // 2  # these wait for the disk as well, which must not keep others from asking
CLASSIFY, TEACH = "/v1/classify", "/v1/examples"


class Seats:
    """Seats for requests. within : where each takes a place as well, which other kinds may take, too"""

    def __init__(self, count: int, within: Optional["Seats"] = None):
        self._count, self._within = count, within
        self._taken, self._lock = 0, threading.Lock()

    @property
    def full(self) -> bool:
        """Whether no seat is left."""
        return self._taken >= self._count or (self._within is not None and self._within.full)

    def __enter__(self) -> None:
        """Take one. Raises `ExtractorBusy` at once when there is none."""
        with self._lock:
            if self._taken >= self._count:
                raise ExtractorBusy(f"{self._count} requests with pictures are being answered already")
            if self._within is not None:
                self._within.__enter__()
            self._taken += 1

    def __exit__(self, *_: Any) -> None:
        with self._lock:
            self._taken -= 1
            if self._within is not None:
                self._within.__exit__()


class Crowd:
    """The seats of one daemon."""

    def __init__(self, extraction: ExtractorSupervisor):
        self._extraction = extraction
        self._every = Seats(SEATS)
        self._uploads = Seats(OF_UPLOADS, self._every)

    def check(self, method: str, path: str) -> None:
        """Raise `ExtractorBusy` for a request that would be refused now.

        A guess, because others are on their way. But made in the server's own thread it is sooner
        told: those refused in threads of their own wait there for each other.
        """
        places = {CLASSIFY: self._every, TEACH: self._uploads}.get(path)
        if method == "POST" and places is not None:
            self._extraction.must_have_room()
            if places.full:
                raise ExtractorBusy("too many requests with pictures are being answered already")

    def guard(self, app: Flask) -> None:
        """Let no more requests into the views that need the extractor. Call when all views are there."""
        for endpoint in ("classify.classify", "inference.infer", "examples.add_examples"):
            places = self._uploads if endpoint == "examples.add_examples" else self._every
            app.view_functions[endpoint] = self._guarded(app.view_functions[endpoint], places)

    def _guarded(self, view: Callable, places: Seats) -> Callable:
        @functools.wraps(view)
        def guarded(**arguments):
            self._extraction.must_have_room()
            with places:
                return view(**arguments)

        return guarded
