"""A compiled .tflite model on the Edge TPU.

Through pycoral where the real one is importable (Coral's Debian package on a board; the
package of that name on the Python index is another program), else through the run-time's
`load_delegate` and libedgetpu.so.1. Not yet seen on a board: `pytest -m board`.
"""

import ctypes
import importlib
import importlib.util
import os
import re
from pathlib import Path
from typing import List, Optional

import numpy as np

from coral_learn.errors import (
    DelegateLibraryMissing,
    DeviceError,
    DeviceNotFound,
    ModelFormatError,
    RuntimeMismatch,
)
from coral_learn.runtime.lock import DeviceLock
from coral_learn.runtime.tflite import (
    EDGETPU_ORDER,
    InterpreterLibrary,
    TfliteRuntime,
    find_library,
    is_compiled,
    load_interpreter,
    read_model,
)
from coral_learn.versions import version_numbers

LIBRARY = "libedgetpu.so.1"
# The device names libedgetpu parses (tflite/edgetpu_delegate_for_custom_op_tflite_plugin.cc), and a node on PCIe.
DEVICE_NAME = re.compile(r"(?:usb|pci)?(?::[0-9]{1,2})?|/dev/apex_[0-9]{1,2}")
# Google's last build, 16.0, was made for this run-time; newer ones crash with it
# (google-coral/edgetpu#812). Community builds name theirs in the package version: 16.0TF2.17.1.
LAST_FOR_GOOGLES_BUILD = (2, 11, 1)

# What is wanted, whether it is broken, how far it came (dpkg-query's manual): "hold ok installed" is there too.
_UNPACKED = re.compile(r"^Status: \S+ \S+ (?:installed|unpacked|half-configured|triggers-\w+)$", re.MULTILINE)
_PCI_ID = ("0x1ac1", "0x089a")
_USB_IDS = {("1a6e", "089a"), ("18d1", "9302")}  # before and after its firmware is loaded


class EdgeTpuRuntime(TfliteRuntime):
    """A compiled model on the Edge TPU.

    device : "" for any, "usb", "usb:0", "pci", "pci:0", ":0"..., "/dev/apex_0"...

    Raises `DelegateLibraryMissing`, `DeviceNotFound`, `DeviceBusy`, `RuntimeMismatch` or `ModelFormatError`.
    """

    def __init__(self, model_path, device: str = ""):
        model = read_model(model_path)
        if not is_compiled(model):
            raise ModelFormatError(
                f"{model_path} is not compiled for the Edge TPU: run edgetpu_compiler on it, or use the device cpu"
            )
        device = driver_name(device)
        self._lock = DeviceLock(device)
        try:
            interpreter, name = _load(model, device)
            super().__init__(interpreter, name, "edgetpu")
        except Exception:
            self._lock.release()
            raise

    def invoke(self, stored: np.ndarray) -> np.ndarray:
        self._lock.must_be_ours()
        return super().invoke(stored)

    def close(self) -> None:
        super().close()
        self._lock.release()


def list_edge_tpus() -> List[str]:
    """The Edge TPUs as the real pycoral lists them where it is importable, else those the kernel shows.

    PCIe first. Loads the driver's library where pycoral is, so not in a process that must not hang.
    """
    ask = getattr(_find_pycoral(), "list_edge_tpus", None)
    if ask is None:
        return find_edge_tpus()
    return [one["path"] for one in sorted(ask(), key=lambda one: (one["type"] != "pci", one["path"]))]


def find_edge_tpus(sysfs: Path = Path("/sys")) -> List[str]:
    """The Edge TPUs the kernel sees, PCIe first, e.g. ["/dev/apex_0", "usb 2-2"]."""
    found = ["/dev/" + entry.name for entry in sorted(sysfs.glob("class/apex/apex_*"))]
    for entry in sorted(sysfs.glob("bus/usb/devices/*")):
        ids = (_read(entry / "idVendor"), _read(entry / "idProduct"))
        if ids in _USB_IDS:
            found.append("usb " + entry.name)
    return found


def driver_name(device: str, root: Path = Path("/")) -> str:
    """The name libedgetpu takes for a device: pci:N for /dev/apex_M, any other as it is. Raises `DeviceNotFound`."""
    if not device.startswith("/dev/"):
        return device
    folder, node = root / "sys" / "class" / "apex", device[len("/dev/") :]
    # The driver counts the nodes that are there, unsorted, as the folder lists them (driver_factory_default.cc).
    listed = os.listdir(str(folder)) if folder.is_dir() else []
    nodes = [name for name in listed if name.startswith("apex") and (root / "dev" / name).exists()]
    if node not in nodes:
        shown = ", ".join(sorted("/dev/" + name for name in nodes)) or "none"
        raise DeviceNotFound(f"there is no Edge TPU {device}; on PCIe there is {shown}")
    return f"pci:{nodes.index(node)}"


