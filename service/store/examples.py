"""The tables of examples and of embeddings.

An example is a picture in a class; an embedding belongs to a picture and the extractor that made it.
"""

import sqlite3
import time
import uuid
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from service.errors import NotFound
from service.store.database import Database

LONGEST_ID = 200  # characters of a client's own names
IMPORTED = "import"
SOURCES = ("upload", "camera", IMPORTED)


class StoredExample(NamedTuple):
    """A labelled picture. Width and height in pixels, as in the file; created in seconds since 1970; see `Origin`."""

    id: str
    class_id: int
    class_name: str
    sha256: str
    format: str
    width: int
    height: int
    bytes: int
    source: str
    capture: Optional[str]
    created: float
    client_id: Optional[str]


class Origin(NamedTuple):
    """Where an example comes from.

    source : one of `SOURCES`; capture : frames taken together share it; client_id : the
    client's own name for it; created : when, in seconds since 1970, None for now
    """

    source: str
    capture: Optional[str] = None
    client_id: Optional[str] = None
    created: Optional[float] = None


class NewPicture(NamedTuple):
    """A picture to store: its facts, and its embedding, (D,) float32.

    extractor : the digest of the one it is by; None is not checked
    """

    sha256: str
    format: str
    width: int
    height: int
    bytes: int
    embedding: np.ndarray
    extractor: Optional[str] = None


class Learnt(NamedTuple):
    """An example as heads see it. embedding : (D,) float32; capture : frames taken together share it."""

    id: str
    class_id: int
    embedding: np.ndarray
    capture: Optional[str]


class Outline(NamedTuple):
    """Examples without their embeddings: the row, class and capture of each, row by row in the order they came."""

    rows: List[int]
    classes: List[int]
    captures: List[Optional[str]]


_ROWS_AT_ONCE = 500
_SELECT = (
    "SELECT e.id, e.class_id, c.name AS class_name, e.sha256, e.format, e.width, e.height, e.bytes, e.source, "
    "e.capture, e.created, e.client_id "
    "FROM examples e JOIN classes c ON c.id = e.class_id "
)


