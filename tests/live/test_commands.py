"""The commands and the client, against a real daemon."""

import json
import os
import signal
import subprocess
import sys

import pytest
from daemon_process import ROOT

from service.client import Client
from service.errors import ConnectionLost, ProblemError

COLOURS = ("red", "green", "blue")


def start(daemon, *arguments, **streams):
    """A command for a daemon as a process."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("CORAL_LEARN_")}
    variables.update(CORAL_LEARN_URL=daemon.url, PYTHONWARNINGS="error")
    command = [sys.executable, "-m", "service", *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=str(ROOT), env=variables, stdout=pipe, stderr=pipe, universal_newlines=True, **streams
    )


def run(daemon, *arguments):
    """Exit code, standard output and standard error of a command."""
    with start(daemon, *arguments) as process:
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err


@pytest.fixture
def folders(tmp_path, make_picture, encode):
    """A folder a colour, six pictures in each."""
    for colour in COLOURS:
        (tmp_path / "pictures" / colour).mkdir(parents=True)
        for seed in range(6):
            (tmp_path / "pictures" / colour / f"{seed}.jpg").write_bytes(encode(make_picture(colour, seed, 320, 240)))
    return tmp_path / "pictures"


@pytest.fixture
def client(tiny_daemon):
    """A client of a daemon with the tiny model."""
    with Client(tiny_daemon.url) as client:
        yield client


def test_from_folders_to_answers(tiny_daemon, folders, tmp_path, make_picture, encode):
    """Teach folders, ask, train, see it in the status; a bar is drawn for nobody, so standard error stays empty."""
    code, out, err = run(tiny_daemon, "add", "--folders", folders)
    assert code == 0
    assert out == "".join(f"{colour}: 6 pictures taught; the class has 6\n" for colour in sorted(COLOURS))
    assert all("hardly anything in it" in line for line in err.splitlines()), "of nothing but a colour"
    asked = tmp_path / "asked.png"
    asked.write_bytes(encode(make_picture("green", 50, 320, 240), "PNG"))
    code, out, err = run(tiny_daemon, "classify", asked)
    assert (code, err) == (0, "")
    assert out.startswith(f"{asked}: green 0.")
    code, out, err = run(tiny_daemon, "train", "--head", "softmax", "--activate", "always", "--option", "epochs=5")
    assert (code, out, err) == (0, "version 1 answers from now on: activation was asked for in any case\n", "")
    code, out, err = run(tiny_daemon, "status")
    assert (code, err) == (0, "")
    for part in ("model      1 (softmax)", "3 classes, 18 examples", "tiny, ready", "device     cpu"):
        assert part in out
    assert json.loads(run(tiny_daemon, "status", "--json")[1])["model"]["version"] == 1


def test_refused_files_are_named(tiny_daemon, folders):
    """The others are taught, known ones counted, the code is 1; a wrong option is the daemon's to refuse."""
    bad = folders / "red" / "bad.jpg"
    bad.write_bytes(b"no picture")
    (folders / "red" / "0.jpg").rename(folders / "red" / "zero.jpg")
    run(tiny_daemon, "add", "red", folders / "red" / "zero.jpg")
    code, out, err = run(tiny_daemon, "add", "red", folders / "red")
    assert (code, out) == (1, "red: 5 pictures taught, 1 were known; the class has 6\n")
    assert [line for line in err.splitlines() if line.startswith(f"coral-learn: {bad}: not a picture")]
    code, out, err = run(tiny_daemon, "train", "--head", "brain")
    assert (code, out) == (1, "")
    assert "'brain'" in err


def test_watching_until_interrupted(start_daemon, tiny_model, folders):
    """A line a frame as they come; Ctrl-C ends it with 0; so does a reader that has gone."""
    daemon = start_daemon("--model", str(tiny_model), "--camera", str(folders), "--camera-fps", "20")
    assert run(daemon, "add", "--folders", folders)[0] == 0
    for end in (lambda process: process.send_signal(signal.SIGINT), lambda process: process.stdout.close()):
        process = start(daemon, "watch")
        lines = [process.stdout.readline() for _ in range(5)]
        end(process)
        assert process.wait(30) == 0
        assert "Traceback" not in process.stderr.read()
        process.stdout.close()
        process.stderr.close()
        assert all(line.split()[0] in (*COLOURS, "-") for line in lines)
        assert lines[-1].endswith("frames/s\n")
    code, out, _ = run(daemon, "watch", "--json", "--count", "2")
    events = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [one["class"] in COLOURS for one in events if one["event"] == "classification"] == [True, True]


