"""The processor's cores that this process may use, and how many of them an extractor gets."""

import os

_MOST = 4  # threads of an extractor: small models hardly gain from more


def cores() -> int:
    """How many cores this process may use (sched_getaffinity(2))."""
    return len(os.sched_getaffinity(0))


def extractor_threads(wanted: int) -> int:
    """Threads of an extractor on a CPU. wanted : 0 for one a core, at most 4"""
    return wanted or min(_MOST, cores())
