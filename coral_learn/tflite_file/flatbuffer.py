"""Reading FlatBuffers bytes that may be broken or hostile.

Layout (https://flatbuffers.dev/internals): a reference is a u4 counted forward from itself. A table
begins with an i4 back to its vtable; the vtable holds the u2 sizes of itself and of the table, then
one u2 a field: where in the table it is, 0 when absent. A vector is a u4 count and its elements.
"""

import struct
from typing import Any, Dict, List, NamedTuple, Set

import numpy as np

from coral_learn.errors import ModelFormatError
from coral_learn.tflite_file.schema import Schema

_SCALARS = {"u1": "B", "i1": "b", "b1": "?", "i4": "i", "u4": "I", "u8": "Q", "f4": "f"}
_MAX_BYTES = 2**31 - 1
# A model of 10,000 operators has about as many parts; more would take Python minutes to look at.
MAX_PARTS = 200_000
# Tables that share a vtable share its cost for the writer, not for the reader; today's largest has 40 bytes.
_MAX_VTABLE = 256


class Ref(NamedTuple):
    """Something in the bytes: its kind (see schema.py) and where it begins."""

    kind: str
    position: int


class FlatBuffer:
    """Bytes and the tables they may hold. Every look is checked: `ModelFormatError` is the only error.

    reach : end of the furthest part looked at, in bytes from the start
    """

    def __init__(self, data: bytes, schema: Schema):
        if len(data) > _MAX_BYTES:
            raise ModelFormatError(f"a FlatBuffers file has at most {_MAX_BYTES} bytes, got {len(data)}")
        self.data, self.schema = data, schema
        self.reach = 0

    def root(self, identifier: bytes, table: str) -> Ref:
        """The root table of a file with this identifier."""
        if self.data[4:8] != identifier:
            raise ModelFormatError(f"bytes 4 to 8 should be {identifier!r}, got {self.data[4:8]!r}")
        return Ref(table, self._follow(0))

    def fields(self, ref: Ref) -> Dict[str, Any]:
        """The fields a table has: numbers as they are, everything else as `Ref`."""
        present = self.slots(ref)
        return {
            name: self._field(ref.position + place, kind)
            for place, (name, kind) in zip(present, self.schema[ref.kind].items())
            if place
        }

    def slots(self, ref: Ref) -> List[int]:
        """Where in a table each field number is, in bytes from the table's start; 0 when absent."""
        vtable = ref.position - self._number(ref.position, "i")
        size, inline = self._number(vtable, "H"), self._number(vtable + 2, "H")
        self._span(ref.position, inline)
        if 4 <= size <= _MAX_VTABLE and size % 2 == 0 and vtable % 2 == 0:
            places = struct.unpack(f"<{size // 2}H", self._span(vtable, size))[2:]
            if all(place == 0 or 4 <= place < inline for place in places):
                return list(places)
        raise ModelFormatError(f"the table at byte {ref.position} has a broken vtable at byte {vtable}")

    def inline_bytes(self, ref: Ref) -> bytes:
        """A table's own bytes, without what it refers to."""
        vtable = ref.position - self._number(ref.position, "i")
        return self._span(ref.position, self._number(vtable + 2, "H"))

    def refs(self, ref: Ref) -> List[Ref]:
        """What a vector of tables or strings points to."""
        kind, raw = ref.kind[1:-1], self._elements(ref, 4)
        if len(raw) > 4 * MAX_PARTS:
            raise ModelFormatError(f"the vector at byte {ref.position} has more than {MAX_PARTS} elements")
        starts = range(ref.position + 4, ref.position + 4 + len(raw), 4)
        offsets = np.frombuffer(raw, "<u4").tolist()
        return [self._pointer(Ref(kind, start + offset), offset) for start, offset in zip(starts, offsets)]

    def numbers(self, ref: Ref) -> np.ndarray:
        """A vector of numbers, one axis, read-only."""
        dtype = np.dtype("<" + ref.kind[1:-1])
        return np.frombuffer(self._elements(ref, dtype.itemsize), dtype)

    def text(self, ref: Ref) -> str:
        """A string; bytes that aren't UTF-8 are replaced."""
        return self._elements(ref, 1).decode("utf-8", "replace")

    def walk(self, root: Ref) -> None:
        """Look at everything that can be reached from a table."""
        seen: Set[Ref] = set()
        waiting, spent = [root], 0
        while waiting:
            ref = waiting.pop()
            if ref in seen:
                continue
            seen.add(ref)
            spent += self._look(ref, waiting)
            # Parts of an honest file don't overlap, so all together are no longer than the file.
            if len(seen) + len(waiting) > 2 * MAX_PARTS or spent > len(self.data):
                raise ModelFormatError(f"the file has more than {2 * MAX_PARTS} parts, or parts that overlap")

    def _look(self, ref: Ref, waiting: List[Ref]) -> int:
        """Check one part, note what it points to, return its length in bytes."""
        if ref.kind.startswith("[") and not _is_number(ref.kind[1:-1]):
            targets = self.refs(ref)
            waiting.extend(targets)
            return 4 * len(targets)
        if ref.kind.startswith("["):
            return self.numbers(ref).nbytes
        if ref.kind == "string":
            return len(self._elements(ref, 1))
        if ref.kind == "options":
            self.slots(ref)
        else:
            waiting.extend(value for value in self.fields(ref).values() if isinstance(value, Ref))
        return len(self.inline_bytes(ref))

    def _field(self, position: int, kind: str) -> Any:
        if _is_number(kind):
            return self._number(position, _SCALARS[kind])
        return Ref(kind, self._follow(position))

    def _follow(self, position: int) -> int:
        offset = self._number(position, "I")
        return self._pointer(Ref("", position + offset), offset).position

    def _pointer(self, target: Ref, offset: int) -> Ref:
        """A target that is in the file and, as all targets, on a multiple of 4."""
        if offset < 4 or target.position % 4 or target.position + 4 > len(self.data):
            raise ModelFormatError(f"byte {target.position} is pointed to, the file has {len(self.data)}")
        return target

    def _elements(self, ref: Ref, size: int) -> bytes:
        count = self._number(ref.position, "I")
        return self._span(ref.position + 4, count * size)

    def _number(self, position: int, code: str) -> Any:
        return struct.unpack("<" + code, self._span(position, struct.calcsize(code)))[0]

    def _span(self, position: int, size: int) -> bytes:
        end = position + size
        if position < 0 or end > len(self.data):
            raise ModelFormatError(f"bytes {position} to {end} are pointed to, the file has {len(self.data)}")
        self.reach = max(self.reach, end)
        return self.data[position:end]


def _is_number(kind: str) -> bool:
    return kind in _SCALARS or kind == "i8"
