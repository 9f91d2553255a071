"""Doing in a process of its own what may crash, hang, or hold the interpreter; how it ended is the finding."""

import os
import tempfile
import time
from typing import IO, Any, Dict, List, NamedTuple, Optional

from service.children import Child
from service.errors import ChildError

_LAST_LINES = 3
_STARTING = 60.0  # seconds until it has imported what it needs: on a slow board that says nothing of a driver


class Outcome(NamedTuple):
    """What came of it.

    result : what it found, None when it did not come to an end; stage : what it was at last;
    ending : how it ended without a result, in words; said : the last lines it printed
    """

    result: Optional[Dict[str, Any]]
    stage: str = ""
    ending: str = ""
    said: str = ""

    @property
    def crashed(self) -> bool:
        """Whether a signal ended it that nobody sent."""
        return is_crash(self.ending)


def is_crash(text: str) -> bool:
    """Whether words about the end of a process name a signal that a broken library causes."""
    return any(name in text for name in ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE"))


def attempt(target: str, arguments: Dict[str, Any], seconds: float) -> Outcome:
    """Run a function of `service.doctor.child` with a deadline. What it prints is kept, not shown.

    seconds : from when it first says what it is at
    """
    with _output() as output:
        try:
            child = Child(target, dict(arguments, output=output.name))
        except ChildError as error:
            return Outcome(None, "start", str(error))
        try:
            result, stage, ending = _follow(child, seconds)
        finally:
            stayed = not child.release()
        if stayed:
            ending += ", and can't be killed: a driver holds it"
        lines: List[str] = [
            line.strip() for line in output.read().decode("utf-8", "replace").splitlines() if line.strip()
        ]
        return Outcome(result, stage, ending, "; ".join(lines[-_LAST_LINES:]))


def _output() -> IO[bytes]:
    """A file for what the process prints; on a full disk it goes nowhere."""
    try:
        return tempfile.NamedTemporaryFile("rb", prefix="coral-learn-doctor-")
    except OSError:
        return open(os.devnull, "rb")


def _follow(child: Child, seconds: float) -> tuple:
    """(result, last stage, how it ended)"""
    stage, limit = "", _STARTING
    ends = time.monotonic() + limit
    try:
        while child.has_news(max(0.0, ends - time.monotonic())):
            kind, value = child.channel.recv()
            if kind == "result":
                return value, stage or "start", ""
            if not stage:
                limit, ends = seconds, time.monotonic() + seconds
            stage = value
    except (EOFError, OSError):
        if not child.wait(1.0):
            child.kill()
            child.wait(1.0)
        return None, stage or "start", child.describe_end()
    return None, stage or "start", f"gave no answer within {limit:g} s"
