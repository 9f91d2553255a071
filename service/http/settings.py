"""/v1/settings"""

from typing import Any, Dict

from flask import Blueprint, jsonify

from service.addresses import masked
from service.errors import Invalid
from service.http.description import Media, Schema, describes
from service.http.reading import json_body
from service.http.schemas import list_of, or_null, record, ref
from service.http.services import services
from service.settings import FIELDS

blueprint = Blueprint("settings", __name__)

KINDS = {str: "text", float: "number", int: "integer", bool: "yes_or_no"}
_TYPES = {str: "string", float: "number", int: "integer", bool: "boolean"}


def _body() -> Schema:
    """What may be changed, and to what."""
    found = {}
    for name, field in FIELDS.items():
        if not field.metadata["changeable"]:
            continue
        kind, (lowest, highest) = type(field.default), field.metadata["range"]
        one: Schema = {"type": _TYPES[kind], "description": field.metadata["help"]}
        if field.metadata["choices"]:
            one["enum"] = list(field.metadata["choices"])
        elif kind in (int, float):
            one.update(minimum=lowest, maximum=highest)
        found[name] = or_null(one)
    return {"type": "object", "properties": found, "additionalProperties": False}


@blueprint.get("/v1/settings")
@describes(answers={200: record(items=list_of(ref("Setting")))})
def list_settings():
    """Every setting as it is now, and what may be made of it. Passwords in addresses are hidden."""
    return jsonify(items=[_as_dict(name) for name in FIELDS])


@blueprint.patch("/v1/settings")
@describes(
    answers={
        200: record(items=list_of(ref("Setting"))),
        409: "setting_fixed",
        422: ("settings_invalid", "body_invalid"),
    },
    body=Media(_body(), required=False),
)
def change_settings():
    """Change settings at once and for later starts, all that are given or none; null takes a change back.

    What is changed here is stronger than the configuration file, and weaker than flags and environment variables.
    With less room on the disk than must stay free only review_mb can be changed, as less of it makes room.
    """
    body = json_body()
    if not isinstance(body, dict):
        raise Invalid('the body is a JSON object like {"decide_frames": 5}', code="body_invalid")
    if set(body) != {"review_mb"}:
        services().store.must_have_room()
    services().preferences.change(body)
    return list_settings()


def _as_dict(name: str) -> Dict[str, Any]:
    preferences, field = services().preferences, FIELDS[name]
    kind, facts = type(field.default), field.metadata
    lowest, highest = facts["range"] if kind in (int, float) and not facts["choices"] else (None, None)
    return {
        "name": name,
        "value": _shown(getattr(preferences.settings, name)),
        "default": _shown(field.default),
        "help": facts["help"],
        "changeable": facts["changeable"],
        "fixed_by": preferences.fixed_by(name),
        "origin": preferences.origin(name),
        "kind": KINDS[kind],
        "lowest": lowest,
        "highest": highest,
        "choices": list(facts["choices"]) or None,
    }


def _shown(value: Any) -> Any:
    return masked(value) if isinstance(value, str) else value
