"""Writing FlatBuffers: new tables in front, an older file's bytes whole behind them.

References point forward only, so everything in the older bytes stays where it is and as it is, known
or not, and new vectors and tables refer into it. A compacting writer copies what it refers to
instead, and so leaves out what nothing refers to any more; it needs to know every table it meets.
"""

from typing import Any, Dict, List, NamedTuple, Optional

import flatbuffers
import numpy as np

from coral_learn.tflite_file.flatbuffer import FlatBuffer, Ref
from coral_learn.tflite_file.schema import OPTIONS_NUMBERS, Schema

_ALIGNMENT = 16  # what schema.fbs asks of the bytes of constants
_PREPEND = {
    "u1": "PrependUint8",
    "i1": "PrependInt8",
    "b1": "PrependBool",
    "i4": "PrependInt32",
    "u4": "PrependUint32",
    "u8": "PrependUint64",
    "f4": "PrependFloat32",
}
_OPTIONS = {number: table for table, number in OPTIONS_NUMBERS.items()}


class Options(NamedTuple):
    """A table to write where the kind is "options": its name in the schema and its fields."""

    table: str
    fields: Dict[str, Any]


class CannotCopy(Exception):
    """A table has fields that this package doesn't know, so it can only stay where it is."""


class Writer:
    """Writes one tree of tables. Values by kind: numbers; text; arrays; lists; dictionaries for tables;
    `Options` for options; or a `Ref` into the older file for any of them but numbers.

    old : the file that `Ref`s point into
    compact : copy from it instead of keeping it whole; `write` may then raise `CannotCopy`
    """

    def __init__(self, schema: Schema, old: Optional[FlatBuffer] = None, compact: bool = False):
        self._schema, self._old, self._compact = schema, old, compact
        self._builder = flatbuffers.Builder(1024)
        self._builder.Prep(_ALIGNMENT, 0)  # the start of the file is as aligned as its end
        self._copied: Dict[Ref, int] = {}
        self._kept = b""

    def write(self, identifier: bytes, table: str, fields: Dict[str, Any]) -> bytes:
        """The bytes of a file with this root."""
        if self._old is not None and not self._compact:
            self._kept = self._old.data + bytes(-len(self._old.data) % _ALIGNMENT)
            self._builder.CreateByteVector(self._kept)  # ends where the file ends
        self._builder.Finish(self._table(table, fields), identifier)
        return bytes(self._builder.Output())

    def _place(self, kind: str, value: Any) -> int:
        """Write a value, or find it in the older file; return its distance from the end of the file."""
        if not isinstance(value, Ref):
            return self._new(kind, value)
        if not self._compact:
            return len(self._kept) - value.position
        if value not in self._copied:
            self._copied[value] = self._copy(value)
        return self._copied[value]

    def _new(self, kind: str, value: Any) -> int:
        if kind == "string":
            return self._builder.CreateString(value)
        if kind == "options":
            return self._table(value.table, value.fields)
        if not kind.startswith("["):
            return self._table(kind, value)
        if kind[1:-1] in _PREPEND or kind == "[i8]":
            return self._numbers(np.asarray(value, "<" + kind[1:-1]))
        return self._vector([self._place(kind[1:-1], element) for element in value])

    def _table(self, table: str, fields: Dict[str, Any]) -> int:
        kinds = self._schema[table]
        places = {
            name: self._place(kinds[name], value) for name, value in fields.items() if kinds[name] not in _PREPEND
        }
        self._builder.StartObject(len(kinds))
        for slot, (name, kind) in enumerate(kinds.items()):
            if name in places:
                self._builder.PrependUOffsetTRelative(places[name])
                self._builder.Slot(slot)
            elif name in fields:
                getattr(self._builder, _PREPEND[kind])(fields[name])
                self._builder.Slot(slot)
        return self._builder.EndObject()

    def _vector(self, places: List[int]) -> int:
        self._builder.StartVector(4, len(places), 4)
        for place in reversed(places):
            self._builder.PrependUOffsetTRelative(place)
        return self._builder.EndVector()

    def _numbers(self, array: np.ndarray) -> int:
        if array.dtype.itemsize == 1:
            self._builder.Prep(_ALIGNMENT, array.nbytes)
            return self._builder.CreateByteVector(array.tobytes())
        return self._builder.CreateNumpyVector(array.ravel())

    def _copy(self, ref: Ref) -> int:
        old, kind = self._old, ref.kind
        if kind == "string":
            return self._builder.CreateString(old.numbers(Ref("[u1]", ref.position)).tobytes())
        if kind == "options":
            raise CannotCopy(f"the options at byte {ref.position} are not known here")
        if not kind.startswith("["):
            return self._table(kind, self._known_fields(ref))
        if kind[1:-1] in _PREPEND or kind == "[i8]":
            return self._numbers(old.numbers(ref))
        return self._vector([self._place(target.kind, target) for target in old.refs(ref)])

    def _known_fields(self, ref: Ref) -> Dict[str, Any]:
        """The fields of a table to copy, with a name for the table of an operator's options."""
        fields, kinds = self._old.fields(ref), self._schema[ref.kind]
        if any(self._old.slots(ref)[len(kinds) :]):
            raise CannotCopy(f"the table {ref.kind} at byte {ref.position} has fields that are not known here")
        for name in [name for name in fields if kinds[name] == "options"]:
            table = _OPTIONS.get(fields.get(name + "_type", 0)) if name == "builtin_options" else None
            if table is None:
                raise CannotCopy(f"the {name} of the table {ref.kind} at byte {ref.position} are not known here")
            fields[name] = Ref(table, fields[name].position)
        return fields
