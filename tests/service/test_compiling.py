"""service/compiling.py: edgetpu_compiler run and understood, or what to do where it isn't."""

import json
import os
import platform
import shutil
import stat
import sys
import time

import pytest

from coral_learn import Extractor
from coral_learn.catalog import find_model
from coral_learn.errors import ModelFileMissing, ModelFormatError
from service.__main__ import main
from service.errors import CompileFailed, SettingsError
from service.model_files.compiling import compile_model, read_log

# As edgetpu_compiler 16.0 writes them.
LOG = """Edge TPU Compiler version 16.0.384591198
Input: tiny.tflite
Output: tiny_edgetpu.tflite

Operator                       Count      Status

QUANTIZE                       1          Mapped to Edge TPU
QUANTIZE                       1          Operation is otherwise supported, but not mapped due to some unspecified \
limitation
CONV_2D                        2          Mapped to Edge TPU
DEPTHWISE_CONV_2D              1          Mapped to Edge TPU
MEAN                           1          Mapped to Edge TPU
"""
OUTPUT = """Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 141 ms.

Input model: tiny.tflite
Input size: 7.62KiB
Output model: tiny_edgetpu.tflite
Output size: 40.00KiB
On-chip memory used for caching model parameters: 3.25KiB
On-chip memory remaining for caching model parameters: 7.70MiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: 1
Total number of operations: 6
Operation log: tiny_edgetpu.log

Model successfully compiled but not all operations are supported by the Edge TPU.
Number of operations that will run on Edge TPU: 5
Number of operations that will run on CPU: 1

Compilation child process completed within timeout period.
Compilation succeeded!
"""
NOT_QUANTIZED = """Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.
Invalid model: tiny.tflite
Model not quantized
Compilation child process completed within timeout period.
Compilation failed!
"""
STAND_IN = """#!{python} -IS
import os, shutil, subprocess, sys, time
arguments = sys.argv[1:]
out, source = arguments[arguments.index("-o") + 1], arguments[-1]
stem = os.path.join(out, os.path.basename(source)[: -len(".tflite")] + "_edgetpu")
{steps}
"""


@pytest.fixture
def compiler(tmp_path, monkeypatch, data):
    """compiler(log, output, code, made, steps): put a stand-in on PATH that does this; made is the file it writes."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def install(log=LOG, output=OUTPUT, code=0, made="tiny_edgetpu.tflite", steps=""):
        lines = [steps]
        if log:
            lines.append(f"open(stem + '.log', 'w').write({log!r})")
        if made:
            lines.append(f"shutil.copy({str(data / made)!r}, stem + '.tflite')")
        lines += [f"print({output!r})", f"sys.exit({code})"]
        program = tmp_path / "bin" / "edgetpu_compiler"
        program.parent.mkdir(exist_ok=True)
        program.write_text(STAND_IN.format(python=sys.executable, steps="\n".join(lines)), encoding="utf-8")
        program.chmod(0o755)

    return install


@pytest.fixture
def plain(tmp_path, tiny_model):
    """The tests' extractor, plain, alone in a folder."""
    (tmp_path / "place").mkdir()
    return tmp_path / "place" / shutil.copy(str(tiny_model), str(tmp_path / "place" / "tiny.tflite"))


def names(path):
    """The files in a file's folder."""
    return sorted(other.name for other in path.parent.iterdir())


def test_compile(compiler, plain):
    """The compiled file and the compiler's log come beside the model, which then runs on an Edge TPU."""
    compiler()
    made = compile_model(plain)

    assert made.path == plain.with_name("tiny_edgetpu.tflite")
    assert names(plain) == ["tiny.tflite", "tiny_edgetpu.log", "tiny_edgetpu.tflite"]
    assert made.log_path.read_text(encoding="utf-8") == LOG
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o644
    assert (made.log.on_edgetpu, made.log.on_cpu) == (5, 1)
    extractor = Extractor(plain, "fake")
    assert extractor.info.device == "edgetpu"
    extractor.close()


