"""/openapi.json: the description of this API, generated from its code.

Paths, methods and parameters come from the routes, words from the docstrings of the views, the rest from what
`describes` attached to them.
"""

import inspect
import re
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence, Tuple, Union

from flask import Blueprint, Flask, current_app, jsonify
from werkzeug.routing import Rule

import coral_learn
from service.http.access import COOKIE, is_open
from service.http.description import Description, Media, Parameter, Schema, describes
from service.http.idempotency import is_repeatable
from service.http.problems import MEDIA_TYPE, TITLES, speaks_protocol
from service.http.schemas import ANYTHING, COMPONENTS, PATH, TEXT, ref

blueprint = Blueprint("openapi", __name__)

Codes = Dict[int, Sequence[str]]

# What requests may be refused with, whichever they are.
ANY: Codes = {
    400: ("bad_request",),
    403: ("origin_not_allowed",),
    421: ("host_not_allowed",),
    431: ("header_too_large",),
    501: ("not_implemented",),
    500: ("internal", "store_failed"),
}
GUARDED: Codes = {401: ("token_needed",), 429: ("too_many_failures",)}
CHANGING: Codes = {403: ("csrf", "scope_too_small"), 507: ("store_full",)}
REPEATABLE: Codes = {
    409: ("idempotency_under_way",),
    422: ("idempotency_key_invalid", "idempotency_key_reused"),
}
WITH_BODY: Codes = {413: ("body_too_large",), 415: ("unsupported_media_type",), 503: ("too_many_bodies",)}
WITH_JSON: Codes = {422: ("body_invalid", "invalid")}
WITH_PATH: Codes = {404: ("not_found",)}
WITH_QUERY: Codes = {422: ("invalid",)}
COMMON = (ANY, GUARDED, CHANGING, REPEATABLE, WITH_BODY, WITH_JSON, WITH_PATH, WITH_QUERY)

IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    dict(TEXT, minLength=1, maxLength=200),
    "a text of the client's own: a request that comes again with it is answered as before and not carried out twice",
    place="header",
)
_BYTES = {"type": "string", "format": "binary"}
_BY_SERVER = (400, 413, 431, 501)  # refused before the path was looked at
_SHOWN_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class Route(NamedTuple):
    """A path with one of its methods; description : None where the view has none."""

    path: str
    method: str
    rule: Rule
    view: Any

    @property
    def description(self) -> Union[Description, None]:
        """What `describes` attached to the view."""
        return getattr(self.view, "description", None)


@blueprint.get("/openapi.json")
@describes(answers={200: ANYTHING})
def get_document():
    """This description, as OpenAPI 3.1."""
    return jsonify(document(current_app))


def routes(app: Flask) -> Iterator[Route]:
    """Every path and method of an app, in the order they were added."""
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:[^<>]*:)?(\w+)>", r"{\1}", rule.rule)
        for method in _SHOWN_METHODS:
            if method in rule.methods:
                yield Route(path, method, rule, app.view_functions[rule.endpoint])


def document(app: Flask) -> Dict[str, Any]:
    """The OpenAPI document of an app. Raises `LookupError` for a view without a description."""
    needed, paths = app.config["SERVICES"].access.needed, {}
    for route in routes(app):
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    schemes = [{"bearer": []}, {"key": []}, {"session": []}]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "coral-learn",
            "version": coral_learn.__version__,
            "summary": "Learns new image classes on the device",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": schemes if needed else [{}, *schemes],
        "paths": paths,
        "components": {
            "schemas": COMPONENTS,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "the classify or the manage token"},
                "key": {"type": "apiKey", "in": "header", "name": "X-Api-Key", "description": "the same tokens"},
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": COOKIE,
                    "description": "of POST /v1/session; changes need an Origin header as well",
                },
            },
        },
    }


def codes_of(route: Route) -> Dict[int, List[str]]:
    """The codes of the problems a route may answer with, by status."""
    found: Dict[int, List[str]] = {}
    for part in (_stated(route.description), *_implied(route)):
        for status, codes in part.items():
            known = found.setdefault(status, [])
            known += [code for code in codes if code not in known]
    return dict(sorted(found.items()))


def words_of(view: Any) -> Tuple[str, str]:
    """The first sentence of a view's docstring, and the rest."""
    first, _, more = inspect.getdoc(view).partition("\n\n")
    summary, _, rest = " ".join(first.split()).partition(". ")
    return summary.rstrip("."), "\n\n".join(part for part in (rest, more) if part)


def media_of(stated: Any) -> Media:
    """What a description says of a body, in full."""
    if isinstance(stated, Media):
        return stated
    return Media(ref(stated) if isinstance(stated, str) else stated)


