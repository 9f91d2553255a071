"""A second process that tries the Edge TPU now and then, while the CPU answers.

Either because it was lost (`service.extraction.stand_in`), or because there was none to be had when the device
was to be chosen automatically: sticks are found late, and plugged in later.
"""

import logging
import time
from typing import Any, Callable, Dict, Optional, Tuple

from coral_learn.runtime.choose import seen_edge_tpus
from service.children import Child
from service.errors import ChildError
from service.extraction.loading import Loaded, Loading

log = logging.getLogger(__name__)

_LOOK_EVERY = 2.0  # seconds between two looks whether the device is plugged in
_PACE = (10.0, 30.0, 60.0, 300.0)  # seconds between tries, the last for all further, and while it isn't seen


class Comeback:
    """Tries the Edge TPU. For one thread; never waits.

    wanted : arguments of the process on the Edge TPU; dead_link : says why it need not be tried now, None when it may
    unseen : whether to try it now and then also while the kernel shows none

    trouble : why the last try was in vain, None before one and once the device isn't seen any more; may be given
    """

    def __init__(
        self,
        wanted: Dict[str, Any],
        dead_link: Callable[[], Optional[str]],
        unseen: bool,
        trouble: Optional[str] = None,
    ):
        self._wanted, self._dead_link, self._unseen = wanted, dead_link, unseen
        self._trial: Optional[Loading] = None
        self._tries, self._tried, self._looked = 0, time.monotonic(), float("-inf")
        self._seen = bool(seen_edge_tpus(wanted["device"]))
        self.trouble = trouble

    def look(self) -> Optional[Tuple[Child, Loaded]]:
        """One pass: the process that has the model on the Edge TPU, once there is one."""
        if self._trial is None:
            if self._may_try():
                self._try()
            return None
        found = self._trial.look(0)
        if found is None:
            return None
        child, self._trial = self._trial.child, None
        if isinstance(found, Loaded) and found.info.device == "edgetpu":
            return child, found
        self._let_go(child)
        self.trouble = getattr(found, "reason", "it was not used")
        log.info("the Edge TPU was tried in vain: %s", self.trouble)
        return None

    def close(self) -> None:
        """End a try that is under way."""
        trial, self._trial = self._trial, None
        if trial is not None:
            self._let_go(trial.child)

    def _may_try(self) -> bool:
        now = time.monotonic()
        if now < self._looked + _LOOK_EVERY:
            return False
        self._looked = now
        before, self._seen = self._seen, bool(seen_edge_tpus(self._wanted["device"]))
        if not self._seen:
            self.trouble = None
        if self._dead_link() is not None:
            self._seen = False  # so that the first sane temperature counts as having been plugged in
            return False
        if self._seen and not before:
            self._tries = 0
            return True
        pace = _PACE[min(self._tries, len(_PACE) - 1)] if self._seen else _PACE[-1]
        return (self._seen or self._unseen) and now >= self._tried + pace

    def _try(self) -> None:
        self._tries, self._tried = self._tries + 1, time.monotonic()
        try:
            self._trial = Loading(self._wanted)
        except ChildError as error:
            log.warning("the Edge TPU can't be tried: %s", error)

    @staticmethod
    def _let_go(child: Child) -> None:
        if not child.release(0.5):
            log.error("the process %d that tried the Edge TPU can't be killed, a driver holds it", child.pid)
