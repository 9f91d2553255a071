"""A run-time in a process of its own, and what asks it: so that each sort is tested in the same way.

The Edge TPU's run-times are real but for what lies below them: `pycoral.utils.edgetpu` is a stand-in module
that computes on the CPU, and libedgetpu.so.1 is tests/support/libedgetpu.c.
"""

import fcntl
import importlib.util
import os
import pickle
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Dict, Optional

HERE = Path(__file__).resolve().parent
CPU_LITERT, CPU_TFLITE = "CPU by ai-edge-litert", "CPU by tflite-runtime"
PYCORAL, LOAD_DELEGATE, FAKE = "Edge TPU by pycoral", "Edge TPU by load_delegate", "fake Edge TPU"
SORTS = (CPU_LITERT, CPU_TFLITE, PYCORAL, LOAD_DELEGATE, FAKE)
_LIBRARIES = {CPU_LITERT: "ai_edge_litert", CPU_TFLITE: "tflite_runtime"}
# As pycoral's make_interpreter: a path or bytes, a device name; tensors are left to the caller.
_PYCORAL = """
import os
from coral_learn.runtime.tflite import EDGETPU_ORDER, find_library

def is_plugged_in():
    return not os.path.exists(os.environ.get("FAKE_PYCORAL_UNPLUGGED", "/none"))

def list_edge_tpus():
    return [{"type": "usb", "path": "/sys/bus/usb/devices/2-2"}] if is_plugged_in() else []

def make_interpreter(model_path_or_content, device=None, delegate=None):
    if device not in (None, "", ":0", "usb", "usb:0") or not is_plugged_in():
        raise ValueError("Failed to load delegate from libedgetpu.so.1\\n")
    return find_library(EDGETPU_ORDER).module.Interpreter(model_content=model_path_or_content)
"""


def missing(sort: str) -> Optional[str]:
    """Why a sort of run-time can't be had here, None where it can."""
    library = _LIBRARIES.get(sort)
    if library and importlib.util.find_spec(library) is None:
        return f"{library.replace('_', '-')} is not installed for Python {sys.version_info[0]}.{sys.version_info[1]}"
    if sort == LOAD_DELEGATE and shutil.which("cc") is None:
        return "there is no C compiler (cc) to make a libedgetpu.so.1 with"
    return None


def build_libedgetpu(folder: Path) -> Path:
    """A folder with our libedgetpu.so.1, for LD_LIBRARY_PATH."""
    flags = ["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
    library = folder / "libedgetpu.so.1"
    subprocess.run(["cc", *flags, "-o", str(library), str(HERE / "libedgetpu.c")], check=True)
    return folder


def write_pycoral(folder: Path) -> Path:
    """A folder with our `pycoral.utils.edgetpu`, for PYTHONPATH.

    FAKE_PYCORAL_UNPLUGGED in the environment names a file: while it is there, there is no Edge TPU.
    """
    (folder / "pycoral" / "utils").mkdir(parents=True, exist_ok=True)
    for name, code in (("__init__.py", ""), ("utils/__init__.py", ""), ("utils/edgetpu.py", _PYCORAL)):
        (folder / "pycoral" / name).write_text(code)
    return folder


@contextmanager
def alone_with_edge_tpus():
    """Wait until no other test on this machine holds the Edge TPUs' lock: it is one for all users and runs."""
    with open("/tmp/coral-learn-tests-with-edge-tpus.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class RuntimeHost:
    """A process that opens a model with one sort of run-time and serves it. folder : for what it needs"""

    def __init__(self, sort: str, folder: Path, **environment: str):
        env: Dict[str, str] = dict(os.environ, **environment)
        paths = [str(HERE.parent.parent)]
        if sort == LOAD_DELEGATE:
            env["LD_LIBRARY_PATH"] = str(folder if (folder / "libedgetpu.so.1").exists() else build_libedgetpu(folder))
        if sort == PYCORAL:
            paths.append(str(write_pycoral(folder)))
        env["PYTHONPATH"] = os.pathsep.join(paths)
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "runtime_host.py"), sort],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=env,
        )

    def __call__(self, what: str, *arguments):
        """What the run-time gave, or its error raised here again. EOFError when the process is gone."""
        from coral_learn import errors

        pickle.dump((what, arguments), self.process.stdin)
        self.process.stdin.flush()
        error, result = pickle.load(self.process.stdout)
        if error:
            raise getattr(errors, error)(result)
        return result

    def end(self) -> int:
        """Kill the process if it is still there; its exit code."""
        self.process.kill()
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait(10)


def _open(sort: str, model: str):
    from coral_learn.runtime.cpu import CpuRuntime
    from coral_learn.runtime.edgetpu import EdgeTpuRuntime
    from coral_learn.runtime.fake import FakeEdgeTpuRuntime

    if sort in _LIBRARIES:
        return CpuRuntime(model, None, (_LIBRARIES[sort],))
    return FakeEdgeTpuRuntime(model) if sort == FAKE else EdgeTpuRuntime(model)


def _in_a_fork(runtime, stored):
    """What a process made by fork gets from the run-time that this one has open."""
    read, write = os.pipe()
    if os.fork() == 0:
        try:
            runtime.invoke(stored)
            text = "it ran"
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
        os.write(write, text.encode())
        os._exit(0)
    os.close(write)
    os.wait()
    with os.fdopen(read) as file:
        return file.read()


def main(sort: str) -> None:
    """Serve until the pipe closes: open, invoke, fork, close."""
    runtime, asked, answers = None, sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            what, arguments = pickle.load(asked)
        except EOFError:
            return
        try:
            result = None
            if what == "open":
                runtime = _open(sort, *arguments)
                result = runtime.device, runtime.name, tuple(runtime.input), tuple(runtime.output)
            elif what == "invoke":
                result = runtime.invoke(*arguments)
            elif what == "fork":
                result = _in_a_fork(runtime, *arguments)
            elif what == "close":
                runtime.close()
            reply = None, result
        except Exception as error:
            reply = type(error).__name__, str(error)
        pickle.dump(reply, answers)
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1])
