"""Which run-time for which model, and why."""

from pathlib import Path
from typing import List, NamedTuple, Optional

from coral_learn.errors import CompiledModelNeedsEdgeTpu, DeviceError
from coral_learn.runtime import edgetpu, fake
from coral_learn.runtime.base import Runtime
from coral_learn.runtime.cpu import CpuRuntime
from coral_learn.runtime.edgetpu import EdgeTpuRuntime, find_edge_tpus, list_edge_tpus
from coral_learn.runtime.fake import FakeEdgeTpuRuntime
from coral_learn.runtime.fake_bus import FakeBus
from coral_learn.runtime.tflite import is_compiled, read_model
from coral_learn.twins import compiled_name, compiled_twin

DEVICES = "auto, cpu, edgetpu, usb, usb:N, pci, pci:N, :N, /dev/apex_N"


class Choice(NamedTuple):
    """A loaded run-time, the file it loaded, and one sentence on why this one.

    degraded : an Edge TPU is there and could not be used
    """

    runtime: Runtime
    model_path: Path
    reason: str
    degraded: bool = False


def check_device(device: str) -> str:
    """Return the device name, or raise `DeviceError` with the allowed ones."""
    named = device in ("auto", "cpu", "edgetpu") or (device and edgetpu.DEVICE_NAME.fullmatch(device))
    if not named and not fake.DEVICE_NAME.fullmatch(device):
        raise DeviceError(f"unknown device {device!r}, allowed are {DEVICES}")
    return device


def sysfs_of(device: str) -> Path:
    """Where the kernel, or the fake device in its place, shows this device."""
    return FakeBus().sysfs if device.startswith("fake") else Path("/sys")


def seen_edge_tpus(device: str) -> List[str]:
    """What the kernel shows of such a device now; loads nothing."""
    return FakeBus().seen() if device.startswith("fake") else find_edge_tpus()


def choose_runtime(model_path, device: str = "auto", threads: Optional[int] = None) -> Choice:
    """Load a model on the device asked for.

    `auto` takes the Edge TPU for a compiled model; for a plain one it takes the Edge TPU when
    one is seen and the compiled twin (NAME_edgetpu.tflite) lies beside it, else the CPU.
    Raises the `DeviceError` or `ModelError` that says what is missing.
    """
    path = Path(str(model_path))
    check_device(device)
    compiled = is_compiled(read_model(path))
    if device == "auto":
        return _choose_automatically(path, compiled, threads)
    reason = f"the device {device} was asked for"
    if device == "cpu":
        return Choice(CpuRuntime(path, threads), path, reason)
    target = path if compiled else compiled_twin(path) or path
    if device.startswith("fake"):
        return Choice(FakeEdgeTpuRuntime(target, device), target, reason)
    return Choice(EdgeTpuRuntime(target, "" if device == "edgetpu" else device), target, reason)


def _choose_automatically(path: Path, compiled: bool, threads: Optional[int]) -> Choice:
    if compiled:
        return Choice(_only_on_edgetpu(path), path, "the model is compiled for the Edge TPU")
    seen, twin = list_edge_tpus(), compiled_twin(path)
    if not seen:
        return Choice(CpuRuntime(path, threads), path, "no Edge TPU is connected")
    if twin is None:
        reason = f"an Edge TPU is connected, but no compiled file {compiled_name(path)} lies beside the model"
        return Choice(CpuRuntime(path, threads), path, reason, degraded=True)
    try:
        return Choice(EdgeTpuRuntime(twin), twin, f"an Edge TPU is connected ({seen[0]})")
    except DeviceError as error:
        reason = f"an Edge TPU is connected, but can't be used: {error}"
        return Choice(CpuRuntime(path, threads), path, reason, degraded=True)


def _only_on_edgetpu(path: Path) -> Runtime:
    try:
        return EdgeTpuRuntime(path)
    except DeviceError as error:
        raise CompiledModelNeedsEdgeTpu(
            f"{path.name} is compiled for the Edge TPU, and there is none to run it: {error}"
        ) from error
