"""Keeps the extractor's process alive and asks it for embeddings, one at a time.

Every request has a deadline. A process that misses it, or ends, is killed and started anew, at
once and then with growing pauses; one that can't be killed is given up. Meanwhile requests wait
as long as they may and are then refused; nothing else of the daemon waits.
"""

import logging
import queue
import threading
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import Any, Callable, Dict, NamedTuple, Optional, Union

import numpy as np

from coral_learn.extractor import ExtractorInfo
from service.children import Child
from service.errors import ChildError, ExtractorBusy, ExtractorFailed, ExtractorUnavailable

log = logging.getLogger(__name__)

STARTING, READY, LOST = "starting", "ready", "lost"
LOAD_TIMEOUT = 120.0  # seconds; a USB stick takes up to a minute
PAUSES = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)  # seconds before each new start, the last for all further
QUEUE_LENGTH = 16  # fewer than the server has threads: who waits here must leave some for others
TRIES = 2  # a picture on which two processes ended is refused
_TARGET = "service.extraction.child:run"


class Embedded(NamedTuple):
    """An embedding, (D,) float32; the device that made it; milliseconds inside the model; the extractor's digest."""

    embedding: np.ndarray
    device: str
    milliseconds: float
    extractor: str


class Health(NamedTuple):
    """How the extractor is: starting, ready or lost, and why; starts counts its processes so far.

    exchanges : which model this is said of: 0 for the first, one more with each `ExtractorSupervisor.exchange`
    """

    state: str
    reason: str
    starts: int
    exchanges: int = 0


class _Request(NamedTuple):
    pixels: np.ndarray
    answer: Future


class _Wanted(NamedTuple):
    """What a process is started with; number : how many exchanges led to it."""

    number: int
    arguments: Dict[str, Any]


