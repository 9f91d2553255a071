"""A JSON Schema as a person reads it: the JSON itself, with words where values go."""

import json
from typing import Any, Dict, List

from service.http.description import Schema

_WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "{...}",
    "array": "[...]",
    "null": "null",
}


def outline(schema: Schema, named: Dict[str, Schema], indent: str = "") -> str:
    """The text for a schema; named : those that it may refer to."""
    if "$ref" in schema:
        return outline(_found(schema, named), named, indent)
    if "allOf" in schema:
        return outline(_merged(schema["allOf"], named), named, indent)
    if "anyOf" in schema:
        return " or ".join(outline(one, named, indent) for one in schema["anyOf"])
    if schema.get("properties"):
        return _object(schema, named, indent)
    if "items" in schema:
        return f"[{outline(schema['items'], named, indent)}, ...]"
    return _words(schema)


def _object(schema: Schema, named: Dict[str, Schema], indent: str) -> str:
    deeper, required, lines = indent + "  ", schema.get("required", ()), []
    for name, field in schema["properties"].items():
        note = field.get("description", "")
        optional = "" if name in required else "?"
        lines.append(f'{deeper}"{name}"{optional}: {outline(field, named, deeper)}' + (f"  -- {note}" if note else ""))
    return "{\n" + "\n".join(lines) + f"\n{indent}}}"


def _found(schema: Schema, named: Dict[str, Schema]) -> Schema:
    """The schema itself, or the one it refers to."""
    return named[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _merged(parts: List[Schema], named: Dict[str, Schema]) -> Schema:
    """One object for several that are all true of it."""
    merged: Dict[str, Any] = {"properties": {}, "required": []}
    for part in parts:
        found = _found(part, named)
        merged["properties"].update(found.get("properties", {}))
        merged["required"] += found.get("required", [])
    return merged


def _words(schema: Schema) -> str:
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if values:
        return " or ".join(json.dumps(value) for value in values)
    kinds = schema.get("type", "object")
    words = " or ".join(_WORDS[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds))
    lowest, highest = schema.get("minimum"), schema.get("maximum")
    if highest is not None:
        words += f" from {lowest if lowest is not None else '...'} to {highest}"
    if "default" in schema:
        words += f", default {json.dumps(schema['default'])}"
    return words
