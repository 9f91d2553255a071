"""One process an Edge TPU.

The kernel lets two processes of root share a PCIe device and break each other, and a second
process that opens a USB stick kills the first (google-coral/edgetpu#645). So a lock file is
held from before the driver is loaded until the model is closed or the process ends.
"""

import fcntl
import os
import re
import tempfile
from pathlib import Path
from typing import Optional

from coral_learn.errors import DeviceBusy


class DeviceLock:
    """Held from construction to `release`. Raises `DeviceBusy` when another process holds it.

    device : the device's name; each name has its lock, so use one name for one device
    """

    def __init__(self, device: str, folder: Optional[Path] = None):
        name = re.sub(r"\W", "-", device) or "any"
        self.path = Path(folder or tempfile.gettempdir()) / f"coral-learn-edgetpu-{name}.lock"
        try:
            self._file: Optional[int] = os.open(str(self.path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise DeviceBusy(f"the lock file {self.path} of the Edge TPU can't be opened: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.release()
            raise DeviceBusy(f"another process holds the Edge TPU (lock file {self.path})") from error

    def release(self) -> None:
        """Let the device go. Safe to call twice."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
