"""Answers to requests that came with an Idempotency-Key, for when the same request comes again."""

import time
from typing import NamedTuple, Optional

from service.store.database import Database

_KEPT_SECONDS = 24 * 3600.0
_MOST = 10000


class Reply(NamedTuple):
    """What was answered. request : a digest of what was asked; location : that header, or None."""

    request: str
    status: int
    location: Optional[str]
    body: bytes


class Replies:
    """Kept for a day, the newest ten thousand."""

    def __init__(self, database: Database):
        self._database = database

    def find(self, key: str) -> Optional[Reply]:
        """What was answered under a key, or None."""
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT request, status, location, body FROM replies WHERE key = ? AND created > ?",
                (key, time.time() - _KEPT_SECONDS),
            ).fetchone()
        return Reply(*row) if row else None

    def keep(self, key: str, reply: Reply) -> None:
        """Remember an answer. Raises `StoreError`."""
        with self._database.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO replies (key, request, status, location, body, created) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (key, *reply, time.time()),
            )
            connection.execute(
                "DELETE FROM replies WHERE created < ? OR key IN "
                "(SELECT key FROM replies ORDER BY created DESC LIMIT -1 OFFSET ?)",
                (time.time() - _KEPT_SECONDS, _MOST),
            )
