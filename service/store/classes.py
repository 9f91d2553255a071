"""The table of classes: a number that never changes, and a name that may."""

import sqlite3
import time
import unicodedata
from typing import Dict, FrozenSet, List, NamedTuple, Optional

from service.errors import Conflict, Invalid, NotFound
from service.store.database import Database

MAX_NAME = 100


class StoredClass(NamedTuple):
    """A class. examples : how many are stored now; enabled : whether they are taught, and the class answered."""

    id: int
    name: str
    examples: int
    enabled: bool = True


_SELECT = (
    "SELECT c.id, c.name, (SELECT COUNT(*) FROM examples e WHERE e.class_id = c.id) AS examples, c.enabled "
    "FROM classes c {} ORDER BY c.id"
)

_JOINERS = "\u200c\u200d"  # zero-width non-joiner and joiner
_INVISIBLE = ("Cc", "Cf", "Co", "Cs", "Zl", "Zp", "Zs")  # general categories of Unicode


def check_name(name) -> str:
    """Return a class's name without blanks at its ends and with composed characters (NFC), or raise `Invalid`.

    Names are data, never paths: any printable text of 1 to 100 characters will do, but no slash,
    because a name is also a part of an address, and not "." or "..". Joiners are a part of some letters and emoji.
    """
    if not isinstance(name, str):
        raise Invalid("a class's name is text", "name", "name_invalid")
    name = _usual(name)
    if not 1 <= len(name) <= MAX_NAME:
        raise Invalid(f"a class's name has 1 to {MAX_NAME} characters, got {len(name)}", "name", "name_invalid")
    if name in (".", ".."):
        raise Invalid(f"a class's name is not {name!r}, which means a folder", "name", "name_invalid")
    if "/" in name or not name.strip(_JOINERS) or any(map(_is_invisible, name)):
        raise Invalid("a class's name has no slash and no invisible characters in it", "name", "name_invalid")
    return name


def _is_invisible(one: str) -> bool:
    # Not `isprintable`: to an older Python a newer emoji is no character at all.
    return one not in _JOINERS + " " and unicodedata.category(one) in _INVISIBLE


def _usual(name: str) -> str:
    # One look, one name: some systems write an é as an e and an accent behind it.
    return unicodedata.normalize("NFC", name.strip())


class Classes:
    """Reading and changing the table. Changing ones take the connection of an open transaction."""

    def __init__(self, database: Database):
        self._database = database

    def all(self) -> List[StoredClass]:
        """Every class, by number."""
        with self._database.read() as connection:
            return [_to_class(row) for row in connection.execute(_SELECT.format(""))]

    def names(self, connection: Optional[sqlite3.Connection] = None) -> Dict[int, str]:
        """The name of every class by its number; within an open transaction where its connection is given."""
        query = "SELECT id, name FROM classes"
        if connection is not None:
            return dict(tuple(row) for row in connection.execute(query))
        with self._database.read() as reader:
            return dict(tuple(row) for row in reader.execute(query))

    def disabled(self, connection: Optional[sqlite3.Connection] = None) -> FrozenSet[int]:
        """The numbers of the classes that are disabled; `connection` as of `names`."""
        query = "SELECT id FROM classes WHERE NOT enabled"
        if connection is not None:
            return frozenset(row["id"] for row in connection.execute(query))
        with self._database.read() as reader:
            return frozenset(row["id"] for row in reader.execute(query))

    def find(self, name: str) -> Optional[StoredClass]:
        """The class of this name, as it is or as `check_name` would have it; or None."""
        with self._database.read() as connection:
            for one in dict.fromkeys((name, _usual(name))):
                row = connection.execute(_SELECT.format("WHERE c.name = ?"), (one,)).fetchone()
                if row:
                    return _to_class(row)
        return None

    def get(self, name: str) -> StoredClass:
        """The class of this name. Raises `NotFound`."""
        found = self.find(name)
        if found is None:
            raise NotFound(f"there is no class {name[:MAX_NAME]!r}", "class_not_found")
        return found

    def create(self, connection: sqlite3.Connection, name: str, enabled: bool = True) -> int:
        """Add a class and return its number. Raises `Conflict`."""
        facts = name, time.time(), enabled
        try:
            cursor = connection.execute("INSERT INTO classes (name, created, enabled) VALUES (?, ?, ?)", facts)
        except sqlite3.IntegrityError:
            raise Conflict(f"there is a class {name!r} already", "class_exists") from None
        return cursor.lastrowid

    def restore(self, connection: sqlite3.Connection, number: int, name: str, enabled: bool) -> None:
        """Put back a class that was deleted, with its number. Raises `Conflict`."""
        facts = number, name, time.time(), enabled
        try:
            connection.execute("INSERT INTO classes (id, name, created, enabled) VALUES (?, ?, ?, ?)", facts)
        except sqlite3.IntegrityError:
            raise Conflict(f"there is a class {name!r} already", "class_exists") from None

    def find_or_create(self, connection: sqlite3.Connection, name: str) -> int:
        """The number of the class of this name, made when missing."""
        row = connection.execute("SELECT id FROM classes WHERE name = ?", (name,)).fetchone()
        return row["id"] if row else self.create(connection, name)

    def rename(self, connection: sqlite3.Connection, number: int, name: str) -> None:
        """Give a class another name. Raises `Conflict`."""
        try:
            connection.execute("UPDATE classes SET name = ? WHERE id = ?", (name, number))
        except sqlite3.IntegrityError:
            raise Conflict(f"there is a class {name!r} already", "class_exists") from None

    def enable(self, connection: sqlite3.Connection, number: int, enabled: bool) -> None:
        """Have a class taught and answered, or not."""
        connection.execute("UPDATE classes SET enabled = ? WHERE id = ?", (enabled, number))

    def delete(self, connection: sqlite3.Connection, number: int) -> None:
        """Remove a class that has no examples."""
        connection.execute("DELETE FROM classes WHERE id = ?", (number,))


def _to_class(row) -> StoredClass:
    return StoredClass(row["id"], row["name"], row["examples"], bool(row["enabled"]))
