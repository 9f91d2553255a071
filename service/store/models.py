"""Model versions: a row each, and a folder each with the head, the classes and the report.

A version never changes. Its folder is published before its row, so a row always has its folder.
"""

import io
import json
import sqlite3
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional

import numpy as np

from coral_learn.errors import HeadStateError
from coral_learn.heads import Head, load_head
from service.errors import NotFound, StoreError
from service.store.database import Database
from service.store.files import make_folder, publish_file, publish_folder, remove_folder

HEAD_FILE, REPORT_FILE, EXAMPLES_FILE = "head.npz", "report.json", "examples.json"
_UNFINISHED = "unfinished-"


# What numpy and zipfile raise for a damaged file of arrays.
DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


class StoredModel(NamedTuple):
    """A model version. accuracy : on held-out examples, 0..1, None when none could be held out."""

    version: int
    head: str
    extractor: str
    created: float
    classes: int
    examples: int
    accuracy: Optional[float]
    folder: str


class FinishedModel(NamedTuple):
    """What a training job leaves behind for `Models.add`."""

    folder: str
    head: str
    extractor: str
    classes: int
    examples: int
    accuracy: Optional[float]


_COLUMNS = "version, head, extractor, created, classes, examples, accuracy, folder"


class Models:
    """Reading, adding and removing versions."""

    def __init__(self, database: Database, folder: Path):
        self._database, self._folder = database, folder
        make_folder(folder)

    def all(self) -> List[StoredModel]:
        """Every version, newest first."""
        with self._database.read() as connection:
            rows = connection.execute(f"SELECT {_COLUMNS} FROM models ORDER BY version DESC").fetchall()
        return [StoredModel(*row) for row in rows]

    def get(self, version: int) -> StoredModel:
        """One version. Raises `NotFound`."""
        with self._database.read() as connection:
            row = connection.execute(f"SELECT {_COLUMNS} FROM models WHERE version = ?", (version,)).fetchone()
        if row is None:
            raise NotFound(f"there is no model version {version}", "model_not_found")
        return StoredModel(*row)

    def unfinished_folder(self, job: str) -> Path:
        """Where a job writes its version until it is finished."""
        return self._folder / (_UNFINISHED + job)

    def add(self, connection: sqlite3.Connection, job: str, model: FinishedModel) -> int:
        """Publish a finished version's folder and add its row; returns the version."""
        publish_folder(Path(model.folder), self._folder / job)
        cursor = connection.execute(
            "INSERT INTO models (head, extractor, created, classes, examples, accuracy, folder, job) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (model.head, model.extractor, time.time(), model.classes, model.examples, model.accuracy, job, job),
        )
        return cursor.lastrowid

    def delete(self, connection: sqlite3.Connection, version: int) -> None:
        """Remove a version's row, in an open transaction. Its number is never given again."""
        connection.execute("DELETE FROM models WHERE version = ?", (version,))

    def remove_files(self, model: StoredModel) -> None:
        """Remove the folder of a version whose row is gone; the next start would, too."""
        remove_folder(self._folder / model.folder)

    def head(self, model: StoredModel) -> Head:
        """The head of a version. Raises `StoreError` when its file is damaged."""
        return read_head(self._folder / model.folder)

    def taught_with(self, model: StoredModel) -> List[str]:
        """The ids of the examples a version was trained on."""
        return list(read_json(self._folder / model.folder / EXAMPLES_FILE))

    def report(self, model: StoredModel) -> Dict[str, Any]:
        """The report of a version."""
        return read_json(self._folder / model.folder / REPORT_FILE)

    def path(self, model: StoredModel) -> Path:
        """The folder of a version."""
        return self._folder / model.folder

    def sweep(self) -> int:
        """Remove folders that no row names: jobs that were cut off. Returns how many."""
        known = {model.folder for model in self.all()}
        orphans = [path for path in self._folder.iterdir() if path.name not in known]
        for path in orphans:
            remove_folder(path)
        return len(orphans)


def write_version(
    folder: Path,
    head: Head,
    examples: List[str],
    report: Dict[str, Any],
    must_have_room: Callable[[int], None] = lambda _: None,
) -> None:
    """Write a version's files, each synced, into a fresh folder.

    must_have_room : raises `StoreFull` where the disk has no room for so many bytes more
    """
    buffer = io.BytesIO()
    np.savez(buffer, **head.state())
    files = {
        HEAD_FILE: buffer.getvalue(),
        EXAMPLES_FILE: json.dumps(examples).encode(),
        REPORT_FILE: json.dumps(report, ensure_ascii=False, indent=1).encode(),
    }
    remove_folder(folder)
    must_have_room(sum(map(len, files.values())))
    folder.mkdir(parents=True)
    for name, data in files.items():
        publish_file(folder / name, data)


def read_head(folder: Path) -> Head:
    """The head in a version's folder. Raises `StoreError`."""
    try:
        data = io.BytesIO((folder / HEAD_FILE).read_bytes())
        with np.load(data, allow_pickle=False) as arrays:
            return load_head({name: arrays[name] for name in arrays.files})
    except (*DAMAGED, HeadStateError) as error:
        raise StoreError(f"the model in {folder.name} can't be read: {error}") from error


def read_json(path: Path) -> Any:
    """A JSON file of a version. Raises `StoreError`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path.parent.name}/{path.name} can't be read: {error}") from error
