"""One process an Edge TPU.

The kernel lets two processes of root share a PCIe device and break each other, and a second
process that opens a USB stick kills the first (google-coral/edgetpu#645). So a lock file is
held from before the driver is loaded until the model is closed or the process ends. The process
that opened a device is the only one that may use it: one made by fork would share its files, which
the driver does not expect (google-coral/edgetpu#246).
"""

import fcntl
import os
import re
import tempfile
from pathlib import Path
from typing import Dict, List, Optional

from coral_learn.errors import DeviceBusy, InvokeFailed

_SHARED_BY_ALL_USERS = Path("/run/lock")
_FOR_ALL_USERS = 0o644
_KINDS = ("pci", "usb")
_NUMBERED = re.compile(r"({}|):([0-9]+)".format("|".join(_KINDS)))


class DeviceLock:
    """Held from construction to `release`. Raises `DeviceBusy` when another process holds it.

    device : two names exclude each other when they may mean the same device: one without a number
        (usb, or any) may open every device; :1 may be pci:0, pci:1, usb:0 or usb:1, as it counts all of them
    folder : of the lock files; where all users' programs find them when not given
    """

    def __init__(self, device: str, folder: Optional[Path] = None):
        self._folder = Path(folder or _default_folder())
        self._files: List[int] = []
        self._owner = os.getpid()
        try:
            for name, kind in _locks(device).items():
                self._hold(name, kind)
        except DeviceBusy:
            self.release()
            raise

    def release(self) -> None:
        """Let the device go. Safe to call twice."""
        while self._files:
            os.close(self._files.pop())

    def must_be_ours(self) -> None:
        """Raise `InvokeFailed` in a process made by fork from the one that opened the device."""
        if os.getpid() != self._owner:
            raise InvokeFailed(
                f"the Edge TPU was opened by process {self._owner} and can't be used by {os.getpid()}, which was made "
                "of it by fork: open it in the process that uses it, and start that by spawn"
            )

    def _hold(self, name: str, kind: int) -> None:
        path = self._folder / name
        try:
            self._files.append(_open(path))
            _open_to_all(self._files[-1])
        except OSError as error:
            raise DeviceBusy(f"the lock file {path} of the Edge TPU can't be opened: {error.strerror}") from error
        try:
            fcntl.flock(self._files[-1], kind | fcntl.LOCK_NB)
        except OSError as error:
            raise DeviceBusy(f"another process holds the Edge TPU (lock file {path})") from error


def _locks(device: str) -> Dict[str, int]:
    """The lock files of a device's name, and how each is held: alone, or shared with who means another device."""
    everything, match = "coral-learn-edgetpu.lock", _NUMBERED.fullmatch(device)
    if match is None:
        return {everything: fcntl.LOCK_EX}
    kind, number = match.group(1), int(match.group(2))
    locks = {everything: fcntl.LOCK_SH, f"coral-learn-edgetpu-{kind or 'any'}-{number}.lock": fcntl.LOCK_EX}
    if not kind:
        # In whichever order the driver counts: before device N of all there are at most N of its own kind.
        mean = [f"coral-learn-edgetpu-{one}-{place}.lock" for one in _KINDS for place in range(number + 1)]
        locks.update(dict.fromkeys(mean, fcntl.LOCK_SH))
    return locks


def _default_folder() -> Path:
    return _SHARED_BY_ALL_USERS if os.access(str(_SHARED_BY_ALL_USERS), os.W_OK) else Path(tempfile.gettempdir())


def _open(path: Path) -> int:
    """Open a lock file, made when missing; reading is enough to lock it."""
    try:
        # With O_EXCL, as the kernel refuses to open another user's file in a shared folder by O_CREAT alone.
        return os.open(str(path), os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FOR_ALL_USERS)
    except FileExistsError:
        return os.open(str(path), os.O_RDONLY | os.O_CLOEXEC)


def _open_to_all(number: int) -> None:
    """Let all users lock a file of ours, whatever the umask it was made with."""
    found = os.fstat(number)
    if found.st_uid == os.geteuid() and found.st_mode & _FOR_ALL_USERS != _FOR_ALL_USERS:
        os.fchmod(number, _FOR_ALL_USERS)
