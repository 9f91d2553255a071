"""An Edge TPU that isn't there, for tests and for trying the service without a board.

It keeps the device's rules: it wants a compiled model, and serves one process at a time. It
computes through the plain file beside the compiled one. Told to, it fails the ways the device
fails: `fake:abort=3` ends the process in the third run, `fake:hang=3` never returns from it,
`fake:fail=3` reports an error.
"""

import os
import re
import signal
import tempfile
from pathlib import Path

import numpy as np

from coral_learn.errors import CompiledModelNeedsEdgeTpu, DeviceNotFound, InvokeFailed, ModelFormatError
from coral_learn.runtime.base import Runtime
from coral_learn.runtime.cpu import CpuRuntime
from coral_learn.runtime.lock import DeviceLock
from coral_learn.runtime.tflite import is_compiled, read_model
from coral_learn.twins import plain_twin

DEVICE_NAME = re.compile(r"fake(?::(?P<fault>abort|hang|fail|absent)(?:=(?P<run>\d+))?)?")


class FakeEdgeTpuRuntime(Runtime):
    """Answers as an Edge TPU would, from the plain twin of a compiled model.

    device : "fake", or "fake:FAULT=N" with the fault abort, hang or fail in the N-th run
        (1 when not given), or "fake:absent" to be not found.
    """

    device = "edgetpu"

    def __init__(self, model_path, device: str = "fake"):
        match = DEVICE_NAME.fullmatch(device)
        if match is None:
            raise DeviceNotFound(f"a fake device is named fake or fake:abort|hang|fail|absent[=N], got {device!r}")
        self._fault, self._faulty_run = match.group("fault"), int(match.group("run") or 1)
        if self._fault == "absent":
            raise DeviceNotFound("the fake Edge TPU was told to be absent")
        twin = _plain_twin(model_path)
        self._lock = DeviceLock("fake", Path(tempfile.gettempdir()))
        try:
            self._twin = CpuRuntime(twin)
        except Exception:
            self._lock.release()
            raise
        self._runs = 0
        self.name = "fake, through " + self._twin.name
        self.input, self.output = self._twin.input, self._twin.output

    def invoke(self, stored: np.ndarray) -> np.ndarray:
        self._runs += 1
        if self._runs == self._faulty_run:
            self._fail()
        return self._twin.invoke(stored)

    def close(self) -> None:
        self._twin.close()
        self._lock.release()

    def _fail(self) -> None:
        if self._fault == "abort":
            os.abort()
        if self._fault == "hang":
            while True:
                signal.pause()
        if self._fault == "fail":
            raise InvokeFailed(f"the fake Edge TPU was told to fail in run {self._runs}")


def _plain_twin(model_path) -> Path:
    path = Path(str(model_path))
    if not is_compiled(read_model(path)):
        raise ModelFormatError(f"{path} is not compiled for the Edge TPU")
    twin = plain_twin(path)
    if twin == path or not twin.exists():
        raise CompiledModelNeedsEdgeTpu(
            f"the fake Edge TPU computes through the plain file {twin.name}, which is missing"
        )
    return twin
