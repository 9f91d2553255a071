"""Disk space kept for the moment when there is none left: even deleting has to write first."""

import os
import threading
from contextlib import suppress
from pathlib import Path

from service.errors import StoreError
from service.store.files import translated

SIZE = 4 * 1024 * 1024  # bytes; as much as the log of the database grows to before it is written back


class Reserve:
    """A file that holds nothing but its place. Safe from any thread."""

    def __init__(self, path: Path, size: int = SIZE):
        self._path, self._size, self._lock = path, size, threading.Lock()
        self._there = path.exists()

    def keep(self, free: int, least_free: int) -> None:
        """Make the file where there is none, if the disk has room: bytes that are free now, and that must stay so."""
        # Half as much again, so that what was deleted to make room is not taken at once.
        if self._there or free < self._size + max(least_free, self._size // 2):
            return
        with self._lock, suppress(StoreError):  # it is for later; whoever needs room now hears of it then
            if not self._there:
                self._make()
                self._there = True

    def release(self) -> bool:
        """Remove the file; False when there was none. Raises `StoreError`."""
        with self._lock:
            if not self._there:
                return False
            with translated(self._path), suppress(FileNotFoundError):
                os.unlink(str(self._path))
            self._there = False
            return True

    def _make(self) -> None:
        with translated(self._path):
            handle = os.open(str(self._path), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(handle, 0, self._size)
            except OSError:
                os.unlink(str(self._path))
                raise
            finally:
                os.close(handle)
