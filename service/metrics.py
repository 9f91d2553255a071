"""What the daemon counts and times as it works, for Prometheus.

What can be read at any time, such as how many examples there are, is not counted here but read when
somebody asks (`service.readings`).
"""

import threading
from typing import Callable, Dict, Iterable, Iterator, Optional

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import Metric

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "coral_learn_"
FROM_UPLOAD, FROM_CAMERA, FROM_LESSON = "upload", "camera", "lesson"
MAX_CLASSES = 1000  # label values; Prometheus keeps a series for each that ever was
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_STAGE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_REQUEST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_JOB_SECONDS = (1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0, 1800.0)


class Metrics:
    """The counters of one daemon, safe from any thread, and the text that Prometheus reads."""

    def __init__(self):
        self._registry = CollectorRegistry()
        self._requests = self._counter("requests", "HTTP requests answered.", "route", "method", "status")
        self._request_seconds = self._histogram(
            "request_seconds", "Seconds until an answer began.", _REQUEST_SECONDS, "route", "method"
        )
        self._stages = self._histogram(
            "stage_seconds",
            "Seconds in a stage of an answer or a lesson: decode, embed (inside the model), head or store.",
            _STAGE_SECONDS,
            "stage",
            "origin",
        )
        self._refused = self._counter("pictures_refused", "Pictures that could not be used.", "code")
        self._predictions = self._counter(
            "predictions", f"Answers by class; the empty class sums up those after the first {MAX_CLASSES}.", "class"
        )
        self._unknown = self._counter("unknown", "Answers that nothing taught fits, or before anything was.")
        self._jobs = self._counter("jobs", "Jobs that ended.", "state")
        self._job_seconds = self._histogram("job_seconds", "Seconds a job ran, however it ended.", _JOB_SECONDS, "kind")
        self._classes: Dict[str, None] = {}
        self._naming = threading.Lock()

    def count_request(self, route: Optional[str], method: str, status: int, seconds: float) -> None:
        """An answer began. route : the rule that matched, None for none; seconds : since the request was read."""
        route, method = route or "unmatched", method if method in _METHODS else "other"
        self._requests.labels(route, method, str(status)).inc()
        self._request_seconds.labels(route, method).observe(seconds)

    def time_stages(self, origin: str, **milliseconds: float) -> None:
        """An answer was made, or something taught. origin : upload, camera or lesson; milliseconds : by stage."""
        for stage, elapsed in milliseconds.items():
            self._stages.labels(stage, origin).observe(elapsed / 1000)

    def count_answer(self, label: Optional[str]) -> None:
        """An answer was this class, or None of the classes."""
        if label is None:
            self._unknown.inc()
        else:
            self._predictions.labels(self._known(label)).inc()

    def count_refused(self, code: str) -> None:
        """A picture could not be used. code : as clients get it."""
        self._refused.labels(code).inc()

    def count_job(self, kind: str, state: str, seconds: Optional[float]) -> None:
        """A job ended. seconds : how long it ran, None when it never did or nobody knows."""
        self._jobs.labels(state).inc()
        if seconds is not None:
            self._job_seconds.labels(kind).observe(max(0.0, seconds))

    def read_from(self, readings) -> None:
        """Have `readings.collect()` asked for further metrics each time the text is made."""
        self._registry.register(readings)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(_WithoutTimes(self._registry.collect))

    def _known(self, label: str) -> str:
        with self._naming:
            if len(self._classes) < MAX_CLASSES:
                self._classes[label] = None
            return label if label in self._classes else ""

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(PREFIX + name, meaning, labels, registry=self._registry)

    def _histogram(self, name: str, meaning: str, buckets: Iterable[float], *labels: str) -> Histogram:
        return Histogram(PREFIX + name, meaning, labels, buckets=buckets, registry=self._registry)


class _WithoutTimes:
    """Leaves out when each counter began: a series more for every one, of use to nobody here.

    The library can be told so only for the whole process.
    """

    def __init__(self, collect: Callable[[], Iterable[Metric]]):
        self._collect = collect

    def collect(self) -> Iterator[Metric]:
        for metric in self._collect():
            created = metric.name + "_created"
            metric.samples = [sample for sample in metric.samples if sample.name != created]
            yield metric
