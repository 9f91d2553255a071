"""Who is signed in at the page: a file in the data folder, so that a restart signs nobody out."""

import hashlib
import json
import logging
import secrets
import threading
import time
from pathlib import Path
from typing import Callable, Dict, NamedTuple, Optional

from service.errors import StoreError
from service.store.files import publish_file

log = logging.getLogger(__name__)

SESSION_FILE = "sessions.json"
SECONDS = 30 * 24 * 3600
PLACES = 1000


class _Session(NamedTuple):
    """scope : of the token it was made with; token : that token's digest; expires : seconds since 1970."""

    scope: str
    token: str
    expires: float


class Sessions:
    """Sessions by the digest of their id; the id itself is in the browser's cookie only.

    tokens : by scope; a session ends when the token it was made with is no longer one of these
    now : a clock in seconds since 1970
    """

    def __init__(self, folder: Path, tokens: Dict[str, str], now: Callable[[], float] = time.time):
        self._path, self._now = folder / SESSION_FILE, now
        self._digests = {scope: _digest(token) for scope, token in tokens.items()}
        self._lock = threading.Lock()
        self._sessions: Dict[str, _Session] = self._read() if tokens else {}

    def open(self, scope: str) -> str:
        """A new session for who knows the token of this scope; returns its id. The oldest makes room."""
        name = secrets.token_urlsafe(32)
        with self._lock:
            self._forget_expired()
            while len(self._sessions) >= PLACES:
                del self._sessions[min(self._sessions, key=lambda each: self._sessions[each].expires)]
            self._sessions[_digest(name)] = _Session(scope, self._digests[scope], self._now() + SECONDS)
            self._publish()
        return name

    def scope(self, name: str) -> Optional[str]:
        """What the session of this id allows; None when there is none."""
        session = self._sessions.get(_digest(name)) if name else None
        return session.scope if session is not None and self._valid(session) else None

    def close(self, name: str) -> None:
        """End a session; it may be over already."""
        with self._lock:
            if self._sessions.pop(_digest(name), None) is not None:
                self._publish()

    def __len__(self) -> int:
        return len(self._sessions)

    def _valid(self, session: _Session) -> bool:
        return session.expires > self._now() and session.token == self._digests.get(session.scope)

    def _forget_expired(self) -> None:
        self._sessions = {name: one for name, one in self._sessions.items() if self._valid(one)}

    def _publish(self) -> None:
        data = {name: session._asdict() for name, session in self._sessions.items()}
        try:
            publish_file(self._path, json.dumps(data).encode())  # for its owner alone: mode 0600
        except StoreError as error:
            # On a full disk people have to sign in to make room.
            log.warning("who is signed in is not kept for the next start: %s", error)

    def _read(self) -> Dict[str, _Session]:
        try:
            stored = json.loads(self._path.read_text())
            found = {
                name: _Session(str(one["scope"]), str(one["token"]), float(one["expires"]))
                for name, one in stored.items()
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s can't be used, everybody has to sign in again: %r", self._path, error)
            return {}
        kept = sorted((item for item in found.items() if self._valid(item[1])), key=lambda item: item[1].expires)
        return dict(kept[-PLACES:])


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