def rescan_advice(device: str = "", sysfs: Path = Path("/sys")) -> str:
    """What brings a PCIe Edge TPU back that stopped answering, as a sentence; "" where there is none.

    device : as for `EdgeTpuRuntime`
    """
    if device.startswith("usb"):
        return ""
    apexes = sorted(sysfs.glob("class/apex/apex_*"))
    slots = [(apex / "device").resolve().name for apex in apexes if (apex / "device").exists()]
    if not slots:
        entries = sorted(sysfs.glob("bus/pci/devices/*"))
        slots = [entry.name for entry in entries if (_read(entry / "vendor"), _read(entry / "device")) == _PCI_ID]
    if not slots and not apexes:
        return ""
    slot = slots[0] if len(slots) == 1 else "SLOT"
    which = "" if len(slots) == 1 else " (SLOT from lspci -D -d 1ac1:089a)"
    return (
        "A PCIe Edge TPU that stopped answering often comes back, without a reboot, after this as root: "
        f"echo 1 > /sys/bus/pci/devices/{slot}/remove; echo 1 > /sys/bus/pci/rescan{which}"
    )


def installed_libedgetpu(status: Path = Path("/var/lib/dpkg/status")) -> Optional[str]:
    """The version of Debian's libedgetpu package, e.g. "16.0" or "16.0TF2.17.1-1"; None if unknown."""
    try:
        text = status.read_text(errors="replace")
    except OSError:
        return None
    for paragraph in text.split("\n\n"):
        if re.search(r"^Package: libedgetpu1-", paragraph, re.MULTILINE) and _UNPACKED.search(paragraph):
            return re.search(r"^Version: (\S+)", paragraph, re.MULTILINE).group(1)
    return None


def check_pair(library: InterpreterLibrary, libedgetpu: Optional[str]) -> None:
    """Refuse a run-time and a libedgetpu that are known to crash together."""
    if libedgetpu is None or "TF" in libedgetpu:
        return
    if library.name != "tflite_runtime" or version_numbers(library.version) > LAST_FOR_GOOGLES_BUILD:
        raise RuntimeMismatch(
            f"libedgetpu {libedgetpu} crashes with {library}: it was built for tflite-runtime 2.11.1 and older. "
            "Install that "
            "(Python 3.7: tflite-runtime 2.11.0), or a community build of libedgetpu made for a newer run-time "
            "(its version names it, like 16.0TF2.17.1)"
        )


def _load(model: bytes, device: str):
    library = find_library(EDGETPU_ORDER)
    check_pair(library, installed_libedgetpu())  # first, as pycoral loads the same two
    pycoral = _find_pycoral()
    if pycoral is not None:
        return _through_pycoral(pycoral, model, device), "pycoral"
    delegate = _load_delegate(library, device)
    return load_interpreter(library, model, None, [delegate]), str(library)


def _find_pycoral():
    if importlib.util.find_spec("pycoral") is None:
        return None
    try:
        return importlib.import_module("pycoral.utils.edgetpu")
    except ImportError:  # the other program of that name, or one built for another Python
        return None


def _through_pycoral(pycoral, model: bytes, device: str):
    try:
        interpreter = pycoral.make_interpreter(model, device=device or None)
        interpreter.allocate_tensors()
    except OSError as error:
        raise _library_missing(error) from error
    except (RuntimeError, ValueError) as error:
        # Both for the delegate and for the model, told apart by what load_delegate writes: "Failed to load delegate".
        if isinstance(error, ValueError) and "delegate" in str(error):
            raise _not_found(device) from error
        raise ModelFormatError(f"pycoral can't load the model: {error}") from error
    return interpreter


def _load_delegate(library: InterpreterLibrary, device: str):
    try:
        # Asked first, because load_delegate of a missing library also prints a stack trace.
        ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise _library_missing(error) from error
    try:
        return library.module.load_delegate(LIBRARY, {"device": device} if device else {})
    except ValueError as error:
        # "Failed to load delegate from LIBRARY", a line more where the driver gives a reason; Google's gives none.
        raise _not_found(device, " ".join(str(error).splitlines()[1:])) from error
    except (RuntimeError, OSError) as error:
        raise DeviceError(f"the Edge TPU library can't be used by {library}: {error}") from error


def _library_missing(error: OSError) -> DelegateLibraryMissing:
    return DelegateLibraryMissing(
        f"the Edge TPU library can't be loaded ({error}): "
        "install libedgetpu1-std from Coral's archive, or a community build"
    )


def _not_found(device: str, cause: str = "") -> DeviceNotFound:
    """What to say when the driver opens no device. cause : what it says itself, mostly nothing"""
    seen = find_edge_tpus()
    named, said = f" as {device!r}" if device else "", f" (the driver says: {cause})" if cause else ""
    if not seen:
        back = "" if device.startswith("usb") else "; one on PCIe may come back after echo 1 > /sys/bus/pci/rescan"
        return DeviceNotFound(
            f"no Edge TPU found{named}{said}: the kernel shows neither /dev/apex_* nor a Coral USB device{back}"
        )
    hint = "check that no other process uses it and that you may open it"
    nodes = [name for name in seen if name.startswith("/dev/") and not os.access(name, os.R_OK | os.W_OK)]
    if nodes:
        hint = "this user may not open {}: add it to the group apex and log in again".format(", ".join(nodes))
    return DeviceNotFound(f"the Edge TPU ({', '.join(seen)}) did not open{named}{said}: {hint}")


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
