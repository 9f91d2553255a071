"""An Edge TPU that isn't there, for tests and for trying the service without a board.

It keeps the device's rules: it wants a compiled model, serves one process at a time, and the
process that opened it. It computes through the plain file beside the compiled one. Told to, it
fails the ways the device fails, `fake:FAULT=N`:

    abort=3        ends the process in the third run, as the driver does when a USB transfer fails
    hang=3         never returns from the third run, as on PCIe
    fail=3         reports an error in the third run, and goes on
    absent         is not found
    load_slowly=3  holds the interpreter lock for three seconds while it loads, as the driver does
    vanish=3       is unplugged after the third run: the next ends the process, and later processes
                   find no device until the marker file is removed (`coral_learn.runtime.fake_bus`)
    heat=3         grows three degrees warmer with each run
    dead_link=3    never returns from the third run, and reports a temperature no chip survives
                   until another one is written to its file
"""

import ctypes
import os
import re
import signal
import tempfile
from pathlib import Path

import numpy as np

from coral_learn.errors import CompiledModelNeedsEdgeTpu, DeviceNotFound, InvokeFailed, ModelFormatError
from coral_learn.runtime.base import Runtime
from coral_learn.runtime.cpu import CpuRuntime
from coral_learn.runtime.fake_bus import DEAD, IDLE, FakeBus
from coral_learn.runtime.lock import DeviceLock
from coral_learn.runtime.tflite import is_compiled, read_model
from coral_learn.twins import plain_name, plain_twin

FAULTS = ("abort", "hang", "fail", "absent", "load_slowly", "vanish", "heat", "dead_link")
DEVICE_NAME = re.compile(r"fake(?::(?P<fault>{})(?:=(?P<number>\d+))?)?".format("|".join(FAULTS)))
_HOTTEST = 120.0  # degrees Celsius


class FakeEdgeTpuRuntime(Runtime):
    """Answers as an Edge TPU would, from the plain twin of a compiled model.

    device : "fake", or "fake:FAULT=N"; N counts runs, seconds or degrees, 1 when not given
    """

    device = "edgetpu"

    def __init__(self, model_path, device: str = "fake"):
        match = DEVICE_NAME.fullmatch(device)
        if match is None:
            raise DeviceNotFound(f"a fake device is named fake or fake:{'|'.join(FAULTS)}[=N], got {device!r}")
        self._fault, self._number = match.group("fault"), int(match.group("number") or 1)
        self._bus = FakeBus()
        self._must_be_there()
        twin = _plain_file(model_path)
        self._lock = DeviceLock("fake", Path(tempfile.gettempdir()))
        try:
            if self._fault == "load_slowly":
                ctypes.PyDLL(None).sleep(self._number)  # unlike time.sleep it lets no other thread run
            self._twin = CpuRuntime(twin)
            self._bus.show(IDLE)
        except Exception:
            self._lock.release()
            raise
        self._runs = 0
        self.name = "fake, through " + self._twin.name
        self.input, self.output = self._twin.input, self._twin.output

    def invoke(self, stored: np.ndarray) -> np.ndarray:
        self._lock.must_be_ours()
        if not self._bus.present:
            os.abort()
        self._runs += 1
        if self._runs == self._number:
            self._fail()
        output = self._twin.invoke(stored)
        if self._fault == "heat":
            self._bus.show(min(_HOTTEST, IDLE + self._number * self._runs))
        if self._fault == "vanish" and self._runs == self._number:
            self._bus.unplug()
        return output

    def close(self) -> None:
        self._twin.close()
        self._lock.release()

    def _must_be_there(self) -> None:
        if self._fault == "absent":
            raise DeviceNotFound("the fake Edge TPU was told to be absent")
        if not self._bus.present:
            raise DeviceNotFound(f"the fake Edge TPU is unplugged; removing {self._bus.marker} plugs it in again")
        if self._bus.dead:
            raise DeviceNotFound("the fake Edge TPU did not open: its link is dead")

    def _fail(self) -> None:
        if self._fault == "abort":
            os.abort()
        if self._fault == "dead_link":
            self._bus.show(DEAD)
        if self._fault in ("hang", "dead_link"):
            while True:
                signal.pause()
        if self._fault == "fail":
            raise InvokeFailed(f"the fake Edge TPU was told to fail in run {self._runs}")


def _plain_file(model_path) -> Path:
    path = Path(str(model_path))
    if not is_compiled(read_model(path)):
        raise ModelFormatError(f"{path} is not compiled for the Edge TPU")
    twin = plain_twin(path)
    if twin is None:
        raise CompiledModelNeedsEdgeTpu(
            f"the fake Edge TPU computes through the plain file {plain_name(path)}, which is missing"
        )
    return twin
