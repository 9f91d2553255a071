"""The commands: which daemon and token they take, what they print, and how they end."""

import io
import json
import zipfile

import pytest
from stand_in import StandIn, chunks, json_reply, refusal, reply

from service.__main__ import main
from service.http.access import load_tokens
from service.progress import Progress

MODEL = {"version": "live", "revision": 3, "head": "imprinting"}
JOB = {
    "id": "j1",
    "kind": "train",
    "state": "queued",
    "options": {},
    "progress": 0.0,
    "metrics": {},
    "model": None,
    "error": None,
}
TAUGHT = {
    "class": "cat",
    "accepted": [{"id": "e1", "duplicate": False, "warnings": ["careful"]}],
    "rejected": [],
    "class_examples": 2,
    "model": MODEL,
}
ANSWER = {
    "class": "cat",
    "score": 0.9,
    "predictions": [{"class": "cat", "score": 0.9}, {"class": "dog", "score": 0.1}],
    "model": MODEL,
    "device": "cpu",
    "timing_ms": {},
}
JPEG = b"\xff\xd8\xff\xe0 and so on"


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server that answers as told, and an environment that names it and nothing else."""
    for name in ("TOKEN", "CA_FILE", "CONFIG", "DATA_DIR", "HOST", "PORT"):
        monkeypatch.delenv("CORAL_LEARN_" + name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    stand_in = StandIn()
    monkeypatch.setenv("CORAL_LEARN_URL", stand_in.url)
    yield stand_in
    stand_in.close()


@pytest.fixture
def pictures(tmp_path):
    """A folder of folders: two classes, a hidden one, an empty one, and files that are no pictures."""
    root = tmp_path / "pictures"
    for name in ("cat/1.jpg", "cat/more/2.JPG", "cat/.hidden.jpg", "cat/notes.txt", "dog/1.png", ".git/1.jpg"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(JPEG)
    (root / "empty").mkdir()
    return root


def ended(job: dict, **facts) -> bytes:
    return b"event: job\ndata: " + json.dumps(dict(job, **facts)).encode() + b"\n\n"


def test_status_says_what_is_under_way(server, capsys):
    """What runs and waits is named in the order of its turns, what has ended is not, and what answers lack is said."""
    facts = {
        "version": "1",
        "device": "cpu",
        "device_reason": "asked for",
        "degraded": False,
        "extractor": {"name": "tiny", "state": "ready"},
        "model": MODEL,
        "counts": {"classes": 1, "examples": 2},
        "camera": {"state": "none"},
        "incomplete": "3 stored pictures are still to be embedded",
    }
    server.on("GET /v1/status", json_reply(facts))
    jobs = [JOB, dict(JOB, kind="extractor", state="running", progress=0.25), dict(JOB, state="failed")]
    server.on("GET /v1/jobs", json_reply({"items": jobs, "page": 1, "size": 20, "total": 3}))
    assert main(["status"]) == 0
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "incomplete 3 stored pictures are still to be embedded",
        "job        extractor, running, 25%",
        "job        train, queued",
    ]


def status_token(server) -> str:
    """The token that came with the last request."""
    return (server.asked[-1].headers["Authorization"] or "").replace("Bearer ", "")


def test_token_comes_from_flag_environment_or_data_folder(server, monkeypatch, tmp_path):
    """In that order; of the data folder it is the stronger one, which the daemon put there."""
    server.on("GET /v1/status", json_reply({}))
    tokens = load_tokens(tmp_path)
    assert main(["status", "--json"]) == 0
    assert status_token(server) == ""
    main(["status", "--json", "--data-dir", str(tmp_path)])
    assert status_token(server) == tokens["manage"]
    monkeypatch.setenv("CORAL_LEARN_TOKEN", "of-environment")
    main(["status", "--json", "--data-dir", str(tmp_path)])
    assert status_token(server) == "of-environment"
    main(["status", "--json", "--token", "of-flag"])
    assert status_token(server) == "of-flag"


def test_tokens_of_this_machine_go_nowhere_else(server, monkeypatch, tmp_path):
    """A daemon elsewhere is not sent what the data folder of this machine's daemon holds."""
    monkeypatch.setenv("CORAL_LEARN_DATA_DIR", str(tmp_path))
    tokens = load_tokens(tmp_path)
    server.on("GET /v1/status", json_reply({}))
    main(["status", "--json"])
    assert status_token(server) == tokens["manage"]
    # 0.0.0.0 is this machine as well, but not by one of its names
    main(["status", "--json", "--url", server.url.replace("127.0.0.1", "0.0.0.0")])
    assert status_token(server) == ""