def _stated(description: Description) -> Codes:
    problems = {status: codes for status, codes in description.answers.items() if status >= 400}
    return {status: (codes,) if isinstance(codes, str) else codes for status, codes in problems.items()}


def _implied(route: Route) -> Iterator[Codes]:
    """The parts of `COMMON` that are true of a route."""
    description = route.description
    yield ANY
    if not is_open(route.rule.endpoint, route.path):
        yield GUARDED
    if not reads(route):
        yield CHANGING
    if is_repeatable(route.method, route.path):
        yield REPEATABLE
    if description.body is not None:
        yield WITH_BODY
        if media_of(description.body).types == Media().types:
            yield WITH_JSON
    if route.rule.arguments:
        yield WITH_PATH
    if any(one.place == "query" for one in description.query):
        yield WITH_QUERY


def reads(route: Route) -> bool:
    """Whether a request changes nothing, so that the classify token will do."""
    return route.method == "GET" or route.path == "/v1/classify" or speaks_protocol(route.path)


def _operation(route: Route) -> Dict[str, Any]:
    description = route.description
    if description is None:
        raise LookupError(f"{route.method} {route.path}: its view has no description")
    summary, more = words_of(route.view)
    operation = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{route.path}").strip("_"),
        "tags": [route.rule.endpoint.partition(".")[0]],
        "summary": summary,
    }
    if more:
        operation["description"] = more
    headers = (IDEMPOTENCY_KEY,) if is_repeatable(route.method, route.path) else ()
    operation["parameters"] = [
        *_in_path(route.rule),
        *(_parameter(one) for one in (*description.query, *headers)),
    ]
    if description.body is not None:
        media = media_of(description.body)
        operation["requestBody"] = {"required": media.required, "content": _content(media, _BYTES)}
    operation["responses"] = {
        **{str(status): _answer(status, one) for status, one in description.answers.items() if status < 400},
        **{str(status): _problem(route, status, codes) for status, codes in codes_of(route).items()},
    }
    if is_open(route.rule.endpoint, route.path):
        operation["security"] = []
    return operation


def _in_path(rule: Rule) -> List[Dict[str, Any]]:
    names = re.findall(r"<(?:[^<>]*:)?(\w+)>", rule.rule)
    return [_parameter(Parameter(name, path_schema(rule, name), "", True, "path")) for name in names]


def path_schema(rule: Rule, name: str) -> Schema:
    """What may stand in the path of a rule where it has this name."""
    choices = re.search(rf"<any\(([^)]*)\):{name}>", rule.rule)
    if choices:
        return {"type": "string", "enum": re.findall(r"'([^']+)'", choices.group(1))}
    return dict({"minLength": 1, "pattern": "^[^/]+$"}, **PATH[name])


def _parameter(one: Parameter) -> Dict[str, Any]:
    described = {"name": one.name, "in": one.place, "required": one.required, "schema": one.schema}
    words = one.text or one.schema.get("description", "")
    return dict(described, description=words) if words else described


def _content(media: Media, of_bytes: Schema) -> Dict[str, Any]:
    """By type: JSON and forms have the schema, everything else is bytes, or events."""
    content: Dict[str, Any] = {}
    for kind in media.types:
        schema = media.schema if _structured(kind) and media.schema is not None else of_bytes
        content[kind] = {} if kind == "text/event-stream" else {"schema": schema}
    return content


def _structured(kind: str) -> bool:
    return kind.endswith("json") or kind == "multipart/form-data"


def _answer(status: int, stated: Any) -> Dict[str, Any]:
    words = {200: "Done", 201: "Made", 202: "Accepted", 206: "A part", 304: "Not changed"}.get(status, "Done")
    if stated is None:
        return {"description": words}
    media = media_of(stated)
    answer: Dict[str, Any] = {"description": words, "content": _content(media, _BYTES)}
    if media.headers:
        answer["headers"] = {name: {"description": text, "schema": TEXT} for name, text in media.headers.items()}
    return answer


def _problem(route: Route, status: int, codes: Sequence[str]) -> Dict[str, Any]:
    code = {"enum": list(codes)}
    fields = {"type": "object", "properties": {"status": {"const": status}, "code": code}}
    content = {MEDIA_TYPE: {"schema": {"allOf": [ref("Problem"), fields]}}}
    if speaks_protocol(route.path):
        schema = {"allOf": [ref("ProtocolError"), {"type": "object", "properties": {"code": code}}]}
        content = {**(content if status in _BY_SERVER else {}), "application/json": {"schema": schema}}
    return {"description": f"{TITLES[status]}: {', '.join(codes)}", "content": content}
