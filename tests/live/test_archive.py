"""The data set leaves a daemon and comes into another one."""

import http.client
import io
import json
import random
import threading
import zipfile
from pathlib import Path

import pytest

COLOURS = {"red": (200, 30, 30), "green": (30, 180, 40), "blue": (40, 50, 210)}
ENDED = ("succeeded", "failed", "cancelled", "interrupted")


def packed(files):
    """A zip of (name, bytes)."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files:
            archive.writestr(name, data)
    return file.getvalue()


def send(daemon, archive, kind="application/zip"):
    """Ask for an import; returns the job as it was queued."""
    reply = daemon.ask("POST", "/v1/import", archive, Content_Type=kind)
    assert reply.status == 202, reply.body
    assert reply.headers["Location"] == "/v1/jobs/" + reply.json["id"]
    return reply.json


def ended(daemon, job, seconds=120):
    """The job once it has ended."""
    place = "/v1/jobs/" + job["id"]
    return daemon.wait_for(
        lambda: next((now for now in [daemon.get(place).json] if now["state"] in ENDED), None), seconds
    )


def examples(daemon):
    """How many examples each class has."""
    return {one["name"]: one["examples"] for one in daemon.get("/v1/classes?size=1000").json["items"]}


def answers(daemon, make_picture, encode):
    """Class and scores for pictures that were not taught."""
    asked = [encode(make_picture(colour, 100 + seed)) for colour in COLOURS.values() for seed in range(3)]
    return [(one["class"], one["score"]) for one in (daemon.classify(data).json for data in asked)]


@pytest.fixture
def colour_files(make_picture, encode):
    """colour_files(count): (name, bytes) of so many pictures a colour, in a folder each."""

    def make(count):
        return [
            (f"{name}/{seed}.jpg", encode(make_picture(colour, seed)))
            for name, colour in COLOURS.items()
            for seed in range(count)
        ]

    return make


def test_to_another_daemon(start_daemon, tiny_model, make_picture, encode, colour_files, tmp_path):
    """What is exported while teaching goes on gives another daemon the same classes, examples and answers."""
    first = start_daemon("--model", str(tiny_model))
    for name, data in colour_files(4):
        assert first.teach(name.split("/")[0], data).status == 201
    assert first.post_json("/v1/classes", {"name": "none yet: *"}).status == 201
    before, stop, taught = answers(first, make_picture, encode), threading.Event(), []

    def teach_on():
        for seed in range(1000, 2000):
            if stop.is_set():
                return
            reply = first.teach("later", encode(make_picture((10, 220, 220), seed)))
            taught.append(reply.json["accepted"][0]["id"])

    teaching = threading.Thread(target=teach_on)
    teaching.start()
    try:
        first.wait_for(lambda: taught, what="a lesson")
        reply = first.get("/v1/export")
    finally:
        stop.set()
        teaching.join(60)
    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/zip")
    assert 'attachment; filename="coral-learn-20' in reply.headers["Content-Disposition"]
    with zipfile.ZipFile(io.BytesIO(reply.body)) as archive:
        assert archive.testzip() is None
        manifest = json.loads(archive.read("manifest.json").decode())
    exported = sum(one["class"] == "later" for one in manifest["examples"])
    assert manifest["left_out"] == 0

    second = start_daemon("--model", str(tiny_model), data_dir=tmp_path / "second")
    job = ended(second, send(second, reply.body))
    assert job["state"] == "succeeded", job
    assert job["metrics"]["accepted"] == 12 + exported
    assert exported >= 1
    assert examples(second) == {"red": 4, "green": 4, "blue": 4, "none yet: *": 0, "later": exported}
    assert second.delete("/v1/classes/later").status == 200
    assert answers(second, make_picture, encode) == before
    assert sorted(path.name for path in (tmp_path / "second" / "incoming").iterdir()) == []


def test_any_archive_with_folders(tiny_daemon, colour_files):
    """A folder is a class; duplicates and what can't be used are counted, by reason; twice changes nothing."""
    files = colour_files(3)
    files += [("red/again.jpg", files[0][1]), ("red/broken.jpg", files[1][1][:-300]), ("red/notes.txt", b"x")]
    files += [("red/._0.jpg", b"x"), ("../red/x.jpg", files[0][1])]
    archive = packed([("my pictures/" + name, data) for name, data in files])
    job = ended(tiny_daemon, send(tiny_daemon, archive))
    assert (job["kind"], job["state"], job["progress"]) == ("import", "succeeded", 1.0)
    assert job["options"] == {"bytes": len(archive)}
    assert job["metrics"] == {
        "accepted": 9,
        "duplicates": 1,
        "rejected": 2,
        "skipped": 2,
        "classes": 3,
        "reasons": {"image_broken": 1, "not_a_picture": 1, "hidden_file": 1, "path_unsafe": 1},
    }
    assert examples(tiny_daemon) == {"red": 3, "green": 3, "blue": 3}
    assert {one["source"] for one in tiny_daemon.get("/v1/examples?size=100").json["items"]} == {"import"}
    again = ended(tiny_daemon, send(tiny_daemon, archive, "application/octet-stream"))["metrics"]
    assert (again["accepted"], again["duplicates"]) == (0, 10)


