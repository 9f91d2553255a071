"""A crowd before the extractor: so many requests may be under way, the others are refused before any work is done.

Looking at the extractor's queue alone is not enough: of many that come at the same moment each finds
room there, and those for whom there is none hear of it only when their pictures are decoded.
"""

import logging
import threading
import time
from contextlib import ExitStack
from typing import Any, Optional

from service.errors import ExtractorBusy
from service.extraction import ExtractorSupervisor
from service.extraction.requests import QUEUE_LENGTH

log = logging.getLogger(__name__)

SEATS = QUEUE_LENGTH  # whoever has one finds a place in that queue; far fewer than the server has threads
OF_UPLOADS = SEATS // 2  # these wait for the disk as well, which must not keep others from asking
CLASSIFY, TEACH = "/v1/classify", "/v1/examples"
INFERENCE, INFER = "/v2/models/", "/infer"  # how a path of the Open Inference Protocol begins and ends
_TELL_EVERY = 60.0  # seconds between two lines in the log: a crowd may come a thousand times a second


class Seats:
    """Seats for requests. within : where each takes a place as well, which other kinds may take, too"""

    def __init__(self, count: int, within: Optional["Seats"] = None):
        self._count, self._within = count, within
        self._taken, self._lock = 0, threading.Lock()

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
        self._refused, self._told = 0, float("-inf")

    def admit(self, method: str, path: str, stay: ExitStack) -> None:
        """Give a request that needs the extractor a seat until its stay ends, others nothing.

        Call in the server's own thread: there a refusal costs nearly nothing, while those refused in
        threads of their own wait for each other. Raises `ExtractorBusy`.
        """
        seats = self._seats(path) if method == "POST" else None
        if seats is not None:
            try:
                self._extraction.must_have_room()
                stay.enter_context(seats)
            except ExtractorBusy as error:
                self._tell(error)
                raise

    def _seats(self, path: str) -> Optional[Seats]:
        if path == TEACH:
            return self._uploads
        asks = path == CLASSIFY or (path.startswith(INFERENCE) and path.endswith(INFER))
        return self._every if asks else None

    def _tell(self, error: ExtractorBusy) -> None:
        self._refused += 1
        now = time.monotonic()
        if now - self._told > _TELL_EVERY:
            log.warning("requests with pictures are refused, %d since the last such line: %s", self._refused, error)
            self._refused, self._told = 0, now
