"""A plain model for the Edge TPU: `coral-learn models compile`, which runs edgetpu_compiler."""

import os
import platform
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

from coral_learn.catalog import find_file
from coral_learn.errors import ModelFormatError
from coral_learn.inspection import quantisation
from coral_learn.runtime.tflite import is_compiled
from coral_learn.tflite_file import TfliteModel
from coral_learn.twins import compiled_name
from service.errors import CompileFailed, SettingsError
from service.store.files import publish_file, translated

PROGRAM = "edgetpu_compiler"
_MAPPED = "Mapped to Edge TPU"
_ROW = re.compile(r"(\S+)\s+(\d+)\s+(\S.*)")
_TOLD = {
    "input_size": "Input size",
    "output_size": "Output size",
    "cached": "On-chip memory used for caching model parameters",
    "room": "On-chip memory remaining for caching model parameters",
    "streamed": "Off-chip memory used for streaming uncached model parameters",
    "subgraphs": "Number of Edge TPU subgraphs",
}


class OperatorRow(NamedTuple):
    """A line of the compiler's log: so many operators of this kind, and what became of them, in its words."""

    operator: str
    count: int
    status: str

    @property
    def mapped(self) -> bool:
        """Whether they run on the Edge TPU."""
        return self.status == _MAPPED


class CompilerLog(NamedTuple):
    """What the compiler says. version : its own; told : sizes and counts by our names, in its words."""

    version: str
    rows: List[OperatorRow]
    told: Dict[str, str]

    @property
    def on_edgetpu(self) -> int:
        """How many operators run on the Edge TPU."""
        return sum(row.count for row in self.rows if row.mapped)

    @property
    def on_cpu(self) -> int:
        """How many stay on the CPU."""
        return sum(row.count for row in self.rows if not row.mapped)


class CompiledModel(NamedTuple):
    """What was made: the file for the Edge TPU, the compiler's log beside it, and what that says."""

    path: Path
    log_path: Path
    log: CompilerLog


def compile_model(
    source: Path, folder: Optional[Path] = None, replace: bool = False, timeout: float = 900.0
) -> CompiledModel:
    """Compile a model for the Edge TPU.

    folder : where NAME_edgetpu.tflite goes; None is beside the model, where it is found
    timeout : seconds the compiler may take

    Raises `ModelFileMissing`, `ModelFormatError`, `CompileFailed`, or `SettingsError` for what doesn't fit.
    """
    folder = source.parent if folder is None else folder
    target = folder / compiled_name(source)
    _check(source, target, replace)
    program = shutil.which(PROGRAM)
    if program is None:
        raise CompileFailed(how_to_compile(source, target))
    with translated(folder), tempfile.TemporaryDirectory(prefix=".compile-", dir=str(folder)) as place:
        output = _run(program, source, Path(place), timeout)
        made, log_path = Path(place) / target.name, Path(place) / (target.stem + ".log")
        log = read_log(_text(log_path), output)
        if not made.exists():
            raise CompileFailed(f"{PROGRAM} made no {target.name}: {_last_words(output)}")
        data = made.read_bytes()
        _check_made(data, log)
        publish_file(target, data)
        publish_file(target.with_suffix(".log"), _text(log_path).encode("utf-8"))
    for path in (target, target.with_suffix(".log")):
        path.chmod(0o644)
    return CompiledModel(target, target.with_suffix(".log"), log)


def read_log(log: str, output: str = "") -> CompilerLog:
    """Understand the log file of edgetpu_compiler (2.0 to 16.0), and what it prints."""
    rows, version, in_table = [], "", False
    for line in (log or output).splitlines():
        if line.startswith("Edge TPU Compiler version"):
            version = line.rpartition(" ")[2]
        if re.match(r"Operator\s+Count\s+Status", line):
            in_table = True
            continue
        match = _ROW.fullmatch(line.strip()) if in_table else None
        if match:
            rows.append(OperatorRow(match.group(1), int(match.group(2)), match.group(3)))
    told = {}
    for name, words in _TOLD.items():
        match = re.search(rf"^{words}: *(\S+)", output, re.MULTILINE)
        if match:
            told[name] = match.group(1)
    return CompilerLog(version, rows, told)


def how_to_compile(source: Path, target: Path) -> str:
    """What to run where, when the compiler isn't here."""
    machine = platform.machine()
    if machine in ("x86_64", "AMD64"):
        where = "install Coral's Debian package edgetpu-compiler (https://coral.ai/docs/edgetpu/compiler)"
        how = f"and run this again, or run it on another x86-64 machine: {PROGRAM} -s {source.name}"
        lines = [f"{PROGRAM} is not installed: {where} {how}"]
    else:
        lines = [
            f"{PROGRAM} exists for x86-64 only, this machine is {machine or 'another one'}. On an x86-64 Debian or "
            "Ubuntu machine with Coral's package edgetpu-compiler (https://coral.ai/docs/edgetpu/compiler) run",
            f"  {PROGRAM} -s {source.name}",
        ]
    lines.append(f"and bring {target.name} back to {target.resolve().parent}, beside the plain file")
    found = find_file(source.read_bytes())
    if found is not None and found[0].compiled is not None:
        lines.append(f"Coral publishes this one compiled: coral-learn models fetch {found[0].name} --both")
    return "\n".join(lines)


def _check(source: Path, target: Path, replace: bool) -> None:
    model = TfliteModel.read(source)
    if is_compiled(model.data):
        raise SettingsError(f"{source} is compiled already; the compiler takes the plain file")
    if source.suffix != ".tflite":
        raise SettingsError(f"a model's file ends in .tflite, got {source}")
    kind = quantisation(model)
    if kind != "8 bit":
        raise SettingsError(
            f"the Edge TPU computes with 8 bit numbers only, and the tensors of {source.name} are "
            f"{'of several types' if kind == 'mixed' else 'not quantised'}: convert it with full integer quantisation"
        )
    if not target.parent.is_dir():
        raise SettingsError(f"there is no folder {target.parent} to write {target.name} into; make it first")
    if target.exists() and not replace:
        raise SettingsError(f"{target} would be written over; --replace allows it")


def _run(program: str, source: Path, place: Path, timeout: float) -> str:
    """What the compiler prints. Raises `CompileFailed`."""
    command = [program, "-s", "-o", str(place), str(source.resolve())]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # it has a child of its own, which ends with it
        )
    except OSError as error:
        raise CompileFailed(f"{program} can't be started: {error.strerror}") from error
    try:
        output = process.communicate(timeout=timeout)[0].decode("utf-8", "replace")
    except subprocess.TimeoutExpired as error:
        raise CompileFailed(f"{program} took longer than {timeout:g} seconds and was ended") from error
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode != 0:
        raise CompileFailed(f"{program} failed on {source.name} ({process.returncode}): {_last_words(output)}")
    return output


def _check_made(data: bytes, log: CompilerLog) -> None:
    try:
        TfliteModel(data)
    except ModelFormatError as error:
        raise CompileFailed(f"what {PROGRAM} wrote can't be used: {error}") from error
    if not is_compiled(data):
        reasons = sorted({f"{row.operator}: {row.status}" for row in log.rows if not row.mapped})
        raise CompileFailed(f"no operator was mapped to the Edge TPU ({'; '.join(reasons) or 'no reason given'})")


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def _last_words(output: str) -> str:
    """What the compiler said of the failure, without its greeting."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(("Edge TPU Compiler", "Started a compilation", "INFO:"))]
    return " ".join(lines[-4:]) or "it said nothing"
