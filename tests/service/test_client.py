"""The client against a server that does as it is told: what it sends, what it makes of answers, when it tries again."""

import io
import json
import socket
import threading
import zipfile
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from stand_in import StandIn, chunks, cut_short, hang_up, json_reply, refusal, reply

from service import client as client_package
from service.client import Client, Prediction, RefusedFile
from service.client.connection import is_readable
from service.errors import (
    AddressError,
    ArchiveIncomplete,
    ConnectionLost,
    ProblemError,
    UnexpectedAnswer,
    Unreachable,
)

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
    "created": 1.0,
    "started": None,
    "finished": None,
}
LISTED = {"name": "cat", "examples": 2, "pretrained": False}
EXAMPLE = {"id": "e1", "class": "cat", "sha256": "00", "width": 4, "height": 3, "created": 1.5, "format": "JPEG"}
ANSWER = {
    "class": None,
    "score": 0.4,
    "predictions": [{"class": "cat", "score": 0.4}],
    "model": MODEL,
    "device": "cpu",
    "timing_ms": {"total": 1.0},
}
TAUGHT = {
    "class": "cat",
    "accepted": [{"id": "e1", "duplicate": False, "warnings": ["small"]}],
    "rejected": [],
    "class_examples": 2,
    "model": MODEL,
}
JPEG = b"\xff\xd8\xff\xe0 and so on"
EVENT_STREAM = "text/event-stream"


@pytest.fixture
def server():
    """A server that answers as told."""
    stand_in = StandIn()
    yield stand_in
    stand_in.close()


@pytest.fixture
def client(server):
    """A client of that server, with a token."""
    with Client(server.url + "/", "a-token", timeout=5) as client:
        yield client


def event(kind: str, data: dict, number: int) -> bytes:
    return f"event: {kind}\nid: {number}\ndata: {json.dumps(data)}\n\n".encode()


SIMPLE = [
    # call, request, query, body, answer
    (lambda c: c.status(), "GET /v1/status", {}, None, {"version": "1"}),
    (lambda c: c.get_class("hot dog?"), "GET /v1/classes/hot%20dog%3F", {}, None, LISTED),
    (lambda c: c.create_class("cat"), "POST /v1/classes", {}, {"name": "cat"}, LISTED),
    (lambda c: c.rename_class("a", "cat"), "PATCH /v1/classes/a", {}, {"name": "cat"}, LISTED),
    (lambda c: c.merge_class("a", "cat"), "PATCH /v1/classes/a", {"merge": ["true"]}, {"name": "cat"}, LISTED),
    (lambda c: c.delete_class("cat"), "DELETE /v1/classes/cat", {}, None, {"deleted": "cat"}),
    (lambda c: c.example("e1"), "GET /v1/examples/e1", {}, None, EXAMPLE),
    (lambda c: c.move_example("e1", "cat"), "PATCH /v1/examples/e1", {}, {"class": "cat"}, EXAMPLE),
    (lambda c: c.delete_example("e1"), "DELETE /v1/examples/e1", {}, None, {"deleted": "e1"}),
    (lambda c: c.delete_example("e1", True), "DELETE /v1/examples/e1", {"forever": ["true"]}, None, {"deleted": "e1"}),
    (lambda c: c.delete_examples(["e1", "e2"]), "DELETE /v1/examples", {}, {"examples": ["e1", "e2"]}, {"step": 1}),
    (lambda c: c.train(head="auto", epochs=3), "POST /v1/train", {}, {"head": "auto", "epochs": 3}, JOB),
    (lambda c: c.job("j1"), "GET /v1/jobs/j1", {}, None, JOB),
    (lambda c: c.cancel("j1"), "DELETE /v1/jobs/j1", {}, None, JOB),
    (lambda c: c.model("live"), "GET /v1/models/live", {}, None, {"version": "live"}),
    (lambda c: c.activate(3), "POST /v1/models/3/activate", {}, {}, {"model": MODEL}),
    (lambda c: c.activate("live", "lda"), "POST /v1/models/live/activate", {}, {"head": "lda"}, {"model": MODEL}),
    (lambda c: c.delete_model(3), "DELETE /v1/models/3", {}, None, {"deleted": 3, "model": MODEL}),
    (lambda c: c.report(3), "GET /v1/models/3/report", {}, None, {"head": "lda"}),
    (lambda c: c.undo(), "POST /v1/undo", {}, {}, {"undone": {}}),
    (lambda c: c.undo(7), "POST /v1/undo", {}, {"step": 7}, {"undone": {}}),
    (lambda c: c.undo(steps=[7, 8]), "POST /v1/undo", {}, {"steps": [7, 8]}, {"undone": {}}),
]


