"""Python and the packages in it."""

import sys
from typing import Dict, List, Optional, Tuple

from coral_learn.runtime.tflite import CPU_ORDER
from coral_learn.versions import version_numbers
from service.doctor.check import FAIL, OK, WARN, Check
from service.doctor.machine import Machine

_OLDEST, _NEWEST = (3, 7), (3, 13)
_LAST_FOR_NUMPY_1 = (2, 14)  # of tflite-runtime: its wheels were made for numpy 1
# Module and distribution of what is needed.
_NEEDED = (
    ("numpy", "numpy"),
    ("PIL", "Pillow"),
    ("flask", "Flask"),
    ("waitress", "waitress"),
    ("prometheus_client", "prometheus_client"),
)
_OPENCV = ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python")
_IMPORT_SECONDS = 60.0


def check_python(machine: Machine, version: Tuple[int, ...] = tuple(sys.version_info[:3])) -> Check:
    """The interpreter's version."""
    found = f"{'.'.join(map(str, version))} at {sys.executable}, {machine.architecture()}"
    if version[:2] < _OLDEST:
        return Check("python", FAIL, found, "too old", "use Python 3.7 or newer")
    if version[:2] > _NEWEST:
        remedy = "if a package can't be installed: make the environment with Python 3.13 or older"
        return Check("python", WARN, found, "newer than what this version was tried with (3.7 to 3.13)", remedy)
    return Check("python", OK, found)


def check_packages(machine: Machine) -> Check:
    """What has to be installed, and can be imported."""
    missing = [name for module, name in _NEEDED if machine.package_folder(module) is None]
    if machine.package_folder("cv2") is None:
        missing.append(_OPENCV[0])
    if missing:
        found = f"missing: {', '.join(missing)}"
        return Check("packages", FAIL, found, "the daemon can't work", f"pip install {' '.join(missing)}")
    outcome = machine.attempt(
        "service.doctor.child:imports", {"names": [*(module for module, _ in _NEEDED), "cv2"]}, _IMPORT_SECONDS
    )
    if outcome.result is None:
        found = f"importing {outcome.stage} {outcome.ending}"
        remedy = f"reinstall it: pip install --force-reinstall --no-deps {_distribution(outcome.stage)}"
        return Check("packages", FAIL, found, "the package doesn't fit this machine", remedy)
    broken = {name: text for name, text in outcome.result.items() if text}
    if broken:
        name, text = next(iter(broken.items()))
        return Check("packages", FAIL, f"{name} can't be imported: {text}", *_import_advice(name, text))
    versions = [f"{name} {machine.package_version(name) or '?'}" for _, name in _NEEDED]
    return Check("packages", OK, ", ".join([*versions, _opencv(machine)]))


def _import_advice(name: str, text: str) -> Tuple[str, str]:
    if name == "cv2" and "cannot open shared object" in text:
        remedy = "pip uninstall opencv-python && pip install opencv-python-headless"
        return "this OpenCV needs a desktop's libraries", remedy
    return "the package doesn't fit this Python or its numpy", f"pip install --force-reinstall {_distribution(name)}"


def _distribution(module: str) -> str:
    return dict(_NEEDED, cv2=_OPENCV[0]).get(module, module)


def _opencv(machine: Machine) -> str:
    for name in _OPENCV:
        version = machine.package_version(name)
        if version:
            return f"{name} {version}"
    return "OpenCV of the system"


def run_times(machine: Machine) -> Dict[str, str]:
    """Installed TensorFlow Lite run-times and their versions, by module name."""
    return {name: machine.package_version(name) or "" for name in CPU_ORDER if machine.package_folder(name) is not None}


def check_run_time(machine: Machine) -> Check:
    """A TensorFlow Lite run-time that can be imported, and numpy's version under it."""
    installed = run_times(machine)
    if not installed:
        remedy = "pip install ai-edge-litert (Python 3.9 and newer) or pip install tflite-runtime (3.7 and 3.8)"
        return Check("run-time", FAIL, "none installed", "no model can be loaded", remedy)
    shown = ", ".join(f"{name.replace('_', '-')} {version or '?'}" for name, version in installed.items())
    names = [f"{name}.interpreter" for name in installed]
    outcome = machine.attempt("service.doctor.child:imports", {"names": names}, _IMPORT_SECONDS)
    broken = _broken(outcome, names)
    numpy = machine.package_version("numpy") or ""
    old = installed.get("tflite_runtime", "")
    if old and version_numbers(old)[:2] <= _LAST_FOR_NUMPY_1 and version_numbers(numpy)[:1] >= (2,):
        usable = "ai_edge_litert" in installed and "ai_edge_litert.interpreter" not in broken
        found = f"numpy {numpy} under tflite-runtime {old}"
        meaning = "this tflite-runtime was made for numpy 1 and can't be imported"
        remedy = "pip uninstall tflite-runtime" if usable else 'pip install "numpy<2"'
        return Check("run-time", WARN if usable else FAIL, found, meaning, remedy)
    if broken:
        name, reason = next(iter(broken.items()))
        remedy = f"pip install --force-reinstall {name.partition('.')[0].replace('_', '-')}"
        state = WARN if len(broken) < len(names) else FAIL
        return Check("run-time", state, f"{name} can't be imported: {reason}", "it doesn't fit this machine", remedy)
    if machine.architecture() == "x86_64" and "ai_edge_litert" not in installed:
        remedy = "pip install ai-edge-litert (Python 3.9 and newer)"
        return Check("run-time", WARN, shown, "on a PC's CPU this one is many times slower than ai-edge-litert", remedy)
    return Check("run-time", OK, f"{shown}, numpy {numpy or '?'}")


def _broken(outcome, names: List[str]) -> Dict[str, str]:
    """Why modules can't be imported, by name."""
    if outcome.result is None:
        return {outcome.stage if outcome.stage in names else names[0]: f"the import {outcome.ending}"}
    return {name: text for name, text in outcome.result.items() if text}


def check_pycoral(machine: Machine) -> Check:
    """Whether a package called pycoral is Coral's, and made for this Python."""
    folder = machine.package_folder("pycoral")
    if folder is None:
        return Check("pycoral", OK, "not installed", "it isn't needed")
    version: Optional[str] = machine.package_version("pycoral")
    found = f"pycoral {version or '?'} in {folder}"
    if not (folder / "utils" / "edgetpu.py").exists():
        meaning = "another program of that name (on the Python index it is a reef atlas), not Coral's library"
        return Check("pycoral", WARN, found, meaning, "pip uninstall pycoral; coral-learn works without it")
    built = sorted(path.name for path in (folder / "pybind").glob("_pywrap_coral*.so"))
    ours = f"cpython-{sys.version_info[0]}{sys.version_info[1]}"
    if built and not any(f".{ours}-" in name or f".{ours}m-" in name for name in built):
        return Check(
            "pycoral",
            WARN,
            f"{found}, built as {built[0]}",
            "it was built for another Python and is passed over",
            "nothing has to be done: coral-learn works without it",
        )
    return Check("pycoral", OK, found)
