"""Keeps the extractor's process alive and asks it for embeddings, one at a time.

Every request has a deadline. A process that misses it, or ends, is killed and started anew, at
once and then with growing pauses; one that can't be killed is given up. Meanwhile requests wait
as long as they may and are then refused; nothing else of the daemon waits.

An Edge TPU that is lost is waited for, or the CPU stands in for it (`service.extraction.stand_in`);
a device chosen automatically is not silently another one the next time.
"""

import contextlib
import logging
import threading
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import Any, Callable, Dict, NamedTuple, Optional, Union

import numpy as np

from coral_learn.extractor import ExtractorInfo
from coral_learn.runtime.choose import seen_edge_tpus, sysfs_of
from coral_learn.runtime.edgetpu import rescan_advice
from service.children import Child
from service.errors import ChildError, ExtractorUnavailable, NoStandIn
from service.extraction.comeback import Comeback
from service.extraction.loading import Failed, Loaded, Loading, end_of
from service.extraction.reply import Reply
from service.extraction.requests import Requests
from service.extraction.stand_in import FALL_BACK_AFTER, StandIn, moment, twins_of

log = logging.getLogger(__name__)

STARTING, READY, LOST = "starting", "ready", "lost"
PAUSES = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)  # seconds before each new start, the last for all further
WAIT, CPU = "wait", "cpu"  # what happens when the Edge TPU is lost
_ASKED_FOR = "the device edgetpu was asked for"
_LOOK_EVERY = 1.0  # seconds between two looks at the temperature


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


class _Wanted(NamedTuple):
    """What a process is to be started with; number : how many exchanges led to it."""

    number: int
    arguments: Dict[str, Any]


