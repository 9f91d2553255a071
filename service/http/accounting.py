"""Every request has an id, is counted, timed and logged."""

import logging
import re
import time
import uuid
from typing import Mapping, Optional

from flask import Flask, Response, g, request

from service.metrics import Metrics

log = logging.getLogger(__name__)

HEADER = "X-Request-Id"
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LONGEST_PATH = 200  # characters in the log


def register(app: Flask, metrics: Metrics) -> None:
    """Have every request of an app looked at. Call before anything else is registered."""
    app.before_request(_begin)
    app.after_request(lambda response: _end(response, metrics))


def request_id(headers: Mapping[str, str], name: str = HEADER) -> str:
    """The id that a client or proxy gave, so that its log and ours can be put together, or a new one."""
    given = headers.get(name, "")
    return given if _ID.fullmatch(given) else uuid.uuid4().hex[:16]


def write_down(level: int, method: str, path: str, status: int, seconds: float, **others: Optional[str]) -> None:
    """One line in the log for an answer. others : further fields where the log is JSON"""
    facts = {"method": method, "path": path[:_LONGEST_PATH], "status": status, "ms": round(seconds * 1000, 2)}
    line = "%(method)s %(path)s: %(status)d after %(ms)g ms"
    log.log(level, line, facts, extra={"fields": {**facts, **others}})


def _begin() -> None:
    g.request_id = request_id(request.headers)
    g.started = time.perf_counter()


def _end(response: Response, metrics: Metrics) -> Response:
    """An answer begins; that of a stream may go on for days."""
    response.headers[HEADER] = g.request_id
    seconds, rule, status = time.perf_counter() - g.started, request.url_rule, response.status_code
    metrics.count_request(None if rule is None else rule.rule, request.method, status, seconds)
    write_down(logging.WARNING if status >= 500 else logging.DEBUG, request.method, request.path, status, seconds)
    return response
