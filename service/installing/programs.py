"""The programs of the system that is installed into."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import List, Optional, Sequence

from service.errors import InstallError

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LAST_LINES = 15


class Programs:
    """Runs them, in another root by chroot."""

    def __init__(self, root: Path):
        self._root = root

    @property
    def ours(self) -> bool:
        """Whether it is the running system."""
        return self._root == Path("/")

    @property
    def systemd_runs(self) -> bool:
        """Whether systemd is the first process of the running system, and this is it (sd_booted(3))."""
        return self.ours and os.path.isdir("/run/systemd/system")

    @property
    def udev_runs(self) -> bool:
        """Whether udev is at work here."""
        return self.ours and os.path.exists("/run/udev/control") and self.has("udevadm")

    def has(self, name: str) -> bool:
        """Whether there is a program of this name."""
        return shutil.which(name, path=os.pathsep.join(str(self._root) + one for one in _PATH.split(":"))) is not None

    def run(self, *command: str, what: str) -> str:
        """Run a program; returns what it printed. Raises `InstallError` that says what failed, with its last words."""
        done = self._run(command)
        if done is None:
            raise InstallError(f"{what} failed: there is no program {command[0]}")
        if done.returncode != 0:
            last = "\n  ".join((done.stdout + done.stderr).strip().splitlines()[-_LAST_LINES:])
            raise InstallError(f"{what} failed ({' '.join(command[:4])} ...: exit code {done.returncode})\n  {last}")
        return done.stdout

    def succeeds(self, *command: str) -> bool:
        """Whether a program ends with 0."""
        done = self._run(command)
        return done is not None and done.returncode == 0

    def _run(self, command: Sequence[str]) -> Optional[subprocess.CompletedProcess]:
        before: List[str] = [] if self.ours else ["chroot", str(self._root)]
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        environ.update(PATH=_PATH, LC_ALL="C.UTF-8", HOME="/root")
        try:
            return subprocess.run(
                [*before, *command],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                env=environ,
                cwd="/",
                check=False,
            )
        except FileNotFoundError:
            return None