class ExtractorSupervisor:
    """One thread that owns the extractor's process.

    model : path, "" for the bundled one; device : as in `coral_learn.runtime`;
    timeout : seconds one embedding may take; on_device_loss : wait, or cpu to have it stand in;
    dead_link : says that the Edge TPU's link is dead, None while it isn't; on_ready, to be set before the
    start : called in the supervisor's thread with the extractor's facts and model file each time a process
    has loaded it; otherwise, to be set like that : asked for the model to load instead when the first one can't be;
    on_health, to be set like that : called in that thread after each change of `health`, must be quick

    beat : time.monotonic() when its thread last went round; it does so at least every few seconds, whatever the
    process does
    losses : how often a process that was ready was lost; recovery : seconds the last loss took until the
    next process was ready, None before the first
    """

    def __init__(
        self,
        model: str,
        device: str,
        threads: int,
        timeout: float,
        on_device_loss: str = WAIT,
        dead_link: Callable[[], Optional[str]] = lambda: None,
    ):
        self._wanted = _Wanted(0, {"model": model, "device": device, "threads": threads})
        self._timeout, self._on_device_loss, self._dead_link = timeout, on_device_loss, dead_link
        self.on_ready: Optional[Callable[[ExtractorInfo, Path], None]] = None
        self.otherwise: Callable[[], Optional[str]] = lambda: None
        self.on_health: Callable[[], None] = lambda: None
        self._requests = Requests()
        self._stopping, self._hurry = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="extractor", daemon=True)
        self._child: Optional[Child] = None
        self._place = 0  # of the pixels it was given last
        self._failures, self._failed_starts = 0, 0
        self._orders = self._wanted.arguments  # what the next process is told, the CPU as a stand-in aside
        self._taken = self._wanted  # what the orders were made from
        self._chosen_because: Optional[str] = None  # why it was the Edge TPU, where that was left to us
        self._stand_in: Optional[StandIn] = None
        self._comeback: Optional[Comeback] = None
        self._looked = float("-inf")
        self._lost_at: Optional[float] = None
        self.beat = time.monotonic()
        self.losses = 0
        self.recovery: Optional[float] = None
        self.info: Optional[ExtractorInfo] = None
        self._health = Health(STARTING, "the extractor is being loaded", 0)

    def start(self) -> None:
        """Start the thread, which starts the process."""
        self.beat = time.monotonic()
        self._thread.start()

    def interrupt(self) -> None:
        """Begin to stop: the process ends, and who waits for an answer is refused."""
        self._stopping.set()
        self._hurry.set()
        child = self._child
        if child is not None:
            child.kill()
        self._requests.wake()

    def stop(self) -> None:
        """End the process and the thread, whatever they do."""
        self.interrupt()
        self._thread.join(10.0)

    def beside(self, model: str) -> "ExtractorSupervisor":
        """Another supervisor like this one, for another model; not started. On the CPU where that stands in."""
        arguments = self._wanted.arguments
        device = arguments["device"]
        if self.stands_in:
            device = "cpu"
            with contextlib.suppress(NoStandIn):  # it then says itself that it has no Edge TPU
                model = str(twins_of(model).plain)
        return ExtractorSupervisor(model, device, arguments["threads"], self._timeout)

    @property
    def health(self) -> Health:
        """How it is now. Set by its own thread only."""
        return self._health

    @health.setter
    def health(self, health: Health) -> None:
        self._health = health
        self.on_health()

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
    def stands_in(self) -> bool:
        """Whether the CPU stands in for a lost Edge TPU."""
        return self._stand_in is not None

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self._requests.waiting

    def must_have_room(self) -> None:
        """Raise `ExtractorBusy` when one request more would not be taken: better before its picture is decoded."""
        self._requests.must_have_room()

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
        return self.result(self.submit(pixels), patience)

    def submit(self, pixels: np.ndarray) -> "Future[Embedded]":
        """Ask without waiting, for `result`. Raises `ExtractorBusy`, `ExtractorUnavailable` as `embed` does at once."""
        if self.health.state == LOST:
            raise self._unavailable()
        return self._requests.submit(pixels)

    def result(self, answer: "Future[Embedded]", patience: Optional[float] = None) -> Embedded:
        """Wait for what was submitted, as `embed` does."""
        patience = self._timeout + 5.0 if patience is None else patience
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
        self._end_stand_in()
        self.health = Health(LOST, "the daemon is stopping", self.health.starts, self._wanted.number)
        self._requests.refuse_all(self._unavailable)

    def _step(self) -> None:
        """One pass: have a process, give it the next request, and the one after, answer one."""
        self.beat = time.monotonic()
        if self._taken is not self._wanted:
            self._let_go()  # exchanged, perhaps while another process took over
        self._look_for_device()
        child = self._child
        if child is None:
            self._start_child()
            return
        try:
            if not self._requests.given:
                self._requests.give(self._send, 0.25)
            if self._requests.given == 1:
                self._requests.give(self._send)  # ahead, for when it has answered
            if self._requests.given:
                self._receive(child)
            elif child.exit_code is not None:
                self._lose("its process " + child.describe_end())
        except (EOFError, OSError):
            self._lose("its process " + end_of(child))

    def _send(self, pixels: np.ndarray) -> None:
        """Give pixels to the process, in the place that the request before doesn't use: it has two at most."""
        self._place = 1 - self._place
        self._child.channel.send((self._place, self._child.pixels.put(self._place, pixels)))

    def _receive(self, child: Child) -> None:
        """Wait for an answer and hand it on. Raises `EOFError`, `OSError` when the process has ended."""
        silent = self._why_silent(child)
        if silent is not None:
            self._lose(silent, stuck=True)
            return
        reply = Reply.unpack(child.channel.recv_bytes())
        if reply.embedding is None:
            self._requests.refuse(reply.complaint)
            return
        self._failures = 0
        self._requests.answer(Embedded(reply.embedding, self.info.device, reply.milliseconds, self.info.digest))

    def _why_silent(self, child: Child) -> Optional[str]:
        """Wait for an answer. None when there is something to receive, else why there won't be."""
        ends = time.monotonic() + self._timeout
        while time.monotonic() < ends:
            self.beat = time.monotonic()
            if child.has_news(max(0.0, min(_LOOK_EVERY, ends - time.monotonic()))):
                return None
            dead = None if self._stand_in else self._link_that_is_dead()
            if dead is not None:
                return dead
        return f"no answer for {self._timeout:g} s"

    def _start_child(self) -> bool:
        """Start a process and wait until it has loaded the model. False when it did not."""
        if self._wanted is self._taken:
            self._pause(PAUSES[min(max(self._failures - 1, 0), len(PAUSES) - 1)])
        self._hurry.clear()
        if self._stopping.is_set():
            return False
        self._take_orders()
        state, reason, starts, number = self.health
        if state != LOST:
            state, reason = STARTING, "the extractor is being loaded"
        self.health = Health(state, reason, starts + 1, number)
        found = self._load()
        if isinstance(found, Loaded) and self._taken is not self._wanted:
            self._let_go()  # exchanged before there was a process to be killed
            return False
        if isinstance(found, Loaded):
            self._take(found)
            return True
        self._lose(found.reason, found.stuck)
        self._failed_starts += 1
        other = self.otherwise() if self.info is None and not self._stopping.is_set() else None
        if other is None:
            self._consider_stand_in(found.reason)
        else:
            self.exchange(other)
        return False

    def _pause(self, seconds: float) -> None:
        """Wait, unless there is a hurry; where it is long, in steps."""
        ends = time.monotonic() + seconds
        while not self._hurry.wait(max(0.0, min(_LOOK_EVERY, ends - time.monotonic()))):
            self.beat = time.monotonic()
            if self.beat >= ends:
                return

    def _take_orders(self) -> None:
        """What was asked for last decides, once it was exchanged."""
        if self._taken is not self._wanted:
            # What befell the model before says nothing about this one, save that the Edge TPU is not there.
            self._failed_starts = FALL_BACK_AFTER - 1 if self.stands_in else 0
            self._end_stand_in()
            self._failures, self._chosen_because = 0, None
            self._taken, self._orders = self._wanted, self._wanted.arguments
            self.health = self.health._replace(state=STARTING, exchanges=self._taken.number)

    def _load(self) -> Union[Loaded, Failed]:
        dead = None if self._stand_in else self._link_that_is_dead()
        if dead is not None:
            return Failed(dead, stuck=True)
        try:
            loading = Loading(self._orders if self._stand_in is None else self._stand_in.arguments)
        except ChildError as error:
            return Failed(str(error))
        self._child = loading.child
        while not self._stopping.is_set():
            self.beat = time.monotonic()
            found = loading.look(0.1)
            if found is not None:
                return found
        return Failed("the daemon is stopping")

    def _take(self, loaded: Loaded) -> None:
        """Have the process that has loaded the model answer."""
        info = loaded.info
        if self._stand_in is not None:
            info = info._replace(degraded=True, reason=self._stand_in.reason)
        elif self._chosen_because is not None:
            info = info._replace(reason=info.reason.replace(_ASKED_FOR, self._chosen_because))
        elif info.device == "cpu" and self._orders["device"] == "auto":
            self._await_edge_tpu(info, loaded.model_path)
        elif info.device == "edgetpu" and self._orders["device"] == "auto":
            self._end_stand_in()
            # From now on this device is meant: "auto" would take the CPU when it is gone, and not say so.
            self._orders = dict(self._orders, model=str(loaded.model_path), device="edgetpu")
            self._chosen_because = info.reason
        self.info, self._failed_starts = info, 0
        log.info("extractor ready: %s on %s, %s", info.name, info.device, info.runtime)
        if info.degraded:
            log.warning("the extractor runs on the %s: %s", info.device, info.reason)
        if self.on_ready is not None:
            self.on_ready(info, loaded.model_path)
        self.health = self.health._replace(state=READY, reason=info.reason)
        if self._lost_at is not None:
            self.recovery, self._lost_at = time.monotonic() - self._lost_at, None
            log.info("the extractor answers again, %.1f s after it was lost", self.recovery)

    # -- the Edge TPU lost and back -------------------------------------------------------------

    def _await_edge_tpu(self, info: ExtractorInfo, plain: Path) -> None:
        """Go over to an Edge TPU that comes after an automatic choice, where it is the same extractor there."""
        self._end_stand_in()
        with contextlib.suppress(NoStandIn):
            wanted = dict(self._orders, model=str(twins_of(str(plain)).compiled), device="edgetpu")
            trouble = info.reason if info.degraded else None
            self._comeback = Comeback(wanted, lambda: None, unseen=False, trouble=trouble)

    def _look_for_device(self) -> None:
        """One pass: is the Edge TPU dead that answers, or there that didn't? Never waits."""
        if self._comeback is not None:
            before = self._comeback.trouble
            come = self._comeback.look() if self._taken is self._wanted else None
            if come is not None:
                self._go_over_to(*come)
            elif self._stand_in is None and self._comeback.trouble != before and self.info is not None:
                self._tell_trouble(self._comeback.trouble)
        elif self._child is not None and time.monotonic() >= self._looked + _LOOK_EVERY:
            self._looked = time.monotonic()
            dead = self._link_that_is_dead()
            if dead is not None:
                self._lose(dead, stuck=True)

    def _tell_trouble(self, trouble: Optional[str]) -> None:
        """Say what is with the Edge TPU, after an automatic choice of the CPU."""
        reason = "no Edge TPU is connected"
        if trouble is not None:
            reason = f"an Edge TPU is connected, but can't be used: {trouble}"
            log.warning("%s", reason)
        self.info = self.info._replace(degraded=trouble is not None, reason=reason)
        self.health = self.health._replace(reason=reason)

    def _link_that_is_dead(self) -> Optional[str]:
        """What is wrong with the PCIe Edge TPU in use; None where nothing is, or where another may be meant."""
        device = self._orders["device"]
        if device in ("auto", "cpu") or device.startswith("usb"):
            return None
        if not device.startswith("pci") and any(one.startswith("usb") for one in seen_edge_tpus(device)):
            return None
        return self._dead_link()

    def _consider_stand_in(self, why: str) -> None:
        """After a start that failed: let the CPU stand in, or wait on where it can't."""
        if self._stand_in is not None:
            log.error("the CPU can't stand in for the Edge TPU: %s", why)
            self._end_stand_in()
            self._failed_starts = 0
            return
        told_to = self._on_device_loss == CPU and self._orders["device"] != "cpu"
        if not told_to or self._failed_starts < FALL_BACK_AFTER or self._stopping.is_set():
            return
        try:
            plain = twins_of(self._orders["model"]).plain
        except NoStandIn as error:
            if self._failed_starts == FALL_BACK_AFTER:
                log.warning("the CPU can't stand in for the Edge TPU: %s", error)
            self.health = self.health._replace(reason=f"{self.health.reason}. The CPU can't stand in: {error}")
            return
        self._end_stand_in()
        self._stand_in = StandIn(dict(self._orders, model=str(plain), device="cpu"), time.time(), why)
        self._comeback = Comeback(self._orders, self._link_that_is_dead, unseen=True)
        self._failures = 0  # the CPU need not wait for the Edge TPU's pauses

    def _go_over_to(self, child: Child, loaded: Loaded) -> None:
        """Have the Edge TPU answer instead of the CPU."""
        self._let_go()
        stand_in, self._stand_in, self._comeback, self._child = self._stand_in, None, None, child
        self.health = self.health._replace(starts=self.health.starts + 1)
        if stand_in is None:
            reason = "an Edge TPU was connected after the start"
            log.info("%s, and answers now", reason)
        else:
            spell = f"from {moment(stand_in.since)} to {moment(time.time())}"
            reason = f"{loaded.info.reason}; it was lost, and the CPU stood in {spell}"
            log.warning("the Edge TPU is back and answers again, the CPU stood in %s", spell)
        self._take(loaded._replace(info=loaded.info._replace(reason=reason)))

    def _end_stand_in(self) -> None:
        comeback, self._stand_in, self._comeback = self._comeback, None, None
        if comeback is not None:
            comeback.close()

    def _lose(self, reason: str, stuck: bool = False) -> None:
        """Let the process go and say why. After the first time in a row, who waits is refused at once.

        stuck : it did not end by itself, as happens when a PCIe device stops answering
        """
        if self._taken is not self._wanted:
            self._let_go()  # to be exchanged: that its process ends is no loss
            return
        if stuck and self._stand_in is None and self._orders["device"] not in ("auto", "cpu"):
            device = self._orders["device"]
            reason = ". ".join(filter(None, (reason, rescan_advice(device, sysfs_of(device)))))
        if self.health.state == READY:
            self.losses, self._lost_at = self.losses + 1, time.monotonic()
        self.health = self.health._replace(state=LOST if self._failures else STARTING, reason=reason)
        self._failures += 1
        if not self._stopping.is_set():
            log.warning("the extractor was lost: %s", reason)
        self._requests.lose()
        self._let_go()
        if self.health.state == LOST:
            self._requests.refuse_all(self._unavailable)

    def _let_go(self) -> None:
        self._requests.take_back()
        child, self._child = self._child, None
        if child is not None and not child.release():
            log.error("the extractor's process %d can't be killed, a driver holds it; it is given up", child.pid)
