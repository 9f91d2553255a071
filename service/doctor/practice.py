"""The doctor of a running daemon: one examination at a time, in a thread of its own, within a time limit."""

import threading
from typing import Any, Dict, List

from coral_learn.errors import CoralLearnError
from service.doctor.check import SKIP, Check, report
from service.doctor.examination import Case, examine, names
from service.doctor.extractor import Tried, try_running
from service.doctor.machine import Machine
from service.errors import Conflict, ExtractorBusy, ServiceError
from service.extraction import ExtractorSupervisor
from service.extraction.supervisor import LOST, READY
from service.learning import Answering
from service.settings import Settings

LONGEST = 20.0  # seconds
_EMBED_SECONDS = 5.0
_CHILD_SECONDS = 8.0


class Practice:
    """Examines the machine the daemon runs on, as the daemon's user.

    longest : seconds after which what is not done is reported as skipped
    """

    def __init__(
        self,
        settings: Settings,
        extraction: ExtractorSupervisor,
        answering: Answering,
        machine: Machine = None,  # type: ignore[assignment]
        longest: float = LONGEST,
    ):
        self._settings, self._extraction, self._answering = settings, extraction, answering
        self._machine, self._longest = machine or Machine(patience=_CHILD_SECONDS), longest
        self._one_at_a_time = threading.Lock()

    def examine(self) -> Dict[str, Any]:
        """The report. Raises `Conflict` while another examination goes on."""
        if not self._one_at_a_time.acquire(blocking=False):
            raise Conflict("the doctor examines the machine already: ask again in some seconds", "doctor_busy")
        done: List[Check] = []
        # It may hang in a driver; then it keeps the lock, and the request is answered without it.
        thread = threading.Thread(target=self._examine, args=(done,), name="doctor", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            self._one_at_a_time.release()
            raise
        thread.join(self._longest)
        made = list(done)
        late = [Check(name, SKIP, f"not done within {self._longest:g} s") for name in self._names()[len(made) :]]
        return report(made + late)

    def _examine(self, done: List[Check]) -> None:
        try:
            for check in examine(self._machine, self._case()):
                done.append(check)
        finally:
            self._one_at_a_time.release()

    def _names(self) -> List[str]:
        return names(self._machine, self._case())

    def _case(self) -> Case:
        return Case(
            self._settings,
            self._try_extractor,
            running=True,
            port_is_ours=True,
            delegate=self._delegate(),
            child=self._extraction.pid,
        )

    def _delegate(self):
        """What the extractor's process says of the Edge TPU, None when it doesn't use one."""
        health, info = self._extraction.health, self._extraction.info
        if health.state == READY and info is not None and info.device == "edgetpu":
            return ""
        last_on_edge_tpu = info is not None and info.device == "edgetpu"
        wanted = self._settings.device not in ("auto", "cpu") or last_on_edge_tpu
        return health.reason if health.state == LOST and wanted else None

    def _try_extractor(self) -> Tried:
        extraction, answering = self._extraction, self._answering
        health, info = extraction.health, extraction.info
        if health.state == LOST:
            return Tried(failure=f"lost: {health.reason}")
        known = answering.extractor
        if health.state != READY or info is None or known is None or known.digest != info.digest:
            return Tried(skipped=f"the extractor is being loaded: {health.reason}")
        try:
            return try_running(info, answering.model_path, lambda pixels: extraction.embed(pixels, _EMBED_SECONDS))
        except ExtractorBusy as error:
            return Tried(skipped=str(error))
        except (ServiceError, CoralLearnError) as error:
            return Tried(failure=str(error))
