"""After lessons the live model is measured in the background, each example left out in turn.

That says how good it is by now, and where "none of these" begins.
"""

import logging
import threading
from typing import List, Tuple

import numpy as np

from coral_learn.errors import CoralLearnError
from coral_learn.training import calibrate, choose_classes, evaluate_left_out
from service.errors import ServiceError
from service.learning import Answering, LiveCopy, Versions
from service.store import Store

log = logging.getLogger(__name__)

# Lessons come in bursts; one calibration after a burst is enough.
_QUIET = 0.5


class Calibrating:
    """A thread that waits for lessons, then calibrates, and saves the live model when much is new.

    The rates are those of `coral_learn.training.calibrate`.
    """

    def __init__(
        self, store: Store, answering: Answering, versions: Versions, false_accept_rate: float, most_refused: float
    ):
        self._store, self._answering, self._versions = store, answering, versions
        self._rates = false_accept_rate, most_refused
        self._measuring = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="calibrating", daemon=True)

    def start(self) -> None:
        """Begin to wait for lessons."""
        self._thread.start()

    def stop(self) -> None:
        """End after the calibration at hand."""
        self._stopping.set()
        self._answering.changed.set()
        self._thread.join(20.0)
        self._versions.save_live(always=True)

    def _run(self) -> None:
        while True:
            self._answering.changed.wait()
            if self._stopping.wait(_QUIET):
                return
            self._answering.changed.clear()
            try:
                self.measure()
                self._versions.save_live()
            except (CoralLearnError, ServiceError):
                log.exception("the live model could not be measured; it answers as before")

    def measure(self) -> None:
        """Calibrate the live model and find out how good it is, now."""
        with self._measuring:
            if self._answering.extractor is None or self._is_measured():
                return
            taken, embeddings, labels = self._sample()
            found = calibrate(taken.copy, embeddings, labels, *self._rates)
            evaluation = evaluate_left_out(taken.copy, embeddings, labels)
            report = {"left_out": evaluation.as_dict(), "calibration": found.as_dict()}
            self._answering.take_measured(taken, report)

    def _is_measured(self) -> bool:
        """Whether an upload has had the live model measured as it is now."""
        report = self._answering.live_report
        return report is not None and report["revision"] == self._answering.revision

    def _sample(self) -> Tuple[LiveCopy, np.ndarray, List[int]]:
        """A copy of the live model with what it learnt of some whole classes: (N, D) float32 and N labels."""
        with self._store.changing:  # so that both are of one moment
            taken, digest = self._answering.copy_live(), self._answering.extractor.digest
            chosen = choose_classes(taken.copy.counts)
            some = [one for class_id in chosen for one in self._store.examples.learnt_of(digest, class_id)]
        size = taken.copy.pipeline.size
        embeddings = np.array([one.embedding for one in some], np.float32).reshape(len(some), size)
        return taken, embeddings, [one.class_id for one in some]
