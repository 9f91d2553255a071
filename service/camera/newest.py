"""One place for the newest shot, for a writer and a reader."""

import threading
import time
from typing import NamedTuple, Optional

from service.camera.shot import Shot
from service.errors import CameraError


class Taken(NamedTuple):
    """A shot with its number and when it came: seconds since 1970, and of the monotonic clock."""

    number: int
    captured: float
    came: float
    shot: Shot


class NewestShot:
    """What comes later replaces what came before. patience : seconds after which a shot is too old to be handed out"""

    def __init__(self, patience: float):
        self._patience = patience
        self._changed = threading.Condition()
        self._taken: Optional[Taken] = None
        self._lost: Optional[str] = None
        self.rate: Optional[float] = None

    def put(self, shot: Shot) -> None:
        """Replace the shot."""
        now = time.monotonic()
        with self._changed:
            before = self._taken
            if before is not None:
                self._count(now - before.came)
            self._taken = Taken(before.number + 1 if before else 1, time.time(), now, shot)
            self._changed.notify_all()

    def lose(self, reason: str) -> None:
        """No shot will come any more."""
        with self._changed:
            self._lost = reason
            self._changed.notify_all()

    def take(self, after: int) -> Taken:
        """Wait for a shot with a higher number. Raises `CameraError` when none will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._has(after) or self._lost is not None)
            if not self._has(after):
                raise CameraError(self._lost)
            return self._taken

    def _has(self, after: int) -> bool:
        taken = self._taken
        return taken is not None and taken.number > after and time.monotonic() - taken.came <= self._patience

    def _count(self, seconds: float) -> None:
        """A running mean of the time between shots, over about the last 16."""
        mean = seconds if not self.rate else (15.0 / self.rate + seconds) / 16.0
        self.rate = 1.0 / max(mean, 1e-4)