@pytest.mark.parametrize(("call", "request_line", "query", "body", "answer"), SIMPLE, ids=[one[1] for one in SIMPLE])
def test_each_method_asks_its_route(server, client, call, request_line, query, body, answer):
    """The method, the address with names quoted, the query, the JSON body and the token are those of the API."""
    server.on(request_line, json_reply(answer))
    result = call(client)
    (asked,) = server.asked
    assert parse_qs(urlsplit(asked.path).query) == query
    assert asked.headers["Authorization"] == "Bearer a-token"
    assert (json.loads(asked.body.decode()) if asked.body else None) == body
    assert (asked.headers["Content-Type"] == "application/json") == (body is not None)
    assert (asked.headers["Idempotency-Key"] is not None) == (asked.method != "GET")
    assert getattr(result, "facts", answer) == answer


def test_what_is_common_comes_as_named_fields(server, client):
    """A classification, a taught picture, an example, a class and a job are read by name."""
    server.on("POST /v1/classify", json_reply(ANSWER))
    server.on("POST /v1/examples", json_reply(TAUGHT, 201))
    server.on("GET /v1/examples/e1", json_reply(EXAMPLE))
    server.on("GET /v1/classes/cat", json_reply(LISTED))
    server.on("GET /v1/jobs/j1", json_reply(dict(JOB, state="failed")))
    answer = client.classify(JPEG, top_k=1, explain=True)
    assert answer[:6] == (None, 0.4, [Prediction("cat", 0.4)], MODEL, "cpu", {"total": 1.0})
    assert answer.answer == ANSWER
    assert parse_qs(urlsplit(server.asked[0].path).query) == {"top_k": ["1"], "explain": ["true"]}
    assert client.add_example("cat", JPEG) == ("e1", "cat", False, ["small"], 2, MODEL)
    assert client.example("e1")[:6] == ("e1", "cat", "00", 4, 3, 1.5)
    assert client.get_class("cat") == ("cat", 2, False)
    assert (client.job("j1").state, client.job("j1").ended) == ("failed", True)


def test_pictures_are_raw_bodies_with_their_type(server, client, tmp_path):
    """The type is what the file starts with, else its ending, else that of any bytes."""
    server.on("POST /v1/classify", json_reply(ANSWER))
    samples = [
        ("a.txt", JPEG, "image/jpeg"),
        ("a", b"\x89PNG\r\n\x1a\n..", "image/png"),
        ("b", b"RIFF1234WEBPVP8 ", "image/webp"),
        ("c", b"BM......", "image/bmp"),
        ("d.PNG", b"odd", "image/png"),
        ("e", b"odd", "application/octet-stream"),
    ]
    for name, data, kind in samples:
        path = tmp_path / name
        path.write_bytes(data)
        client.classify(str(path))
        assert (server.asked[-1].headers["Content-Type"], server.asked[-1].body) == (kind, data)
    client.classify(JPEG)
    assert server.asked[-1].headers["Content-Type"] == "image/jpeg"


def test_lists_are_fetched_page_by_page(server, client):
    """Every item of every page comes once; a page is asked for when it is needed."""

    def page(handler, asked):
        query = parse_qs(urlsplit(asked.path).query)
        number, size = int(query["page"][0]), int(query["size"][0])
        items = [dict(EXAMPLE, id=str(one)) for one in range(450)][number * size : (number + 1) * size]
        json_reply({"items": items, "page": number, "size": size, "total": 450})(handler, asked)

    server.on("GET /v1/examples", page)
    examples = client.examples("cat")
    assert server.asked == []
    assert [one.id for one in examples] == [str(number) for number in range(450)]
    assert len(server.asked) == 3
    assert parse_qs(urlsplit(server.asked[0].path).query)["class"] == ["cat"]
    for what in ("jobs", "journal", "classes", "models"):
        server.on(f"GET /v1/{what}", json_reply({"items": [], "total": 0}))
        assert list(getattr(client, what)()) == []
    server.on("GET /v1/models", page)
    assert len(client.models()) == 450


