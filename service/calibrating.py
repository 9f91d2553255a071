"""After lessons the live model is measured in the background, each example, or capture, left out in turn.

That says how good it is by now, where "none of these" begins, and which examples look wrong.
"""

import logging
import threading
from typing import FrozenSet, List, NamedTuple, Optional, Tuple

import numpy as np

from coral_learn.errors import CoralLearnError
from coral_learn.training import LeftOut, Sample, calibrate_left_out, evaluate_evidence, examine_left_out
from service.errors import ServiceError
from service.learning import Answering, LiveCopy, Versions
from service.report import findings_of, measured
from service.store import Store
from service.store.examples import Learnt

log = logging.getLogger(__name__)

# Lessons come in bursts; one calibration after a burst is enough.
_QUIET = 0.5


class Measured(NamedTuple):
    """A measured copy of the live model. ids : of the examples it was measured with, as `left_out` counts them"""

    taken: LiveCopy
    left_out: LeftOut
    ids: List[str]


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
        self._unexamined: Optional[Measured] = None
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
        while not self._stopping.is_set():  # asked here, too: what `stop` sets may be cleared below
            self._answering.changed.wait()
            if self._stopping.wait(_QUIET):
                return
            self._answering.changed.clear()
            try:
                self.measure()
                self._versions.save_live()
                self.examine()
            except (CoralLearnError, ServiceError):
                log.exception("the live model could not be measured; it answers as before")

    def measure(self) -> None:
        """Calibrate the live model and find out how good it is, now."""
        with self._measuring:
            if self._answering.extractor is None or self._is_measured():
                return
            taken, examples, torn = self._sample()
            labels = [one.class_id for one in examples]
            size = taken.copy.pipeline.size
            embeddings = np.array([one.embedding for one in examples], np.float32).reshape(len(examples), size)
            captures = [one.capture for one in examples]
            sample = Sample(list(range(len(examples))), torn)
            found, left_out = calibrate_left_out(taken.copy, embeddings, labels, *self._rates, captures, sample)
            fair = left_out.only_fair()
            evaluation = evaluate_evidence(taken.copy, fair.evidence, fair.labels)
            figures = measured(evaluation, [examples[index].id for index in fair.chosen], fair.labels)
            figures["not_measured"] = len(left_out.labels) - len(fair.labels)
            report = {"left_out": figures, "calibration": found.as_dict(), "findings": None}
            self._answering.take_measured(taken, report)
            self._unexamined = Measured(taken, left_out, [one.id for one in examples])

    def examine(self) -> None:
        """Look through the examples by which the live model was measured last, once.

        Apart from `measure`, as it takes longer and lessons wait for that.
        """
        with self._measuring:
            last, self._unexamined = self._unexamined, None
        if last is not None:
            found = examine_left_out(last.taken.copy, last.left_out)
            self._answering.take_findings(last.taken, findings_of(found, last.ids))

    def _is_measured(self) -> bool:
        """Whether an upload has had the live model measured as it is now."""
        report = self._answering.live_report
        return report is not None and report["revision"] == self._answering.revision

    def _sample(self) -> Tuple[LiveCopy, List[Learnt], FrozenSet[str]]:
        """A copy of the live model, with a sample of what it learnt, and the captures that are torn in that."""
        revision = self._answering.revision
        outline = self._store.examples.outline(self._answering.must_have_extractor().digest)
        disabled = self._answering.disabled
        enabled = [index for index, class_id in enumerate(outline.classes) if class_id not in disabled]
        rows, classes, captures = ([column[index] for index in enabled] for column in outline)
        sample = Sample.of(classes, captures, keys=rows)
        # The copy and what is read for it are of one moment, but the choice may lack what came just before: it counts
        # as made of the revision that was chosen from, and what is measured with it as out of date.
        with self._store.changing:
            taken, digest = self._answering.copy_live(), self._answering.extractor.digest
            found = self._store.examples.learnt_in_rows(digest, [rows[index] for index in sample.chosen])
            known = set(taken.copy.counts)
            taken = taken._replace(revision=revision)
            return taken, [one for some in found for one in some if one.class_id in known], sample.torn
