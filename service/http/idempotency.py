"""Idempotency-Key: a change that is asked for again, because its answer was lost, is made once.

After the IETF draft "The Idempotency-Key HTTP Header Field" (draft-ietf-httpapi-idempotency-key-header).
"""

import hashlib
import threading
from contextlib import suppress
from typing import Optional, Set

from flask import Flask, Response, current_app, g, request

from service.errors import StoreError
from service.http.problems import problem, speaks_protocol
from service.store import Store
from service.store.replies import Reply

HEADER = "Idempotency-Key"
_LONGEST = 200
_PIECE = 1024 * 1024  # bytes
_CHANGING = ("POST", "PATCH", "PUT", "DELETE")
_SESSION = "/v1/session"  # its answer is a cookie, which is kept nowhere
_NOT_KEPT = (401, 403, 408, 409, 421, 429)  # another try may end otherwise


def is_repeatable(method: str, path: str) -> bool:
    """Whether an answer at this path is kept for whoever asks again with the same key."""
    return method in _CHANGING and path != _SESSION and not speaks_protocol(path)


class Idempotency:
    """Looks up and keeps answers by key."""

    def __init__(self, store: Store):
        self._replies, self._lock = store.replies, threading.Lock()
        self._under_way: Set[str] = set()

    def before(self) -> Optional[Response]:
        """The answer that was given before, a refusal, or None when the request is to be carried out."""
        key = request.headers.get(HEADER)
        if key is None or request.url_rule is None or not is_repeatable(request.method, request.url_rule.rule):
            return None
        if not 1 <= len(key) <= _LONGEST or not key.isprintable():
            return problem(422, "idempotency_key_invalid", f"{HEADER} has 1 to {_LONGEST} printable characters")
        asked = _digest()
        with self._lock:
            if key in self._under_way:
                return problem(409, "idempotency_under_way", "this request is being carried out", Retry_After="1")
            kept = self._replies.find(key)
            if kept is None:
                self._under_way.add(key)
                g.idempotency = (key, asked)
                return None
        if kept.request != asked:
            return problem(422, "idempotency_key_reused", f"this {HEADER} came with another request before")
        response = Response(kept.body, kept.status, mimetype=_media_type(kept.status))
        response.headers["Idempotency-Replayed"] = "true"
        if kept.location:
            response.headers["Location"] = kept.location
        return response

    def after(self, response: Response) -> Response:
        """Keep an answer that another try would get as well."""
        key, asked = g.get("idempotency", (None, None))
        if key is not None and response.status_code < 500 and response.status_code not in _NOT_KEPT:
            location = response.headers.get("Location")
            with suppress(StoreError):  # the change is made and said so; a retry finds it by its content
                self._replies.keep(key, Reply(asked, response.status_code, location, response.get_data()))
        return response

    def end(self, _: Optional[BaseException]) -> None:
        """The request is over, however it ended."""
        key, _ = g.pop("idempotency", (None, None))
        if key is not None:
            with self._lock:
                self._under_way.discard(key)


def register(app: Flask, store: Store) -> None:
    """Have every changing request of an app looked at. Call after the access rules are registered."""
    idempotency = Idempotency(store)
    app.before_request(idempotency.before)
    app.after_request(idempotency.after)
    app.teardown_request(idempotency.end)


def _media_type(status: int) -> str:
    return "application/problem+json" if status >= 400 else "application/json"


def _digest() -> str:
    """What is asked, in short."""
    found = hashlib.sha256(f"{request.method} {request.full_path}\n".encode())
    if (request.content_length or 0) <= current_app.config["MAX_CONTENT_LENGTH"]:
        found.update(request.get_data())
    else:  # an archive, which lies in a file
        body = request.environ["wsgi.input"]
        for piece in iter(lambda: body.read(_PIECE), b""):
            found.update(piece)
        body.seek(0)
    return found.hexdigest()
