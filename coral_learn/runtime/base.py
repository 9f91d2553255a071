"""What every run-time is: a loaded model that takes one image and gives one output."""

from abc import ABC, abstractmethod
from typing import NamedTuple, Tuple

import numpy as np


class TensorSpec(NamedTuple):
    """Shape, type and quantisation of a model's input or output.

    real value = (stored value - zero_point) * scale; scale 0 means not quantised.
    """

    shape: Tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int

    def dequantise(self, stored: np.ndarray) -> np.ndarray:
        """The real values of a stored tensor, float32, same shape."""
        if not self.scale:
            return stored.astype(np.float32)
        return (stored.astype(np.float32) - self.zero_point) * np.float32(self.scale)


class Runtime(ABC):
    """A loaded model. Not thread safe: one thread owns it from `__init__` to `close`.

    A run-time must set these attributes and define `invoke`; it may override `close`.

    device : "cpu" or "edgetpu", where the model really runs
    name : the library and its version, for people
    input, output : TensorSpec of the model's only input and its first output
    """

    device: str
    name: str
    input: TensorSpec
    output: TensorSpec

    @abstractmethod
    def invoke(self, stored: np.ndarray) -> np.ndarray:
        """Run the model once.

        stored : input tensor in the model's own type and shape. Returns the output tensor in
        the model's own type, a copy. Raises `InvokeFailed`.
        """

    def close(self) -> None:
        """Let the model go. Safe to call twice."""
