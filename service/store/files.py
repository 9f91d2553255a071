"""Files that appear whole or not at all, and are on the disk when the call returns."""

import errno
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Iterator, Set

from service.errors import NotFound, StoreError, StoreFull

_TEMPORARY = ".part-"


class ImageFiles:
    """Pictures by the sha256 of their bytes, in 256 folders."""

    def __init__(self, folder: Path):
        self._folder = folder
        make_folder(folder)
        # All at once, so that storing a picture makes no folder, whose own name would have to be synced.
        for number in range(256):
            make_folder(folder / f"{number:02x}")
        with translated(folder):
            sync_folder(folder)

    def path(self, sha256: str) -> Path:
        """Where this picture is or would be."""
        return self._folder / sha256[:2] / sha256

    def save(self, sha256: str, data: bytes) -> None:
        """Store a picture. Where it is stored already its name is synced: that may be what failed the last time."""
        target = self.path(sha256)
        if not target.exists():
            publish_file(target, data)
            return
        with translated(target):
            sync_folder(target.parent)

    def read(self, sha256: str) -> bytes:
        """The stored bytes. Raises `NotFound` when the picture is gone, `StoreError` when it can't be read."""
        with translated(self.path(sha256)):
            try:
                return self.path(sha256).read_bytes()
            except FileNotFoundError:
                raise NotFound(f"the picture {sha256[:12]} is gone", "image_not_found") from None

    def remove(self, sha256: str) -> None:
        """Remove a picture; it may be gone already."""
        with translated(self.path(sha256)), suppress(FileNotFoundError):
            self.path(sha256).unlink()

    def stored(self) -> Set[str]:
        """The sha256 of every stored picture."""
        return {path.name for path in self._folder.glob("??/*") if not path.name.startswith(_TEMPORARY)}

    def remove_leftovers(self) -> int:
        """Remove what an interrupted `save` left behind; returns how many files."""
        leftovers = list(self._folder.glob("??/" + _TEMPORARY + "*"))
        for path in leftovers:
            path.unlink()
        return len(leftovers)


def publish_file(target: Path, data: bytes) -> None:
    """Write a file whole: beside its place, then synced, then renamed into it, then the folder synced."""
    with translated(target):
        made = not target.parent.exists()
        target.parent.mkdir(parents=True, exist_ok=True)
        if made:
            sync_folder(target.parent.parent)
        handle, temporary = tempfile.mkstemp(dir=str(target.parent), prefix=_TEMPORARY)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, str(target))
        except BaseException:
            os.unlink(temporary)
            raise
        sync_folder(target.parent)


def make_folder(folder: Path) -> None:
    """Make a folder where there is none."""
    with translated(folder):
        folder.mkdir(parents=True, exist_ok=True)


def publish_folder(source: Path, target: Path) -> None:
    """Move a finished folder, its files already synced, into its place."""
    with translated(target):
        sync_folder(source)
        os.rename(str(source), str(target))
        sync_folder(target.parent)


def remove_folder(folder: Path) -> None:
    """Remove a folder and what is in it; it may be gone already."""
    shutil.rmtree(str(folder), ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    handle = os.open(str(folder), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Let what fails below leave as `StoreError`, or `StoreFull` when the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull(f"no space left for {path.name}: {error.strerror}") from error
        raise StoreError(f"{path} can't be used: {error.strerror or error}") from error
