"""What a child process writes to its standard error, as records of the daemon's log."""

import io
import logging
import os
import select
import threading
from collections import deque
from typing import Callable, Deque, List

_LOOK_UP = 1.0  # seconds
_LONGEST = 2000  # characters of a line
_REMEMBERED = 20  # lines
_BLOCK = 65536  # bytes; what a pipe holds


class StderrReader:
    """A thread that reads a pipe until nobody writes to it any more, or the process has ended.

    Whatever the process started itself may have inherited the pipe and live on, so its end alone is no sign.

    pipe : the end to read, closed in the end; name : of the logger; ended : whether the process has
    """

    def __init__(self, pipe: int, name: str, ended: Callable[[], bool]):
        self._pipe, self._log, self._ended = pipe, logging.getLogger(name), ended
        self._rest = b""
        self._lines: Deque[str] = deque(maxlen=_REMEMBERED)
        self._thread = threading.Thread(target=self._run, name=f"stderr of {name}", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait until all is read; call when the process has ended."""
        self._thread.join(3 * _LOOK_UP)

    @property
    def last_lines(self) -> List[str]:
        """The newest lines."""
        return list(self._lines)

    def _run(self) -> None:
        os.set_blocking(self._pipe, False)
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        try:
            while True:
                ended = self._ended()
                if not poll.poll(1000 * _LOOK_UP):
                    if ended:
                        break
                    continue
                data = os.read(self._pipe, _BLOCK)
                self._take(data)
                if not data or ended:  # what is in the pipe now is what the process left
                    break
        finally:
            os.close(self._pipe)
            self._take(b"\n")

    def _take(self, data: bytes) -> None:
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[:_LONGEST]
        for line in lines:
            text = line[:_LONGEST].decode("utf-8", "replace").rstrip()
            if text:
                self._lines.append(text)
                self._log.log(logging.INFO if text.startswith("INFO") else logging.WARNING, "%s", text)


class LossyFile(io.FileIO):
    """A file that takes whatever is written; what has no room in the pipe is lost instead of waited for."""

    def write(self, data) -> int:
        """Write it, or a part of it, or nothing; says it was all."""
        super().write(data)
        return len(data)


def never_wait(number: int) -> io.TextIOWrapper:
    """Make a descriptor one that no writer waits for; returns a text file for it."""
    os.set_blocking(number, False)
    return io.TextIOWrapper(LossyFile(number, "w", closefd=False), "utf-8", "backslashreplace", write_through=True)
