"""Archives that were sent and wait for their import: a file a job, named by it."""

import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Iterable

from service.errors import NotFound
from service.store.files import make_folder, sync_folder, translated

_TEMPORARY = ".part-"


class Incoming:
    """A folder of them. On the data folder's disk, because what is in /tmp may be in the memory.

    Methods raise `StoreError`.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        make_folder(folder)

    def spool(self) -> BinaryIO:
        """A new file to write a body into as it comes. End with `keep` or `discard`."""
        with translated(self._folder):
            return open(str(self._folder / (_TEMPORARY + uuid.uuid4().hex)), "x+b")

    def keep(self, file: BinaryIO, job: str) -> None:
        """Make a spooled file that of a job; it is on the disk afterwards."""
        with translated(self._folder):
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, str(self._folder / job))
            sync_folder(self._folder)

    def discard(self, file: BinaryIO) -> None:
        """Close a spooled file, and remove it unless it was kept."""
        file.close()
        with suppress(OSError):
            os.unlink(file.name)

    def open(self, job: str) -> BinaryIO:
        """A job's archive. Raises `NotFound`."""
        with translated(self._folder):
            try:
                return open(str(self._folder / job), "rb")
            except FileNotFoundError:
                raise NotFound(f"the archive of the job {job} is gone", "archive_not_found") from None

    def remove(self, job: str) -> None:
        """Remove a job's archive; there may be none."""
        with translated(self._folder), suppress(FileNotFoundError):
            (self._folder / job).unlink()

    def sweep(self, jobs: Iterable[str]) -> None:
        """Remove every file but those of these jobs."""
        kept = set(jobs)
        with translated(self._folder):
            for path in self._folder.iterdir():
                if path.name not in kept:
                    path.unlink()
