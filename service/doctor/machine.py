"""The machine that is looked at: its files below one root, and what only the kernel can say.

A test gives a made-up tree as the root, and overrides the methods below `What the kernel says`.
"""

import ctypes
import errno
import importlib
import os
import platform
import socket
import stat
import sys
import time
from importlib import machinery
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from service.doctor.attempt import Outcome, attempt

try:
    from importlib import metadata
except ImportError:  # Python 3.7
    import importlib_metadata as metadata  # type: ignore[no-redef]

_STA_UNSYNC = 0x40  # timex.h
_TIME_ERROR = 5


class Space(NamedTuple):
    """Of a file system: bytes free for us, bytes in all, whether it takes no writes."""

    free: int
    total: int
    read_only: bool


class Holder(NamedTuple):
    """A process that holds something. pid : 0 where it may not be known; name : empty where it may not"""

    pid: int
    name: str

    def __str__(self) -> str:
        if not self.pid:
            return "a process of another user"
        return f"process {self.pid}" + (f" ({self.name})" if self.name else "")


class Machine:
    """A machine, this one if nothing is said.

    root : where its files are; python_path : where Python looks for packages; environ : its variables
    patience : seconds that anything in a process of its own may take at most
    """

    def __init__(
        self,
        root: Path = Path("/"),
        python_path: Optional[List[str]] = None,
        environ: Any = os.environ,
        patience: float = 120.0,
    ):
        self.root, self.environ, self._patience = root, environ, patience
        self.python_path = sys.path if python_path is None else python_path

    # -- files ------------------------------------------------------------------------------

    def path(self, absolute: str) -> Path:
        """Where a file of this machine is, given the path it has there."""
        return self.root / absolute.lstrip("/")

    def shown(self, path: Path) -> str:
        """A file's path as it is on this machine."""
        return "/" + str(path.relative_to(self.root))

    def read(self, absolute: str) -> Optional[str]:
        """The text of a small file, stripped; None when there is none or it can't be read."""
        try:
            return self.path(absolute).read_text(errors="replace").strip(" \n\0")
        except OSError:
            return None

    def glob(self, absolute: str) -> List[Path]:
        """Existing files by a pattern, in the order of their names."""
        try:
            return sorted(self.root.glob(absolute.lstrip("/")))
        except OSError:
            return []

    def link(self, absolute: str) -> str:
        """The name of what a link points to, empty when it is none."""
        try:
            return os.path.basename(os.readlink(str(self.path(absolute))))
        except OSError:
            return ""

    # -- Python's packages ------------------------------------------------------------------

    def package_folder(self, name: str) -> Optional[Path]:
        """Where Python would import a package from, without importing it; None when nowhere."""
        importlib.invalidate_caches()  # a daemon outlives installations
        spec = machinery.PathFinder.find_spec(name, self.python_path)
        if spec is None:
            return None
        if spec.submodule_search_locations:
            return Path(next(iter(spec.submodule_search_locations)))
        return Path(spec.origin) if spec.origin else None

    def package_version(self, name: str) -> Optional[str]:
        """The version of an installed distribution, None when it isn't there."""
        found = next(iter(metadata.distributions(name=name, path=self.python_path)), None)
        return None if found is None else found.version

    # -- What the kernel says ---------------------------------------------------------------

    def architecture(self) -> str:
        """x86_64, aarch64, armv7l...: that of this Python, as a 64-bit kernel may run a 32-bit system."""
        name = platform.machine()
        return name if sys.maxsize > 2**32 else {"aarch64": "armv7l", "x86_64": "i686"}.get(name, name)

    def kernel(self) -> str:
        """The release of the running kernel, like 6.1.0-28-arm64."""
        return platform.release()

    def page_size(self) -> int:
        """In bytes."""
        return os.sysconf("SC_PAGE_SIZE")

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def user(self) -> Tuple[int, str]:
        """Id and name of the user this process runs as."""
        import pwd

        number = os.geteuid()
        try:
            return number, pwd.getpwuid(number).pw_name
        except KeyError:
            return number, str(number)

    def groups(self) -> List[int]:
        """Ids of the groups this process is in."""
        return [os.getegid(), *os.getgroups()]

    def group_name(self, number: int) -> str:
        """By /etc/group; the number itself when it has no name."""
        return next((name for name, gid, _ in self._group_lines() if gid == number), str(number))

    def is_member(self, user: str, group: str) -> bool:
        """Whether /etc/group lists a user in a group: it counts from the next login on."""
        return any(name == group and user in members for name, _, members in self._group_lines())

    def _group_lines(self) -> Iterator[Tuple[str, int, List[str]]]:
        for line in (self.read("/etc/group") or "").splitlines():
            fields = line.split(":")
            if len(fields) == 4 and fields[2].isdigit():
                yield fields[0], int(fields[2]), fields[3].split(",")

    def may_use(self, path: Path) -> bool:
        """Whether this process may read and write a node."""
        return os.access(str(path), os.R_OK | os.W_OK)

    def owner(self, path: Path) -> Tuple[int, int, str]:
        """Ids of a file's user and group, and its mode like crw-rw----."""
        found = path.stat()
        return found.st_uid, found.st_gid, stat.filemode(found.st_mode)

    def space(self, folder: Path) -> Space:
        """Of the file system a folder is on, or will be on. Raises `OSError`."""
        there = next(one for one in (folder, *folder.parents) if one.exists())
        found = os.statvfs(str(there))
        return Space(
            found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize, bool(found.f_flag & os.ST_RDONLY)
        )

    def may_write(self, folder: Path) -> bool:
        """Whether this process may make files in a folder, or make the folder."""
        there = next(one for one in (folder, *folder.parents) if one.exists())
        return os.access(str(there), os.W_OK | os.X_OK)

    def bind_error(self, host: str, port: int) -> Optional[OSError]:
        """Why an address can't be listened on, None when it can."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind((host, port))
                tried.listen(1)
            except OSError as error:
                return error
        return None

    def clock_is_set(self) -> Optional[bool]:
        """Whether the kernel's clock is kept by a time server (adjtimex(2)); None when it can't be asked."""
        try:
            asked = _Timex()
            state = ctypes.CDLL(None).adjtimex(ctypes.byref(asked))
        except (OSError, AttributeError):
            return None
        return None if state < 0 else state != _TIME_ERROR and not asked.status & _STA_UNSYNC

    def attempt(self, target: str, arguments: Dict[str, Any], seconds: float) -> Outcome:
        """Have a process of its own do what may crash or hang, see `service.doctor.attempt`."""
        return attempt(target, dict(arguments, python_path=list(self.python_path)), min(seconds, self._patience))

    # -- who holds what ---------------------------------------------------------------------

    def holders(self, *nodes: str) -> List[Holder]:
        """Other processes that have one of these files open, as far as this user may see."""
        found = []
        for folder in self.glob("/proc/[0-9]*"):
            pid = int(folder.name)
            if pid != os.getpid() and self._open_files(folder) & set(nodes):
                found.append(self.holder(pid))
        return found

    def holder(self, pid: int) -> Holder:
        """A process with its name."""
        if "service.children" in (self.read(f"/proc/{pid}/cmdline") or ""):
            return Holder(pid, "coral-learn")
        return Holder(pid, self.read(f"/proc/{pid}/comm") or "")

    def lock_holder(self, absolute: str) -> Optional[Holder]:
        """The process that has locked a file with flock(2), by /proc/locks: looking takes no lock."""
        try:
            found = self.path(absolute).stat()
        except OSError:
            return None
        place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
        for line in (self.read("/proc/locks") or "").splitlines():
            fields = line.split()
            if len(fields) > 5 and fields[1] == "FLOCK" and fields[5] == place:
                return self.holder(int(fields[4]))
        return None

    def listener(self, port: int) -> Optional[Holder]:
        """The process that listens on a TCP port; with pid 0 when it is another user's; None when none does."""
        sockets = {
            fields[9]
            for table in ("tcp", "tcp6")
            for fields in (line.split() for line in (self.read(f"/proc/net/{table}") or "").splitlines()[1:])
            if len(fields) > 9 and fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port
        }
        if not sockets:
            return None
        found = self.holders(*(f"socket:[{inode}]" for inode in sockets))
        return found[0] if found else Holder(0, "")

    @staticmethod
    def _open_files(folder: Path) -> set:
        found = set()
        try:
            for entry in os.listdir(str(folder / "fd")):
                try:
                    found.add(os.readlink(str(folder / "fd" / entry)))
                except OSError as error:
                    if error.errno not in (errno.ENOENT, errno.EINVAL):
                        raise
        except OSError:  # it has gone, or is another user's
            return found
        return found


class _Timex(ctypes.Structure):
    """The head of struct timex (sys/timex.h), with room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("frequency", ctypes.c_long),
        ("largest_error", ctypes.c_long),
        ("expected_error", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 512),
    )
