"""A time of day that a test sets, for processes of its own: the machine's clock stays as it is."""

import shutil
import struct
import subprocess
import time
from pathlib import Path
from typing import List, Optional

_SOURCE = Path(__file__).with_name("fake_clock.c")


def missing() -> Optional[str]:
    """Why there can't be one here, None where there can."""
    return "there is no C compiler (cc) to make a clock with" if shutil.which("cc") is None else None


class FakeClock:
    """As many hours ahead of the real one as is said. folder : for what it needs"""

    def __init__(self, folder: Path):
        library, self._file, self._hours = folder / "fake_clock.so", folder / "seconds", 0.0
        flags = ["-shared", "-fPIC", "-O", "-Wall", "-Wextra", "-Werror"]
        subprocess.run(["cc", *flags, "-o", str(library), str(_SOURCE), "-ldl"], check=True)
        self._file.write_bytes(bytes(8))
        self.before: List[str] = ["env", f"LD_PRELOAD={library}", f"FAKE_CLOCK={self._file}"]

    @property
    def now(self) -> float:
        """Seconds since 1970 as its processes see it."""
        return time.time() + self._hours * 3600

    def set(self, hours: float) -> None:
        """Show this many hours more than the real one from now on. `before` starts the processes that see it."""
        self._hours = hours
        with self._file.open("r+b") as file:
            file.write(struct.pack("q", round(hours * 3600)))