def test_tokens_of_the_data_folder(start_daemon, tiny_model):
    """A daemon on the network wants a token; commands on its machine find it, others hear where it is."""
    daemon = start_daemon("--model", str(tiny_model), "--host", "0.0.0.0", ready=False)
    code, _, err = run(daemon, "status")
    assert code == 1
    assert "tokens.json" in err
    daemon.wait_for(lambda: run(daemon, "status", "--data-dir", daemon.data_dir)[0] == 0, 60, "an answer")


def test_the_client_teaches_and_takes_back(client, make_picture, encode):
    """Classes, examples, their pictures, moving, merging and undoing are what the daemon makes of them."""
    for colour in COLOURS:
        added = client.add_examples(colour, *[encode(make_picture(colour, seed)) for seed in range(3)], b"no picture")
        assert (len(added.accepted), [one.code for one in added.refused]) == (3, ["image_format_unsupported"])
    assert client.classify(encode(make_picture("red", 50))).label == "red"
    listed = list(client.examples("red"))
    assert client.image(listed[0].id) == encode(make_picture("red", 0))
    assert client.example(listed[0].id) == listed[0]
    assert client.move_example(listed[0].id, "blue").class_name == "blue"
    assert [one[:2] for one in client.classes()] == [("red", 2), ("green", 3), ("blue", 4)]
    client.undo()
    client.delete_example(listed[0].id)
    client.undo()
    assert {one.id for one in client.examples("red")} == {one.id for one in listed}
    with pytest.raises(ProblemError) as caught:
        client.rename_class("red", "green")
    assert (caught.value.status, caught.value.code) == (409, "class_exists")
    assert client.merge_class("red", "green")[:2] == ("green", 6)
    assert client.rename_class("green", "warm")[:2] == ("warm", 6)
    assert client.delete_class("warm")["examples"] == 6
    assert client.create_class("new") == client.get_class("new") == ("new", 0, False)
    assert next(client.journal())["action"] == "add_class"
    assert client.failing() == []


def test_the_client_trains_and_takes_models_home(client, make_picture, encode, tmp_path):
    """A job is followed to its end; its model is activated, reported on and downloaded."""
    for colour in COLOURS:
        client.add_examples(colour, *[encode(make_picture(colour, seed)) for seed in range(4)])
    seen = []
    job = client.wait(client.train(head="lda", activate="never").id, lambda now: seen.append(now.progress))
    assert (job.state, seen, next(client.jobs()).id) == ("succeeded", sorted(seen), job.id)
    version = job.model["version"]
    assert client.activate(version)["model"]["version"] == version
    assert client.model(version)["active"]
    assert client.activate("live", "knn")["model"]["head"] == "knn"
    assert [one["version"] for one in client.models()] == ["live", version]
    assert client.report(version)["head"] == "lda"
    assert client.labels(version) == list(COLOURS)
    size = client.download_model(version, tmp_path / "model.tflite")
    assert (tmp_path / "model.tflite").stat().st_size == size
    assert (tmp_path / "model.tflite").read_bytes()[4:8] == b"TFL3"
    with pytest.raises(ProblemError):
        client.cancel(job.id)


def test_a_body_that_is_too_large_is_refused_as_such(client):
    """Although the daemon does not read it to its end."""
    with pytest.raises(ProblemError) as caught:
        client.classify(bytes(40_000_000))
    assert caught.value.code == "body_too_large"


def test_streams_outlive_the_daemon(tiny_daemon, client):
    """A killed daemon breaks a plain stream; one that may reconnect goes on when the daemon is back."""
    plain, lasting = client.stream(), client.stream(reconnect=True)
    for events in (plain, lasting):
        assert [next(events).kind for _ in range(2)] == ["camera", "extractor"]
    port = tiny_daemon.url.rpartition(":")[2]
    tiny_daemon.kill()
    with pytest.raises(ConnectionLost):
        next(plain)
    tiny_daemon.command[tiny_daemon.command.index("--port") + 1] = port
    tiny_daemon.start()
    assert next(lasting).kind == "camera"
    lasting.close()
    assert client.status()["counts"]["examples"] == 0