def test_unusable_pictures_are_told_apart(server, client, tmp_path):
    """Those the daemon refuses and those that can't be read are named; the others are taught."""
    (tmp_path / "good.jpg").write_bytes(JPEG)
    (tmp_path / "bad.jpg").write_bytes(b"bad")
    server.on("POST /v1/examples", refusal(415, "image_format_unsupported", "no picture"), json_reply(TAUGHT, 201))
    paths = [str(tmp_path / name) for name in ("bad.jpg", "missing.jpg", "good.jpg")]
    added = client.add_examples("cat", *paths)
    assert [one.id for one in added.accepted] == ["e1"]
    assert added.refused == [
        RefusedFile(paths[0], "image_format_unsupported", "no picture"),
        RefusedFile(paths[1], "file_unreadable", "No such file or directory"),
    ]
    server.on("POST /v1/examples", refusal(507, "store_full"))
    with pytest.raises(ProblemError, match="no"):
        client.add_examples("cat", paths[2])


def test_problem_documents_become_errors(server, client):
    """Status, code, detail and the whole document; waiting longer than half a minute is left to the caller."""
    server.on("GET /v1/status", refusal(503, "camera", "not now", Retry_After="3600"))
    with pytest.raises(ProblemError, match="not now") as caught:
        client.status()
    error = caught.value
    assert (error.status, error.code, error.detail, error.retry_after) == (503, "camera", "not now", 3600)
    assert error.problem["type"] == "about:blank"
    assert len(server.asked) == 1


def test_being_not_ready_is_no_error(server, client):
    """The failing parts are listed, at once; none when all works."""
    failing = [{"field": "camera", "detail": "lost"}]
    problem = {"status": 503, "code": "not_ready", "detail": "camera: lost", "errors": failing}
    data = json.dumps(problem).encode()
    server.on("GET /readyz", reply(data, "application/problem+json", 503, Retry_After="2"), json_reply({"ready": True}))
    assert client.failing() == failing
    assert client.failing() == []


@pytest.mark.parametrize("first", [hang_up, refusal(503, "extractor_busy", Retry_After="0")], ids=["lost", "busy"])
def test_trying_again_with_the_same_key(server, client, first):
    """A lost answer and a 'come again' are tried three times more; the key of a change stays, so it is made once."""
    server.on("POST /v1/train", first, first, first, json_reply(JOB, 202))
    assert client.train().id == "j1"
    keys = {asked.headers["Idempotency-Key"] for asked in server.asked}
    assert (len(server.asked), len(keys)) == (4, 1)
    server.on("POST /v1/train", first)
    with pytest.raises((ConnectionLost, ProblemError)):
        client.train()
    assert len(server.asked) == 8
    assert {asked.headers["Idempotency-Key"] for asked in server.asked[4:]}.isdisjoint(keys)


def test_a_request_still_under_way_is_asked_for_again(server, client):
    """When its answer was lost and it is still being carried out, the client waits for it."""
    busy = refusal(409, "idempotency_under_way", Retry_After="0")
    server.on("POST /v1/train", hang_up, busy, json_reply(JOB, 202))
    assert client.train().id == "j1"


def test_classifying_is_tried_again_without_a_key(server, client):
    """It changes nothing, so nothing has to be remembered."""
    server.on("POST /v1/classify", hang_up, json_reply(ANSWER))
    assert client.classify(JPEG).score == 0.4
    assert [asked.headers["Idempotency-Key"] for asked in server.asked] == [None, None]
    assert {asked.body for asked in server.asked} == {JPEG}


def test_refusals_are_not_tried_again(server, client):
    """A 4xx, and a 503 that names no time, are raised at once."""
    for status in (404, 409, 422, 503):
        server.on("GET /v1/status", refusal(status, "no"))
        with pytest.raises(ProblemError):
            client.status()
    assert len(server.asked) == 4


