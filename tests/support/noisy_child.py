"""Processes for tests that write to their standard error, or take memory."""

import ctypes
import os
import subprocess
import sys


def run(channel, arguments) -> None:
    """What a `Child` does: as told."""
    for what, value in arguments.items():
        {"say": say, "flood": flood, "leave": leave, "take": take, "abort": abort}[what](value)
    channel.send("done")


def say(text: str) -> None:
    """Write it, by Python and by what a C library uses."""
    print(text, file=sys.stderr)
    os.write(2, text.encode() + b" again\n")


def flood(size: int) -> None:
    """Write so many bytes, by Python and past it."""
    libc = ctypes.CDLL(None)
    for _ in range(size // 1000):
        print("x" * 999, file=sys.stderr)
        libc.write(2, b"y" * 999 + b"\n", 1000)


def leave(seconds: float) -> None:
    """Leave a process behind that holds the standard error open."""
    subprocess.Popen(["sleep", str(seconds)])


def take(size: int) -> None:
    """Take so many bytes of memory."""
    bytearray(size)


def abort(text: str) -> None:
    """End as a C++ library does that gets no memory."""
    os.write(2, text.encode() + b"\n")
    os.abort()