def test_address_comes_from_the_configuration(server, monkeypatch, tmp_path):
    """Without --url and its variable it is this machine at the configured port."""
    monkeypatch.delenv("CORAL_LEARN_URL")
    config = tmp_path / "coral-learn.conf"
    config.write_text(f"[coral-learn]\nhost = 0.0.0.0\nport = {server.port}\n")
    server.on("GET /v1/status", json_reply({"version": "1"}))
    assert main(["status", "--json", "--config", str(config)]) == 0
    assert len(server.asked) == 1


@pytest.mark.usefixtures("server")
def test_variables_of_the_commands_are_no_settings(monkeypatch, capsys):
    """The daemon can be started where they are set."""
    monkeypatch.setenv("CORAL_LEARN_TOKEN", "secret-token")
    assert main(["print-config"]) == 0
    assert "secret-token" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "--url", "ftp://board"],
        ["status", "--token", "two words"],
        ["status", "--config", "/nonexistent.conf"],
        ["add", "cat"],
        ["add", "--folders", "/nonexistent"],
        ["train", "--option", "epochs"],
        ["classify"],
    ],
    ids=" ".join,
)
def test_wrong_use(server, capsys, arguments):
    """Exit code 2, a reason, and no request."""
    server.answers = {}
    try:
        code = main(arguments)
    except SystemExit as exit:  # argparse's own
        code = exit.code
    assert code == 2
    assert capsys.readouterr().err
    assert server.asked == []


def test_daemon_that_is_not_there(server, capsys):
    """Exit code 1 and what to do; a missing token says where to find it."""
    server.on("GET /v1/status", refusal(401, "token_needed", "send the token"))
    assert main(["status"]) == 1
    assert "tokens.json" in capsys.readouterr().err
    assert main(["status", "--url", "http://127.0.0.1:1"]) == 1
    assert "is the daemon running" in capsys.readouterr().err


def test_add_walks_folders(server, pictures, capsys):
    """Pictures by their ending, folders in folders, nothing hidden; a line a class, a warning once."""
    server.on("POST /v1/examples", json_reply(TAUGHT, 201))
    assert main(["add", "cat", str(pictures / "cat"), str(pictures / "dog" / "1.png")]) == 0
    out, err = capsys.readouterr()
    assert (len(server.asked), out) == (3, "cat: 3 pictures taught; the class has 2\n")
    assert err.count("careful") == 1


def test_add_takes_each_folder_as_a_class(server, pictures, capsys):
    """The folder's name is the class's; a folder without pictures is named, and the code is 1."""
    server.on("POST /v1/examples", json_reply(TAUGHT, 201))
    assert main(["add", "--json", "--folders", str(pictures)]) == 1
    out, err = capsys.readouterr()
    assert [asked.path for asked in server.asked] == ["/v1/examples?class=cat"] * 2 + ["/v1/examples?class=dog"]
    told = json.loads(out)
    assert [one["class"] for one in told["accepted"]] == ["cat", "cat", "dog"]
    assert [one["code"] for one in told["refused"]] == ["no_pictures"]
    assert "empty: holds no picture" in err


def test_add_names_each_refused_file(server, pictures, tmp_path, capsys):
    """With its reason, the others taught; exit code 1."""
    server.on("POST /v1/examples", refusal(415, "image_format_unsupported", "not a picture"), json_reply(TAUGHT, 201))
    first, second = str(pictures / "cat" / "notes.txt"), str(pictures / "cat" / "1.jpg")
    assert main(["add", "cat", first, str(tmp_path / "missing.jpg"), second]) == 1
    out, err = capsys.readouterr()
    assert out == "cat: 1 pictures taught; the class has 2\n"
    assert f"{first}: not a picture" in err
    assert "missing.jpg: No such file or directory" in err


