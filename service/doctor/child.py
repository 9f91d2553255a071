"""What the doctor does in a process of its own, because it may crash, hang, or hold the interpreter.

On the channel: ("stage", text) before each step, then ("result", dictionary). Of an error the result has
"error" and "text".
"""

import ctypes
import importlib
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict

from coral_learn.errors import CoralLearnError
from coral_learn.extractor import Extractor
from coral_learn.runtime.edgetpu import LIBRARY, driver_name
from coral_learn.runtime.lock import DeviceLock
from coral_learn.runtime.tflite import EDGETPU_ORDER, find_library
from service import v4l2
from service.doctor.golden import cosine, picture

_RUNS, _LONGEST = 10, 3.0  # of timing, seconds


def imports(channel, arguments: Dict[str, Any]) -> None:
    """Import modules; the result says for each why it can't be, or "". arguments : names"""
    _prepare(arguments)
    found = {}
    for name in arguments["names"]:
        channel.send(("stage", name))
        try:
            importlib.import_module(name)
            found[name] = ""
        except Exception as error:  # an extension made for another numpy or C library fails in many ways
            found[name] = f"{type(error).__name__}: {error}"
    channel.send(("result", found))


def cameras(channel, arguments: Dict[str, Any]) -> None:
    """Ask each V4L2 node what it is. arguments : nodes"""
    _prepare(arguments)
    found = {}
    for node in arguments["nodes"]:
        channel.send(("stage", node))
        try:
            found[node] = dict(v4l2.describe(Path(node))._asdict())
        except OSError as error:
            found[node] = {"error": error.strerror or str(error)}
    channel.send(("result", found))


def delegate(channel, arguments: Dict[str, Any]) -> None:
    """Open the Edge TPU as the extractor would. arguments : device, "" for any; locks, if given, their folder"""

    def open_device(tell: Callable[[str], None]) -> Dict[str, Any]:
        tell("importing the run-time")
        library, device = find_library(EDGETPU_ORDER), driver_name(arguments["device"])
        lock = DeviceLock(device, arguments.get("locks"))
        try:
            tell(f"loading {LIBRARY} into {library}")
            ctypes.CDLL(LIBRARY)
            tell(f"opening the Edge TPU through {library}")
            library.module.load_delegate(LIBRARY, {"device": device} if device else {})
            return {"runtime": str(library)}
        finally:
            lock.release()

    _run(channel, arguments, open_device)


def extract(channel, arguments: Dict[str, Any]) -> None:
    """Load the extractor, compare the golden embedding, take the time. arguments : model, device, threads"""

    def measure(tell: Callable[[str], None]) -> Dict[str, Any]:
        tell("loading the model")
        extractor = Extractor(arguments["model"] or None, arguments["device"], arguments["threads"])
        try:
            tell("the golden embedding")
            golden, facts = extractor.manifest.golden(), dict(extractor.info._asdict())
            if golden is not None:
                embedding = extractor.embed(picture(golden))
                facts.update(cosine=cosine(embedding, golden.embedding), least=golden.min_cosine)
            tell("taking the time")
            pixels = extractor.prepare(_grey(extractor))
            extractor.embed_pixels(pixels)
            facts["milliseconds"] = _median_milliseconds(lambda: extractor.embed_pixels(pixels))
            return facts
        finally:
            extractor.close()

    _run(channel, arguments, measure)


def _run(channel, arguments: Dict[str, Any], work: Callable[..., Dict[str, Any]]) -> None:
    _prepare(arguments)
    try:
        result = work(lambda stage: channel.send(("stage", stage)))
    except (CoralLearnError, OSError, ValueError, RuntimeError) as error:
        result = {"error": type(error).__name__, "text": str(error)}
    channel.send(("result", result))


def _prepare(arguments: Dict[str, Any]) -> None:
    """Print nothing where the doctor prints, and look for packages where it does."""
    output = os.open(arguments["output"], os.O_WRONLY | os.O_APPEND)
    for number in (1, 2):
        os.dup2(output, number)
    os.close(output)
    sys.path[:] = [entry for entry in arguments["python_path"] if entry]


def _grey(extractor: Extractor):
    import numpy as np

    return np.full((extractor.info.input_height, extractor.info.input_width, 3), 128, np.uint8)


def _median_milliseconds(once: Callable[[], Any]) -> float:
    times, ends = [], time.monotonic() + _LONGEST
    while len(times) < _RUNS and time.monotonic() < ends:
        started = time.perf_counter()
        once()
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)
