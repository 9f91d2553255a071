"""The description of the API: whole, valid, and of the code as it is."""

import json
import re
from pathlib import Path

import pytest
from flask import jsonify

from service.http.access import Access
from service.http.app import create_app
from service.http.openapi import codes_of, document, routes
from service.http.outline import outline
from service.http.problems import TITLES
from service.http.schemas import COMPONENTS, or_null
from service.http.services import Services
from service.metrics import Metrics
from service.settings import Settings
from service.store import Store

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("service", "coral_learn")


@pytest.fixture
def make_app(tmp_path):
    """make_app(tokens={}): the application with every route, and nothing behind most of them."""
    store = Store(tmp_path / "data")

    def make(tokens=()):
        access = Access("127.0.0.1", "", dict(tokens), None)
        parts = dict.fromkeys(Services._fields)
        given = {"settings": Settings(), "access": access, "store": store, "metrics": Metrics()}
        return create_app(Services(**{**parts, **given}))

    yield make
    store.close()


@pytest.fixture
def app(make_app):
    """The application of a daemon that needs no tokens."""
    return make_app()


def operations(described):
    """(path, method, operation) of a document."""
    return [(path, method, one) for path, item in described["paths"].items() for method, one in item.items()]


def test_document_is_valid(app):
    """OpenAPI's own rules hold, and all that is referred to is there."""
    validator = pytest.importorskip("openapi_spec_validator", reason="openapi-spec-validator needs Python 3.9")
    validator.validate(document(app))


def test_every_route_is_described(app):
    """Each view says in words what it does, and states what it answers."""
    for route in routes(app):
        assert route.description is not None, f"{route.method} {route.path} has no @describes"
        assert any(status < 400 for status in route.description.answers), route.path
    for path, method, operation in operations(document(app)):
        assert operation["summary"], (method, path)
        assert all(
            (one["schema"] and one.get("description")) or "enum" in one["schema"] for one in operation["parameters"]
        )


def test_a_view_without_a_description_is_noticed(app):
    """The document is refused as a whole, with the name of the route."""
    app.add_url_rule("/new", view_func=lambda: jsonify(new=True))
    with pytest.raises(LookupError, match="GET /new"):
        document(app)


def test_every_documented_status_says_what_is_answered(app):
    """Problems have a title and codes, other answers a schema or a type, unless there is nothing in them."""
    for path, method, operation in operations(document(app)):
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                assert int(status) in TITLES
                assert "application/problem+json" in answer["content"] or path.startswith("/v2")
            else:
                assert answer.get("content") or status == "304", (method, path, status)


def test_documented_codes_are_those_of_the_code(app):
    """No code is documented that the packages don't have, and none is left out that a view answers with itself."""
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    outside = [path for path in files if path.name not in ("openapi.py", "schemas.py")]
    undescribed = [re.sub(r"@describes\((?:.|\n)*?\n\)|@describes\(.*\)", "", path.read_text()) for path in outside]
    words = set(re.findall(r"\"([a-z_]+)\"", "\n".join(undescribed)))
    documented = {code for route in routes(app) for codes in codes_of(route).values() for code in codes}
    assert documented - words == set()
    answered = set(re.findall(r"\bproblem\(\d+, \"([a-z_]+)\"", "\n".join(undescribed)))
    assert answered - documented == set()


def test_methods_and_places_are_those_of_the_routes(app):
    """Each rule's methods are there, and each name in braces is a parameter of the path."""
    described = document(app)["paths"]
    assert set(described["/v1/classes/{name}"]) == {"get", "patch", "delete"}
    assert described["/page/{name}"]["get"]["parameters"][0]["schema"]["enum"]
    for path, _, operation in operations(document(app)):
        named = [one["name"] for one in operation["parameters"] if one["in"] == "path"]
        assert named == re.findall(r"{(\w+)}", path)


def test_credentials_are_named_where_they_are_needed(make_app):
    """A token, a key or a session; nothing where none is asked for, and never for what is open to all."""
    free, guarded = document(make_app()), document(make_app({"manage": "m" * 20, "classify": "c" * 20}))
    schemes = [{"bearer": []}, {"key": []}, {"session": []}]
    assert (free["security"], guarded["security"]) == ([{}, *schemes], schemes)
    assert guarded["paths"]["/healthz"]["get"]["security"] == []
    assert "security" not in guarded["paths"]["/v1/status"]["get"]
    assert guarded["components"]["securitySchemes"]["session"]["name"] == "coral_learn_session"


def test_page_shows_every_route_and_loads_nothing(app):
    """All routes with a curl line each, in one page without scripts, pictures or foreign styles."""
    page = app.test_client().get("/docs").get_data(as_text=True)
    found = list(routes(app))
    assert page.count("<article") == len(found)
    assert page.count("<pre>curl ") == len(found)
    for route in found:
        assert f"<code>{route.path}</code>" in page
    assert not re.search(r"<script|<link|<img|<iframe|@import|url\(|src=", page)
    assert set(re.findall(r'href="([^"#]+)', page)) == {"/openapi.json"}


def test_page_shows_how_to_send_a_token_where_one_is_needed(make_app):
    """The lines to paste have the header, but for what is open to all."""
    app = make_app({"manage": "m" * 20, "classify": "c" * 20})
    page = app.test_client().get("/docs", headers={"X-Api-Key": "m" * 20}).get_data(as_text=True)
    lines = re.findall(r"<pre>(curl [^<]*)</pre>", page)
    assert [line for line in lines if "/v1/status" in line and "Authorization: Bearer $TOKEN" in line]
    assert [line for line in lines if "/healthz" in line and "Authorization" not in line]


def test_outline_reads_like_the_json():
    """Fields in order, optional ones marked, words instead of values."""
    assert outline(COMPONENTS["Prediction"], COMPONENTS) == ('{\n  "class": text\n  "score": number from 0 to 1\n}')
    assert outline(or_null({"$ref": "#/components/schemas/TensorMetadata"}), COMPONENTS) == (
        '{\n  "name": text\n  "datatype": text\n  "shape": [whole number, ...]\n} or null'
    )
    tag = outline(COMPONENTS["ModelTag"], COMPONENTS)
    assert '"version": whole number or "live"' in tag
    assert '"revision"?: whole number  -- of live' in tag


def test_document_is_json_that_is_not_escaped(app):
    """What is served is the document itself."""
    served = app.test_client().get("/openapi.json")
    assert json.loads(served.get_data(as_text=True)) == json.loads(json.dumps(document(app)))
