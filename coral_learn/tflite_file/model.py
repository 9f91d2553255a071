"""A .tflite file, checked whole before anything else looks at it."""

from typing import Any, Dict, List, Optional

import numpy as np

from coral_learn.errors import ModelFormatError
from coral_learn.tflite_file.archive import archive_start, read_archive
from coral_learn.tflite_file.flatbuffer import FlatBuffer, Ref
from coral_learn.tflite_file.schema import MODEL, MODEL_IDENTIFIER
from coral_learn.tflite_file.subgraph import Limit, Operator, Parts, Subgraph, read_codes, read_subgraph
from coral_learn.tflite_file.tensor import Tensor
from coral_learn.whole_file import read_bytes

_VERSION = 3


class TfliteModel:
    """What a .tflite file says about itself; numbers of tensors and operators are those of subgraph 0.

    data : the bytes of the file
    flat, root : the FlatBuffers part, and the model's table in it
    subgraphs : list of `Subgraph`, the first is the one that runs

    Raises `ModelFormatError` for whatever the bytes are, if they are no whole, consistent model.
    """

    def __init__(self, data: bytes):
        self.data = bytes(data)
        self.flat = FlatBuffer(self.data, MODEL)
        try:
            self._read()
        except ModelFormatError as error:
            raise ModelFormatError(f"not a whole TensorFlow Lite model: {error}") from error

    @classmethod
    def read(cls, path) -> "TfliteModel":
        """The model in a file. Raises `ModelFileMissing` or `ModelFormatError`."""
        return cls(read_bytes(path))

    def _read(self) -> None:
        self.root = self.flat.root(MODEL_IDENTIFIER, "Model")
        self.flat.walk(self.root)
        self.fields = self.flat.fields(self.root)
        if self.fields.get("version", 0) != _VERSION:
            raise ModelFormatError(f"the schema's version should be {_VERSION}, got {self.fields.get('version', 0)}")
        limit = Limit()
        for name in ("buffers", "operator_codes", "subgraphs", "metadata", "signature_defs"):
            limit.spend(len(self.refs(name)))
        self._buffers = [self._read_buffer(ref) for ref in self.refs("buffers")] or [{}]
        codes = read_codes(self.flat, self.refs("operator_codes"))
        parts = Parts(codes, [_size(self.flat, buffer) for buffer in self._buffers], limit)
        self.subgraphs = [read_subgraph(self.flat, ref, parts) for ref in self.refs("subgraphs")]
        if not self.subgraphs:
            raise ModelFormatError("it has no subgraph")
        graph = self.flat.fields(self.refs("subgraphs")[0])
        self._operator_refs = self.flat.refs(graph["operators"]) if "operators" in graph else []
        self._check_metadata()
        for ref in self.refs("signature_defs"):
            self._check_signature(self.flat.fields(ref), limit)

    def refs(self, name: str) -> List[Ref]:
        """The tables in a vector of the model's table; [] when it is absent."""
        return self.flat.refs(self.fields[name]) if name in self.fields else []

    @property
    def graph(self) -> Subgraph:
        """Subgraph 0."""
        return self.subgraphs[0]

    @property
    def inputs(self) -> List[int]:
        """Tensors that come in."""
        return list(self.graph.inputs)

    @property
    def outputs(self) -> List[int]:
        """Tensors that go out."""
        return list(self.graph.outputs)

    @property
    def operators(self) -> List[Operator]:
        """The steps, in order of running."""
        return list(self.graph.operators)

    def tensor(self, index: int) -> Tensor:
        """A tensor by its number. Raises `ModelFormatError` when there is none."""
        if not 0 <= index < len(self.graph.tensors):
            raise ModelFormatError(f"the model has tensors 0 to {len(self.graph.tensors) - 1}, asked for {index}")
        return self.graph.tensors[index]

    def options(self, operator: Operator, table: str) -> Dict[str, Any]:
        """The options of an operator, read as this table of schema.py; {} when it has none."""
        fields = self.operator_fields(operator)
        if "builtin_options" not in fields:
            return {}
        return self.flat.fields(Ref(table, fields["builtin_options"].position))

    def operator_fields(self, operator: Operator) -> Dict[str, Any]:
        """The fields of an operator's table, see schema.py."""
        return self.flat.fields(self._operator_refs[operator.index])

    def constant(self, tensor_index: int) -> Optional[np.ndarray]:
        """The stored numbers of a constant, in its shape; None when the tensor is computed.

        Raises `ModelFormatError` for a constant that numpy has no type for, or a sparse one.
        """
        tensor = self.tensor(tensor_index)
        raw = self.buffer(tensor.buffer_index)
        if not raw:
            return None
        try:
            return np.frombuffer(raw, np.dtype(tensor.dtype).newbyteorder("<")).reshape(tensor.shape)
        except (TypeError, ValueError) as error:
            raise ModelFormatError(f"the constant {tensor} can't be read as numbers") from error

    def dequantized(self, tensor_index: int) -> Optional[np.ndarray]:
        """The real numbers of a constant, float32, in its shape; None when the tensor is computed."""
        stored, tensor = self.constant(tensor_index), self.tensor(tensor_index)
        if stored is None or not tensor.scale.size:
            return None if stored is None else stored.astype(np.float32)
        shape = [1] * stored.ndim
        if tensor.scale.size > 1:
            shape[tensor.quantized_axis] = -1
        with np.errstate(all="ignore"):
            real = (stored.astype(np.float64) - tensor.zero_point.reshape(shape)) * tensor.scale.reshape(shape)
            return real.astype(np.float32)

    def buffer(self, index: int) -> bytes:
        """The bytes of a buffer, empty when it has none. Raises `ModelFormatError` when there is no such buffer."""
        if not 0 <= index < len(self._buffers):
            raise ModelFormatError(f"the model has buffers 0 to {len(self._buffers) - 1}, asked for {index}")
        fields = self._buffers[index]
        return self.flat.numbers(fields["data"]).tobytes() if "data" in fields else b""

    @property
    def metadata(self) -> Dict[str, int]:
        """Names of the model's metadata, each with its buffer's number."""
        tables = [self.flat.fields(ref) for ref in self.refs("metadata")]
        return {self.flat.text(table["name"]): table.get("buffer", 0) for table in tables if "name" in table}

    def associated_files(self) -> Dict[str, bytes]:
        """The files in the ZIP archive behind the model, {} when there is none. Raises `ModelFormatError`."""
        return read_archive(self.data)

    def without_archive(self) -> bytes:
        """The bytes of the file up to its archive. Raises `ModelFormatError` when the two overlap."""
        start = archive_start(self.data)
        if start < self.flat.reach:
            raise ModelFormatError(f"the model reaches to byte {self.flat.reach}, its archive begins at byte {start}")
        return self.data[:start]

    def _read_buffer(self, ref: Ref) -> Dict[str, Any]:
        fields = self.flat.fields(ref)
        if fields.get("offset", 0) > 1:
            raise ModelFormatError("it keeps a buffer behind the FlatBuffer, as models above 2 GB do")
        return fields

    def _check_metadata(self) -> None:
        for ref in self.refs("metadata"):
            self.buffer(self.flat.fields(ref).get("buffer", 0))

    def _check_signature(self, fields: Dict[str, Any], limit: Limit) -> None:
        number = fields.get("subgraph_index", 0)
        if number >= len(self.subgraphs):
            raise ModelFormatError(f"a signature is for subgraph {number}, the model has {len(self.subgraphs)}")
        count = len(self.subgraphs[number].tensors)
        for name in ("inputs", "outputs"):
            refs = self.flat.refs(fields[name]) if name in fields else []
            limit.spend(len(refs))
            for ref in refs:
                index = self.flat.fields(ref).get("tensor_index", 0)
                if index >= count:
                    raise ModelFormatError(f"a signature names tensor {index}, subgraph {number} has {count}")


def _size(flat: FlatBuffer, buffer: Dict[str, Any]) -> int:
    return flat.numbers(buffer["data"]).size if "data" in buffer else 0