class Examples:
    """Reading and changing the tables. Changing ones take the connection of an open transaction."""

    def __init__(self, database: Database):
        self._database = database

    def page(
        self, class_name: Optional[str], page: int, size: int, client_id: Optional[str] = None
    ) -> Tuple[List[StoredExample], int]:
        """One page of the examples, oldest first, and how many there are: all, of a class, with a client's own name."""
        wanted = {"c.name": class_name, "e.client_id": client_id}
        values = tuple(value for value in wanted.values() if value is not None)
        terms = [f"{column} = ?" for column, value in wanted.items() if value is not None]
        where = f"WHERE {' AND '.join(terms)} " if terms else ""
        with self._database.read() as connection:
            total = connection.execute(
                "SELECT COUNT(*) FROM examples e JOIN classes c ON c.id = e.class_id " + where, values
            ).fetchone()[0]
            rows = connection.execute(
                _SELECT + where + "ORDER BY e.rowid LIMIT ? OFFSET ?", (*values, size, page * size)
            ).fetchall()
        return [StoredExample(*row) for row in rows], total

    def get(self, example: str) -> StoredExample:
        """The example with this id. Raises `NotFound`."""
        with self._database.read() as connection:
            row = connection.execute(_SELECT + "WHERE e.id = ?", (example,)).fetchone()
        if row is None:
            raise NotFound(f"there is no example {example[:64]!r}", "example_not_found")
        return StoredExample(*row)

    def count(self) -> int:
        """How many examples there are."""
        with self._database.read() as connection:
            return connection.execute("SELECT COUNT(*) FROM examples").fetchone()[0]

    def of_picture(self, sha256: str) -> List[StoredExample]:
        """Every example with this picture."""
        with self._database.read() as connection:
            return [StoredExample(*row) for row in connection.execute(_SELECT + "WHERE e.sha256 = ?", (sha256,))]

    def add(
        self, connection: sqlite3.Connection, class_id: int, picture: NewPicture, origin: Origin
    ) -> Tuple[str, bool]:
        """Add a picture to a class. Returns the example's id and whether it is new there."""
        row = connection.execute(
            "SELECT id FROM examples WHERE class_id = ? AND sha256 = ?", (class_id, picture.sha256)
        ).fetchone()
        if row:
            return row["id"], False
        example = uuid.uuid4().hex
        created = time.time() if origin.created is None else origin.created
        facts = (example, class_id, *picture[:5], *origin[:3], created)
        connection.execute(
            "INSERT INTO examples (id, class_id, sha256, format, width, height, bytes, source, capture, client_id, "
            "created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            facts,
        )
        return example, True

    def move(self, connection: sqlite3.Connection, example: str, class_id: int) -> bool:
        """Put an example into another class; False where that has its picture already."""
        try:
            connection.execute("UPDATE examples SET class_id = ? WHERE id = ?", (class_id, example))
        except sqlite3.IntegrityError:
            return False
        return True

    def remove(self, connection: sqlite3.Connection, examples: Sequence[str]) -> List[str]:
        """Remove examples, at most 900 at once, for good; returns the sha256 of their pictures."""
        wanted = f"FROM examples WHERE id IN ({', '.join('?' * len(examples))})"
        pictures = [row["sha256"] for row in connection.execute(f"SELECT DISTINCT sha256 {wanted}", examples)]
        connection.execute(f"DELETE {wanted}", examples)
        return pictures

    def of_class(self, connection: sqlite3.Connection, class_id: int) -> List[StoredExample]:
        """Every example of a class."""
        return [StoredExample(*row) for row in connection.execute(_SELECT + "WHERE e.class_id = ?", (class_id,))]

    def save_embedding(
        self, connection: sqlite3.Connection, sha256: str, extractor: str, embedding: np.ndarray
    ) -> None:
        """Keep a picture's embedding by an extractor (its digest); the first one stays."""
        blob = np.ascontiguousarray(embedding, np.float32).tobytes()
        connection.execute("INSERT OR IGNORE INTO embeddings VALUES (?, ?, ?)", (sha256, extractor, blob))

    def embedding(self, sha256: str, extractor: str) -> Optional[np.ndarray]:
        """A picture's embedding by an extractor, (D,) float32, or None."""
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT vector FROM embeddings WHERE sha256 = ? AND extractor = ?", (sha256, extractor)
            ).fetchone()
        return np.frombuffer(row["vector"], np.float32) if row else None

    def learnt(self, extractor: str, batch: int = 1000) -> Iterator[Learnt]:
        """Every example of an enabled class that has an embedding by this extractor, in the order they came.

        Reads `batch` rows at a time, so that others get their turn; rows must not change meanwhile.
        """
        last = 0
        while True:
            with self._database.read() as connection:
                rows = connection.execute(
                    "SELECT e.rowid, e.id, e.class_id, v.vector, e.capture FROM examples e "
                    "JOIN classes c ON c.id = e.class_id AND c.enabled "
                    "JOIN embeddings v ON v.sha256 = e.sha256 AND v.extractor = ? "
                    "WHERE e.rowid > ? ORDER BY e.rowid LIMIT ?",
                    (extractor, last, batch),
                ).fetchall()
            for row in rows:
                yield Learnt(row["id"], row["class_id"], np.frombuffer(row["vector"], np.float32), row["capture"])
            if len(rows) < batch:
                return
            last = rows[-1]["rowid"]

    def learnt_of(self, extractor: str, class_id: int, most: int = -1) -> List[Learnt]:
        """The examples of one class that have an embedding by this extractor; the first `most`, -1 for all."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT e.id, e.class_id, v.vector, e.capture FROM examples e "
                "JOIN embeddings v ON v.sha256 = e.sha256 AND v.extractor = ? "
                "WHERE e.class_id = ? ORDER BY e.rowid LIMIT ?",
                (extractor, class_id, most),
            ).fetchall()
        return [Learnt(row[0], row[1], np.frombuffer(row[2], np.float32), row[3]) for row in rows]

    def outline(self, extractor: str) -> Outline:
        """Every example with an embedding by this extractor, in the order they came, without the embeddings."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT e.rowid, e.class_id, e.capture FROM examples e WHERE EXISTS "
                "(SELECT 1 FROM embeddings v WHERE v.sha256 = e.sha256 AND v.extractor = ?) ORDER BY e.rowid",
                (extractor,),
            ).fetchall()
        return Outline(*([row[column] for row in rows] for column in range(3)))

    def learnt_in_rows(self, extractor: str, rows: Sequence[int]) -> Iterator[List[Learnt]]:
        """Those of the examples in these rows that are still there, some at a time."""
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            some = rows[start : start + _ROWS_AT_ONCE]
            with self._database.read() as connection:
                found = connection.execute(
                    "SELECT e.id, e.class_id, v.vector, e.capture FROM examples e "
                    "JOIN embeddings v ON v.sha256 = e.sha256 AND v.extractor = ? "
                    f"WHERE e.rowid IN ({', '.join('?' * len(some))}) ORDER BY e.rowid",
                    (extractor, *some),
                ).fetchall()
            if found:
                yield [Learnt(row[0], row[1], np.frombuffer(row[2], np.float32), row[3]) for row in found]

    def labels(self) -> List[Tuple[str, int]]:
        """Every example's id with its class's number."""
        with self._database.read() as connection:
            return [tuple(row) for row in connection.execute("SELECT id, class_id FROM examples")]

    def without_embedding(self, extractor: str) -> List[str]:
        """The sha256 of every picture that this extractor has not seen."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT DISTINCT e.sha256 FROM examples e WHERE NOT EXISTS "
                "(SELECT 1 FROM embeddings v WHERE v.sha256 = e.sha256 AND v.extractor = ?)",
                (extractor,),
            )
            return [row["sha256"] for row in rows]

    def pictures(self) -> set:
        """The sha256 of every picture that an example uses, or one that can still be put back."""
        with self._database.read() as connection:
            rows = connection.execute("SELECT sha256 FROM examples UNION SELECT sha256 FROM trash")
            return {row["sha256"] for row in rows}

    def taught(self, extractor: str) -> Dict[str, int]:
        """The class of every example that heads learn from, as of `learnt`, by the example's id."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT e.id, e.class_id FROM examples e "
                "JOIN classes c ON c.id = e.class_id AND c.enabled WHERE EXISTS "
                "(SELECT 1 FROM embeddings v WHERE v.sha256 = e.sha256 AND v.extractor = ?)",
                (extractor,),
            )
            return dict(tuple(row) for row in rows)