def test_connections_are_kept_by_each_thread(server, client):
    """Requests of a thread share one connection, threads share none; one the server closed is replaced unseen."""
    server.on("GET /v1/status", json_reply({}), json_reply({}), json_reply({}, Connection="close"), json_reply({}))
    client.status()
    other = threading.Thread(target=client.status)
    other.start()
    other.join()
    client.status()
    client.status()
    ports = [asked.connection for asked in server.asked]
    assert ports[0] == ports[2] != ports[1]
    assert ports[3] != ports[2]


def test_an_idle_connection_that_ended_harms_no_change(server, client):
    """The end of a connection that waited is seen before a request is sent on it: nothing is sent twice."""
    closes = reply(b"{}", Connection="keep-alive")

    def close_later(handler, asked):
        closes(handler, asked)
        handler.close_connection = True  # without having said so

    server.on("GET /v1/status", close_later)
    server.on("DELETE /v1/classes/cat", json_reply({"deleted": "cat"}))
    client.status()
    while not is_readable(client._transport._local.kept._connection.sock):
        pass
    assert client.delete_class("cat") == {"deleted": "cat"}
    assert len(server.asked) == 2


def test_addresses_where_nobody_answers():
    """Each is Unreachable with the address and the reason; a socket that says nothing is given up in time."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        with pytest.raises(Unreachable, match=f"nothing listens at http://127.0.0.1:{port}"):
            Client(f"http://127.0.0.1:{port}").status()
        listener.listen()
        with Client(f"http://127.0.0.1:{port}", timeout=0.2) as silent, pytest.raises(Unreachable, match=r"0\.2 s"):
            silent.status()
        with Client(f"http://127.0.0.1:{port}", timeout=0.2) as silent, pytest.raises(Unreachable, match=r"0\.5 s"):
            silent.capture("ball", count=3, interval=0.1)  # its answer comes after its last frame
    with pytest.raises(Unreachable, match=r"'board\.invalid'"):
        Client("http://board.invalid").status()


def test_what_is_no_daemon_is_said_so(server, client):
    """Another program's page, its 404, JSON of another kind and what is no HTTP are each UnexpectedAnswer."""
    html = reply(b"<html>", "text/html")
    for answer in (html, reply(b"<html>", "text/html", 404), json_reply([1]), json_reply({"id": "j1"})):
        server.on("GET /v1/jobs/j1", answer)
        with pytest.raises(UnexpectedAnswer, match="daemon"):
            client.job("j1")

    def nonsense(handler, _):
        handler.wfile.write(b"SSH-2.0-OpenSSH\r\n")
        handler.close_connection = True

    server.on("GET /v1/jobs/j1", nonsense)
    with pytest.raises(UnexpectedAnswer, match="no HTTP"):
        client.job("j1")


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8080", "ftp://a", "http://", "http://a:b", "http://u:p@a", "http://a b", "http://a/?x=1"]
)
def test_wrong_addresses_are_refused_at_once(url):
    """An AddressError, which is a ValueError, names what came."""
    with pytest.raises(AddressError, match="address"):
        Client(url)


def test_wrong_tokens_and_certificates_are_refused_at_once(tmp_path):
    """A token with a line end, and a certificate file that is none."""
    for token in ("", "a\nb", "a b", "é"):
        with pytest.raises(AddressError, match="token"):
            Client(token=token)
    (tmp_path / "ca.pem").write_text("none")
    for name in ("ca.pem", "missing.pem"):
        with pytest.raises(AddressError, match=name):
            Client("https://127.0.0.1", ca_file=tmp_path / name)


def test_stream_ends_with_the_daemon(server, client):
    """Events come with kind, data and id; heartbeats are passed over; the end ends it, a break raises."""
    parts = [b"retry: 20\n\n", event("camera", {"state": "online"}, 1), b": here\n\n", event("model", MODEL, 2)]
    server.on("GET /v1/stream", chunks(*parts, kind=EVENT_STREAM))
    assert list(client.stream()) == [("camera", {"state": "online"}, "1"), ("model", MODEL, "2")]
    server.on("GET /v1/stream", chunks(*parts, kind=EVENT_STREAM, whole=False))
    events = client.stream()
    assert [next(events).kind for _ in range(2)] == ["camera", "model"]
    with pytest.raises(ConnectionLost):
        next(events)


