"""One job at a time; the others wait their turn, in the table, so a restart loses none of them."""

import logging
import signal
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Tuple

from coral_learn.training import FALSE_ACCEPT_RATE, MOST_REFUSED
from service.children import Child
from service.errors import Conflict, ServiceError
from service.jobs.options import ALWAYS, IF_BETTER, NEVER, TrainOptions
from service.learning import LIVE, Answering, Versions
from service.metrics import Metrics
from service.settings import MEGABYTE
from service.store import Store
from service.store.jobs import CANCELLED, ENDED, FAILED, INTERRUPTED, QUEUED, RUNNING, SUCCEEDED, StoredJob
from service.store.models import FinishedModel

log = logging.getLogger(__name__)

MAX_WAITING = 8
ENOUGH = 10  # held-out examples; fewer say too little to replace what answers
_NICE = 10
TRAIN = "train"
_TARGET = "service.jobs.train:run"
_RESTARTED = {"restarted": True}
OUT_OF_MEMORY = "out_of_memory"
# How a process ends whose C library gets no memory, or whom the system chose when there was none left.
_SIGNALS = [-number for number in (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGKILL)]
_WORDS = (
    "MemoryError",
    "bad_alloc",
    "annot allocate memory",
    "failed to map segment",
    "emory allocation",
    "returned NULL without setting an exception",  # what Python makes of it in the middle of an import, and this
    "error return without exception set",
)

Worker = Callable[[StoredJob, Callable[[float, Dict[str, Any]], None], Callable[[], bool]], None]


