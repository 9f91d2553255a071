"""The data folder as a whole."""

import fcntl
import os
import threading
from pathlib import Path
from typing import NamedTuple, Optional

from service.errors import DataFolderInUse, StoreError
from service.store.classes import Classes
from service.store.database import Database
from service.store.examples import Examples
from service.store.files import ImageFiles
from service.store.incoming import Incoming
from service.store.jobs import Jobs
from service.store.journal import Journal
from service.store.models import Models
from service.store.replies import Replies
from service.store.reserve import Reserve
from service.store.space import Space

_NEXT_TO_NOTHING = 64 * 1024  # bytes; SQLite's files grow by half of it, and it calls that an I/O error when they can't


class Swept(NamedTuple):
    """What the start-up sweep removed (unused pictures, folders of cut-off jobs) and what it missed (pictures)."""

    orphans: int
    missing: int
    folders: int


class Store:
    """Classes, examples, models, jobs and notes in one data folder, held by one process at a time.

    least_free : bytes of the disk that writing leaves free, for others and for deleting
    space : the disk that it is on
    changing : held while something taught changes, on the disk and in the model

    Raises `DataFolderInUse` or `StoreError`.
    """

    def __init__(self, folder: Path, least_free: int = 0):
        self.folder, self.space = folder, Space(folder, least_free)
        self._lock = _take(folder)
        try:
            self.reserve = Reserve(folder / "reserve")
            self.database = self._open_database()
        except Exception:
            os.close(self._lock)
            raise
        self.classes = Classes(self.database)
        self.examples = Examples(self.database)
        self.images = ImageFiles(folder / "images")
        self.incoming = Incoming(folder / "incoming")
        self.models = Models(self.database, folder / "models")
        self.jobs = Jobs(self.database)
        self.journal = Journal(self.database)
        self.replies = Replies(self.database)
        self.changing = threading.RLock()
        self.keep_reserve()

    def note(self, key: str) -> Optional[str]:
        """A remembered word, or None."""
        with self.database.read() as connection:
            row = connection.execute("SELECT value FROM notes WHERE key = ?", (key,)).fetchone()
        return row["value"] if row else None

    def set_note(self, connection, key: str, value: str) -> None:
        """Remember a word, in an open transaction."""
        connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (key, value))

    def sweep(self) -> Swept:
        """Clean up after a crash. Call before anything else writes."""
        leftovers = self.images.remove_leftovers()
        self.incoming.sweep(job.id for job in self.jobs.unfinished())
        used, stored = self.examples.pictures(), self.images.stored()
        for sha256 in stored - used:
            self.images.remove(sha256)
        return Swept(len(stored - used) + leftovers, len(used - stored), self.models.sweep())

    def must_have_room(self, wanted: int = 0) -> None:
        """Raise `StoreFull` where `wanted` bytes more would leave less free than `least_free`."""
        self.keep_reserve()
        self.space.must_have_room(wanted)

    def keep_reserve(self) -> None:
        """Make the reserve for deleting on a full disk, where it is missing and there is room for it."""
        self.reserve.keep(self.free_bytes, self.space.least_free)

    @property
    def is_full(self) -> bool:
        """Whether there is as good as nothing free on the disk."""
        return self.free_bytes < _NEXT_TO_NOTHING

    @property
    def free_bytes(self) -> int:
        """What is free on the disk, in bytes."""
        return self.space.free_bytes

    def check_writable(self) -> None:
        """Raise `StoreError` when nothing can be written."""
        with self.database.write() as connection:
            connection.execute("DELETE FROM notes WHERE key = ''")

    def _open_database(self) -> Database:
        """Open it; on a full disk at the cost of the reserve, or nobody could start the daemon to delete something."""
        try:
            return Database(database_path(self.folder))
        except StoreError:
            if not self.is_full or not self.reserve.release():
                raise
            return Database(database_path(self.folder))

    def close(self) -> None:
        """Let the folder go. Safe to call twice."""
        self.database.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _take(folder: Path) -> Optional[int]:
    """The open lock file of a folder, which is made when missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(str(folder / "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"the data folder {folder} can't be used: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise DataFolderInUse(f"another coral-learn daemon works on the data folder {folder}") from error
    return lock


def database_path(folder: Path) -> Path:
    """The database file of a data folder."""
    return folder / "coral-learn.sqlite"
