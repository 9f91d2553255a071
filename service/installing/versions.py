"""Versions side by side, each with an environment of its own; links say which runs and which ran before.

    /opt/coral-learn/versions/0.1.0-1
    /opt/coral-learn/versions/0.1.0-2
    /opt/coral-learn/current -> versions/0.1.0-2
    /opt/coral-learn/previous -> versions/0.1.0-1

The unit names `current`; a link is exchanged in one step, so there is no moment without a program.
"""

import os
import re
import shutil
from pathlib import Path
from typing import List, Optional

COMING = ".coming-"
CURRENT, PREVIOUS = "current", "previous"


class Versions:
    """Those in a folder such as /opt/coral-learn."""

    def __init__(self, home: Path):
        self._home, self._folder = home, home / "versions"

    def folder(self, name: str) -> Path:
        """Where a version is."""
        return self._folder / name

    @property
    def current(self) -> Optional[str]:
        """The name of the version that runs, None without one."""
        return self._linked(CURRENT)

    @property
    def previous(self) -> Optional[str]:
        """The name of the one before."""
        return self._linked(PREVIOUS)

    def new_name(self, version: str) -> str:
        """A name that none has, and none that was removed had since the oldest that is left."""
        numbers = [int(match.group(1)) for match in (re.search(r"-(\d+)$", name) for name in self._all()) if match]
        return f"{version}-{max(numbers, default=0) + 1}"

    def switch(self, current: str, previous: Optional[str]) -> None:
        """Have one run from the next start on. The one before is kept to go back to."""
        if previous is None:
            if (self._home / PREVIOUS).is_symlink():
                (self._home / PREVIOUS).unlink()
        else:
            self._link(PREVIOUS, previous)
        self._link(CURRENT, current)

    def sweep(self) -> None:
        """Remove what a broken-off installation was about to install."""
        for path in self._home.glob(f"{COMING}*"):
            shutil.rmtree(str(path))

    def prune(self) -> List[str]:
        """Remove what neither runs nor can be gone back to: older ones, and what a broken-off installation left."""
        removed = [name for name in self._all() if name not in (self.current, self.previous)]
        for name in removed:
            shutil.rmtree(str(self.folder(name)))
        return removed

    def _all(self) -> List[str]:
        return sorted(path.name for path in self._folder.iterdir()) if self._folder.is_dir() else []

    def _linked(self, link: str) -> Optional[str]:
        try:
            name = Path(os.readlink(str(self._home / link))).name
        except OSError:
            return None
        return name if self.folder(name).is_dir() else None

    def _link(self, link: str, name: str) -> None:
        new = self._home / f".{link}.new"
        if new.is_symlink():
            new.unlink()
        os.symlink(f"versions/{name}", str(new))
        os.replace(str(new), str(self._home / link))
        handle = os.open(str(self._home), os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
