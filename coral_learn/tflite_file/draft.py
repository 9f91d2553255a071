"""A model being changed: what is untouched stays a reference into the old file."""

from typing import Any, Dict, Optional, Sequence

import numpy as np

from coral_learn.errors import ModelFormatError
from coral_learn.tflite_file.archive import write_archive
from coral_learn.tflite_file.flatbuffer import FlatBuffer
from coral_learn.tflite_file.model import TfliteModel
from coral_learn.tflite_file.schema import MODEL, MODEL_IDENTIFIER, OPTIONS_NUMBERS
from coral_learn.tflite_file.tensor import DTYPES
from coral_learn.tflite_file.writer import CannotCopy, Options, Writer

# Numbers of BuiltinOperator in schema.fbs.
OPERATORS = {
    "ADD": 0,
    "CONV_2D": 3,
    "DEQUANTIZE": 6,
    "FULLY_CONNECTED": 9,
    "L2_NORMALIZATION": 11,
    "MUL": 18,
    "RELU": 19,
    "RESHAPE": 22,
    "SOFTMAX": 25,
    "SUB": 41,
    "NEG": 59,
    "POW": 78,
}


class Draft:
    """Tables of a model as dictionaries (see writer.py), with what changing them needs.

    files : of the archive behind the model. Raises `ModelFormatError` for an archive that can't be read.
    """

    def __init__(self, model: TfliteModel):
        self.model = model
        self.files = model.associated_files()
        self.fields = dict(model.fields)
        for name in ("operator_codes", "buffers", "metadata", "signature_defs", "subgraphs"):
            self.fields[name] = list(model.refs(name))
        if not self.fields["buffers"]:
            self.fields["buffers"].append({})  # buffer 0 is the empty one
        self.graph = dict(model.flat.fields(self.fields["subgraphs"][0]))
        for name in ("tensors", "operators"):
            self.graph[name] = list(model.flat.refs(self.graph[name])) if name in self.graph else []
        self.fields["subgraphs"][0] = self.graph
        self.outputs = model.outputs

    def write(self, compact: bool = False) -> bytes:
        """The file. compact : leave out what nothing refers to any more, where every table is known."""
        self.graph["outputs"] = np.array(self.outputs, np.int32)
        # An empty vector says no more than none at all.
        fields = {name: value for name, value in self.fields.items() if not isinstance(value, list) or value}
        old = FlatBuffer(self.model.without_archive(), MODEL)
        try:
            data = Writer(MODEL, old, compact).write(MODEL_IDENTIFIER, "Model", fields)
        except CannotCopy:
            data = Writer(MODEL, old).write(MODEL_IDENTIFIER, "Model", fields)
        return TfliteModel(write_archive(data, self.files)).data  # what can't be read back never leaves

    def table(self, vector: str, index: int) -> Dict[str, Any]:
        """One of the graph's tables ("tensors" or "operators") or of the model's, opened for changes."""
        tables = (self.graph if vector in ("tensors", "operators") else self.fields)[vector]
        if not isinstance(tables[index], dict):
            tables[index] = self.model.flat.fields(tables[index])
        return tables[index]

    def add_buffer(self, data: bytes) -> int:
        """A new buffer's number."""
        self.fields["buffers"].append({"data": np.frombuffer(data, np.uint8)})
        return len(self.fields["buffers"]) - 1

    def add_tensor(self, name: str, shape: Sequence[int]) -> int:
        """A new computed float32 tensor's number."""
        self.graph["tensors"].append({"name": name, "shape": np.array(shape, np.int32)})
        return len(self.graph["tensors"]) - 1

    def add_constant(self, name: str, array: np.ndarray, scale: Optional[float] = None, zero_point: int = 0) -> int:
        """A new constant tensor's number; with a scale it is a quantised one."""
        tensor = self.add_tensor(name, array.shape)
        table = self.graph["tensors"][tensor]
        table["type"] = DTYPES.index(array.dtype.name)
        table["buffer"] = self.add_buffer(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
        if scale is not None:
            table["quantization"] = quantization(scale, zero_point)
        return tensor

    def add_operator(
        self, code: str, inputs: Sequence[int], output: int, options: Optional[Options], version: int = 1
    ) -> None:
        """A step behind all others."""
        operator: Dict[str, Any] = {
            "opcode_index": self._code(OPERATORS[code], version),
            "inputs": np.array(inputs, np.int32),
            "outputs": np.array([output], np.int32),
        }
        if options is not None:
            operator["builtin_options_type"] = OPTIONS_NUMBERS[options.table]
            operator["builtin_options"] = options
        self.graph["operators"].append(operator)

    def replace_first_output(self, tensor: int, others: bool) -> None:
        """Let another tensor come out, under the names that the signatures have for the first.

        others : keep the outputs behind the first; without them the signatures lose them as well
        """
        if not self.outputs:
            raise ModelFormatError("the model has no output")
        old, self.outputs = self.outputs[0], [tensor] + (self.outputs[1:] if others else [])
        for index in range(len(self.fields["signature_defs"])):
            self._replace_in_signature(index, old, tensor)

    def _replace_in_signature(self, index: int, old: int, new: int) -> None:
        flat, signature = self.model.flat, self.table("signature_defs", index)
        if signature.get("subgraph_index", 0) != 0 or "outputs" not in signature:
            return
        maps = [flat.fields(ref) for ref in flat.refs(signature["outputs"])]
        for output in maps:
            if output.get("tensor_index", 0) == old:
                output["tensor_index"] = new
        signature["outputs"] = [output for output in maps if output.get("tensor_index", 0) in self.outputs]

    def _code(self, number: int, version: int) -> int:
        """The place of an operator's code, a new one if there is none of this version or above."""
        codes = self.fields["operator_codes"]
        for index, code in enumerate(codes):
            code = code if isinstance(code, dict) else self.model.flat.fields(code)
            known = max(code.get("builtin_code", 0), code.get("deprecated_builtin_code", 0))
            if known == number and code.get("version", 1) >= version:
                return index
        codes.append({"deprecated_builtin_code": number, "builtin_code": number, "version": version})
        return len(codes) - 1


def quantization(scale: float, zero_point: int) -> Dict[str, Any]:
    """The table of one scale for a whole tensor."""
    with np.errstate(over="ignore"):
        return {"scale": np.array([scale]).astype(np.float32), "zero_point": np.array([zero_point], np.int64)}
