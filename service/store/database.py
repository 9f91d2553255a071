"""One SQLite file: write-ahead log, every commit on the disk before it returns, one writer.

What is committed survives a power cut (https://www.sqlite.org/pragma.html#pragma_synchronous,
FULL in WAL mode). Readers have a connection of their own and never wait for the writer's fsync.
"""

import sqlite3
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from service.errors import StoreError, StoreFull

# Each migration runs once, in its own transaction; the number of those done is user_version.
MIGRATIONS = (
    """
    CREATE TABLE classes (
        id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, created REAL NOT NULL);
    CREATE TABLE examples (
        id TEXT PRIMARY KEY, class_id INTEGER NOT NULL REFERENCES classes (id), sha256 TEXT NOT NULL,
        format TEXT NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL, bytes INTEGER NOT NULL,
        source TEXT NOT NULL, capture TEXT, created REAL NOT NULL, UNIQUE (class_id, sha256));
    CREATE INDEX examples_by_picture ON examples (sha256);
    CREATE TABLE embeddings (
        sha256 TEXT NOT NULL, extractor TEXT NOT NULL, vector BLOB NOT NULL,
        PRIMARY KEY (sha256, extractor));
    CREATE TABLE models (
        version INTEGER PRIMARY KEY AUTOINCREMENT, head TEXT NOT NULL, extractor TEXT NOT NULL, created REAL NOT NULL,
        classes INTEGER NOT NULL, examples INTEGER NOT NULL, accuracy REAL, folder TEXT NOT NULL, job TEXT);
    CREATE TABLE jobs (
        id TEXT PRIMARY KEY, kind TEXT NOT NULL, state TEXT NOT NULL, options TEXT NOT NULL, progress REAL NOT NULL,
        metrics TEXT NOT NULL, model TEXT, error TEXT, created REAL NOT NULL, started REAL, finished REAL);
    CREATE TABLE notes (key TEXT PRIMARY KEY, value TEXT NOT NULL);
    """,
    """
    ALTER TABLE examples ADD COLUMN client_id TEXT;
    CREATE INDEX examples_by_client ON examples (client_id);
    CREATE TABLE steps (
        id INTEGER PRIMARY KEY AUTOINCREMENT, action TEXT NOT NULL, details TEXT NOT NULL, created REAL NOT NULL);
    CREATE TABLE trash (
        step INTEGER NOT NULL REFERENCES steps (id), place INTEGER NOT NULL, id TEXT PRIMARY KEY,
        class_id INTEGER NOT NULL, sha256 TEXT NOT NULL, format TEXT NOT NULL, width INTEGER NOT NULL,
        height INTEGER NOT NULL, bytes INTEGER NOT NULL, source TEXT NOT NULL, capture TEXT, created REAL NOT NULL,
        client_id TEXT);
    CREATE INDEX trash_by_picture ON trash (sha256);
    CREATE TABLE replies (
        key TEXT PRIMARY KEY, request TEXT NOT NULL, status INTEGER NOT NULL, location TEXT, body BLOB NOT NULL,
        created REAL NOT NULL);
    """,
    "ALTER TABLE classes ADD COLUMN enabled INTEGER NOT NULL DEFAULT 1",
)


_BUSY_SECONDS = 30  # to wait for another program that writes


class Database:
    """Connections to one file. Use `read` and `write`; both are safe from any thread.

    Raises `StoreError`, or `StoreFull` when the disk is full.
    """

    def __init__(self, path: Path):
        self._path = path
        self._write_lock, self._read_lock = threading.RLock(), threading.RLock()
        with _translated():
            self._writer, self._reader = _connect(path), _connect(path)
        try:
            self._migrate()
        except Exception:
            self.close()
            raise

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it is on the disk when the block ends, or none of it."""
        with self._write_lock, _translated():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:  # SQLite itself rolls back when the disk is full
                    self._writer.execute("ROLLBACK")
                raise

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """The latest committed state."""
        with self._read_lock, _translated():
            yield self._reader

    def check_free(self, patience: float) -> None:
        """Raise `StoreError` unless a transaction could begin, and a read is answered, within `patience` seconds each.

        Writes nothing, so that it may be asked for ever: flash memory wears out.
        """
        with _within(self._write_lock, patience, "writer"), _translated():
            self._writer.execute(f"PRAGMA busy_timeout = {int(patience * 1000)}")
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                self._writer.execute("ROLLBACK")
            finally:
                self._writer.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}")
        with _within(self._read_lock, patience, "reader"), _translated():
            self._reader.execute("SELECT 1 FROM notes LIMIT 1").fetchone()

    def close(self) -> None:
        """Write the log back into the file and close. Safe to call twice."""
        with self._write_lock, self._read_lock:
            self._reader.close()
            self._writer.close()

    def _migrate(self) -> None:
        with _translated():
            done = self._writer.execute("PRAGMA user_version").fetchone()[0]
            if done > len(MIGRATIONS):
                raise StoreError(
                    f"{self._path} was written by a newer version (schema {done}, this one knows {len(MIGRATIONS)})"
                )
            for number, script in enumerate(MIGRATIONS[done:], done + 1):
                self._writer.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;")


def _connect(path: Path) -> sqlite3.Connection:
    # isolation_level None: transactions begin and end where this code says so.
    connection = sqlite3.connect(str(path), timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA cache_size = -512")  # kB, instead of 2,000: the system keeps the file's pages anyway
    return connection


@contextmanager
def _within(lock, patience: float, who: str) -> Iterator[None]:
    if not lock.acquire(timeout=patience):
        raise StoreError(f"the database's {who} has been busy for {patience:g} s")
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if "disk is full" in str(error):
            raise StoreFull(f"no space left for the database: {error}") from error
        raise StoreError(f"the database failed: {error}") from error
