"""How many threads an extractor gets."""

import os

import pytest

from service.cores import cores, extractor_threads


def test_cores_are_those_this_process_may_use():
    """Not those of the machine: a container or a unit may be given fewer."""
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert cores() == len(allowed)


@pytest.mark.parametrize(("available", "threads"), [(1, 1), (2, 2), (4, 4), (16, 4)])
def test_one_a_core(monkeypatch, available, threads):
    """Up to four."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(available)))
    assert extractor_threads(0) == threads


def test_threads_that_were_asked_for():
    """Are taken as they are."""
    assert extractor_threads(64) == 64
