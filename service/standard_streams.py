"""The standard streams of a command: who was to read them may be gone, or never have been there."""

import os
import sys
from typing import TextIO

_STANDARD = ("stdin", "r"), ("stdout", "w"), ("stderr", "w")


def open_missing() -> None:
    """Open those that this process was started without, on nothing.

    A file opened later would get the number of one, and in it whatever a library complains of.
    """
    for number, (name, mode) in enumerate(_STANDARD):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115  kept for good


def forget_unwritten(*streams: TextIO) -> None:
    """Have streams that can't be written to write to nothing: Python tries once more at its end, and ends with 120."""
    for stream in streams:
        try:
            stream.flush()
        except OSError:
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, stream.fileno())
            os.close(nothing)
