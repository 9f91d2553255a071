"""After lessons the live model is measured in the background, each example left out in turn.

That says how good it is by now, and where "none of these" begins.
"""

import logging
import threading

from coral_learn.errors import CoralLearnError
from coral_learn.training import calibrate, evaluate_left_out
from service.errors import ServiceError
from service.learner import Learner

log = logging.getLogger(__name__)

# Lessons come in bursts; one calibration after a burst is enough.
_QUIET = 0.5


class Calibrating:
    """A thread that waits for lessons, then calibrates. The rates are those of `coral_learn.training.calibrate`."""

    def __init__(self, learner: Learner, false_accept_rate: float, most_refused: float):
        self._learner, self._rates = learner, (false_accept_rate, most_refused)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="calibrating", daemon=True)

    def start(self) -> None:
        """Begin to wait for lessons."""
        self._thread.start()

    def stop(self) -> None:
        """End after the calibration at hand."""
        self._stopping.set()
        self._learner.changed.set()
        self._thread.join(20.0)

    def _run(self) -> None:
        while True:
            self._learner.changed.wait()
            if self._stopping.wait(_QUIET):
                return
            self._learner.changed.clear()
            try:
                self._measure()
            except (CoralLearnError, ServiceError):
                log.exception("the live model could not be measured; it answers as before")

    def _measure(self) -> None:
        taken = self._learner.take_copy()
        if taken is None:
            return
        found = calibrate(taken.copy, taken.embeddings, taken.labels, *self._rates)
        evaluation = evaluate_left_out(taken.copy, taken.embeddings, taken.labels)
        report = {"left_out": evaluation.as_dict(), "calibration": found.as_dict()}
        self._learner.adopt_measured(taken, report)
