"""The table of jobs. A row is there from the moment a job is accepted and is never deleted on taking it."""

import json
import time
import uuid
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from service.errors import NotFound
from service.store.database import Database

QUEUED, RUNNING = "queued", "running"
SUCCEEDED, FAILED, CANCELLED, INTERRUPTED = "succeeded", "failed", "cancelled", "interrupted"
ENDED = (SUCCEEDED, FAILED, CANCELLED, INTERRUPTED)


class StoredJob(NamedTuple):
    """A job. progress : 0..1; model : {"version", "activated", "reason"} or None; times in seconds since 1970."""

    id: str
    kind: str
    state: str
    options: Dict[str, Any]
    progress: float
    metrics: Dict[str, Any]
    model: Optional[Dict[str, Any]]
    error: Optional[Dict[str, Any]]
    created: float
    started: Optional[float]
    finished: Optional[float]


_JSON = ("options", "metrics", "model", "error")
_COLUMNS = ", ".join(StoredJob._fields)


class Jobs:
    """Reading and changing the table."""

    def __init__(self, database: Database):
        self._database = database

    def new_id(self) -> str:
        """An id for a job that has to be prepared before it is added."""
        return uuid.uuid4().hex[:12]

    def add(self, kind: str, options: Dict[str, Any], job_id: Optional[str] = None) -> StoredJob:
        """Add a queued job."""
        job = StoredJob(job_id or self.new_id(), kind, QUEUED, options, 0.0, {}, None, None, time.time(), None, None)
        with self._database.write() as connection:
            places = ", ".join("?" * len(StoredJob._fields))
            connection.execute(f"INSERT INTO jobs ({_COLUMNS}) VALUES ({places})", _to_row(job))
        return job

    def update(self, job: StoredJob) -> None:
        """Write a job's present state."""
        fields = ", ".join(f"{name} = ?" for name in StoredJob._fields)
        with self._database.write() as connection:
            connection.execute(f"UPDATE jobs SET {fields} WHERE id = ?", (*_to_row(job), job.id))

    def get(self, job: str) -> StoredJob:
        """One job. Raises `NotFound`."""
        with self._database.read() as connection:
            row = connection.execute(f"SELECT {_COLUMNS} FROM jobs WHERE id = ?", (job,)).fetchone()
        if row is None:
            raise NotFound(f"there is no job {job[:64]!r}", "job_not_found")
        return _from_row(row)

    def page(self, page: int, size: int) -> Tuple[List[StoredJob], int]:
        """One page of the jobs, newest first; and how many there are."""
        with self._database.read() as connection:
            total = connection.execute("SELECT COUNT(*) FROM jobs").fetchone()[0]
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM jobs ORDER BY created DESC, id LIMIT ? OFFSET ?", (size, page * size)
            ).fetchall()
        return [_from_row(row) for row in rows], total

    def unfinished(self) -> List[StoredJob]:
        """Queued and running jobs, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM jobs WHERE state IN (?, ?) ORDER BY created, id", (QUEUED, RUNNING)
            ).fetchall()
        return [_from_row(row) for row in rows]


def _to_row(job: StoredJob) -> tuple:
    return tuple(
        json.dumps(value) if name in _JSON and value is not None else value for name, value in zip(job._fields, job)
    )


def _from_row(row) -> StoredJob:
    values = {name: row[name] for name in StoredJob._fields}
    for name in _JSON:
        values[name] = None if values[name] is None else json.loads(values[name])
    return StoredJob(**values)