def test_add_ends_where_all_would_fail(server, pictures, capsys):
    """A full disk is told once, after what was taught before; a bad class name once for its class."""
    for number in range(2, 6):
        (pictures / "dog" / f"{number}.jpg").write_bytes(JPEG)
    server.on("POST /v1/examples", json_reply(TAUGHT, 201), refusal(507, "store_full", "no space left"))
    assert main(["add", "cat", str(pictures / "dog")]) == 1
    out, err = capsys.readouterr()
    assert (out, len(server.asked)) == ("cat: 1 pictures taught; the class has 2\n", 2)
    assert err.count("no space left") == 1
    server.on("POST /v1/examples", refusal(422, "name_invalid", "no slash"))
    assert main(["add", "a/b", str(pictures / "dog")]) == 1
    assert (capsys.readouterr().err, len(server.asked)) == ("coral-learn: a/b: no slash\n", 3)


def test_classify_prints_a_line_a_picture(server, pictures, capsys):
    """Class, score and the others; none of what was taught; JSON has the whole answer and the errors."""
    unknown, nearest = dict(ANSWER, **{"class": None}), [{"example": "e1", "class": "cat", "similarity": 0.5}]
    server.on("POST /v1/classify", json_reply(ANSWER), json_reply(dict(unknown, nearest=nearest)))
    cats = str(pictures / "cat")
    assert main(["classify", cats]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{cats}/1.jpg: cat 0.90 (dog 0.10)",
        f"{cats}/more/2.JPG: none of what was taught (cat 0.90, dog 0.10)",
        "  like e1 of cat, 0.50",
    ]
    server.on("POST /v1/classify", json_reply(ANSWER), refusal(400, "image_broken", "cut off"))
    assert main(["classify", "--json", cats]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == {"file": f"{cats}/1.jpg", **ANSWER}
    assert lines[1]["error"] == {"code": "image_broken", "detail": "cut off"}


def test_train_sends_options_and_waits(server, capsys):
    """Values are numbers where they are; the outcome says whether the version answers; failing is exit code 1."""
    server.on("POST /v1/train", json_reply(JOB, 202))
    model = {"version": 4, "activated": True, "reason": "it is better"}
    done = ended(JOB, state="succeeded", model=model)
    server.on("GET /v1/jobs/j1/events", chunks(done, kind="text/event-stream"))
    options = ["--option", "epochs=5", "--option", "balance=false", "--option", "optimizer=sgd"]
    assert main(["train", "--head", "softmax", "--activate", "always", *options]) == 0
    assert capsys.readouterr().out == "version 4 answers from now on: it is better\n"
    assert json.loads(server.asked[0].body.decode()) == {
        "epochs": 5,
        "balance": False,
        "optimizer": "sgd",
        "head": "softmax",
        "activate": "always",
    }
    failed = ended(JOB, state="failed", error={"detail": "two classes are needed"})
    server.on("GET /v1/jobs/j1/events", chunks(failed, kind="text/event-stream"))
    assert main(["train", "--json"]) == 1
    out, err = capsys.readouterr()
    assert (json.loads(out)["state"], err) == ("failed", "coral-learn: the job j1 has failed: two classes are needed\n")
    assert main(["train", "--no-wait"]) == 0
    assert capsys.readouterr().out == "the job j1 is queued\n"


def test_watch_prints_frames_as_they_come(server, capsys):
    """Class, score and frames a second, a line each; JSON lines have everything; --count ends it."""
    blocks = [b'event: camera\ndata: {"state": "online", "reason": ""}\n\n']
    blocks.append(b'event: extractor\ndata: {"state": "lost", "reason": "it was unplugged"}\n\n')
    for number in range(3):
        facts = {"decided": "cat" if number else None, "score": 0.5, "fps": 10.0 if number else None}
        blocks.append(b"event: classification\ndata: " + json.dumps(facts).encode() + b"\n\n")
    server.on("GET /v1/stream", chunks(*blocks, kind="text/event-stream"))
    assert main(["watch", "--count", "3"]) == 0
    out, err = capsys.readouterr()
    assert [line.split() for line in out.splitlines()] == [
        ["-", "0.50"],
        ["cat", "0.50", "10.0", "frames/s"],
        ["cat", "0.50", "10.0", "frames/s"],
    ]
    assert err == "camera online\nextractor lost: it was unplugged\n"
    assert main(["watch", "--json", "--count", "2"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["camera", "extractor", "classification", "classification"]
    assert [line["fps"] for line in lines[2:]] == [None, 10.0]


def test_watch_without_a_camera(server, capsys):
    """Nothing will ever come, so it says so and ends with 1."""
    blocks = [b'event: camera\ndata: {"state": "none", "reason": "no camera"}\n\n']
    server.on("GET /v1/stream", chunks(*blocks, kind="text/event-stream"))
    assert main(["watch"]) == 1
    assert "no camera" in capsys.readouterr().err


def archive_that_lacks(missing):
    """An archive by a daemon that has lost so many pictures."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("manifest.json", json.dumps({"missing": missing, "examples": []}))
    return file.getvalue()


def test_export_writes_over_nothing_unasked(server, tmp_path, capsys):
    """A file that is there needs --replace; without it nothing is asked for."""
    archive = archive_that_lacks(0)
    server.on("GET /v1/export", reply(archive, "application/zip"))
    path = tmp_path / "all.zip"
    assert main(["export", str(path)]) == 0
    assert path.read_bytes() == archive
    assert main(["export", str(path)]) == 2
    assert len(server.asked) == 1
    capsys.readouterr()
    assert main(["export", "--json", "--replace", str(path)]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(path), "bytes": len(archive), "missing": 0}
    assert main(["export", str(tmp_path / "nowhere" / "all.zip")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert main(["export", "-"]) == 2
    assert "'-' is no name of one" in capsys.readouterr().err


@pytest.mark.parametrize("as_json", [False, True])
def test_incomplete_export_fails(server, tmp_path, capsys, as_json):
    """The file is kept and its size printed, but who takes it for a backup is warned, by the exit code as well."""
    archive, path = archive_that_lacks(1), tmp_path / "all.zip"
    server.on("GET /v1/export", reply(archive, "application/zip"))
    assert main(["export", str(path), *(["--json"] if as_json else [])]) == 1
    assert path.read_bytes() == archive
    out, err = capsys.readouterr()
    assert "is incomplete: 1 of the taught pictures is missing" in err
    if as_json:
        assert json.loads(out) == {"file": str(path), "bytes": len(archive), "missing": 1}
    else:
        assert out == f"{path}: 0.0 MB\n"


def test_import_waits_for_its_job(server, tmp_path, capsys):
    """The archive is sent, the job followed, its figures printed; a missing file is exit code 1."""
    job = dict(JOB, kind="import")
    server.on("POST /v1/import", json_reply(job, 202))
    done = ended(job, state="succeeded", metrics={"examples": 12})
    server.on("GET /v1/jobs/j1/events", chunks(done, kind="text/event-stream"))
    (tmp_path / "all.zip").write_bytes(b"PK\x03\x04 archive")
    assert main(["import", str(tmp_path / "all.zip")]) == 0
    assert capsys.readouterr().out == "done: examples 12\n"
    assert server.asked[0].body == b"PK\x03\x04 archive"
    assert main(["import", str(tmp_path / "missing.zip")]) == 1
    assert "missing.zip: No such file or directory" in capsys.readouterr().err


def test_undo_says_what_was_taken_back(server, capsys):
    """In words for the actions that are known, by its name for others; a refusal is exit code 1."""

    def undone(action, **details):
        return json_reply({"undone": {"step": 7, "action": action, "details": details}, "model": MODEL})

    server.on(
        "POST /v1/undo",
        undone("rename_class", before="a", name="b"),
        undone("add_examples", name="cat", examples=["e1", "e2"]),
        undone("rename_class"),
        undone("another"),
        refusal(409, "not_last", "can't be undone"),
    )
    assert [main(["undo"]) for _ in range(5)] == [0, 0, 0, 0, 1]
    assert capsys.readouterr().out.splitlines() == [
        "taken back: the class 'a' was renamed 'b'",
        "taken back: pictures that were added to 'cat': 2",
        "taken back: the class '?' was renamed '?'",
        "taken back: another",
    ]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_is_for_terminals():
    """A bar in one line that is cleared at the end; nothing at all where nobody looks."""
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        with Progress("teaching", stream) as progress:
            progress.show(0.5, "2 of 4")
            progress.show(7)
            progress.show(None, "3 MB")
    assert file.getvalue() == ""
    drawn = terminal.getvalue()
    assert "\n" not in drawn
    for part in ("teaching [###############...............]  50% 2 of 4", "100%", "teaching 3 MB"):
        assert part in drawn
    assert drawn.endswith("\r\x1b[K")
