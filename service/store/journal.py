"""What was done, step by step; and what was removed by the last step, so that it can be undone."""

import json
import sqlite3
import time
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from service.store.database import Database

_COLUMNS = "id, class_id, sha256, format, width, height, bytes, source, capture, created, client_id"


_SELECT = "SELECT id, action, details, created FROM steps"

ACTIVATE, DELETE_VERSION = OF_MODELS = ("activate", "delete_version")  # these change nothing that is taught
IMPORT = "import"


class StoredStep(NamedTuple):
    """A step. action : what was done; details : to whom; created : seconds since 1970."""

    id: int
    action: str
    details: Dict[str, Any]
    created: float


class Journal:
    """Lines are added and never changed. Methods that add take the connection of an open transaction.

    What a step removes goes into the trash, where its pictures count as used, until the next step.
    """

    def __init__(self, database: Database):
        self._database = database

    def open(self, connection: sqlite3.Connection, action: str) -> int:
        """A new step's number; `close` gives it its details, in the same transaction."""
        cursor = connection.execute(
            "INSERT INTO steps (action, details, created) VALUES (?, '{}', ?)", (action, time.time())
        )
        return cursor.lastrowid

    def close(self, connection: sqlite3.Connection, step: int, details: Dict[str, Any]) -> None:
        """Write what an open step did."""
        connection.execute("UPDATE steps SET details = ? WHERE id = ?", (json.dumps(details), step))

    def last(self) -> Optional[StoredStep]:
        """The newest step of those that changed what is taught, or None before the first."""
        return next(iter(self.newest(1)), None)

    def newest(self, most: int) -> List[StoredStep]:
        """The newest steps of those that changed what is taught, newest first."""
        with self._database.read() as connection:
            rows = connection.execute(
                f"{_SELECT} WHERE action NOT IN (?, ?) ORDER BY id DESC LIMIT ?", (*OF_MODELS, most)
            )
            return [_to_step(row) for row in rows]

    def get(self, step: int) -> StoredStep:
        """The step of this number, which must be there."""
        with self._database.read() as connection:
            return _to_step(connection.execute(f"{_SELECT} WHERE id = ?", (step,)).fetchone())

    def of_import(self, job: str) -> List[int]:
        """The numbers of the steps of an import job, newest first."""
        query = "SELECT id FROM steps WHERE action = ? AND instr(details, ?) ORDER BY id DESC"
        with self._database.read() as connection:  # no name can look like this key: its quotes would be escaped
            return [row["id"] for row in connection.execute(query, (IMPORT, f'"job": {json.dumps(job)}'))]

    def count_since(self, step: int) -> int:
        """How many steps changed what is taught from this one on."""
        query = "SELECT COUNT(*) FROM steps WHERE id >= ? AND action NOT IN (?, ?)"
        with self._database.read() as connection:
            return connection.execute(query, (step, *OF_MODELS)).fetchone()[0]

    def page(self, page: int, size: int) -> Tuple[List[StoredStep], int]:
        """One page of the steps, newest first; and how many there are."""
        with self._database.read() as connection:
            total = connection.execute("SELECT COUNT(*) FROM steps").fetchone()[0]
            rows = connection.execute(f"{_SELECT} ORDER BY id DESC LIMIT ? OFFSET ?", (size, page * size)).fetchall()
        return [_to_step(row) for row in rows], total

    def discard(self, connection: sqlite3.Connection, step: int, example: str) -> None:
        """Move an example's row into the trash of a step."""
        connection.execute(
            f"INSERT INTO trash (step, place, {_COLUMNS}) SELECT ?, rowid, {_COLUMNS} FROM examples WHERE id = ?",
            (step, example),
        )
        connection.execute("DELETE FROM examples WHERE id = ?", (example,))

    def discarded(self, step: int) -> List[Tuple[str, int]]:
        """The picture and the class of each example in the trash of a step."""
        with self._database.read() as connection:
            rows = connection.execute("SELECT sha256, class_id FROM trash WHERE step = ? ORDER BY rowid", (step,))
            return [tuple(row) for row in rows]

    def restore(self, connection: sqlite3.Connection, step: int) -> None:
        """Put back every example that a step removed, into its old place among the others."""
        connection.execute(
            f"INSERT INTO examples (rowid, {_COLUMNS}) SELECT place, {_COLUMNS} FROM trash WHERE step = ?", (step,)
        )
        connection.execute("DELETE FROM trash WHERE step = ?", (step,))

    def empty(self, connection: sqlite3.Connection, before: int) -> List[str]:
        """Empty the trash of the steps before one; returns the pictures that nothing uses any more."""
        rows = connection.execute("SELECT DISTINCT sha256 FROM trash WHERE step < ?", (before,)).fetchall()
        connection.execute("DELETE FROM trash WHERE step < ?", (before,))
        return drop_unused(connection, [row["sha256"] for row in rows])


def _to_step(row) -> StoredStep:
    return StoredStep(row["id"], row["action"], json.loads(row["details"]), row["created"])


def drop_unused(connection: sqlite3.Connection, pictures: List[str]) -> List[str]:
    """Delete the embeddings of those pictures that no example uses; returns these pictures."""
    unused = [
        sha256
        for sha256 in pictures
        if not connection.execute(
            "SELECT 1 FROM examples WHERE sha256 = ?1 UNION ALL SELECT 1 FROM trash WHERE sha256 = ?1", (sha256,)
        ).fetchone()
    ]
    connection.executemany("DELETE FROM embeddings WHERE sha256 = ?", [(sha256,) for sha256 in unused])
    return unused
