"""Daemons that are forked from a process in which everything is imported, which is half the work of a start.

What runs is the same command line in a process of its own, with its own environment and standard output; only the
start of the interpreter and its end are left out. Files marked `executed` have daemons that are started as a user does.
"""

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import warnings
from array import array
from pathlib import Path
from typing import Dict, List, Optional

ROOT = Path(__file__).resolve().parent.parent.parent
COMMAND = [sys.executable, "-m", "service"]
IMPORTED = ("service.__main__", "service.daemon", "numpy.ma", "numpy.random", "cv2", "encodings.idna", "PIL.ImageOps")
IMPORTED += tuple(f"PIL.{kind}ImagePlugin" for kind in ("Bmp", "Gif", "Jpeg", "Png", "Ppm"))  # what Pillow loads first
# What such variables say is read when an interpreter or a library is loaded, so a fork would not follow them.
EARLY = ("PYTHON", "LD_", "OMP_", "OPENBLAS_", "OPENCV_")
_ENDING, _LARGEST = b"\n", 1 << 20  # bytes
_HANGS = 70  # the exit code of a daemon that would not end by itself


class Nursery:
    """The process that daemons are forked from, started when the first one is wanted."""

    def __init__(self):
        self._process: Optional[subprocess.Popen] = None
        self._environment: Dict[str, str] = {}

    def fits(self, command: List[str], folder: str) -> bool:
        """Whether a fork would be what executing this command is."""
        self._start()
        return (
            command[: len(COMMAND)] == COMMAND
            and folder == str(ROOT)
            and _early(os.environ) == _early(self._environment)
        )

    def fork(self, command: List[str]) -> "ForkedProcess":
        """A process that runs this command; its output is read from `stdout`."""
        self._start()
        output, output_write = os.pipe()
        report, report_write = os.pipe()
        order = json.dumps({"arguments": command[len(COMMAND) :], "environment": dict(os.environ)}).encode() + _ENDING
        numbers = array("i", [output_write, report_write])
        sent = self._channel.sendmsg([order], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)])
        self._channel.sendall(order[sent:])
        os.close(output_write)
        os.close(report_write)
        return ForkedProcess(command, output, report)

    def close(self) -> None:
        """Let it end."""
        if self._process is not None:
            self._channel.close()
            self._process.wait(30)
            self._process = None

    def _start(self) -> None:
        if self._process is not None:
            return
        self._environment = dict(os.environ)
        self._channel, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, __file__, str(theirs.fileno())]
            self._process = subprocess.Popen(
                command, cwd=str(ROOT), pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )


class ForkedProcess:
    """What `subprocess.Popen` is for an executed process, as far as the tests need it."""

    def __init__(self, command: List[str], output: int, report: int):
        self.args, self.returncode = command, None
        self.stdout = os.fdopen(output, "r", encoding="utf-8")
        self._report = os.fdopen(report, "rb", buffering=0)
        self.pid = int(self._report.readline())

    def poll(self) -> Optional[int]:
        """How it ended; None while it runs."""
        return self._look(0)

    def wait(self, timeout: Optional[float] = None) -> int:
        """How it ended, within so many seconds."""
        if self._look(timeout) is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _look(self, seconds: Optional[float]) -> Optional[int]:
        if self.returncode is None and select.select([self._report], [], [], seconds)[0]:
            self.returncode = int(self._report.readline())
            self._report.close()
        return self.returncode


def _early(environment) -> Dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(EARLY)}


def _serve(channel: socket.socket) -> None:
    """Fork a daemon for each order, and beside each a process that waits for it and reports its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        order, numbers = _receive(channel)
        if order is None:
            break
        if os.fork() == 0:
            channel.close()
            _keep(order, *numbers)
        for number in numbers:
            os.close(number)
        _reap(os.WNOHANG)
    _reap(0)


def _reap(how: int) -> None:
    """Take note of processes that have reported; so their CPU time counts as that of the tests."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, how)[0]:
            pass


def _keep(order: dict, output: int, report: int) -> None:
    pid = os.fork()
    if pid == 0:
        os.close(report)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _become_daemon(order, output)
    os.close(output)
    os.write(report, b"%d\n" % pid)
    status = os.waitpid(pid, 0)[1]
    with contextlib.suppress(BrokenPipeError):
        os.write(report, b"%d\n" % (-os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)))
    os._exit(0)


def _become_daemon(order: dict, output: int) -> None:
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv[1:] = order["arguments"]
    code = sys.modules["service.__main__"].main()
    waits = any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread())
    # Without taking the interpreter apart, which takes longer than a daemon's start; it would wait for such threads.
    os._exit(_HANGS if waits else code)


def _receive(channel: socket.socket):
    numbers = array("i")
    order, ancillary, _flags, _address = channel.recvmsg(_LARGEST, socket.CMSG_SPACE(2 * numbers.itemsize))
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
    while order and not order.endswith(_ENDING):
        order += channel.recv(_LARGEST)
    return (json.loads(order.decode()), list(numbers)) if order else (None, [])


if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    for module in IMPORTED:
        importlib.import_module(module)
    gc.freeze()  # a fork that looks through all this for garbage gets a copy of it
    # Newer Pythons warn of the threads of numpy's library, which sees to forks itself.
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="__main__")
    _serve(socket.socket(fileno=int(sys.argv[1])))
