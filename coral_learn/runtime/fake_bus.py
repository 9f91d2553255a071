"""What the kernel would show of the fake Edge TPU: a folder in the form of /sys, for all processes of a user."""

import os
import tempfile
from pathlib import Path
from typing import List, Optional

from coral_learn.errors import DeviceError

IDLE = 45.0  # degrees Celsius
DEAD = -89.7  # what the driver reports of a PCIe link that reads all ones
_COLDEST, _HOTTEST = -40.0, 130.0


class FakeBus:
    """Where the fake device is plugged in, as on PCIe: class/apex/apex_0/temp below `sysfs`.

    `marker` is a file that stands for "unplugged": remove it to plug the device in again. Written by
    hand, class/apex/apex_0/temp (milli-degrees) heats and cools the device, and mends a dead link.
    """

    def __init__(self, folder: Optional[Path] = None):
        self.sysfs = Path(folder or tempfile.gettempdir()) / f"coral-learn-fake-{os.getuid()}"
        self.marker = self.sysfs / "unplugged"
        self._sensor = self.sysfs / "class" / "apex" / "apex_0" / "temp"

    @property
    def present(self) -> bool:
        """Whether the device is plugged in."""
        return not self.marker.exists()

    @property
    def dead(self) -> bool:
        """Whether its link is dead: the temperature can't be true."""
        try:
            return not _COLDEST <= int(self._sensor.read_text()) / 1000 <= _HOTTEST
        except (OSError, ValueError):
            return False

    def seen(self) -> List[str]:
        """What of it the kernel shows."""
        return ["/dev/apex_0 (fake)"] if self.present else []

    def show(self, degrees: float) -> None:
        """Report this temperature. Raises `DeviceError` where that can't be written."""
        try:
            self._sensor.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._sensor.with_name("temp.new")
            fresh.write_text(f"{round(degrees * 1000)}\n")
            fresh.replace(self._sensor)
        except OSError as error:
            raise DeviceError(f"the fake Edge TPU can't write {self._sensor}: {error.strerror}") from error

    def unplug(self) -> None:
        """Be gone, for every process, until the marker is removed."""
        self.show(IDLE)
        self._sensor.unlink()
        self.marker.write_text("remove this file to plug the fake Edge TPU in again\n")
