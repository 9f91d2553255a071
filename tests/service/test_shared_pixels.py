"""Pixels that two processes see."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.shared_pixels import SharedPixels

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def pixels():
    """Shared pixels, closed in the end."""
    made = SharedPixels()
    yield made
    made.close()


def picture(seed, height=6, width=5):
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)


def test_places_hold_what_was_put_last(pixels):
    """Each place has its own picture, also after the memory has grown."""
    shapes = [pixels.put(place, picture(place)) for place in range(3)]
    pixels.put(1, picture(9))
    for place, seed in ((0, 0), (1, 9), (2, 2)):
        assert np.array_equal(pixels.at(place, shapes[place]), picture(seed))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=8))
def test_pictures_of_any_size(puts):
    """Whatever was put last into a place is there, whatever sizes the others have."""
    pixels, there = SharedPixels(), {}
    for seed, (place, height, width) in enumerate(puts):
        there[place] = picture(seed, height, width)
        pixels.put(place, there[place])
        assert all(np.array_equal(pixels.at(number, one.shape), one) for number, one in there.items())
    pixels.close()


def test_another_process_sees_them(pixels):
    """By the number of the descriptor it was given; what it puts there is seen here."""
    shape = pixels.put(1, picture(1))
    code = "import sys; from service.shared_pixels import SharedPixels; import numpy as np; "
    code += "pixels = SharedPixels(int(sys.argv[1])); pixels.put(2, 255 - pixels.at(1, (6, 5, 3)))"
    command = [sys.executable, "-c", code, str(pixels.number)]
    subprocess.run(command, pass_fds=[pixels.number], cwd=str(ROOT), check=True)
    assert np.array_equal(pixels.at(2, shape), 255 - picture(1))


def test_places_of_other_sizes_stay_apart(pixels):
    """As when a request for the extractor before an exchange comes among those for the new one."""
    small = pixels.put(1, picture(1))
    pixels.put(0, picture(2, 300, 200))
    assert np.array_equal(pixels.at(1, small), picture(1))


def test_too_large(pixels):
    """More than a place has is refused, and says how much it has."""
    with pytest.raises(MemoryError, match="may have 67108864 bytes, got 75000000"):
        pixels.put(0, np.zeros((5000, 5000, 3), np.uint8))


def test_what_is_no_uint8_is_refused(pixels):
    """Instead of being cut to eight bits."""
    with pytest.raises(TypeError, match="Cannot cast"):
        pixels.put(0, picture(0).astype(np.int64))


def test_what_was_returned_outlives_the_descriptor():
    """As answers may be under way when a process is let go."""
    pixels = SharedPixels()
    kept = pixels.at(0, pixels.put(0, picture(4)))
    pixels.close()
    assert np.array_equal(kept, picture(4))


def test_nothing_is_left_open():
    """Neither the memory's descriptor nor those of what was mapped, without waiting for the garbage collector."""
    before = len(os.listdir("/proc/self/fd"))
    pixels = SharedPixels()
    for place in range(3):
        pixels.put(place, picture(place))
    assert len(os.listdir("/proc/self/fd")) > before
    pixels.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_no_memory():
    """More than there is gives an error that says how much was wanted."""
    number = os.open("/dev/full", os.O_RDWR)
    with pytest.raises(MemoryError, match="no 90 bytes of memory"):
        SharedPixels(number).put(0, picture(0))
    os.close(number)


def test_without_memfd(monkeypatch):
    """As on Python 3.7."""
    monkeypatch.delattr(os, "memfd_create", raising=False)
    pixels = SharedPixels()
    assert np.array_equal(pixels.at(0, pixels.put(0, picture(7))), picture(7))
    pixels.close()
