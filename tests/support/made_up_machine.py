"""A machine whose files and kernel a test makes up."""

import os
import struct
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from service.doctor.attempt import Outcome
from service.doctor.machine import Machine, Space

GIGABYTE = 1 << 30


class MadeUpMachine(Machine):
    """A board with nothing connected; tests write files below `root` and set what the kernel says.

    outcomes : by the name of the child's function; the arguments it was asked with are in `attempts`
    """

    def __init__(self, root: Path, python_path: Optional[List[str]] = None):
        super().__init__(root, python_path if python_path is not None else [str(root / "packages")], {})
        self.says: Dict[str, Any] = {
            "architecture": "aarch64",
            "kernel": "6.1.0-28-arm64",
            "page_size": 4096,
            "now": 1_800_000_000.0,
            "user": (1000, "pi"),
            "groups": [1000],
            "clock_is_set": True,
            "bind_error": None,
        }
        self.closed: set = set()  # nodes this user may not use
        self.owners: Dict[str, Tuple[int, int, str]] = {}
        self.disk: Any = Space(8 * GIGABYTE, 16 * GIGABYTE, False)
        self.outcomes: Dict[str, Outcome] = {}
        self.attempts: List[Tuple[str, Dict[str, Any]]] = []

    def write(self, absolute: str, text: str = "") -> Path:
        """A file of this machine."""
        path = self.path(absolute)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def card(self, temperature: str = "48800", node: bool = True) -> None:
        """An Edge TPU on PCIe with its driver."""
        self.bare_card()
        self.write("/sys/class/apex/apex_0/temp", temperature)
        if node:
            self.write("/dev/apex_0")

    def bare_card(self) -> None:
        """An Edge TPU on PCIe that no driver took."""
        self.write("/sys/bus/pci/devices/0000:01:00.0/vendor", "0x1ac1\n")
        self.write("/sys/bus/pci/devices/0000:01:00.0/device", "0x089a\n")
        self.write("/sys/bus/pci/devices/0000:00:00.0/vendor", "0x14e4\n")

    def stick(self, ids: str = "18d1:9302", speed: str = "5000", node: bool = True) -> None:
        """A USB Accelerator."""
        vendor, product = ids.split(":")
        facts = {"idVendor": vendor, "idProduct": product, "speed": speed, "busnum": "2", "devnum": "3"}
        for name, value in facts.items():
            self.write(f"/sys/bus/usb/devices/2-2/{name}", value + "\n")
        if node:
            self.write("/dev/bus/usb/002/003")

    def library(self, machine: int = 183, version: str = "") -> None:
        """libedgetpu.so.1, built for an e_machine; with a version also Debian's record of it."""
        path = self.write("/usr/lib/aarch64-linux-gnu/libedgetpu.so.1")
        path.write_bytes(b"\x7fELF\x02\x01" + bytes(12) + struct.pack("<H", machine))
        if version:
            record = f"Package: libedgetpu1-std\nStatus: install ok installed\nVersion: {version}\n\n"
            self.write("/var/lib/dpkg/status", record)

    def package(self, module: str, version: str = "", distribution: str = "", **files: str) -> Path:
        """An installed package; files : its modules by name."""
        folder = self.root / "packages"
        for name, text in {"__init__": "", **files}.items():
            path = folder / module / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        if version:
            name = distribution or module
            info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
            info.mkdir(exist_ok=True)
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        return folder / module

    def process(self, pid: int, name: str, *files: str) -> None:
        """A process that has files open."""
        self.write(f"/proc/{pid}/comm", name + "\n")
        folder = self.path(f"/proc/{pid}/fd")
        folder.mkdir(parents=True)
        for number, file in enumerate(files):
            os.symlink(file, str(folder / str(number)))

    # -- what the kernel says ---------------------------------------------------------------

    def architecture(self) -> str:
        return self.says["architecture"]

    def kernel(self) -> str:
        return self.says["kernel"]

    def page_size(self) -> int:
        return self.says["page_size"]

    def now(self) -> float:
        return self.says["now"]

    def user(self) -> Tuple[int, str]:
        return self.says["user"]

    def groups(self) -> List[int]:
        return self.says["groups"]

    def may_use(self, path: Path) -> bool:
        return self.shown(path) not in self.closed

    def owner(self, path: Path) -> Tuple[int, int, str]:
        return self.owners[self.shown(path)]

    def space(self, *_: Any) -> Space:
        if isinstance(self.disk, OSError):
            raise self.disk
        return self.disk

    def may_write(self, folder: Path) -> bool:
        return str(folder) not in self.closed

    def bind_error(self, *_: Any) -> Optional[OSError]:
        return self.says["bind_error"]

    def clock_is_set(self) -> Optional[bool]:
        return self.says["clock_is_set"]

    def attempt(self, target: str, arguments: Dict[str, Any], *_: Any) -> Outcome:
        name = target.rpartition(":")[2]
        self.attempts.append((name, arguments))
        if name == "imports" and name not in self.outcomes:
            return Outcome(dict.fromkeys(arguments["names"], ""))
        return self.outcomes[name]
