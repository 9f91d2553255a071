"""Pixels that a process and its child both see, instead of a copy that goes through a socket."""

import mmap
import os
import tempfile
from typing import Dict, Optional, Tuple

import numpy as np

Shape = Tuple[int, ...]

_APART = 64 * 1024 * 1024  # bytes between two places, of which only those that are used take memory


class SharedPixels:
    """Numbered places, each for a picture, in memory that grows with what is put there.

    number : the file descriptor of memory that another process made; None makes some. Raises `OSError`.
    """

    def __init__(self, number: Optional[int] = None):
        self.number = _nameless() if number is None else number
        self._places: Dict[int, mmap.mmap] = {}

    def put(self, place: int, pixels: np.ndarray) -> Shape:
        """Put a picture, uint8, into a place. Returns its shape, which `at` asks for. Raises `MemoryError`."""
        np.copyto(self.at(place, pixels.shape), pixels, casting="no")
        return pixels.shape

    def at(self, place: int, shape: Shape) -> np.ndarray:
        """What a place holds, uint8 of this shape, until something else is put there. Raises `MemoryError`."""
        size = int(np.prod(shape))
        return np.frombuffer(self._at_least(size, place), np.uint8, size).reshape(shape)

    def close(self) -> None:
        """Let the memory go, as far as nothing that `at` returned is in use."""
        os.close(self.number)
        self._places.clear()  # each has a descriptor of its own

    def _at_least(self, size: int, place: int) -> mmap.mmap:
        memory = self._places.get(place)
        if memory is not None and len(memory) >= size:
            return memory
        if size > _APART:
            raise MemoryError(f"a shared picture may have {_APART} bytes, got {size}")
        try:
            os.posix_fallocate(self.number, place * _APART, size)  # now: where memory ends later, the process is killed
            self._places[place] = mmap.mmap(self.number, size, offset=place * _APART)
        except OSError as error:
            raise MemoryError(f"no {size} bytes of memory to share pictures in: {error}") from error
        return self._places[place]


def _nameless() -> int:
    """A file in memory that goes with its last descriptor."""
    if hasattr(os, "memfd_create"):  # Python 3.8
        return os.memfd_create("pixels")
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        return os.dup(file.fileno())
