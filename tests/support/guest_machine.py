"""A virtual machine with the kernel of a Debian package and this machine's files: for drivers the kernel here lacks.

Its root is this machine's, read-only, so that it runs the same Python, packages and checkout. It computes in software
(qemu's TCG), ten to twenty times as slow.
"""

import lzma
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

ROOT = Path(__file__).resolve().parent.parent.parent
INIT = Path(__file__).resolve().parent / "guest" / "init.c"
QEMU = "qemu-system-x86_64"
WHERE = "CORAL_LEARN_KERNEL"  # the folder a package linux-image-* was unpacked into; otherwise it is installed
SHARED = Path("/dev/shared")  # in the guest
_TO_MOUNT = ("virtio_pci", "9pnet_virtio", "9p")  # modules for a root from the host
_DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")
_DIRECTORY, _FILE = 0o040755, 0o100755


class Kernel(NamedTuple):
    """A kernel and the folder of its modules."""

    image: Path
    modules: Path

    @classmethod
    def find(cls, needed: str) -> "Kernel":
        """The newest that has a module. Raises `LookupError` that says what to do."""
        place = Path(os.environ.get(WHERE, "/"))
        for image in sorted(place.glob("boot/vmlinuz-*"), reverse=True):
            kernel = cls(image, place / "lib" / "modules" / image.name.partition("-")[2])
            if kernel._paths(needed):
                return kernel
        raise LookupError(
            f"no kernel with the module {needed} in {place}: `apt-get download linux-image-6...-amd64`, "
            f"`dpkg -x` it into a folder, and name that in {WHERE}"
        )

    def with_dependencies(self, *names: str) -> List[Tuple[str, bytes]]:
        """Modules by name, each after those it needs."""
        found: Dict[str, bytes] = {}
        for name in names:
            self._collect(name, found)
        return list(found.items())

    def _collect(self, name: str, found: Dict[str, bytes]) -> None:
        paths = self._paths(name)
        if name in found or not paths:  # what has no file is built into the kernel
            return
        data = paths[0].read_bytes()
        data = lzma.decompress(data) if paths[0].suffix == ".xz" else data
        for needed in _DEPENDS.search(data).group(1).decode().split(","):
            self._collect(needed.replace("-", "_"), found)
        found[name] = data

    def _paths(self, name: str) -> List[Path]:
        pattern = re.sub("[-_]", "[-_]", name)
        return [path for path in self.modules.rglob(pattern + ".ko*") if path.suffix in (".ko", ".xz")]


def missing() -> str:
    """What a guest needs and isn't here, "" when all is."""
    absent = [name for name in (QEMU, "cc") if shutil.which(name) is None]
    return f"no {' and no '.join(absent)} here" if absent else ""


