"""The Edge TPU library, and whether a run-time fits it."""

import struct
from pathlib import Path
from typing import List, Optional, Tuple

from coral_learn.errors import RuntimeMismatch
from coral_learn.runtime.edgetpu import LIBRARY, check_pair, installed_libedgetpu
from coral_learn.runtime.tflite import EDGETPU_ORDER, InterpreterLibrary
from coral_learn.versions import version_numbers
from service.doctor.check import FAIL, OK, SKIP, WARN, Check
from service.doctor.machine import Machine
from service.doctor.packages import run_times

_FOLDERS = ("/usr/local/lib", "/usr/lib", "/lib", "/usr/lib64", "/lib64")
# e_machine of an ELF header (elf.h), and whether it is a 64-bit file, by what uname says.
_MACHINES = {
    "x86_64": (62, True),
    "i686": (3, False),
    "aarch64": (183, True),
    "armv7l": (40, False),
    "armv6l": (40, False),
    "riscv64": (243, True),
}
_INSTALL = "install libedgetpu1-std: Coral's archive (Python 3.7), or a community build made for your run-time"


def check_library(machine: Machine, needed: bool) -> Check:
    """Whether libedgetpu is there and for this architecture. needed : an Edge TPU is there, or was asked for"""
    places = find_library_files(machine)
    if not places:
        state = FAIL if needed else SKIP
        return Check(
            "edge tpu library", state, f"no {LIBRARY}", "an Edge TPU can't be used", _INSTALL if needed else ""
        )
    path, version = places[0], installed_libedgetpu(machine.path("/var/lib/dpkg/status"))
    found = f"{machine.shown(path)}" + (f", package version {version}" if version else "")
    kind = elf_kind(path)
    if kind is None:
        return Check(
            "edge tpu library", FAIL, f"{found} is no library", "the file is damaged", "reinstall libedgetpu1-std"
        )
    expected = _MACHINES.get(machine.architecture())
    if expected is not None and kind != expected:
        name = next((name for name, one in _MACHINES.items() if one == kind), f"machine {kind[0]}")
        meaning = f"it was built for {name}, this system is {machine.architecture()}"
        remedy = "install libedgetpu1-std of this system's architecture"
        return Check("edge tpu library", FAIL, found, meaning, remedy)
    return Check("edge tpu library", OK, found)


def find_library_files(machine: Machine) -> List[Path]:
    """Where the loader would look, in about its order."""
    folders = [folder for folder in machine.environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    for folder in _FOLDERS:
        folders += [folder, *(machine.shown(path) for path in machine.glob(f"{folder}/*-linux-gnu*"))]
    paths = [machine.path(folder) / LIBRARY for folder in folders]
    return list(dict.fromkeys(path for path in paths if path.exists()))


def elf_kind(path: Path) -> Optional[Tuple[int, bool]]:
    """(e_machine, whether 64 bits) of a library, None when it is none."""
    try:
        with path.open("rb") as file:
            head = file.read(20)
    except OSError:
        return None
    if len(head) < 20 or head[:4] != b"\x7fELF":
        return None
    return struct.unpack(">H" if head[5] == 2 else "<H", head[18:20])[0], head[4] == 2


def check_fit(machine: Machine) -> Check:
    """Whether the run-time an Edge TPU would be used with crashes with this libedgetpu."""
    installed = run_times(machine)
    name = next((name for name in EDGETPU_ORDER if name in installed), None)
    if name is None or not find_library_files(machine):
        return Check("run-time fits library", SKIP, "there is no pair of run-time and Edge TPU library")
    library = InterpreterLibrary(name, installed[name], None)
    version = installed_libedgetpu(machine.path("/var/lib/dpkg/status"))
    found = f"{library} with libedgetpu {version or 'of unknown version'}"
    try:
        check_pair(library, version)
    except RuntimeMismatch:
        remedy = (
            "pip install tflite-runtime==2.11.0 (Python 3.7), or a community build of libedgetpu "
            "whose version names your run-time, like 16.0TF2.17.1"
        )
        meaning = "they crash together: Google's build works with tflite-runtime up to 2.11.1"
        return Check("run-time fits library", FAIL, found, meaning, remedy)
    if version is None:
        meaning = f"{LIBRARY} is of no Debian package, so nobody knows what it was made for"
        remedy = "where loading crashes: install a build whose package version names your run-time"
        return Check("run-time fits library", WARN, found, meaning, remedy)
    made_for = version_numbers(version.partition("TF")[2])[:2]
    if name == "tflite_runtime" and made_for and made_for != version_numbers(library.version)[:2]:
        meaning = f"the library was built for TensorFlow Lite {'.'.join(map(str, made_for))}"
        remedy = "where loading crashes: use a run-time and a build of the same version"
        return Check("run-time fits library", WARN, found, meaning, remedy)
    return Check("run-time fits library", OK, found)
