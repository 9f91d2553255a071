"""What the extractor is asked: requests that wait, and those its process has.

The process is given the next request before it has answered the last, so that it never waits for one.
"""

import contextlib
import queue
from collections import deque
from concurrent.futures import Future
from typing import Callable, Deque, Optional

import numpy as np

from service.errors import ExtractorBusy, ExtractorFailed, ServiceError

QUEUE_LENGTH = 16  # fewer than the server has threads: who waits here must leave some for others
TRIES = 2  # a picture on which two processes ended is refused


class Request:
    """Pixels to embed, (input_height, input_width, 3) uint8; lost : how many processes ended on them."""

    def __init__(self, pixels: np.ndarray):
        self.pixels, self.lost = pixels, 0
        self.answer: Future = Future()


class Requests:
    """All requests of one extractor. The methods from `give` on are for its supervisor's thread only."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[Optional[Request]] = queue.Queue(QUEUE_LENGTH)  # None wakes the supervisor
        self._again: Deque[Request] = deque()  # given to a process that was lost; they go first
        self._given: Deque[Request] = deque()  # to the process there is, oldest first

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._waiting.qsize()

    @property
    def given(self) -> int:
        """How many the process has."""
        return len(self._given)

    def must_have_room(self) -> None:
        """Raise `ExtractorBusy` when one more would not be taken: better before its picture is decoded."""
        if self.waiting >= QUEUE_LENGTH:
            raise _busy()

    def submit(self, pixels: np.ndarray) -> Future:
        """Let pixels wait for their turn. Raises `ExtractorBusy`."""
        request = Request(pixels)
        try:
            self._waiting.put_nowait(request)
        except queue.Full:
            raise _busy() from None
        return request.answer

    def wake(self) -> None:
        """Have the supervisor look up, if it waits in `give`."""
        with contextlib.suppress(queue.Full):  # who is busy looks soon
            self._waiting.put_nowait(None)

    def give(self, send: Callable[[np.ndarray], None], seconds: float = 0.0) -> None:
        """Give the next one to the process, if there is one within this time. Raises what `send` raises."""
        request = self._next(seconds)
        if request is not None:
            self._given.append(request)
            send(request.pixels)

    def answer(self, embedded) -> None:
        """Answer the oldest that the process has."""
        self._given.popleft().answer.set_result(embedded)

    def refuse(self, complaint: str) -> None:
        """Refuse the oldest that the process has."""
        self._given.popleft().answer.set_exception(ExtractorFailed(f"the extractor failed: {complaint}"))

    def lose(self) -> None:
        """The process ended by what it was doing, which may be the fault of the oldest request."""
        if self._given:
            self._given[0].lost += 1
            if self._given[0].lost >= TRIES:
                failed = ExtractorFailed("the extractor was lost on this picture, more than once")
                self._given.popleft().answer.set_exception(failed)
        self.take_back()

    def take_back(self) -> None:
        """Have all that the process was given asked again."""
        while self._given:
            self._again.appendleft(self._given.pop())

    def refuse_all(self, error: Callable[[], ServiceError]) -> None:
        """Refuse everybody who waits."""
        while self._again:
            self._again.popleft().answer.set_exception(error())
        while True:
            try:
                request = self._waiting.get_nowait()
            except queue.Empty:
                return
            if request is not None and request.answer.set_running_or_notify_cancel():
                request.answer.set_exception(error())

    def _next(self, seconds: float) -> Optional[Request]:
        if self._again:
            return self._again.popleft()
        try:
            request = self._waiting.get(timeout=seconds) if seconds else self._waiting.get_nowait()
        except queue.Empty:
            return None
        started = request is not None and request.answer.set_running_or_notify_cancel()
        return request if started else None


def _busy() -> ExtractorBusy:
    return ExtractorBusy(f"{QUEUE_LENGTH} pictures are waiting for the extractor already")
