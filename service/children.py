"""Child processes that can be killed: started anew, never forked; talked to over one channel.

A child ends by itself when its parent is gone, even in the middle of native code that lets the
interpreter go on: a thread in it waits for the end of a pipe only the parent holds. What it writes
to its standard error goes into the parent's log, under the name of the child's module.
"""

import contextlib
import importlib
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional

from service.errors import ChildError
from service.stderr import StderrReader, never_wait

if TYPE_CHECKING:
    from service.shared_pixels import SharedPixels

# Without the present folder on the path, which -c puts first: whatever lies there would be imported.
_START = "import sys; sys.path[:] = [entry for entry in sys.path if entry] + [sys.argv.pop(1)]; "
_START += "from service.children import run_child; run_child()"
_SEND_TIMEOUT = 10  # seconds
_NO_PIXELS = -1
_PACKAGES = str(Path(__file__).resolve().parent.parent)


class Child:
    """One started child.

    target : "module:function"; the function is called with its end of the channel, `arguments` and, where there
    are some, the shared pixels
    arguments : anything that can be pickled
    nice : added to the process's priority number; more is politer
    memory : bytes it may use, 0 for any number
    shares_pixels : whether both see the same `pixels`, None otherwise
    """

    def __init__(
        self, target: str, arguments: Dict[str, Any], nice: int = 0, memory: int = 0, shares_pixels: bool = False
    ):
        try:
            ours, theirs = socket.socketpair()
            lifeline_read, lifeline = os.pipe()
            stderr, stderr_write = os.pipe()
            self.pixels = _shared_pixels() if shares_pixels else None
        except OSError as error:
            raise ChildError(f"no channel for {target}: {error}") from error
        kept = [theirs.fileno(), lifeline_read] + ([self.pixels.number] if shares_pixels else [])
        numbers = *kept[:2], nice, memory, self.pixels.number if shares_pixels else _NO_PIXELS
        command = [sys.executable, "-c", _START, _PACKAGES, target, *map(str, numbers)]
        try:
            self._process = subprocess.Popen(command, pass_fds=kept, stdin=subprocess.DEVNULL, stderr=stderr_write)
        except OSError as error:
            ours.close()
            os.close(lifeline)
            os.close(stderr)
            self._close_pixels()
            raise ChildError(f"the process for {target} can't be started: {error}") from error
        finally:
            theirs.close()
            os.close(lifeline_read)
            os.close(stderr_write)
        self._stderr = StderrReader(stderr, target.partition(":")[0], lambda: self._process.poll() is not None)
        self._lifeline: Optional[int] = lifeline
        # A child that reads nothing, because it is stopped or stuck, must not stop who writes to it.
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SEND_TIMEOUT, 0))
        self.channel = Connection(ours.detach())
        self._news = select.poll()
        self._news.register(self.channel.fileno(), select.POLLIN)
        try:
            self.channel.send(arguments)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has ended already; how, is found out by who reads from it
        except OSError as error:
            self.release()
            raise ChildError(f"the process for {target} takes nothing: {error}") from error

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> Optional[int]:
        """None while it runs; minus the signal's number when a signal ended it."""
        return self._process.poll()

    def has_news(self, seconds: float) -> bool:
        """Whether there is something to receive within this time: what the channel's `poll` says, but sooner."""
        return bool(self._news.poll(1000 * seconds))

    def kill(self) -> None:
        """Kill it at once. Safe from any thread; `release` must follow."""
        self._process.kill()

    def release(self, patience: float = 5.0) -> bool:
        """Kill it if need be and let everything of it go.

        False when it is still there after `patience` seconds, because a driver holds it.
        """
        self._process.kill()
        self.channel.close()
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
            self._close_pixels()
        return self.wait(patience)

    def _close_pixels(self) -> None:
        if self.pixels is not None:
            self.pixels.close()

    def wait(self, seconds: float) -> bool:
        """Whether it has ended within this time."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        self._stderr.join()
        return True

    @property
    def last_words(self) -> List[str]:
        """The newest lines of its standard error."""
        return self._stderr.last_lines

    def describe_end(self) -> str:
        """How it ended, in words."""
        code = self.exit_code
        if code is None:
            return "does not end"
        if code >= 0:
            return f"ended with exit code {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = str(-code)
        return f"was ended by {name}"


def run_child() -> None:
    """What a started child does: take its end of the channel and call its function."""
    target, (channel_number, lifeline, nice, memory, pixels) = sys.argv[1], map(int, sys.argv[2:7])
    sys.stderr = never_wait(2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the daemon's to handle
    os.nice(nice)
    if memory:
        # Not RLIMIT_AS: that counts what is only reserved, too, libraries and 64 MB for each thread's arena;
        # a process that uses 200 MB has 2 GB of addresses. This one counts what can be written (Linux 4.7).
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    threading.Thread(target=_die_with_parent, args=(lifeline,), daemon=True).start()
    channel = Connection(channel_number)
    module, _, function = target.partition(":")
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent let us go
        shared = [] if pixels == _NO_PIXELS else [_shared_pixels(pixels)]
        getattr(importlib.import_module(module), function)(channel, channel.recv(), *shared)


def _shared_pixels(number: Optional[int] = None) -> "SharedPixels":
    from service.shared_pixels import SharedPixels  # here, as the doctor's processes may find no numpy

    return SharedPixels(number)


def _die_with_parent(lifeline: int) -> None:
    os.read(lifeline, 1)
    os._exit(1)