def test_undone(tiny_daemon, colour_files, make_picture, encode):
    """An import is taken back as one, once it has ended; while it goes on it is refused."""
    assert tiny_daemon.teach("red", encode(make_picture("red", 5000))).status == 201
    before = tiny_daemon.get("/v1/examples").json["items"]
    job = send(tiny_daemon, packed(colour_files(200)))
    tiny_daemon.wait_for(lambda: sum(examples(tiny_daemon).values()) >= 51, 60, "fifty examples")
    assert tiny_daemon.post_json("/v1/undo", {}).json["code"] == "import_under_way"
    assert ended(tiny_daemon, job)["metrics"]["accepted"] == 600
    reply = tiny_daemon.post_json("/v1/undo", {})
    assert (reply.status, reply.json["undone"]["details"]["job"]) == (200, job["id"])
    assert examples(tiny_daemon) == {"red": 1}
    assert tiny_daemon.get("/v1/examples").json["items"] == before
    assert len(list((tiny_daemon.data_dir / "images").glob("??/*"))) == 1
    assert tiny_daemon.get("/v1/journal").json["items"][0]["details"]["count"] == 600


def test_archives_that_are_refused(tiny_daemon, colour_files):
    """What is no archive is refused at once, what holds nothing fails, with a code that says why."""
    archive = packed(colour_files(1))
    for path, body, kind, status, code in (
        ("/v1/import", b"", "application/zip", 422, "body_missing"),
        ("/v1/import", b"no archive" * 100, "application/zip", 400, "archive_unsupported"),
        ("/v1/import", archive[:-30], "application/zip", 400, "archive_damaged"),
        ("/v1/import", archive, "image/jpeg", 415, "unsupported_media_type"),
        ("/v1/import?class=red", archive, "application/zip", 422, "invalid"),
    ):
        reply = tiny_daemon.ask("POST", path, body, Content_Type=kind)
        assert (reply.status, reply.json["code"]) == (status, code)
    empty = ended(tiny_daemon, send(tiny_daemon, packed([("a.txt", b"x")])))
    assert (empty["state"], empty["error"]["code"]) == ("failed", "archive_empty")
    assert list((tiny_daemon.data_dir / "incoming").iterdir()) == []
    assert examples(tiny_daemon) == {}


def test_key_of_another_archive(start_daemon, tiny_model, colour_files):
    """An archive too large for memory that comes with the key of another, equally long, is not taken for that one."""
    daemon = start_daemon("--model", str(tiny_model), "--max-upload-mb", "0.1")
    noise = random.Random(0).getrandbits(8 * 200_000).to_bytes(200_000, "big")
    archives = [packed([*colour_files(1), (name, noise)]) for name in ("a.txt", "b.txt")]
    assert len(archives[0]) == len(archives[1]) > 2 * 100_000
    replies = [
        daemon.ask("POST", "/v1/import", body, Content_Type="application/zip", Idempotency_Key="one")
        for body in (*archives, archives[0])
    ]
    assert [reply.status for reply in replies] == [202, 422, 202]
    assert replies[1].json["code"] == "idempotency_key_reused"
    assert replies[2].headers["Idempotency-Replayed"] == "true"
    assert ended(daemon, replies[0].json)["state"] == "succeeded"
    assert examples(daemon) == {"red": 1, "green": 1, "blue": 1}


def test_killed_in_the_middle(tiny_daemon, colour_files):
    """An import that was answered with 202 is finished after -9; nothing is missing, nothing twice, all is counted."""
    job = send(tiny_daemon, packed(colour_files(400)))
    tiny_daemon.wait_for(lambda: sum(examples(tiny_daemon).values()) >= 100, 60, "a hundred examples")
    tiny_daemon.kill()
    tiny_daemon.start()
    now = ended(tiny_daemon, job)
    assert now["state"] == "succeeded", now
    assert examples(tiny_daemon) == {"red": 400, "green": 400, "blue": 400}
    metrics = now["metrics"]
    assert (metrics["restarted"], metrics["accepted"], metrics["duplicates"]) == (True, 1200, 0)
    assert list((tiny_daemon.data_dir / "incoming").iterdir()) == []


def test_cancelled(tiny_daemon, colour_files):
    """It ends between two steps; what was imported stays, and the next job has its turn."""
    job = send(tiny_daemon, packed(colour_files(700)))
    waiting = send(tiny_daemon, packed(colour_files(2)))
    tiny_daemon.wait_for(lambda: sum(examples(tiny_daemon).values()) >= 50, 60, "fifty examples")
    assert tiny_daemon.delete("/v1/jobs/" + job["id"]).json["state"] == "cancelled"
    count = sum(examples(tiny_daemon).values())
    assert 50 <= count < 2100
    assert ended(tiny_daemon, waiting)["state"] == "succeeded"
    assert list((tiny_daemon.data_dir / "incoming").iterdir()) == []