class ExtractorSupervisor:
    """One thread that owns the extractor's process.

    model : path, "" for the bundled one; device : as in `coral_learn.runtime`;
    timeout : seconds one embedding may take; on_ready, to be set before the start : called in the
    supervisor's thread with the extractor's facts and model file each time a process has loaded it
    """

    def __init__(
        self,
        model: str,
        device: str,
        threads: int,
        timeout: float,
    ):
        self._wanted = self._started = _Wanted(0, {"model": model, "device": device, "threads": threads})
        self._timeout = timeout
        self.on_ready: Optional[Callable[[ExtractorInfo, Path], None]] = None
        self._requests: queue.Queue[_Request] = queue.Queue(QUEUE_LENGTH)
        self._stopping, self._hurry = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="extractor", daemon=True)
        self._child: Optional[Child] = None
        self._failures = 0
        self.info: Optional[ExtractorInfo] = None
        self.health = Health(STARTING, "the extractor is being loaded", 0)

    def start(self) -> None:
        """Start the thread, which starts the process."""
        self._thread.start()

    def interrupt(self) -> None:
        """Begin to stop: the process ends, and who waits for an answer is refused."""
        self._stopping.set()
        self._hurry.set()
        child = self._child
        if child is not None:
            child.kill()

    def stop(self) -> None:
        """End the process and the thread, whatever they do."""
        self.interrupt()
        self._thread.join(10.0)

    def beside(self, model: str) -> "ExtractorSupervisor":
        """Another supervisor like this one, for another model; not started."""
        arguments = self._wanted.arguments
        return ExtractorSupervisor(model, arguments["device"], arguments["threads"], self._timeout)

    @property
    def model(self) -> str:
        """The model that is or is to be loaded: path, "" for the bundled one."""
        return self._wanted.arguments["model"]

    def exchange(self, model: str) -> int:
        """Have another model loaded in the place of this one; who waits meanwhile is answered by it.

        Returns the number under which `health` will speak of it. For one thread at a time.
        """
        number, arguments = self._wanted
        self._wanted = _Wanted(number + 1, dict(arguments, model=model))
        self._hurry.set()
        child = self._child
        if child is not None:
            child.kill()
        return number + 1

    @property
    def stopping(self) -> bool:
        """Whether it has begun to stop."""
        return self._stopping.is_set()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self._requests.qsize()

    def must_have_room(self) -> None:
        """Raise `ExtractorBusy` when one request more would not be taken: better before its picture is decoded."""
        if self.waiting >= QUEUE_LENGTH:
            raise ExtractorBusy(f"{QUEUE_LENGTH} pictures are waiting for the extractor already")

    @property
    def pid(self) -> Optional[int]:
        """Its process now, None when there is none."""
        child = self._child
        return None if child is None else child.pid

    def embed(self, pixels: np.ndarray, patience: Optional[float] = None) -> Embedded:
        """The embedding of prepared pixels, (input_height, input_width, 3) uint8.

        patience : seconds to wait; when not given, as long as one embedding and a restart may take.
        Raises `ExtractorBusy` at once when the queue is full, `ExtractorUnavailable` when there is
        no answer in time or the extractor is lost.
        """
        patience = self._timeout + 5.0 if patience is None else patience
        if self.health.state == LOST:
            raise self._unavailable()
        answer: Future[Embedded] = Future()
        try:
            self._requests.put_nowait(_Request(pixels, answer))
        except queue.Full:
            raise ExtractorBusy(f"{QUEUE_LENGTH} pictures are waiting for the extractor already") from None
        try:
            return answer.result(patience)
        except FutureTimeout:
            answer.cancel()
            raise self._unavailable() from None

    def _unavailable(self) -> ExtractorUnavailable:
        health = self.health
        reason = "did not answer in time" if health.state == READY else f"is {health.state}: {health.reason}"
        return ExtractorUnavailable(f"the extractor {reason}", retry_after=2)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._step()
            except Exception:
                log.exception("the extractor's supervisor stumbled")
                self._lose("its supervisor stumbled; the log has the details")
        self._let_go()
        self.health = Health(LOST, "the daemon is stopping", self.health.starts, self._wanted.number)
        self._refuse_waiting()

    def _step(self) -> None:
        """One pass: have a process, take the next request, answer it."""
        child = self._child
        if child is None:
            self._start_child()
            return
        try:
            request = self._requests.get(timeout=0.25)
        except queue.Empty:
            if child.exit_code is not None:
                self._lose("its process " + child.describe_end())
            return
        if request.answer.set_running_or_notify_cancel():
            self._answer(request)

    def _answer(self, request: _Request) -> None:
        lost = 0
        for _ in range(TRIES):
            if self._child is None and not self._start_child():
                break
            answer = self._ask(request.pixels)
            if isinstance(answer, Embedded):
                request.answer.set_result(answer)
                return
            if answer is not None:
                request.answer.set_exception(ExtractorFailed(f"the extractor failed: {answer}"))
                return
            lost += 1
        failed = ExtractorFailed("the extractor was lost on this picture, more than once")
        request.answer.set_exception(failed if lost == TRIES else self._unavailable())

    def _ask(self, pixels: np.ndarray) -> Union[Embedded, str, None]:
        """One exchange with the process: an embedding, its complaint, or None when it was lost."""
        child = self._child
        try:
            child.channel.send(pixels)
            if not child.channel.poll(self._timeout):
                self._lose(f"no answer for {self._timeout:g} s")
                return None
            embedding, milliseconds, complaint = child.channel.recv()
        except (EOFError, OSError):
            self._lose("its process " + _end_of(child))
            return None
        if complaint is not None:
            return complaint
        self._failures = 0
        return Embedded(embedding, self.info.device, milliseconds, self.info.digest)

    def _start_child(self) -> bool:
        """Start a process and wait until it has loaded the model. False when it did not."""
        if self._wanted is self._started:
            self._hurry.wait(PAUSES[min(max(self._failures - 1, 0), len(PAUSES) - 1)])
        self._hurry.clear()
        if self._stopping.is_set():
            return False
        state, reason, starts, _ = self.health
        wanted = self._wanted
        if wanted is not self._started:  # what befell the model before says nothing about this one
            self._started, self._failures, state = wanted, 0, STARTING
        if state != LOST:
            state, reason = STARTING, "the extractor is being loaded"
        self.health = Health(state, reason, starts + 1, wanted.number)
        try:
            self._child = Child(_TARGET, wanted.arguments)
            kind, facts, text = self._first_message(self._child)
        except ChildError as error:
            kind, facts, text = "failed", "", str(error)
        if kind != "ready":
            self._lose(text)
            return False
        if wanted is not self._wanted:  # exchanged before there was a process to be killed
            self._let_go()
            return False
        self.info = ExtractorInfo(*facts)
        log.info("extractor ready: %s on %s, %s", self.info.name, self.info.device, self.info.runtime)
        if self.info.degraded:
            log.warning("the extractor runs on the %s: %s", self.info.device, self.info.reason)
        if self.on_ready is not None:
            self.on_ready(self.info, Path(text))
        self.health = Health(READY, self.info.reason, self.health.starts, wanted.number)
        return True

    def _first_message(self, child: Child) -> tuple:
        ends = time.monotonic() + LOAD_TIMEOUT
        while time.monotonic() < ends:
            try:
                if child.channel.poll(0.1):
                    return child.channel.recv()
            except (EOFError, OSError):
                return "failed", "", f"its process {_end_of(child)} while it loaded the model"
            if self._stopping.is_set():
                return "failed", "", "the daemon is stopping"
        return "failed", "", f"the model was not loaded within {LOAD_TIMEOUT:g} s"

    def _lose(self, reason: str) -> None:
        """Let the process go and say why. After the first time in a row, who waits is refused at once."""
        self.health = Health(LOST if self._failures else STARTING, reason, self.health.starts, self._started.number)
        self._failures += 1
        if not self._stopping.is_set():
            log.warning("the extractor was lost: %s", reason)
        self._let_go()
        if self.health.state == LOST:
            self._refuse_waiting()

    def _let_go(self) -> None:
        child, self._child = self._child, None
        if child is not None and not child.release():
            log.error("the extractor's process %d can't be killed, a driver holds it; it is given up", child.pid)

    def _refuse_waiting(self) -> None:
        while True:
            try:
                request = self._requests.get_nowait()
            except queue.Empty:
                return
            if request.answer.set_running_or_notify_cancel():
                request.answer.set_exception(self._unavailable())


def _end_of(child: Child) -> str:
    """How a process ended that closed its channel; it may need a moment to be gone."""
    if not child.wait(1.0):
        child.kill()
    return child.describe_end()
