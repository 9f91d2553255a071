"""Every request has an id, is counted, timed and logged."""

import logging
import re
import time
import uuid

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


def _begin() -> None:
    """Take over the id that a client or proxy gave, so that its log and ours can be put together."""
    given = request.headers.get(HEADER, "")
    g.request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex[:16]
    g.started = time.perf_counter()


def _end(response: Response, metrics: Metrics) -> Response:
    """An answer begins; that of a stream may go on for days."""
    response.headers[HEADER] = g.request_id
    seconds, rule = time.perf_counter() - g.started, request.url_rule
    metrics.count_request(None if rule is None else rule.rule, request.method, response.status_code, seconds)
    facts = {"method": request.method, "path": request.path[:_LONGEST_PATH], "status": response.status_code}
    facts["ms"] = round(seconds * 1000, 2)
    level = logging.WARNING if response.status_code >= 500 else logging.DEBUG
    log.log(level, "%(method)s %(path)s: %(status)d after %(ms)g ms", facts, extra={"fields": facts})
    return response