def test_cancelled_while_it_waits(tiny_daemon, colour_files):
    """Its archive goes with it."""
    send(tiny_daemon, packed(colour_files(500)))
    waiting = send(tiny_daemon, packed(colour_files(1)))
    assert tiny_daemon.delete("/v1/jobs/" + waiting["id"]).json["state"] == "cancelled"
    assert not (tiny_daemon.data_dir / "incoming" / waiting["id"]).exists()


def test_larger_than_any_other_body(start_daemon, tiny_model, colour_files):
    """An archive may be larger than what other paths take; those refuse it, told its length or not."""
    flags = ("--max-upload-mb", "0.2", "--max-import-mb", "4", "--max-streams", "2")
    daemon = start_daemon("--model", str(tiny_model), *flags)
    archive = packed([*colour_files(2), ("red/padding.bin", bytes(3_000_000))])
    assert ended(daemon, send(daemon, archive))["metrics"]["accepted"] == 6

    def status(method, path, body, chunked):
        connection = daemon.connect()
        try:
            connection.putrequest(method, path)
            connection.putheader("Content-Type", "application/zip")
            headers = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(body)))
            connection.putheader(*headers)
            connection.endheaders()
            try:
                for start in range(0, len(body), 50_000):
                    part = body[start : start + 50_000]
                    connection.send(b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
                connection.send(b"0\r\n\r\n" if chunked else b"")
            except OSError:
                pass  # refused before the end
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None  # reset before the answer was read
        finally:
            connection.close()

    for path in ("/v1/classify", "/v1/import/", "/v1/imports"):
        assert daemon.ask("POST", path, bytes(300_000)).json["code"] == "body_too_large"
    for chunked in (False, True):
        assert status("POST", "/v1/import", archive, chunked) == 202
        for path in ("/v1/classify", "/v1/examples?class=x", "/v1/import/", "/v1/imports"):
            assert status("POST", path, archive, chunked) in (413, None)
        assert status("PUT", "/v1/import", archive, chunked) in (413, None)
        assert status("POST", "/v1/import", bytes(6_000_000), chunked) in (413, None)
    assert examples(daemon) == {"red": 2, "green": 2, "blue": 2}
    daemon.wait_for(lambda: not list((daemon.data_dir / "incoming").iterdir()), what="an empty folder")


def test_connection_lost_while_sending(tiny_daemon, colour_files):
    """Half an archive is no import and leaves nothing behind."""
    archive = packed(colour_files(50))
    connection = tiny_daemon.connect()
    connection.putrequest("POST", "/v1/import")
    connection.putheader("Content-Length", str(len(archive)))
    connection.endheaders()
    connection.send(archive[: len(archive) // 2])
    folder = Path(tiny_daemon.data_dir) / "incoming"
    tiny_daemon.wait_for(lambda: list(folder.iterdir()), what="a spooled body")
    connection.close()
    tiny_daemon.wait_for(lambda: not list(folder.iterdir()), what="an empty folder")
    assert tiny_daemon.get("/v1/jobs").json["total"] == 0


def test_no_room_for_an_archive(start_daemon, tiny_model, colour_files):
    """It is refused by its length, before a byte of it is on the disk."""
    daemon = start_daemon("--model", str(tiny_model), "--min-free-mb", "999999")
    reply = daemon.ask("POST", "/v1/import", packed(colour_files(1)), Content_Type="application/zip")
    assert (reply.status, reply.json["code"]) == (507, "store_full")


def test_export_of_what_can_not_be_read(tiny_daemon, make_picture, encode):
    """A picture whose file is gone is missing in the archive; one that fails to be read breaks the connection."""
    for seed in range(2):
        large = encode(make_picture("red", seed, 400, 300), "BMP")
        assert tiny_daemon.teach("a", large).status == 201
    example = tiny_daemon.teach("b", encode(make_picture("blue", 0))).json["accepted"][0]
    path = tiny_daemon.data_dir / "images" / example["sha256"][:2] / example["sha256"]
    path.unlink()
    with zipfile.ZipFile(io.BytesIO(tiny_daemon.get("/v1/export").body)) as archive:
        assert json.loads(archive.read("manifest.json").decode())["missing"] == 1
    path.mkdir()
    with pytest.raises(http.client.IncompleteRead):
        tiny_daemon.get("/v1/export")
    assert f"whose files are gone; of the examples {example['id']}" in tiny_daemon.log
    assert "an export is broken off" in tiny_daemon.log


def test_places_for_exports(start_daemon, tiny_model):
    """An export takes one of the places of those who watch, and gives it back."""
    daemon = start_daemon("--model", str(tiny_model), "--max-streams", "1")
    for _ in range(3):
        assert daemon.get("/v1/export").status == 200
        assert daemon.ask("HEAD", "/v1/export").status == 200
    connection = daemon.connect()
    connection.request("GET", "/v1/stream")
    watching = connection.getresponse()  # kept: without it the connection is closed
    reply = daemon.get("/v1/export")
    assert watching.status == 200
    connection.close()
    assert (reply.status, reply.json["code"]) == (503, "too_many_streams")
