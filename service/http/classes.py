"""/v1/classes"""

from typing import Any, Dict

from flask import Blueprint, jsonify

from service.errors import Invalid, NotFound
from service.http.description import describes
from service.http.reading import json_body, paging, truth
from service.http.schemas import (
    CLASS_CHANGE,
    COUNT,
    NAME_BODY,
    PAGING,
    STEP_OR_NULL,
    TEXT,
    also,
    flag,
    page_of,
    record,
    ref,
)
from service.http.services import services
from service.learning import Changed, ListedClass
from service.store.classes import check_name

blueprint = Blueprint("classes", __name__)


@blueprint.get("/v1/classes")
@describes(answers={200: page_of("Class")}, query=PAGING)
def list_classes():
    """Every class, a page at a time."""
    page, size = paging()
    every = services().teaching.classes()
    items = [_as_dict(one) for one in every[page * size : (page + 1) * size]]
    return jsonify(items=items, page=page, size=size, total=len(every))


@blueprint.post("/v1/classes")
@describes(
    answers={201: also("Class", step=STEP_OR_NULL), 409: ("class_exists", "class_pretrained"), 422: "name_invalid"},
    body=NAME_BODY,
)
def create_class():
    """Add a class without examples."""
    created = services().teaching.create_class(_name_in(json_body()))
    services().live.tell_model()
    return jsonify(dict(_as_dict(ListedClass(created.now.name, 0, False)), step=created.step)), 201


@blueprint.get("/v1/classes/<name>")
@describes(answers={200: "Class", 404: "class_not_found"})
def get_class(name: str):
    """One class."""
    return jsonify(_as_dict(_find(name)))


@blueprint.patch("/v1/classes/<name>")
@describes(
    answers={
        200: also("Class", step=STEP_OR_NULL, model=ref("ModelTag")),
        404: "class_not_found",
        409: ("class_exists", "class_pretrained", "class_same"),
        422: ("name_invalid", "invalid"),
    },
    query=[flag("merge", "onto a class that is there, which gets the examples of this one")],
    body=CLASS_CHANGE,
)
def change_class(name: str):
    """Give a class another name, or disable or enable it.

    With ?merge=true the name may be one that is there, whose class gets the examples. A disabled class keeps its
    examples, but is neither taught nor answered, as if it were not there; enabled again it is as it would have been.
    """
    parts, body = services(), json_body()
    if isinstance(body, dict) and set(body) == {"enabled"}:
        changed = parts.teaching.enable_class(name, _enabled_in(body))
    else:
        changed = _rename(name, _name_in(body, ' or {"enabled": true|false}'))
    parts.live.tell_model()
    now = ListedClass(changed.now.name, changed.now.examples, False, changed.now.enabled)
    return jsonify(dict(_as_dict(now), step=changed.step, model=parts.answering.model))


@blueprint.delete("/v1/classes/<name>")
@describes(
    answers={
        200: record(deleted=TEXT, examples=COUNT, step=STEP_OR_NULL, model=ref("ModelTag")),
        404: "class_not_found",
        409: "class_pretrained",
    },
    query=[flag("forever", "remove the pictures at once; this can't be undone")],
)
def delete_class(name: str):
    """Remove a class with its examples; with ?forever=true their pictures go at once."""
    parts = services()
    deleted = parts.teaching.delete_class(name, truth("forever"))
    parts.live.tell_model()
    return jsonify(deleted=name, examples=deleted.examples, step=deleted.step, model=parts.answering.model)


def _rename(name: str, new_name: str) -> Changed:
    parts = services()
    change = parts.teaching.rename_class
    if truth("merge") and new_name != name and parts.store.classes.find(new_name) is not None:
        change = parts.teaching.merge_classes
    return change(name, new_name)


def _name_in(body: Any, others: str = "") -> str:
    if not isinstance(body, dict) or set(body) != {"name"}:
        detail = 'the body is a JSON object with one field: {"name": "..."}' + others
        raise Invalid(detail, "name", "body_invalid")
    return check_name(body["name"])


def _enabled_in(body: Dict[str, Any]) -> bool:
    if not isinstance(body["enabled"], bool):
        raise Invalid(f"enabled is true or false, got {str(body['enabled'])[:50]!r}", "enabled")
    return body["enabled"]


def _find(name: str) -> ListedClass:
    stored = services().store.classes.find(name)
    if stored is not None:
        return ListedClass(stored.name, stored.examples, False, stored.enabled)
    if name in services().answering.pretrained:
        return ListedClass(name, 0, True)
    raise NotFound(f"there is no class {name[:100]!r}", "class_not_found")


def _as_dict(one: ListedClass) -> dict:
    return dict(one._asdict())
