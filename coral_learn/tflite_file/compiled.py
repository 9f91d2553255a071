"""What edgetpu_compiler wrote into a compiled model.

The operator edgetpu-custom-op carries a package (libedgetpu, executable/executable.fbs, identifier DWN1)
in its custom options; the package says which version of the Edge TPU run-time it needs.
"""

from typing import Any, Dict, Iterator, Optional

from coral_learn.errors import ModelFormatError
from coral_learn.tflite_file.flatbuffer import FlatBuffer
from coral_learn.tflite_file.model import TfliteModel
from coral_learn.tflite_file.schema import Schema

_OPERATOR = "edgetpu-custom-op"
_IDENTIFIER = b"DWN1"
# Its other fields are looked at by nobody here.
_PACKAGE: Schema = {"Package": {"min_runtime_version": "i4"}}


def least_runtime(model: TfliteModel) -> Optional[int]:
    """The version of the Edge TPU run-time a compiled model needs at least, None where it doesn't say."""
    versions = [_version(options) for options in _custom_options(model)]
    return max((version for version in versions if version is not None), default=None)


def _custom_options(model: TfliteModel) -> Iterator[bytes]:
    for operator in model.operators:
        if operator.code == _OPERATOR:
            fields: Dict[str, Any] = model.operator_fields(operator)
            if "custom_options" in fields:
                yield model.flat.numbers(fields["custom_options"]).tobytes()


def _version(options: bytes) -> Optional[int]:
    start = options.find(_IDENTIFIER) - 4  # the identifier is in bytes 4 to 8
    if start < 0:
        return None
    try:
        package = FlatBuffer(options[start:], _PACKAGE)
        version = package.fields(package.root(_IDENTIFIER, "Package")).get("min_runtime_version")
    except ModelFormatError:
        return None
    return version if version is not None and version > 0 else None
