"""One subgraph of a model: its tensors and the operators between them, checked."""

from typing import Any, Dict, List, NamedTuple

import numpy as np

from coral_learn.errors import ModelFormatError
from coral_learn.tflite_file.flatbuffer import FlatBuffer, Ref
from coral_learn.tflite_file.tensor import Tensor, check_size, read_tensor

CUSTOM = 32  # BuiltinOperator of schema.fbs
_MAX_COUNT = 100_000


class OperatorCode(NamedTuple):
    """What an operator does: its name in schema.fbs or its custom name, its number there, and its version."""

    name: str
    number: int
    version: int


class Operator(NamedTuple):
    """One step. -1 among the inputs means left away. code : the name in schema.fbs, or the custom name."""

    index: int
    code: str
    inputs: List[int]
    outputs: List[int]
    version: int

    def __str__(self) -> str:
        return f"operator {self.index} {self.code}"


class Subgraph(NamedTuple):
    """Tensors, operators in order of running, and the tensors that come in and go out."""

    tensors: List[Tensor]
    operators: List[Operator]
    inputs: List[int]
    outputs: List[int]


class Limit:
    """Counts what was read, so that a file that lists one thing over and over is refused in time."""

    def __init__(self):
        self._count = 0

    def spend(self, count: int) -> None:
        self._count += count
        if self._count > _MAX_COUNT:
            raise ModelFormatError(f"the model lists more than {_MAX_COUNT} tensors, operators, buffers and the like")


class Parts(NamedTuple):
    """What the subgraphs of a model share."""

    codes: List[OperatorCode]
    buffer_sizes: List[int]
    limit: Limit


def read_codes(flat: FlatBuffer, refs: List[Ref]) -> List[OperatorCode]:
    """The operators a model uses."""
    names = operator_names()
    return [_read_code(flat, flat.fields(ref), names) for ref in refs]


def operator_names() -> Dict[int, str]:
    """Names of the built-in operators by their number."""
    from tflite.BuiltinOperator import BuiltinOperator  # importing tflite reads its 180 files

    return {number: name for name, number in vars(BuiltinOperator).items() if isinstance(number, int)}


def read_subgraph(flat: FlatBuffer, ref: Ref, parts: Parts) -> Subgraph:
    """Read and check. Raises `ModelFormatError`."""
    fields = flat.fields(ref)
    tensors = _read_tensors(flat, flat.refs(fields["tensors"]) if "tensors" in fields else [], parts)
    reader = _OperatorReader(flat, parts, len(tensors))
    operators = [
        reader.read(index, flat.fields(ref))
        for index, ref in enumerate(flat.refs(fields["operators"]) if "operators" in fields else [])
    ]
    return Subgraph(tensors, operators, reader.indexes(fields, "inputs"), reader.indexes(fields, "outputs"))


def _read_code(flat: FlatBuffer, fields: Dict[str, Any], names: Dict[int, str]) -> OperatorCode:
    # Numbers above 127 don't fit the old field, which then has 127 in it.
    number = max(fields.get("deprecated_builtin_code", 0), fields.get("builtin_code", 0))
    if number == CUSTOM:
        name = flat.text(fields["custom_code"]) if "custom_code" in fields else ""
    else:
        name = names.get(number, f"operator {number}")
    return OperatorCode(name, number, fields.get("version", 1))


def _read_tensors(flat: FlatBuffer, refs: List[Ref], parts: Parts) -> List[Tensor]:
    parts.limit.spend(len(refs))
    tensors = []
    for index, ref in enumerate(refs):
        tensor = read_tensor(flat, ref, index)
        parts.limit.spend(tensor.scale.size // 64)  # numpy reads them fast
        sizes = parts.buffer_sizes or [0]  # buffer 0 is the empty one and may be left away
        if tensor.buffer_index >= len(sizes):
            raise ModelFormatError(f"{tensor} is in buffer {tensor.buffer_index}, the model has {len(sizes)}")
        size = sizes[tensor.buffer_index]
        if size and "sparsity" not in flat.fields(ref):
            check_size(tensor, size)
        tensors.append(tensor)
    return tensors


class _OperatorReader:
    def __init__(self, flat: FlatBuffer, parts: Parts, tensors: int):
        self._flat, self._parts, self._tensors = flat, parts, tensors

    def read(self, index: int, fields: Dict[str, Any]) -> Operator:
        number = fields.get("opcode_index", 0)
        if number >= len(self._parts.codes):
            raise ModelFormatError(f"operator {index} has the code {number}, the model has {len(self._parts.codes)}")
        code = self._parts.codes[number]
        if fields.get("large_custom_options_offset", 0) > 1:
            raise ModelFormatError(f"operator {index} {code.name} has data behind the FlatBuffer, that can't be edited")
        inputs, outputs = self.indexes(fields, "inputs", -1), self.indexes(fields, "outputs")
        self.indexes(fields, "intermediates", -1)
        return Operator(index, code.name, inputs, outputs, code.version)

    def indexes(self, fields: Dict[str, Any], name: str, lowest: int = 0) -> List[int]:
        """A vector of tensor indexes, each in range."""
        numbers = self._flat.numbers(fields[name]) if name in fields else np.zeros(0, np.int32)
        self._parts.limit.spend(numbers.size + 1)
        if numbers.size and not (lowest <= numbers.min() and numbers.max() < self._tensors):
            raise ModelFormatError(f"{name} name tensors outside 0 to {self._tensors - 1}: {numbers[:8].tolist()}")
        return numbers.tolist()
