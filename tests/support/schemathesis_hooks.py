"""What Schemathesis needs to know of our API: how pictures look, and names that are there. See test_openapi.py."""

import json
import os
import uuid
import zlib

import schemathesis
from hypothesis import strategies

KNOWN = json.loads(os.environ["CORAL_LEARN_KNOWN"])
_pictures = strategies.sampled_from([bytes.fromhex(picture) for picture in KNOWN["pictures"]])
_bytes = strategies.binary(max_size=64)

for kind in KNOWN["picture_types"]:
    schemathesis.openapi.media_type(kind, _pictures | _bytes)
for kind in KNOWN["archive_types"]:
    schemathesis.openapi.media_type(kind, _bytes)


@schemathesis.hook
def map_path_parameters(context, path_parameters):  # noqa: ARG001
    """Half of the time names that are there instead of some that are not."""
    for name, values in KNOWN["path"].items():
        number = zlib.crc32(str((path_parameters or {}).get(name)).encode())
        if path_parameters and name in path_parameters and number % 2:
            path_parameters[name] = values[number % len(values)]
    return path_parameters


@schemathesis.hook
def before_call(context, case, kwargs):  # noqa: ARG001
    """A key of its own for every request: with the same few ones, most would be refused for that alone.

    And captures that are short.
    """
    if case.path == "/v1/camera/capture" and isinstance(case.body, dict):  # as long as that may take
        for name, most in (("count", 2), ("interval_s", 0.1)):
            if type(case.body.get(name)) in (int, float) and case.body[name] > most:
                case.body[name] = case.body[name] if case.body[name] > 1000 else most
    if len((case.headers or {}).get("Idempotency-Key", "")) > 0:
        case.headers["Idempotency-Key"] = uuid.uuid4().hex
