"""A copy of the database before each upgrade, to go back to where the version before can't read the new one."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Optional

from service.errors import InstallError


def schema_of(database: Path) -> Optional[int]:
    """The number of migrations a database has seen; None when there is none. Raises `InstallError`."""
    if not database.exists():
        return None
    try:
        with closing(_reader(database)) as connection:
            return connection.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error as error:
        raise InstallError(f"the database {database} can't be read: {error}") from error


def copy_database(database: Path, copy: Path) -> bool:
    """Copy it whole, even while a daemon writes; the copy is root's alone. False when there is none."""
    if not database.exists():
        return False
    copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = copy.with_name(copy.name + ".part")
    part.touch(mode=0o600)
    try:
        with closing(_reader(database)) as read, closing(sqlite3.connect(str(part))) as written:
            read.backup(written)
    except sqlite3.Error as error:
        part.unlink()
        raise InstallError(f"the database {database} can't be copied before the upgrade: {error}") from error
    with open(str(part), "rb") as file:
        os.fsync(file.fileno())
    os.replace(str(part), str(copy))
    return True


def put_back(copy: Path, database: Path) -> Path:
    """Put a copy in the place of the database; returns where that one lies now. The daemon must not run."""
    aside = database.with_name(database.name + ".newer")
    owner = database.stat()
    part = database.with_name(database.name + ".part")
    shutil.copyfile(str(copy), str(part))
    os.chown(str(part), owner.st_uid, owner.st_gid)
    os.chmod(str(part), 0o600)
    copy_database(database, aside)  # with what is in its log
    for ending in ("-wal", "-shm"):
        log = database.with_name(database.name + ending)
        if log.exists():
            log.unlink()
    os.replace(str(part), str(database))
    return aside


def _reader(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)
