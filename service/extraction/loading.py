"""A process of the extractor, from its start until it has loaded and tried the model."""

import time
from pathlib import Path
from typing import Any, Dict, NamedTuple, Union

from coral_learn.extractor import ExtractorInfo
from service.children import Child

LOAD_TIMEOUT = 120.0  # seconds; a USB stick takes up to a minute
WARM_UP_TIMEOUT = 30.0  # seconds for the first run, once the model is loaded
_TARGET = "service.extraction.child:run"


class Loaded(NamedTuple):
    """The extractor's facts and its model file."""

    info: ExtractorInfo
    model_path: Path


class Failed(NamedTuple):
    """Why a process is of no use; stuck : it did not end by itself, or its device is known to be dead."""

    reason: str
    stuck: bool = False


class Loading:
    """Starts the process. Raises `ChildError`. arguments : as `service.extraction.child` takes them"""

    def __init__(self, arguments: Dict[str, Any]):
        self._ends = time.monotonic() + LOAD_TIMEOUT
        self._late = f"the model was not loaded within {LOAD_TIMEOUT:g} s"
        self.child = Child(_TARGET, arguments, shares_pixels=True)

    def look(self, patience: float) -> Union[Loaded, Failed, None]:
        """What became of it, None while it is at it. Waits for news, at most `patience` seconds."""
        try:
            while self.child.has_news(patience):
                kind, facts, text = self.child.channel.recv()
                if kind == "ready":
                    return Loaded(ExtractorInfo(*facts), Path(text))
                if kind == "failed":
                    return Failed(text)
                self._ends = min(self._ends, time.monotonic() + WARM_UP_TIMEOUT)
                self._late = f"the model was loaded and did not run once within {WARM_UP_TIMEOUT:g} s"
        except (EOFError, OSError):
            return Failed(f"its process {end_of(self.child)} while it loaded the model")
        return Failed(self._late, stuck=True) if time.monotonic() > self._ends else None


def end_of(child: Child) -> str:
    """How a process ended that closed its channel; it may need a moment to be gone."""
    if not child.wait(1.0):
        child.kill()
    return child.describe_end()