class Guest:
    """A machine that runs a Python script of this checkout. folder : of its own, shared with it as `SHARED`

    modules : written there, in the order in which they can be loaded: NN-name.ko
    """

    def __init__(self, kernel: Kernel, folder: Path, *modules: str):
        self._kernel, self._shared, self._boot = kernel, folder / "shared", folder / "boot"
        for made in (self._shared / "modules", self._boot):
            made.mkdir(parents=True)
        for number, (name, data) in enumerate(kernel.with_dependencies(*modules)):
            (self._shared / "modules" / f"{number:02}-{name}.ko").write_bytes(data)
        self.console = self._boot / "console.log"

    @property
    def shared(self) -> Path:
        """The folder it shares, here."""
        return self._shared

    def run(self, script: Path, seconds: float) -> None:
        """Boot, run a script to its end, halt. Raises `AssertionError` with what the machine said when it takes longer.

        What the script prints goes to `output.txt` in the shared folder.
        """
        # Not in the guest, where each process would do it again, and slowly.
        compiled = [
            "-m",
            "compileall",
            "-q",
            *(str(ROOT / name) for name in ("coral_learn", "service", "tests/support")),
        ]
        subprocess.run([sys.executable, *compiled], check=True)
        (self._shared / "start").write_text(self._start(script))
        (self._boot / "initramfs").write_bytes(self._initramfs())
        try:
            subprocess.run(self._command(), check=True, timeout=seconds, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the guest wasn't done in {seconds:g} s\n{self.said}") from None

    @property
    def said(self) -> str:
        """The end of what the kernel and the script printed."""
        output = self._shared / "output.txt"
        texts = (path.read_text(errors="replace")[-6000:] for path in (self.console, output) if path.exists())
        return "\n---- output\n".join(texts)

    @staticmethod
    def _start(script: Path) -> str:
        variables = {
            "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'support'}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": "/dev/shm",
            "HOME": "/dev/shm",
            "LANG": "C.UTF-8",
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        }
        lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
        command = f"{shlex.quote(sys.executable)} {shlex.quote(str(script))}"
        lines += [f"cd {shlex.quote(str(ROOT))}", f"exec {command} >{SHARED}/output.txt 2>&1"]
        return "\n".join(lines) + "\n"

    def _command(self) -> List[str]:
        command = [QEMU, "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "1536", "-nodefaults", "-no-user-config"]
        command += ["-display", "none", "-no-reboot", "-serial", f"file:{self.console}"]
        command += ["-kernel", str(self._kernel.image), "-initrd", str(self._boot / "initramfs")]
        command += ["-append", "console=ttyS0 quiet panic=-1 mitigations=off"]
        for tag, path, more in (("root", Path("/"), ",readonly=on"), ("shared", self._shared, "")):
            command += ["-virtfs", f"local,path={path},mount_tag={tag},security_model=none,multidevs=remap{more}"]
        return command

    def _initramfs(self) -> bytes:
        init = self._boot / "init"
        subprocess.run(["cc", "-static", "-Os", "-o", str(init), str(INIT)], check=True)
        files = [(name, _DIRECTORY, b"") for name in ("dev", "modules", "root")]
        files += [("init", _FILE, init.read_bytes())]
        for number, (name, data) in enumerate(self._kernel.with_dependencies(*_TO_MOUNT)):
            files.append((f"modules/{number:02}-{name}.ko", _FILE, data))
        return b"".join(_entry(*file) for file in [*files, ("TRAILER!!!", 0, b"")])


def _entry(name: str, mode: int, data: bytes) -> bytes:
    """One file of a cpio archive, format newc (kernel: Documentation/driver-api/early-userspace/buffer-format.rst)."""
    encoded = name.encode() + b"\0"
    numbers = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    header = b"070701" + b"".join(b"%08X" % number for number in numbers) + encoded
    return header + b"\0" * (-len(header) % 4) + data + b"\0" * (-len(data) % 4)


def bring_up_loopback() -> None:
    """In the guest: nobody else has done so."""
    import fcntl
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS, up and running


class Modules:
    """In the guest: what can be loaded of the shared folder."""

    def __init__(self) -> None:
        import ctypes

        self._ctypes, self._libc = ctypes, ctypes.CDLL(None, use_errno=True)
        self._paths = {path.stem.partition("-")[2]: path for path in sorted((SHARED / "modules").iterdir())}

    def load(self, name: str, options: str = "") -> None:
        """Load a module and, before it, all of the folder that are not there yet."""
        for other, path in self._paths.items():
            if other == name or not Path("/sys/module", other).exists():
                data = path.read_bytes()
                self._call(175, data, len(data), (options if other == name else "").encode())  # init_module
            if other == name:
                return

    def unload(self, name: str) -> None:
        """Raises `OSError` while it is in use."""
        self._call(176, name.encode(), os.O_NONBLOCK)  # delete_module

    def _call(self, number: int, *arguments) -> None:
        long = self._ctypes.c_long
        values = [long(one) if isinstance(one, int) else one for one in arguments]
        if self._libc.syscall(long(number), *values) != 0:
            error = self._ctypes.get_errno()
            raise OSError(error, os.strerror(error))