def test_another_folder(compiler, plain, tmp_path):
    """The result may go elsewhere; a folder that isn't there isn't made."""
    compiler()
    (tmp_path / "there").mkdir()
    assert compile_model(plain, tmp_path / "there").path == tmp_path / "there" / "tiny_edgetpu.tflite"
    with pytest.raises(SettingsError, match="there is no folder"):
        compile_model(plain, tmp_path / "nowhere")

    assert names(plain) == ["tiny.tflite"]


def test_not_written_over(compiler, plain):
    """A compiled file that is there is kept unless it may be written over."""
    compiler()
    plain.with_name("tiny_edgetpu.tflite").write_bytes(b"mine")
    with pytest.raises(SettingsError, match="--replace"):
        compile_model(plain)
    assert plain.with_name("tiny_edgetpu.tflite").read_bytes() == b"mine"

    assert compile_model(plain, replace=True).path.read_bytes() != b"mine"


def test_log():
    """The log is understood: version, each row with its count and status, sizes and subgraphs."""
    log = read_log(LOG, OUTPUT)

    assert log.version == "16.0.384591198"
    assert [(row.operator, row.count, row.mapped) for row in log.rows] == [
        ("QUANTIZE", 1, True),
        ("QUANTIZE", 1, False),
        ("CONV_2D", 2, True),
        ("DEPTHWISE_CONV_2D", 1, True),
        ("MEAN", 1, True),
    ]
    assert log.rows[1].status.startswith("Operation is otherwise supported")
    assert log.told == {
        "input_size": "7.62KiB",
        "output_size": "40.00KiB",
        "cached": "3.25KiB",
        "room": "7.70MiB",
        "streamed": "0.00B",
        "subgraphs": "1",
    }


def test_log_in_the_output():
    """Without a log file the table that the compiler prints is taken; without any nothing is claimed."""
    assert read_log("", OUTPUT + LOG).on_cpu == 1
    assert read_log("", "").rows == []
    assert read_log("Operator Count\n\x00\n1 2 3", "Input size:").rows == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"output": NOT_QUANTIZED, "code": 1, "made": "", "log": ""},
            r"failed on tiny.tflite \(1\): Invalid model.* not",
        ),
        ({"output": "Internal compiler error. Aborting!", "code": 134, "made": "", "log": ""}, "Internal compiler err"),
        ({"output": NOT_QUANTIZED, "made": ""}, "made no tiny_edgetpu.tflite: Invalid model"),
        ({"output": "", "code": 3}, "it said nothing"),
        ({"made": "tiny.tflite"}, "no operator was mapped to the Edge TPU .QUANTIZE: Operation is otherwise"),
        ({"made": "tiny.json"}, "what edgetpu_compiler wrote can't be used"),
    ],
)
def test_the_compiler_fails(compiler, plain, settings, words):
    """What the compiler says of its failure is passed on, and nothing stays behind."""
    compiler(**settings)
    with pytest.raises(CompileFailed, match=words):
        compile_model(plain)

    assert names(plain) == ["tiny.tflite"]


def test_the_compiler_hangs(compiler, plain, tmp_path):
    """A compiler that doesn't end is ended, with the child it has."""
    note = tmp_path / "child"
    steps = (
        "child = subprocess.Popen(['/bin/sleep', '60'])\n"
        f"open({str(note)!r}, 'w').write(str(child.pid))\ntime.sleep(60)"
    )
    compiler(steps=steps)
    with pytest.raises(CompileFailed, match="took longer than 2 seconds"):
        compile_model(plain, timeout=2)

    assert names(plain) == ["tiny.tflite"]
    child = int(note.read_text())
    for _ in range(100):
        if not is_running(child):
            break
        time.sleep(0.05)
    assert not is_running(child)


