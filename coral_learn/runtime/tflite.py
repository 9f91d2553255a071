"""What the CPU and the Edge TPU share: TensorFlow Lite's interpreter and where to get it."""

import importlib
import importlib.util
from typing import Any, List, NamedTuple, Optional, Tuple

import numpy as np

from coral_learn.errors import InvokeFailed, ModelFormatError, RuntimeMissing
from coral_learn.runtime.base import Runtime, TensorSpec
from coral_learn.versions import package_version
from coral_learn.whole_file import read_bytes

# On x86 the successor answers 14 times faster with an int8 model, so it comes first on a CPU.
CPU_ORDER = ("ai_edge_litert", "tflite_runtime")
# Google's Edge TPU library fits the old run-time only, so that comes first there.
EDGETPU_ORDER = ("tflite_runtime", "ai_edge_litert")

EDGETPU_OPERATOR = b"edgetpu-custom-op"
FILE_IDENTIFIER = b"TFL3"  # bytes 4..8 of every .tflite file (TensorFlow Lite schema.fbs)


class InterpreterLibrary(NamedTuple):
    """An importable TensorFlow Lite run-time: module name, version, its interpreter module."""

    name: str
    version: str
    module: Any

    def __str__(self) -> str:
        return "{} {}".format(self.name.replace("_", "-"), self.version)


def find_library(order: Tuple[str, ...]) -> InterpreterLibrary:
    """Import the first run-time of `order` that is installed. Raises `RuntimeMissing`."""
    failures: List[str] = []
    for name in order:
        if importlib.util.find_spec(name) is None:
            failures.append(f"{name} is not installed")
            continue
        try:
            module = importlib.import_module(name + ".interpreter")
        except Exception as error:  # a wheel for another numpy or C library fails in many ways
            failures.append(f"{name} is installed but can't be imported ({error})")
            continue
        return InterpreterLibrary(name, package_version(name), module)
    raise RuntimeMissing(
        "no TensorFlow Lite run-time: {}. On Python 3.9 and newer: pip install ai-edge-litert; "
        "on Python 3.7 and 3.8: pip install tflite-runtime".format("; ".join(failures))
    )


def read_model(path) -> bytes:
    """The bytes of a .tflite file. Raises `ModelFileMissing` or `ModelFormatError`."""
    data = read_bytes(path)
    if data[4:8] != FILE_IDENTIFIER:
        raise ModelFormatError(
            f"{path} is not a TensorFlow Lite model: bytes 4 to 8 should be {FILE_IDENTIFIER!r}, got {data[4:8]!r}"
        )
    return data


def is_compiled(model: bytes) -> bool:
    """Whether a model was compiled for the Edge TPU (and runs nowhere else)."""
    return EDGETPU_OPERATOR in model


class TfliteRuntime(Runtime):
    """A model in a TensorFlow Lite interpreter that is already made, by whichever library."""

    def __init__(self, interpreter, name: str, device: str):
        self.name, self.device = name, device
        self._interpreter = interpreter
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        if len(inputs) != 1 or not outputs:
            raise ModelFormatError(
                f"the model has {len(inputs)} inputs and {len(outputs)} outputs, an extractor has one of each"
            )
        self.input, self.output = _spec(inputs[0]), _spec(outputs[0])
        self._input_index, self._output_index = inputs[0]["index"], outputs[0]["index"]

    def invoke(self, stored: np.ndarray) -> np.ndarray:
        if self._interpreter is None:
            raise InvokeFailed("the model was closed")
        try:
            self._interpreter.set_tensor(self._input_index, stored)
            self._interpreter.invoke()
            # get_tensor copies; a view would block the next invoke.
            return self._interpreter.get_tensor(self._output_index)
        except (RuntimeError, ValueError) as error:
            raise InvokeFailed(f"the model failed to run: {error}") from error

    def close(self) -> None:
        self._interpreter = None


def load_interpreter(library: InterpreterLibrary, model: bytes, threads: Optional[int], delegates=()):
    """Make an interpreter and give it its memory. Raises `ModelFormatError`."""
    try:
        interpreter = library.module.Interpreter(
            model_content=model, num_threads=threads, experimental_delegates=list(delegates) or None
        )
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise ModelFormatError(f"{library} can't load the model: {error}") from error
    return interpreter


def _spec(details: dict) -> TensorSpec:
    scale, zero_point = details["quantization"]
    shape = tuple(int(n) for n in details["shape"])
    return TensorSpec(shape, np.dtype(details["dtype"]).name, float(scale), int(zero_point))
