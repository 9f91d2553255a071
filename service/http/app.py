"""The Flask application."""

import uuid
from typing import Optional

from flask import Flask, Response, current_app, g, request
from werkzeug.exceptions import RequestEntityTooLarge

from service.http import (
    access,
    camera,
    classes,
    classify,
    examples,
    health,
    idempotency,
    journal,
    models,
    page,
    problems,
    stream,
    training,
)
from service.http.reading import InMemoryRequest
from service.http.services import Services

_MEGABYTE = 1024 * 1024


def create_app(services: Services) -> Flask:
    """An application that answers with these parts."""
    app = Flask("coral-learn", static_folder=None)
    app.request_class = InMemoryRequest
    app.config["SERVICES"] = services
    app.config["MAX_CONTENT_LENGTH"] = int(services.settings.max_upload_mb * _MEGABYTE)
    app.json.sort_keys = False
    app.json.ensure_ascii = False
    app.url_map.strict_slashes = True
    app.before_request(_number_request)
    problems.register(app)
    access.register(app, services.access)
    app.before_request(_check_length)
    idempotency.register(app, services.store)
    for subject in (health, classes, examples, journal, classify, training, models, stream, camera, page):
        app.register_blueprint(subject.blueprint)
    app.after_request(_finish)
    return app


def _number_request() -> Optional[Response]:
    g.request_id = uuid.uuid4().hex[:16]
    return None


def _check_length() -> None:
    """Refuse a body that is too large before it is read; older Werkzeug does so for forms only."""
    length, largest = request.content_length or 0, current_app.config["MAX_CONTENT_LENGTH"]
    if length > largest:
        raise RequestEntityTooLarge(f"the body has {length} bytes, at most {largest} are allowed")


def _finish(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.get("request_id", "")
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.setdefault("Cache-Control", "no-store")
    return response
