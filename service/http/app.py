"""The Flask application."""

from typing import Any

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.routing import Map

from service.errors import UnsupportedBody
from service.http import (
    access,
    accounting,
    archive,
    camera,
    classes,
    classify,
    conditions,
    docs,
    doctor,
    examples,
    extractor,
    health,
    idempotency,
    inference,
    journal,
    mapping,
    metrics,
    models,
    openapi,
    page,
    problems,
    review,
    room,
    session,
    settings,
    stream,
    training,
)
from service.http.reading import InMemoryRequest
from service.http.services import Services

_MEGABYTE = 1024 * 1024


class _Routes(Map):
    # Nothing is at /v1//classes; a redirect would leave as HTML.
    def __init__(self, **options: Any) -> None:
        super().__init__(merge_slashes=False, **options)


class _Application(Flask):
    url_map_class = _Routes


def create_app(services: Services) -> Flask:
    """An application that answers with these parts."""
    app = _Application("coral-learn", static_folder=None)
    app.request_class = InMemoryRequest
    app.config["SERVICES"] = services
    app.config["MAX_CONTENT_LENGTH"] = int(services.settings.max_upload_mb * _MEGABYTE)
    app.config["MAX_IMPORT_LENGTH"] = int(services.settings.max_import_mb * _MEGABYTE)
    app.json.sort_keys = False
    app.json.ensure_ascii = False
    app.url_map.strict_slashes = True
    accounting.register(app, services.metrics)
    problems.register(app)
    access.register(app, services.access)
    app.before_request(_check_length)
    app.before_request(_check_encoding)
    conditions.register(app)
    idempotency.register(app, services.store)
    subjects = health, session, classes, examples, mapping, journal, classify, training, models, extractor, doctor
    for subject in (*subjects, archive, stream, camera, review, settings, page, metrics, inference, openapi, docs):
        app.register_blueprint(subject.blueprint)
    room.register(app, services.store)
    app.after_request(_finish)
    return app


def _check_length() -> None:
    """Refuse a body that is too large before it is read; older Werkzeug does so for forms only."""
    setting = "MAX_IMPORT_LENGTH" if request.endpoint == archive.ADD else "MAX_CONTENT_LENGTH"
    length, largest = request.content_length or 0, current_app.config[setting]
    if length > largest:
        raise RequestEntityTooLarge(f"the body has {length} bytes, at most {largest} are allowed")


def _check_encoding() -> None:
    encoding = request.headers.get("Content-Encoding", "").strip()
    if encoding.lower() not in ("", "identity"):
        raise UnsupportedBody(f"a body is sent as it is, without a Content-Encoding; got {encoding[:50]!r}")


def _finish(response: Response) -> Response:
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.setdefault("Cache-Control", "no-store")
    return response