def test_stream_goes_on_where_it_was(server, client):
    """Asked to, it connects again after an end, a break and a 503, and says which event came last."""
    server.on(
        "GET /v1/stream",
        chunks(b"retry: 10\n\n", event("model", MODEL, 1), kind=EVENT_STREAM),
        hang_up,
        refusal(503, "too_many_streams", Retry_After="5"),
        chunks(event("model", MODEL, 2), kind=EVENT_STREAM, whole=False),
        chunks(event("model", MODEL, 3), kind=EVENT_STREAM),
    )
    with closing(client.stream(reconnect=True)) as events:
        assert [next(events).id for _ in range(3)] == ["1", "2", "3"]
    assert [asked.headers["Last-Event-ID"] for asked in server.asked] == [None, "1", "1", "1", "2"]


def test_stream_that_never_began_raises(server, client):
    """Whoever has a wrong token or address hears of it, reconnecting or not."""
    server.on("GET /v1/stream", refusal(401, "token_needed"))
    for reconnect in (False, True):
        with pytest.raises(ProblemError):
            next(client.stream(reconnect))


def test_waiting_for_a_job(server, client):
    """Its events are followed to its end, and where they end early or have no place it is asked for."""
    states = [dict(JOB, state="running", progress=0.5), dict(JOB, state="succeeded", progress=1.0)]
    blocks = [f"event: job\ndata: {json.dumps(state)}\n\n".encode() for state in states]
    server.on("GET /v1/jobs/j1", json_reply(states[1]))
    seen = []
    server.on("GET /v1/jobs/j1/events", chunks(*blocks, kind=EVENT_STREAM))
    assert client.wait("j1", lambda job: seen.append(job.progress)).state == "succeeded"
    assert seen == [0.5, 1.0]
    assert [job.state for job in client.job_events("j1")] == ["running", "succeeded"]
    for early in (chunks(blocks[0], kind=EVENT_STREAM), refusal(503, "too_many_streams", Retry_After="0")):
        server.on("GET /v1/jobs/j1/events", early)
        assert client.wait("j1").state == "succeeded"


def test_waiting_while_the_daemon_is_away(server, client, monkeypatch):
    """A restart ends no waiting; who gives up in the end learns which job goes on."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    server.on("GET /v1/jobs/j1/events", hang_up)
    server.on("GET /v1/jobs/j1", *[hang_up] * 9, json_reply(dict(JOB, state="succeeded", progress=1.0)))
    assert client.wait("j1").state == "succeeded"
    monkeypatch.setattr("service.client.jobs._AWAY", -1.0)
    server.on("GET /v1/jobs/j1", hang_up)
    with pytest.raises(Unreachable, match="the job j1 goes on"):
        client.wait("j1")


def archive_of(manifest, picture=b"1"):
    """An archive of one picture, as the daemon makes them."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("cat/1.jpg", picture)
        archive.writestr("manifest.json", json.dumps(manifest))
    return file.getvalue()


def test_incomplete_export(server, client, tmp_path):
    """It is an error, though the file is there; one of an older daemon, which says nothing, is taken for whole."""
    listed = {"file": "cat/1.jpg", "class": "cat", "sha256": "0", "missing": 5}
    archive, target = archive_of({"missing": 2, "examples": [listed]}), tmp_path / "all.zip"
    server.on("GET /v1/export", chunks(archive, kind="application/zip"))
    with pytest.raises(ArchiveIncomplete, match="2 of the taught pictures are missing") as incomplete:
        client.export(target)
    assert (incomplete.value.bytes, incomplete.value.missing) == (len(archive), 2)
    assert target.read_bytes() == archive
    older = archive_of({"left_out": 1})
    server.on("GET /v1/export", chunks(older, kind="application/zip"))
    assert client.export(target) == len(older)


