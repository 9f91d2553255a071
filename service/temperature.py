"""How warm the board is, where it has a sensor, and what follows: a slower camera, or a device that is lost."""

import logging
import threading
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, Optional, Tuple

log = logging.getLogger(__name__)

# An Edge TPU whose PCIe link is dead reports a value that no chip survives: -89.7 (gasket-driver, adc 0x3ff).
_COLDEST, _HOTTEST = -40.0, 130.0  # degrees Celsius
_LOOK_EVERY = 1.0  # seconds
_COOLED = 5.0  # degrees below the limit at which the camera is let go again, so that it doesn't change every second
_PAUSE, _LONGEST = 0.5, 5.0  # seconds at the limit, and for each degree above it; at most


class Temperature:
    """The sensors the kernel shows, and what to do about them. Safe from any thread.

    sysfs : where they are, /sys; slow_down_at : degrees at which the camera is slowed down, 0 for never
    """

    def __init__(
        self,
        sysfs: Path = Path("/sys"),
        slow_down_at: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._sysfs, self._limit, self._clock = sysfs, slow_down_at, clock
        self._judging = threading.Lock()
        self._judged = float("-inf")
        self._pause, self._slowed = 0.0, None

    def read(self) -> Dict[str, float]:
        """Degrees Celsius by sensor: apex_N for Edge TPUs on PCIe, thermal_zone0 for the board; those that answer."""
        return {name: degrees for name, degrees in self._sensors() if _COLDEST <= degrees <= _HOTTEST}

    def dead_link(self) -> Optional[str]:
        """That the Edge TPU on PCIe is lost, as a sentence; None while it isn't, or there is none.

        Where there are several, only when all are: which of them is in use isn't known.
        """
        found = [(name, degrees) for name, degrees in self._sensors() if name.startswith("apex")]
        if not found or any(_COLDEST <= degrees <= _HOTTEST for _, degrees in found):
            return None
        shown = ", ".join(f"{name} reports {degrees:g} degrees" for name, degrees in found)
        return f"the Edge TPU's PCIe link is dead: {shown}, which no chip survives"

    def pause(self) -> float:
        """Seconds the camera loop should rest before it takes its next frame; 0 while nothing is too warm.

        Above the limit half a second, and as much more for each degree; until it is 5 degrees below. Looks
        at the sensors once a second at most, so it may be asked for each frame.
        """
        with self._judging:
            now = self._clock()
            if self._limit and now >= self._judged + _LOOK_EVERY:
                self._judged = now
                self._judge()
            return self._pause

    @property
    def slowed(self) -> Optional[str]:
        """Why the camera is slowed down, None while it isn't."""
        self.pause()
        return self._slowed

    def _judge(self) -> None:
        sensors = self.read()
        name = max(sensors, key=sensors.get) if sensors else ""
        degrees = sensors.get(name, _COLDEST)
        before = self._pause
        if degrees >= self._limit or (before and degrees > self._limit - _COOLED):
            self._pause = min(_LONGEST, _PAUSE * (1 + max(0.0, degrees - self._limit)))
            self._slowed = (
                f"{name} is at {degrees:.0f} degrees (slow-down-at is {self._limit:g}): "
                f"the camera rests {self._pause:.1f} s before each frame"
            )
        else:
            self._pause, self._slowed = 0.0, None
        if self._pause and not before:
            log.warning("%s", self._slowed)
        if before and not self._pause:
            log.warning(
                "%s, the camera is no longer slowed down",
                f"{name} is at {degrees:.0f} degrees" if name else "no sensor answers",
            )

    def _sensors(self) -> Iterator[Tuple[str, float]]:
        """(name, degrees) of each that answers, be it true or not."""
        folders = sorted((self._sysfs / "class" / "apex").glob("apex_[0-9]*"))
        for folder in (*folders, self._sysfs / "class" / "thermal" / "thermal_zone0"):
            try:
                degrees = int((folder / "temp").read_text()) / 1000
            except (OSError, ValueError):  # no such file is usual: USB sticks have none, nor have old drivers
                continue
            yield folder.name, degrees
