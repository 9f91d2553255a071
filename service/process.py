"""What a process of this machine uses (proc(5))."""

import os
from pathlib import Path
from typing import NamedTuple, Optional


class Usage(NamedTuple):
    """Resident memory in bytes, seconds of CPU time so far, open files, threads."""

    resident: int
    cpu: float
    files: int
    threads: int


def usage(pid: int, proc: Path = Path("/proc")) -> Optional[Usage]:
    """What a process uses now; None when it is gone or not ours to look at."""
    folder = proc / str(pid)
    try:
        # The name is in brackets and may hold anything: the fields start behind its last bracket.
        fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        files = len(os.listdir(str(folder / "fd")))
        ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
        return Usage(int(fields[21]) * page, (int(fields[11]) + int(fields[12])) / ticks, files, int(fields[17]))
    except (OSError, ValueError, IndexError):
        return None
