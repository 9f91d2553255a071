"""service/models_command.py: the command models inspect. Those that fetch, cut and compile have files of their own."""

import json

import numpy as np
import tiny_models

from coral_learn.inspection import inspect_model
from service.__main__ import main


def test_command(data, capsys):
    """The command tells what the file is, line by line."""
    assert main(["models", "inspect", str(data / "tiny_edgetpu.tflite")]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0] for line in lines[1:]}

    assert lines[0].endswith("an extractor: a picture in, an embedding of 64 values out")
    assert {"input", "output", "operators", "compiled", "manifest", "twin", "catalogue", "sha256"} <= rows
    assert "for the Edge TPU" in next(line for line in lines if line.startswith("  compiled"))


def test_command_json(data, capsys):
    """With --json it is the same as data."""
    assert main(["models", "inspect", str(data / "tiny.tflite"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)

    assert result == json.loads(json.dumps(inspect_model(data / "tiny.tflite")._asdict()))
    assert np.allclose(result["outputs"][0]["scale"], 0.0143821)


def test_command_refuses(data, tmp_path, capsys):
    """A file that is no model, or isn't there, ends with code 2 and one line."""
    assert main(["models", "inspect", str(data / "tiny.json")]) == 2
    assert main(["models", "inspect", str(tmp_path / "none.tflite")]) == 2

    assert len(capsys.readouterr().err.splitlines()) == 2


def test_names_that_a_terminal_would_obey(tmp_path, capsys):
    """Names out of a file are shown without control characters."""
    model = tiny_models.TinyModel()
    image, embedding = tiny_models.extractor(model, np.random.RandomState(0), 4)
    content = model.build([image], [embedding], metadata=[("evil\x1b[2Jname", b"x")])
    (tmp_path / "model.tflite").write_bytes(content)
    assert main(["models", "inspect", str(tmp_path / "model.tflite")]) == 0

    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "evil?[2Jname" in out