def is_running(pid):
    """Whether a process is there and no zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_not_to_be_compiled(compiler, data, tmp_path):
    """What the compiler would refuse is refused before it runs, and why."""
    compiler(steps="raise SystemExit('must not run')")
    for name, words in (("tiny_float32", "8 bit numbers only.* not quantised"), ("tiny_edgetpu", "compiled already")):
        with pytest.raises(SettingsError, match=words):
            compile_model(data / f"{name}.tflite", tmp_path)
    with pytest.raises(ModelFormatError):
        compile_model(data / "tiny.json", tmp_path)
    with pytest.raises(ModelFileMissing):
        compile_model(data / "none.tflite", tmp_path)


@pytest.mark.parametrize("name", ["tiny", "tiny_int8"])
def test_eight_bit_models(compiler, data, tmp_path, name):
    """Both types of 8 bits are taken."""
    compiler()
    (tmp_path / "out").mkdir()
    assert compile_model(data / f"{name}.tflite", tmp_path / "out").path.name == f"{name}_edgetpu.tflite"


# Without the compiler


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "armv7l", ""])
def test_no_compiler(plain, monkeypatch, tmp_path, machine):
    """It says how to get the compiler, or where it exists, what to run there, and where the result goes."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(CompileFailed) as failed:
        compile_model(plain)
    text = str(failed.value)

    assert "edgetpu_compiler -s tiny.tflite" in text
    assert f"bring tiny_edgetpu.tflite back to {plain.parent}" in text
    assert ("is not installed" in text) == (machine == "x86_64")
    assert ("exists for x86-64 only" in text) == (machine != "x86_64")


def test_no_compiler_for_a_published_model(coral_models, monkeypatch, tmp_path):
    """Of a model that Coral publishes compiled it says so."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CompileFailed, match="coral-learn models fetch mobilenet_v1 --both"):
        compile_model(coral_models / find_model("mobilenet_v1").plain.name, tmp_path)


# The command


def test_command(compiler, plain, capsys):
    """The command says how many operators stay on the CPU, which and why."""
    compiler()
    assert main(["models", "compile", str(plain)]) == 0
    lines = capsys.readouterr().out.splitlines()
    made = plain.with_name("tiny_edgetpu.tflite")

    assert lines[0] == f"{made}: 5 operators run on the Edge TPU, 1 stay on the CPU"
    assert lines[1].startswith("  on the CPU: 1 QUANTIZE: Operation is otherwise supported, but not mapped")
    assert lines[2] == "  parameters: 3.25KiB kept on the chip, 0.00B streamed for every picture"
    compiler(
        log=LOG.replace(
            "Operation is otherwise supported, but not mapped due to some unspecified limitation", "Mapped to Edge TPU"
        )
    )
    assert main(["models", "compile", str(plain), "--replace"]) == 0
    assert capsys.readouterr().out.startswith(f"{made}: all 6 operators run on the Edge TPU\n")


def test_command_json(compiler, plain, capsys):
    """With --json it prints the whole log as data; without a log it claims nothing."""
    compiler()
    assert main(["models", "compile", str(plain), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    compiler(log="", output="")
    assert main(["models", "compile", str(plain), "--json", "--replace"]) == 0
    silent = json.loads(capsys.readouterr().out)

    assert (result["on_edgetpu"], result["on_cpu"], result["subgraphs"]) == (5, 1, 1)
    assert result["compiler"] == "16.0.384591198"
    assert len(result["operators"]) == 5
    assert (silent["on_edgetpu"], silent["on_cpu"], silent["subgraphs"]) == (None, None, None)


def test_command_fails(compiler, plain, data, capsys, monkeypatch, tmp_path):
    """A compiler that fails or is missing ends with code 1, a model that doesn't fit with 2."""
    compiler(output=NOT_QUANTIZED, code=1, made="")
    assert main(["models", "compile", str(plain)]) == 1
    assert main(["models", "compile", str(data / "tiny_float32.tflite"), "--to", str(tmp_path)]) == 2
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert main(["models", "compile", str(plain)]) == 1
    errors = capsys.readouterr().err

    assert errors.count("coral-learn: ") == 3
    assert "Traceback" not in errors
    assert os.listdir(str(plain.parent)) == ["tiny.tflite"]
