"""The CPU in the place of a lost Edge TPU (--on-device-loss cpu), and how that is taken back.

What was taught stays right only when both give the same embeddings. So a plain file stands in for the
compiled one where they are one extractor, that is where each has to agree with the same golden picture
before it answers (`coral_learn.manifest`). Other pairs are refused: every stored picture would have to be
embedded anew, by the slower device, and once more when the faster one is back.
"""

import logging
import time
from pathlib import Path
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

from coral_learn.catalog import bundled_model
from coral_learn.errors import ModelError
from coral_learn.manifest import Manifest
from coral_learn.runtime.choose import seen_edge_tpus
from coral_learn.runtime.tflite import is_compiled, read_model
from coral_learn.twins import compiled_name, compiled_twin, plain_name, plain_twin
from service.children import Child
from service.errors import ChildError, NoStandIn
from service.extraction.loading import Loaded, Loading

log = logging.getLogger(__name__)

FALL_BACK_AFTER = 2  # starts on the Edge TPU that failed, one after the other
_LOOK_EVERY = 2.0  # seconds between two looks whether the device is plugged in
_PACE = (10.0, 30.0, 60.0, 300.0)  # seconds between tries, the last for all further, and while it isn't seen


class Twins(NamedTuple):
    """The two files of one extractor."""

    plain: Path
    compiled: Path


def twins_of(model: str) -> Twins:
    """Both files of the extractor that one of them, or "" for the bundled one, belongs to. Raises `NoStandIn`."""
    try:
        path = Path(model) if model else bundled_model()
        compiled, plain = (path, plain_twin(path)) if is_compiled(read_model(path)) else (compiled_twin(path), path)
        if compiled is None:
            raise NoStandIn(f"no compiled file {compiled_name(path)} lies beside the model")
        if plain is None:
            raise NoStandIn(f"the plain file {plain_name(path)}, which a CPU could run, does not lie beside the model")
        if Manifest.of(compiled).digest != Manifest.of(plain).digest:
            raise NoStandIn(
                f"{compiled.name} and {plain.name} are two extractors, because no golden picture in their manifest "
                "shows that they give the same embeddings; everything taught would have to be embedded anew"
            )
    except ModelError as error:
        raise NoStandIn(str(error)) from error
    return Twins(plain, compiled)


class StandIn:
    """The CPU stands in, and now and then a second process tries the Edge TPU. For one thread; never waits.

    wanted : arguments of the process on the Edge TPU; plain : the file the CPU runs; why : how that was lost;
    dead_link : says why it need not be tried now, None when it may
    """

    def __init__(self, wanted: Dict[str, Any], plain: Path, why: str, dead_link: Callable[[], Optional[str]]):
        self._wanted, self._dead_link = wanted, dead_link
        self.arguments = dict(wanted, model=str(plain), device="cpu")
        self.since = time.time()
        self.reason = f"the CPU stands in for the Edge TPU since {moment(self.since)}: {why}"
        self._trial: Optional[Loading] = None
        self._tries, self._tried, self._looked = 0, time.monotonic(), float("-inf")
        self._seen = bool(seen_edge_tpus(wanted["device"]))

    def back(self) -> Optional[Tuple[Child, Loaded]]:
        """One pass: the process that has the model on the Edge TPU again, once there is one."""
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
        log.info("the Edge TPU was tried and is not back: %s", getattr(found, "reason", "it was not used"))
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
        if self._dead_link() is not None:
            self._seen = False  # so that the first sane temperature counts as having been plugged in
            return False
        if self._seen and not before:
            self._tries = 0
            return True
        pace = _PACE[min(self._tries, len(_PACE) - 1)] if self._seen else _PACE[-1]
        return now >= self._tried + pace

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


def moment(seconds: float) -> str:
    """A time for people, in UTC. seconds : since 1970"""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
