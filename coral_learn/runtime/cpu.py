"""A plain .tflite model on the CPU."""

from typing import Optional, Tuple

from coral_learn.errors import CompiledModelNeedsEdgeTpu
from coral_learn.runtime.tflite import (
    CPU_ORDER,
    TfliteRuntime,
    find_library,
    is_compiled,
    load_interpreter,
    read_model,
)


class CpuRuntime(TfliteRuntime):
    """A plain model on the CPU, with ai-edge-litert where it is installed, else tflite-runtime.

    threads : threads of the run-time; None leaves it to the library (one)
    order : the libraries to look for
    """

    def __init__(self, model_path, threads: Optional[int] = None, order: Tuple[str, ...] = CPU_ORDER):
        model = read_model(model_path)
        if is_compiled(model):
            raise CompiledModelNeedsEdgeTpu(
                f"{model_path} is compiled for the Edge TPU and can't run on a CPU: "
                "use the plain file it was compiled from"
            )
        library = find_library(order)
        super().__init__(load_interpreter(library, model, threads), str(library), "cpu")