# Named, as the archives have the time in them, and each worker has to find the same tests.
@pytest.mark.parametrize(
    "body",
    [b"PK no zip", archive_of([1]), archive_of({"missing": "many"})],
    ids=["no zip", "a list", "a word for a number"],
)
def test_export_that_is_no_archive_of_ours(server, client, tmp_path, body):
    """It is said that something else answers there."""
    server.on("GET /v1/export", chunks(body, kind="application/zip"))
    with pytest.raises(UnexpectedAnswer):
        client.export(tmp_path / "all.zip")


def test_export_is_whole_or_not_at_all(server, client, tmp_path):
    """What breaks off is fetched again; what stays broken leaves the file that was there, and no other one."""
    archive, target = archive_of({"missing": 0}, bytes(300000)), tmp_path / "all.zip"
    seen = []
    server.on(
        "GET /v1/export",
        cut_short(archive[:1000], len(archive)),
        chunks(archive[:1000], kind="application/zip", whole=False),
        chunks(archive, kind="application/zip"),
    )
    assert client.export(target, lambda *transferred: seen.append(transferred)) == len(archive)
    assert target.read_bytes() == archive
    assert seen[-1] == (len(archive), None)
    server.on("GET /v1/export", cut_short(archive[:1000], len(archive)))
    with pytest.raises(ConnectionLost):
        client.export(target)
    server.on("GET /v1/export", refusal(500, "internal"))
    with pytest.raises(ProblemError):
        client.export(target)
    assert target.read_bytes() == archive
    assert [path.name for path in tmp_path.iterdir()] == ["all.zip"]
    with pytest.raises(FileNotFoundError):
        client.export(tmp_path / "nowhere" / "all.zip")


def test_models_are_downloaded_with_their_labels(server, client, tmp_path):
    """The .tflite file as it is served, plain or quantised; the names in their order."""
    server.on("GET /v1/models/live/model.tflite", reply(b"TFL3", "application/octet-stream"))
    server.on("GET /v1/models/2/labels.txt", reply("cat\nTasse à café\n".encode(), "text/plain"))
    assert client.download_model("live", tmp_path / "m.tflite", quantized=True) == 4
    assert (tmp_path / "m.tflite").read_bytes() == b"TFL3"
    assert server.asked[0].path.endswith("?quantized=true")
    assert client.labels(2) == ["cat", "Tasse à café"]


def test_pictures_are_fetched_as_they_are(server, client):
    """The stored bytes, the model's view, and the camera's newest frame."""
    server.on("GET /v1/examples/e1/image", reply(JPEG, "image/jpeg"))
    server.on("GET /v1/camera/snapshot.jpg", reply(JPEG, "image/jpeg"))
    assert client.image("e1") == client.image("e1", model_view=True) == client.snapshot() == JPEG
    assert [asked.path.partition("?")[2] for asked in server.asked] == ["", "view=model", ""]


@pytest.mark.parametrize(
    ("start", "kind"), [(b"PK\x03\x04", "application/zip"), (b"\x1f\x8b\x08\0", "application/gzip")]
)
def test_import_sends_the_archive_whole(server, client, tmp_path, start, kind):
    """Type and bytes, and the same from the start again when the connection was lost; the answer is the job."""
    path, seen = tmp_path / "all", []
    path.write_bytes(start + bytes(range(256)) * 1000)
    server.on("POST /v1/import", hang_up, json_reply(dict(JOB, kind="import"), 202))
    assert client.import_(path, lambda *transferred: seen.append(transferred)).kind == "import"
    size = path.stat().st_size
    for asked in server.asked:
        assert (asked.headers["Content-Type"], asked.headers["Content-Length"]) == (kind, str(size))
        assert asked.body == path.read_bytes()
    assert seen[-1] == (size, size)


def test_one_package_of_the_standard_library():
    """The client needs nothing else, so that it can be taken along with errors.py."""
    files = list(Path(client_package.__file__).parent.glob("*.py"))
    lines = [line for file in files for line in file.read_text().splitlines()]
    imported = {line.split()[1] for line in lines if line.startswith(("import ", "from "))}
    ours = {name for name in imported if name.startswith("service") and not name.startswith("service.client.")}
    assert ours == {"service.errors"}
    assert not {name.partition(".")[0] for name in imported} & {"numpy", "requests", "urllib3", "coral_learn"}
    assert len(files) > 10
