"""A tensor of a model: what it holds and how its numbers are stored."""

from typing import Any, Dict, NamedTuple, Tuple

import numpy as np

from coral_learn.errors import ModelFormatError
from coral_learn.tflite_file.flatbuffer import FlatBuffer, Ref

# TensorType of schema.fbs, by number.
DTYPES = [
    "float32",
    "float16",
    "int32",
    "uint8",
    "int64",
    "string",
    "bool",
    "int16",
    "complex64",
    "int8",
    "float64",
    "complex128",
    "uint64",
    "resource",
    "variant",
    "uint32",
    "uint16",
    "int4",
    "bfloat16",
]
_BITS = {"int4": 4, "bfloat16": 16}
_MAX_RANK = 16


class Tensor(NamedTuple):
    """real value = (stored value - zero_point) * scale.

    shape : sizes; dtype : numpy's name of the stored type, or "string", "int4"...
    scale : (0,) when not quantised, (1,), or one for each place on `quantized_axis`, float32
    zero_point : as long as `scale`, int64
    buffer_index : buffer with the constant; an empty one means that the tensor is computed
    """

    index: int
    name: str
    shape: Tuple[int, ...]
    dtype: str
    scale: np.ndarray
    zero_point: np.ndarray
    quantized_axis: int
    buffer_index: int

    @property
    def count(self) -> int:
        """How many numbers."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    def __str__(self) -> str:
        return f"tensor {self.index} {self.name!r}, {self.dtype} {list(self.shape)}"


def read_tensor(flat: FlatBuffer, ref: Ref, index: int) -> Tensor:
    """The tensor of a table. Raises `ModelFormatError` for sizes that fit no tensor."""
    fields = flat.fields(ref)
    name = flat.text(fields["name"]) if "name" in fields else ""
    shape = flat.numbers(fields["shape"])[: _MAX_RANK + 1].tolist() if "shape" in fields else []
    if len(shape) > _MAX_RANK or any(size < 0 for size in shape):
        raise ModelFormatError(f"tensor {index} {name!r} can't have the shape {shape}")
    kind = fields.get("type", 0)
    dtype = DTYPES[kind] if 0 <= kind < len(DTYPES) else f"type {kind}"
    quantization = flat.fields(fields["quantization"]) if "quantization" in fields else {}
    scale, zero_point = _scales(flat, quantization)
    axis = quantization.get("quantized_dimension", 0)
    tensor = Tensor(index, name, tuple(shape), dtype, scale, zero_point, axis, fields.get("buffer", 0))
    fits = scale.size <= 1 or (0 <= axis < len(shape) and scale.size == shape[axis])
    if not fits or zero_point.size != scale.size:
        raise ModelFormatError(f"{tensor} has {scale.size} scales and {zero_point.size} zero points")
    return tensor


def check_size(tensor: Tensor, size: int) -> None:
    """Raise `ModelFormatError` unless a constant of `size` bytes fits the tensor."""
    bits = _BITS.get(tensor.dtype)
    if bits is None and tensor.dtype in DTYPES and tensor.dtype not in ("string", "resource", "variant"):
        bits = 8 * np.dtype(tensor.dtype).itemsize
    if bits is not None and size != (tensor.count * bits + 7) // 8:
        raise ModelFormatError(f"{tensor} can't be a constant of {size} bytes")


def _scales(flat: FlatBuffer, quantization: Dict[str, Any]) -> Tuple[np.ndarray, np.ndarray]:
    scale = flat.numbers(quantization["scale"]) if "scale" in quantization else np.zeros(0, np.float32)
    zero_point = flat.numbers(quantization["zero_point"]) if "zero_point" in quantization else np.zeros(0, np.int64)
    if zero_point.size == 0:
        zero_point = np.zeros(scale.size, np.int64)  # some old converters leave it away
    elif zero_point.size == 1 and scale.size > 1:
        zero_point = np.full(scale.size, zero_point[0])
    return scale.astype(np.float32), zero_point.astype(np.int64)
