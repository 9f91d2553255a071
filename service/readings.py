"""What can be read of the daemon at any time, read when Prometheus asks. Nothing here writes to the disk."""

import os
import time
from typing import Dict, Iterator, NamedTuple, Optional, Tuple

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

import coral_learn
from service.camera.supervisor import NONE, ONLINE
from service.errors import StoreError
from service.extraction import ExtractorSupervisor
from service.extraction.supervisor import READY
from service.jobs import JobQueue
from service.learning import Answering
from service.live import LiveLoop, Watchers
from service.metrics import MAX_CLASSES, PREFIX
from service.process import usage
from service.review import ReviewRing
from service.store import Store
from service.store.store import database_path
from service.temperature import Temperature


class Counts(NamedTuple):
    """What is in the store: examples by class, and jobs that wait."""

    examples: Dict[str, int]
    waiting: int


class Readings:
    """A collector for `Metrics.read_from`."""

    def __init__(
        self,
        store: Store,
        extraction: ExtractorSupervisor,
        answering: Answering,
        jobs: JobQueue,
        live: LiveLoop,
        watchers: Watchers,
        temperature: Temperature,
        review: ReviewRing,
    ):
        self._store, self._extraction, self._answering, self._jobs = store, extraction, answering, jobs
        self._live, self._watchers, self._temperature, self._review = live, watchers, temperature, review
        self._counted: Tuple[Optional[int], Counts] = (None, Counts({}, 0))

    def collect(self) -> Iterator[Metric]:
        """Every metric; one that can't be read is left out."""
        yield _info("build", "The daemon.", {"version": coral_learn.__version__})
        yield from self._of_extractor()
        yield from self._of_camera()
        yield _gauge("watchers", "Clients that watch the stream.", self._watchers.places.taken)
        yield _gauge("review_frames", "Frames kept for review.", len(self._review))
        yield _gauge("review_bytes", "Bytes of the frames kept for review.", self._review.bytes)
        yield from self._of_model()
        try:
            yield from self._of_store()
        except StoreError:
            yield _gauge("store_up", "Whether the store can be read.", 0)
        else:
            yield _gauge("store_up", "Whether the store can be read.", 1)
        yield from self._of_processes()
        degrees = GaugeMetricFamily(PREFIX + "temperature_celsius", "Degrees, by sensor.", labels=["sensor"])
        for sensor, found in self._temperature.read().items():
            degrees.add_metric([sensor], found)
        yield degrees
        yield _gauge("slowed_down", "Whether the camera rests because it is too warm.", bool(self._temperature.slowed))

    def _of_extractor(self) -> Iterator[Metric]:
        health, info = self._extraction.health, self._answering.extractor
        yield _gauge("extractor_up", "Whether the extractor is ready.", health.state == READY)
        yield _counter("extractor_starts", "Processes of the extractor started.", health.starts)
        yield _counter("extractor_losses", "Processes of the extractor that were lost.", self._extraction.losses)
        if self._extraction.recovery is not None:
            seconds = self._extraction.recovery
            yield _gauge("extractor_recovery_seconds", "How long the last loss took until the next was ready.", seconds)
        standing = self._extraction.stands_in
        yield _gauge("extractor_stand_in", "Whether the CPU stands in for a lost Edge TPU.", standing)
        yield _gauge("extractor_waiting", "Pictures that wait for the extractor.", self._extraction.waiting)
        if info is not None:
            degraded = str(info.degraded).lower()
            facts = {"name": info.name, "device": info.device, "runtime": info.runtime, "degraded": degraded}
            yield _info("extractor", "The extractor in use.", facts)

    def _of_camera(self) -> Iterator[Metric]:
        live = self._live
        if live.camera.state == NONE:
            return
        yield _gauge("camera_up", "Whether the camera delivers.", live.camera.state == ONLINE)
        yield _counter("camera_restarts", "Processes of the camera started after the first.", live.camera.restarts)
        yield _counter("camera_damaged", "Pictures of the camera that were damaged.", live.camera.broken)
        if live.camera.fps is not None:
            yield _gauge("camera_fps", "Frames a second that the camera delivers.", live.camera.fps)
        yield _counter("frames", "Frames of the camera that were classified.", live.frames)
        yield _counter("frames_dropped", "Frames passed over for newer ones, or not answered.", live.dropped)
        if live.captured is not None:
            age = max(0.0, time.time() - live.captured)
            yield _gauge("frame_age_seconds", "Seconds since the newest frame was taken.", age)

    def _of_model(self) -> Iterator[Metric]:
        model, live = self._answering.model, self._answering.live_facts
        facts = {"version": str(model["version"]), "head": model["head"]}
        yield _info("model", "The model that answers.", facts)
        yield _gauge("model_revision", "Revision of the live model, answering or not.", live["revision"])

    def _of_store(self) -> Iterator[Metric]:
        counts = self._counts()
        yield _gauge("classes", "Classes taught by users.", len(counts.examples))
        yield _gauge("examples", "Examples stored.", sum(counts.examples.values()))
        by_class = GaugeMetricFamily(
            PREFIX + "class_examples", f"Examples by class, of the first {MAX_CLASSES}.", labels=["class"]
        )
        for name, number in list(counts.examples.items())[:MAX_CLASSES]:
            by_class.add_metric([name], number)
        yield by_class
        yield _gauge("jobs_waiting", "Jobs that wait their turn.", counts.waiting)
        yield _gauge("disk_free_bytes", "Bytes free on the disk of the data folder.", self._store.free_bytes)
        yield _gauge("database_bytes", "Bytes of the database, with its log.", self._database_bytes())

    def _counts(self) -> Counts:
        """Counted anew only after something was written: it takes a look at every example."""
        with self._store.database.read() as connection:
            # Another number once another connection has committed, and this one only reads. Asked for
            # first: what is committed while counting is then counted anew next time, not missed.
            written = connection.execute("PRAGMA data_version").fetchone()[0]
        counted_at, counts = self._counted
        if counted_at != written:
            examples = {stored.name: stored.examples for stored in self._store.classes.all()}
            counts = Counts(examples, self._jobs.waiting)
            self._counted = written, counts
        return counts

    def _database_bytes(self) -> int:
        path, total = database_path(self._store.folder), 0
        for file in (path, path.with_name(path.name + "-wal")):
            try:
                total += file.stat().st_size
            except OSError:
                continue
        return total

    def _of_processes(self) -> Iterator[Metric]:
        label = ["process"]
        resident = GaugeMetricFamily(PREFIX + "process_resident_bytes", "Bytes of memory in use.", labels=label)
        cpu = CounterMetricFamily(PREFIX + "process_cpu_seconds", "Seconds of CPU time.", labels=label)
        files = GaugeMetricFamily(PREFIX + "process_open_files", "Files and sockets open.", labels=label)
        threads = GaugeMetricFamily(PREFIX + "process_threads", "Threads.", labels=label)
        for name, pid in (("daemon", os.getpid()), ("extractor", self._extraction.pid)):
            used = None if pid is None else usage(pid)
            if used is not None:
                for family, value in zip((resident, cpu, files, threads), used):
                    family.add_metric([name], value)
        yield from (resident, cpu, files, threads)


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, meaning, value=float(value))


def _counter(name: str, meaning: str, value: float) -> Metric:
    return CounterMetricFamily(PREFIX + name, meaning, value=float(value))


def _info(name: str, meaning: str, labels: Dict[str, str]) -> Metric:
    return InfoMetricFamily(PREFIX + name, meaning, value=labels)
