"""Every error leaves as a problem document (RFC 9457), with a stable `code`."""

import json
import logging
from typing import Any, Dict, List, Optional, Tuple

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from coral_learn.errors import CoralLearnError, ImageBroken, ImageError, ImageFormatUnsupported, ImageTooLarge
from service.errors import (
    CameraError,
    Conflict,
    ExtractorBusy,
    Invalid,
    NotFound,
    Refused,
    ServiceError,
    StoreError,
    StoreFull,
    TooManyFailures,
    Unavailable,
    UnsupportedBody,
)

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

TITLES = {
    400: "Bad request",
    401: "A token is needed",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    411: "Length required",
    412: "Precondition failed",
    413: "Too large",
    415: "Unsupported format",
    416: "Range not satisfiable",
    421: "Unknown host",
    422: "Invalid value",
    429: "Too many requests",
    431: "Header too large",
    500: "Internal error",
    501: "Not implemented",
    503: "Not available now",
    507: "No space left",
}

# The first class that fits decides.
_STATUSES = (
    (ImageTooLarge, 413),
    (ImageFormatUnsupported, 415),
    (ImageBroken, 400),
    (ImageError, 422),
    (NotFound, 404),
    (Conflict, 409),
    (Invalid, 422),
    (UnsupportedBody, 415),
    (Refused, 400),
    (StoreFull, 507),
    (StoreError, 500),
    (TooManyFailures, 429),
    (Unavailable, 503),
    (CameraError, 503),
)


def problem(status: int, code: str, detail: str, errors: Optional[List[Dict[str, Any]]] = None, **headers) -> Response:
    """A problem document as a response."""
    body, kind = compose(request.path, status, code, detail, g.get("request_id"), errors)
    response = Response(body, status, mimetype=kind)
    for name, value in headers.items():
        response.headers[name.replace("_", "-")] = value
    return response


def speaks_protocol(path: str) -> bool:
    """Whether a path is one of the Open Inference Protocol, where an error is {"error": "..."}; `code` is ours."""
    return path == "/v2" or path.startswith("/v2/")


def compose(
    path: str,
    status: int,
    code: str,
    detail: str,
    request_id: Optional[str] = None,
    errors: Optional[List[Dict[str, Any]]] = None,
) -> Tuple[str, str]:
    """A problem of a request to this path: its text and media type."""
    if speaks_protocol(path):
        return json.dumps({"error": detail, "code": code}), "application/json"
    body = document(status, code, detail, request_id)
    return json.dumps(dict(body, errors=errors) if errors else body), MEDIA_TYPE


def document(status: int, code: str, detail: str, request_id: Optional[str] = None) -> Dict[str, Any]:
    """A problem document as a dictionary."""
    title = TITLES.get(status, "Error")
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, "code": code}
    return dict(body, request_id=request_id) if request_id else body


def status_of(error: Exception) -> int:
    """The HTTP status for one of our errors."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


def register(app: Flask) -> None:
    """Let every error of an app leave as a problem document."""
    app.register_error_handler(ServiceError, _ours)
    app.register_error_handler(CoralLearnError, _ours)
    app.register_error_handler(HTTPException, _flasks)
    app.register_error_handler(Exception, _unexpected)


def _ours(error: Exception) -> Response:
    status, headers = status_of(error), {}
    if status >= 500 and not isinstance(error, (Unavailable, CameraError)):
        log.error("%s %s: %s", request.method, request.path, error)
    if isinstance(error, Unavailable):
        headers["Retry_After"] = "1" if isinstance(error, ExtractorBusy) else str(error.retry_after)
    field = getattr(error, "field", "")
    errors = getattr(error, "errors", None) or ([{"field": field, "detail": str(error)}] if field else None)
    return problem(status, getattr(error, "code", "internal"), str(error), errors, **headers)


def _flasks(error: HTTPException) -> Response:
    status = error.code or 500
    response = problem(status, _FLASK_CODES.get(status, "http_error"), _flask_detail(error, status))
    if status == 405 and getattr(error, "valid_methods", None):
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    if status == 416 and getattr(error, "length", None) is not None:
        response.headers["Content-Range"] = f"bytes */{error.length}"
    return response


_FLASK_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
    416: "range_not_satisfiable",
}


def _flask_detail(error: HTTPException, status: int) -> str:
    if status == 404:
        return f"there is nothing at {request.path[:200]}"
    if status == 405:
        return f"{request.method} is not allowed at {request.path[:200]}"
    return error.description or TITLES.get(status, "error")


def _unexpected(_: Exception) -> Response:
    log.exception("%s %s failed", request.method, request.path)
    return problem(500, "internal", "something went wrong here; the log has the details under this request_id")
