"""/docs: the description of this API as a page to read, without any script."""

import base64
import hashlib
import json
from itertools import groupby
from pathlib import Path
from shlex import quote
from typing import Any, Dict, Iterator, List

from flask import Blueprint, Response, current_app, request
from markupsafe import Markup

import coral_learn
from service.http import openapi
from service.http.access import is_open
from service.http.description import Media, Schema, describes
from service.http.openapi import COMMON, Route
from service.http.outline import outline
from service.http.problems import TITLES
from service.http.schemas import COMPONENTS
from service.http.services import services

blueprint = Blueprint("docs", __name__)

_FOLDER = Path(__file__).resolve().parent.parent / "page"
_SAMPLES = {
    "name": "cup",
    "class": "cup",
    "example": "EXAMPLE",
    "frame": "FRAME",
    "job": "JOB",
    "version": "live",
    "model": "coral-learn",
    "token": "TOKEN",
}
_TENSOR = {"name": "image", "datatype": "BYTES", "shape": [1], "data": ["BASE64"]}
_BODIES = {"inputs": [_TENSOR], "model": ""}


@blueprint.get("/docs")
@describes(answers={200: Media(None, ("text/html",))})
def show():
    """This API, to read."""
    style = (_FOLDER / "docs.css").read_text(encoding="utf-8")
    template = current_app.jinja_env.from_string((_FOLDER / "docs.html").read_text(encoding="utf-8"))
    routes = sorted(openapi.routes(current_app), key=lambda one: _subject(one.path))
    page = template.render(
        style=Markup(style),
        version=coral_learn.__version__,
        groups=[
            (name, [_facts(one) for one in group]) for name, group in groupby(routes, lambda one: _subject(one.path))
        ],
        common=list(_common()),
        problem=_outline(COMPONENTS["Problem"]),
        needed=services().access.needed,
    )
    response = Response(page, mimetype="text/html")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    response.headers["Content-Security-Policy"] = policy
    return response


def _subject(path: str) -> str:
    """What a path is about: /v1/classes/{name} is about /v1/classes."""
    return "/".join(path.split("/")[: 3 if path.startswith("/v1/") else 2])


def _facts(route: Route) -> Dict[str, Any]:
    summary, more = openapi.words_of(route.view)
    description = route.description
    known = {code for part in COMMON for codes in part.values() for code in codes}
    codes_of = openapi.codes_of(route).items()
    problems = {status: [code for code in codes if code not in known] for status, codes in codes_of}
    return {
        "method": route.method,
        "path": route.path,
        "anchor": f"{route.method.lower()}{route.path.replace('/', '-')}",
        "summary": summary,
        "more": more,
        "parameters": [
            {"name": one.name, "text": one.text, "words": _outline(one.schema), "required": one.required}
            for one in description.query
        ],
        "body": None if description.body is None else _body(openapi.media_of(description.body)),
        "answers": [
            dict(_body(openapi.media_of(stated)), status=status)
            for status, stated in description.answers.items()
            if status < 400 and stated is not None
        ],
        "problems": [(status, TITLES[status], codes) for status, codes in problems.items() if codes],
        "curl": _curl(route),
    }


def _body(media: Media) -> Dict[str, Any]:
    schema = None if media.schema is None else _outline(media.schema)
    return {"types": media.types, "schema": schema, "headers": sorted((media.headers or {}).items())}


def _outline(schema: Schema) -> str:
    return outline(schema, COMPONENTS)


def _common() -> Iterator[Any]:
    """What any request may be refused with, by status."""
    found: Dict[int, List[str]] = {}
    for part in COMMON:
        for status, codes in part.items():
            found.setdefault(status, []).extend(codes)
    for status, codes in sorted(found.items()):
        yield status, TITLES[status], codes


def _curl(route: Route) -> str:
    """A line to paste."""
    path, description = route.path, route.description
    for name in route.rule.arguments:
        sample = openapi.path_schema(route.rule, name).get("enum", [_SAMPLES[name]])[0]
        path = path.replace(f"{{{name}}}", sample)
    required = [f"{one.name}={_SAMPLES.get(one.name, '...')}" for one in description.query if one.required]
    address = request.host_url.rstrip("/") + path + ("?" + "&".join(required) if required else "")
    words = ["curl", *([] if route.method == "GET" else ["-X", route.method]), quote(address)]
    if services().access.needed and not is_open(route.rule.endpoint, route.path):
        words += ["-H", '"Authorization: Bearer $TOKEN"']
    if description.body is not None:
        words += _curl_body(openapi.media_of(description.body))
    elif openapi.media_of(description.answers[200]).schema is None:
        kind = openapi.media_of(description.answers[200]).types[0]
        words += ["-N"] if kind == "text/event-stream" else [] if kind.startswith("text/") else ["-OJ"]
    return " ".join(words)


def _curl_body(media: Media) -> List[str]:
    if "application/json" in media.types:
        fields = media.schema.get("anyOf", [media.schema])[0].get("required", [])
        body = {name: _BODIES.get(name, _SAMPLES.get(name)) for name in fields}
        return ["-H", "'Content-Type: application/json'", "-d", quote(json.dumps(body))]
    if "multipart/form-data" in media.types:
        return ["-H", "'Content-Type: image/jpeg'", "--data-binary", "@picture.jpg"]
    return ["-H", quote(f"Content-Type: {media.types[0]}"), "-T", "data.zip"]