class JobQueue:
    """A thread that runs one job after another.

    on_model : called after a version became the answering one
    workers : for the kinds of job that are done in the daemon, not in a process of their own: called with the
        job, `report(progress, metrics)` and `should_stop()`; they can be done again from the start, and are after a
        restart: `started` is then of the first time, and the metrics say "restarted"
    hold : says why no job of a kind may begin yet, None when one may
    memory : bytes a job's process may use, 0 for any number
    """

    def __init__(
        self,
        store: Store,
        answering: Answering,
        versions: Versions,
        metrics: Metrics,
        on_model: Optional[Callable[[], None]] = None,
        false_accept_rate: float = FALSE_ACCEPT_RATE,
        most_refused: float = MOST_REFUSED,
        workers: Optional[Dict[str, Worker]] = None,
        hold: Callable[[str], Optional[str]] = lambda _: None,
        memory: int = 0,
    ):
        self._store, self._answering, self._versions, self._on_model = store, answering, versions, on_model
        self._rates, self._metrics = (false_accept_rate, most_refused), metrics
        self._workers, self._hold, self._memory = workers or {}, hold, memory
        self._stopping = threading.Event()
        self._changed, self._adding = threading.Condition(), threading.Lock()
        self._running: Optional[StoredJob] = None
        self._cancelled: Optional[str] = None
        self._child: Optional[Child] = None
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)

    def start(self) -> None:
        """Mark what a crash interrupted, take up what waited, and run."""
        for job in self._store.jobs.unfinished():
            if job.state == RUNNING and job.kind in self._workers:
                self._store.jobs.update(job._replace(state=QUEUED, metrics=_RESTARTED))
            elif job.state == RUNNING:
                error = _problem("interrupted", "the daemon was stopped while this job ran; start it again")
                self._store.jobs.update(job._replace(state=INTERRUPTED, error=error, finished=time.time()))
                self._metrics.count_job(job.kind, INTERRUPTED, None)
        self._thread.start()

    def stop(self) -> None:
        """End the running job's process; the job is marked interrupted at the next start."""
        self._stopping.set()
        self._announce()
        child = self._child
        if child is not None:
            child.kill()
        self._thread.join(10.0)

    def train(self, options: TrainOptions) -> StoredJob:
        """Queue a training job. Raises `Conflict` when too many wait."""
        return self.add(TRAIN, options.as_dict())

    def add(self, kind: str, options: Dict[str, Any], prepare: Optional[Callable[[str], None]] = None) -> StoredJob:
        """Queue a job of any kind. Raises `Conflict` when too many wait.

        prepare : called with its id before it is there
        """
        # So that no other one comes between the look and the job; of its own, as an archive takes seconds to sync.
        with self._adding:
            if self.waiting >= MAX_WAITING:
                raise Conflict(f"{MAX_WAITING} jobs are waiting already; cancel one or wait", "queue_full")
            job_id = self._store.jobs.new_id()
            if prepare is not None:
                prepare(job_id)
            job = self._store.jobs.add(kind, options, job_id)
        self._announce()
        return job

    def need(self, kind: str, options: Dict[str, Any], again: bool = False) -> None:
        """Queue a job that nobody asked for, however many wait, unless one just like it does that already.

        again : whether one that runs will not do it
        """
        with self._changed:
            running = self._running.id if again and self._running is not None else None
            others = [job for job in self._store.jobs.unfinished() if job.id != running]
            if (kind, options) not in [(job.kind, job.options) for job in others]:
                self._store.jobs.add(kind, options)
                self._changed.notify_all()

    def why_waiting(self, job: StoredJob) -> Optional[str]:
        """What a job waits for, in words; None where it does not wait, or its turn comes now."""
        if job.state != QUEUED:
            return None
        running, held = self._running, self._hold(job.kind)
        if running is None or held is not None:
            return held
        return f"the job {running.id} ({running.kind}) runs, and one runs at a time"

    @property
    def waiting(self) -> int:
        """Jobs that wait their turn."""
        return sum(job.state == QUEUED for job in self._store.jobs.unfinished())

    def get(self, job_id: str) -> StoredJob:
        """A job as it is now. Raises `NotFound`."""
        running = self._running
        return running if running is not None and running.id == job_id else self._store.jobs.get(job_id)

    def cancel(self, job_id: str) -> StoredJob:
        """Cancel a queued or running job. Raises `NotFound`, or `Conflict` when it has ended."""
        with self._changed:
            job = self.get(job_id)
            if job.state in ENDED:
                raise Conflict(f"the job {job_id} has {job.state} already", "job_ended")
            if job.state == QUEUED:
                self._store.jobs.update(job._replace(state=CANCELLED, finished=time.time()))
                self._metrics.count_job(job.kind, CANCELLED, None)
                self._clean_up(job)
            else:
                self._cancelled = job_id
                if self._child is not None:
                    self._child.kill()
            self._changed.notify_all()
        return self.wait(job_id, lambda now: now.state in ENDED, 10.0)

    def wait(self, job_id: str, until: Callable[[StoredJob], bool], timeout: float) -> StoredJob:
        """The job once `until` holds for it, or as it is after `timeout` seconds."""
        ends = time.monotonic() + timeout
        with self._changed:
            while True:
                job = self.get(job_id)
                left = ends - time.monotonic()
                if until(job) or left <= 0 or self._stopping.is_set():
                    return job
                self._changed.wait(left)

    def _run(self) -> None:
        while not self._stopping.is_set():
            job = None
            try:
                with self._changed:  # from looking to waiting, so that no new job is overlooked
                    job = self._take()
                    if job is None:
                        self._changed.wait(1.0)
                if job is not None:
                    self._do(job)
            except Exception as error:  # whatever it is, the jobs behind it get their turn
                log.exception("a job stumbled")
                self._stopping.wait(1.0)
                if job is not None:
                    self._give_up(job, error)

    def _take(self) -> Optional[StoredJob]:
        """The oldest queued job that may begin, running from now on; None when there is nothing to do."""
        with self._changed:
            waiting = (job for job in self._store.jobs.unfinished() if job.state == QUEUED)
            job = next((job for job in waiting if self._hold(job.kind) is None), None)
            if job is None:
                return None
            return self._set(job._replace(state=RUNNING, started=job.started or time.time()), save=True)

    def _do(self, job: StoredJob) -> None:
        worker = self._workers.get(job.kind)
        if worker is None:
            self._do_in_child(job)
        else:
            self._do_here(job, worker)

    def _do_here(self, job: StoredJob, worker: Worker) -> None:
        kept, told = job.metrics, False

        def report(progress: float, metrics: Dict[str, Any]) -> None:
            nonlocal job
            job = self._set(job._replace(progress=progress, metrics={**kept, **metrics}))

        def should_stop() -> bool:
            nonlocal told
            told = told or self._stopping.is_set() or self._cancelled == job.id
            return told

        state, error = SUCCEEDED, None
        try:
            worker(job, report, should_stop)
        except ServiceError as failure:
            log.error("job %s failed: %s", job.id, failure)
            state, error = FAILED, _problem(failure.code, str(failure))
        done = error is None and not told  # a worker that was never told to stop has done all of it
        if self._cancelled == job.id and not done:
            self._end(job, CANCELLED, error=error)
        elif done or not self._stopping.is_set():
            self._end(job, state, error=error)

    def _do_in_child(self, job: StoredJob) -> None:
        arguments = self._arguments(job, self._store.models.unfinished_folder(job.id))
        with self._changed:
            self._child = child = Child(_TARGET, arguments, _NICE, self._memory)
            if self._cancelled == job.id:
                child.kill()
        try:
            job, last = self._follow(job, child)
        finally:
            self._child = None
            child.release()
        if self._cancelled == job.id:
            self._end(job, CANCELLED)
        elif self._stopping.is_set():
            return
        elif last[0] == "finished":
            self._publish(job, FinishedModel(*last[1]), last[2])
        else:
            code, text = last[1], last[2]
            if code == OUT_OF_MEMORY:
                text = f"{text}. {self._advice()}"
            log.error("job %s failed: %s", job.id, text)
            self._end(job, FAILED, error=_problem(code, text))

    def _give_up(self, job: StoredJob, error: Exception) -> None:
        code = error.code if isinstance(error, ServiceError) else "internal"
        try:
            self._end(job, FAILED, error=_problem(code, str(error)))
        except ServiceError as second:
            log.error("job %s can't be marked as failed: %s", job.id, second)
            with self._changed:
                self._running = None

    def _follow(self, job: StoredJob, child: Child) -> Tuple[StoredJob, tuple]:
        """Take the process's reports until its last one."""
        while True:
            try:
                message = child.channel.recv()
            except (EOFError, OSError):
                child.wait(1.0)
                code = OUT_OF_MEMORY if _wanted_memory(child) else "training_failed"
                likely = ", most likely for lack of memory" if code == OUT_OF_MEMORY else ""
                return job, ("failed", code, f"the job's process {child.describe_end()}{likely}")
            if message[0] != "progress":
                return job, message
            job = self._set(job._replace(progress=message[1], metrics={**job.metrics, **message[2]}))

    def _advice(self) -> str:
        """What to do about too little memory."""
        limit = f" Its limit is {self._memory // MEGABYTE} MB, by the setting job_memory_mb." if self._memory else ""
        return (
            "The process of a job takes about 100 MB, and two to five times what the examples' embeddings take: let it "
            f"use more, train with fewer examples, or with another head (imprinting needs least).{limit}"
        )

    def _publish(self, job: StoredJob, finished: FinishedModel, baseline: Dict[str, Any]) -> None:
        version = self._versions.add(job, finished)
        held_out = job.metrics.get("held_out_examples", 0)
        activated, reason = decide(job.options["activate"], finished, held_out, baseline)
        if activated and job.options["activate"] == IF_BETTER:
            objection = self._versions.promote(version, baseline)
            activated, reason = objection is None, reason if objection is None else f"{reason}; but {objection}"
        elif activated:
            self._versions.activate(version)
        if activated and self._on_model is not None:
            self._on_model()
        log.info("job %s made model version %d: %s", job.id, version, reason)
        self._end(job, SUCCEEDED, model={"version": version, "activated": activated, "reason": reason})

    def _arguments(self, job: StoredJob, folder: Path) -> Dict[str, Any]:
        extractor = self._answering.must_have_extractor()
        return {
            "space": self._store.space,
            "version_folder": str(folder),
            "extractor": extractor.digest,
            "size": extractor.embedding_size,
            "mean": self._answering.manifest.mean_embedding,
            "rates": self._rates,
            "options": job.options,
            "baseline": self._baseline(),
        }

    def _baseline(self) -> Dict[str, Any]:
        """The recipe of the model that answers now: its head, its options and what it was trained on."""
        model = self._answering.model
        recipe = {"version": model["version"], "head": model["head"], "examples": None, "softmax": {}}
        if model["version"] != LIVE:
            stored = self._store.models.get(model["version"])
            recipe["examples"] = self._store.models.taught_with(stored)
            recipe["softmax"] = self._store.models.report(stored)["options"]["softmax"]
        return recipe

    def _end(self, job: StoredJob, state: str, model=None, error=None) -> None:
        progress = 1.0 if state == SUCCEEDED else job.progress
        ended = job._replace(state=state, progress=progress, model=model, error=error, finished=time.time())
        self._store.jobs.update(ended)
        self._clean_up(job)
        self._set(ended)
        # Of a job that was begun twice the time between is no work.
        begun_once = job.started is not None and not job.metrics.get("restarted")
        self._metrics.count_job(job.kind, state, ended.finished - job.started if begun_once else None)
        with self._changed:
            self._running = None

    def _clean_up(self, job: StoredJob) -> None:
        """Remove what was sent along with a job that has ended; the next start would, too."""
        try:
            self._store.incoming.remove(job.id)
        except ServiceError as error:
            log.warning("the archive of job %s can't be removed: %s", job.id, error)

    def _set(self, job: StoredJob, save: bool = False) -> StoredJob:
        """Make a job's state known; on the disk only where it must survive, to spare the card."""
        if save:
            self._store.jobs.update(job)
        with self._changed:
            self._running = job
            self._changed.notify_all()
        return job

    def _announce(self) -> None:
        with self._changed:
            self._changed.notify_all()


def decide(activate: str, made: FinishedModel, held_out: int, baseline: Dict[str, Any]) -> Tuple[bool, str]:
    """Whether a new version is to answer, and why."""
    now = f"the model that answers now ({baseline['version']}, {baseline['head']})"
    if activate == ALWAYS:
        return True, "activation was asked for in any case"
    if activate == NEVER:
        return False, "activation was not asked for"
    if held_out < ENOUGH:
        few = f"only {held_out} examples could be held out to measure it, {ENOUGH} are needed"
        remedy = "teach more, and show each thing more than once, as a capture is held out whole or not at all"
        return False, f"{few}: {remedy}"
    if baseline["accuracy"] is None:
        return True, f"held-out accuracy {made.accuracy:.3f}; {now} could not be measured"
    accuracy, before = made.accuracy, baseline["accuracy"]
    if accuracy == before and (LIVE, made.head) == (baseline["version"], baseline["head"]):
        return False, f"held-out accuracy {accuracy:.3f} is that of {now}, which is of the same kind and learns on"
    better = accuracy >= before
    verb = "is not below" if better else "is below"
    return better, f"held-out accuracy {accuracy:.3f} {verb} the {before:.3f} of {now}"


def _wanted_memory(child: Child) -> bool:
    """Whether a process that ended without a word on the channel seems to have got no memory."""
    said = any(word in line for line in child.last_words for word in _WORDS)
    return said or child.exit_code in _SIGNALS


def _problem(code: str, detail: str) -> Dict[str, Any]:
    return {"type": "about:blank", "title": "The job did not succeed", "status": 500, "detail": detail, "code": code}
