"""Frames from a folder camera, watched by several clients at once."""

import contextlib
import itertools
import json
import socket
import threading
from urllib.parse import urlsplit

import pytest

from coral_learn.runtime.fake_bus import FakeBus


@pytest.fixture
def camera_folder(tmp_path, make_picture, encode):
    """A folder of pictures of three colours."""
    folder = tmp_path / "camera"
    folder.mkdir()
    for number in range(6):
        colour = ("red", "green", "blue")[number % 3]
        (folder / f"{number}-{colour}.png").write_bytes(encode(make_picture(colour, 50 + number), "PNG"))
    return folder


@pytest.fixture
def watched(start_daemon, tiny_model, camera_folder, make_picture, encode):
    """A daemon that knows the colours and sees the folder, 20 pictures a second."""
    daemon = start_daemon("--model", str(tiny_model), "--camera", str(camera_folder), "--camera-fps", "20")
    for colour in ("red", "green", "blue"):
        for seed in range(3):
            taught = daemon.teach(colour, encode(make_picture(colour, seed)))
            assert taught.status == 201
    with events_of(daemon) as events:  # the newest frame may have been answered before the last picture was taught
        next(data for event, data in events if event == "classification" and data["model"] == taught.json["model"])
    return daemon


@contextlib.contextmanager
def events_of(daemon):
    """An iterator over (event, data) of /v1/stream."""
    connection = daemon.connect()
    connection.request("GET", "/v1/stream")
    response = connection.getresponse()

    def events():
        fields = {}
        for line in iter(response.readline, b""):
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                fields[name] = value
            elif "event" in fields:
                yield fields["event"], json.loads(fields["data"])
                fields = {}

    try:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        yield events()
    finally:
        response.close()  # it holds the socket as well
        connection.close()


def classifications(events, count: int) -> list:
    """The next classifications."""
    found = (data for event, data in events if event == "classification")
    return [next(found) for _ in range(count)]


def test_stream_carries_what_is_seen(watched):
    """Class, score, predictions, model, device, frame number and capture time; numbers and times only grow."""
    with events_of(watched) as events:
        seen = classifications(events, 12)
    for one in seen:
        assert set(one) == {
            *("class", "score", "predictions", "decided", "decided_since", "model", "device"),
            *("frame", "captured", "fps", "timing_ms"),
        }
        assert one["device"] == "cpu"
        assert one["predictions"][0] == {"class": one["class"], "score": one["score"]}
    assert {one["class"] for one in seen} == {"red", "green", "blue"}
    assert [one["frame"] for one in seen] == sorted({one["frame"] for one in seen})
    assert [one["captured"] for one in seen] == sorted(one["captured"] for one in seen)


def test_stream_starts_with_the_state_of_things(watched):
    """Who connects learns at once how the camera and the extractor are, and which model answers."""
    with events_of(watched) as events:
        first = dict(next(events) for _ in range(6))
    assert first["camera"]["state"] == "online"
    assert first["extractor"]["state"] == "ready"
    assert first["model"]["head"] == "imprinting"
    assert first["classes"]["change"] > 0


def test_every_change_of_classes_is_told(watched):
    """Also where the model stays as it is: an empty class, a name, examples while a version answers."""
    assert watched.train(head="softmax", activate="always")["state"] == "succeeded"

    def change(events):
        return next(data["change"] for event, data in events if event == "classes")

    with events_of(watched) as events:
        numbers = [change(events)]
        watched.post_json("/v1/classes", {"name": "empty"})
        numbers.append(change(events))
        watched.ask("PATCH", "/v1/classes/empty", json.dumps({"name": "new"}), Content_Type="application/json")
        numbers.append(change(events))
        watched.delete("/v1/classes/red")
        numbers.append(change(events))
    assert numbers == sorted(set(numbers))


def test_extractor_that_is_lost(start_daemon, tiny_twins, camera_folder, make_picture, encode, tmp_path, monkeypatch):
    """Told at once; from then on nothing is decided or answered, and pictures go on, until it is back."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    bus = FakeBus(tmp_path)
    flags = "--device", "fake", "--camera", str(camera_folder), "--camera-fps", "20", "--decide-frames", "1"
    daemon = start_daemon("--model", str(tiny_twins), *flags)
    for colour in ("red", "green", "blue"):
        assert daemon.teach(colour, encode(make_picture(colour))).status == 201
    with events_of(daemon) as events:
        next(data for event, data in events if event == "decision" and data["decided"] == "blue")
        bus.unplug()
        told = []

        def tell_until(state):
            while not told or (told[-1][0], told[-1][1].get("state")) != ("extractor", state):
                told.append(next(events))
            return told[-1][1]

        assert "unplugged" in tell_until("lost")["reason"]
        frame = daemon.get("/v1/camera/snapshot.jpg").headers["X-Frame"]
        daemon.wait_for(lambda: daemon.get("/v1/camera/snapshot.jpg").headers["X-Frame"] != frame, what="a picture")
        bus.marker.unlink()
        tell_until("ready")
        assert next(data for event, data in events if event == "classification")["device"] == "edgetpu"
    kinds = [kind for kind, _ in told]
    assert "classification" not in kinds[kinds.index("extractor") :]
    assert [data["decided"] for kind, data in told if kind == "decision"][-1] is None


def test_two_watchers_while_uploads_go_on(watched, make_picture, encode):
    """Both see frames of a new revision while pictures are taught; a stalled third harms nobody."""
    address = urlsplit(watched.url)
    stalled = socket.create_connection((address.hostname, address.port))
    stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    stalled.sendall(b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    seen = {0: [], 1: []}

    def watch(number: int) -> None:
        with events_of(watched) as events:
            seen[number] = classifications(events, 40)

    watchers = [threading.Thread(target=watch, args=(number,)) for number in seen]
    for watcher in watchers:
        watcher.start()
    statuses = [watched.teach("purple", encode(make_picture((120, 20, 150), seed))).status for seed in range(30)]
    for watcher in watchers:
        watcher.join(60)
    stalled.close()

    assert set(statuses) == {201}
    for mine in seen.values():
        assert len(mine) == 40
        assert mine[-1]["model"]["revision"] > mine[0]["model"]["revision"]


def test_places_for_streams_are_limited_and_given_back(start_daemon, tiny_model):
    """The third of two gets 503 with Retry-After; when one leaves, there is a place again."""
    daemon = start_daemon("--model", str(tiny_model), "--max-streams", "2")
    with events_of(daemon) as one, events_of(daemon) as two:
        next(one), next(two)
        refused = daemon.get("/v1/stream")
        assert (refused.status, refused.json["code"]) == (503, "too_many_streams")
        assert int(refused.headers["Retry-After"]) > 0
        assert daemon.get("/healthz").status == 200

    for _ in range(5):  # HEAD starts no stream, so it keeps no place
        daemon.ask("HEAD", "/v1/stream")

    def place() -> bool:
        with contextlib.suppress(AssertionError), events_of(daemon) as events:
            return bool(next(events))
        return False

    daemon.wait_for(place, 30, "a place")


def test_camera_that_is_not_there(start_daemon, tiny_model, tmp_path):
    """The daemon answers, says what is wrong, and the stream tells that the camera is lost."""
    daemon = start_daemon("--model", str(tiny_model), "--camera", str(tmp_path / "none.mp4"), ready=False)
    state = daemon.wait_for(lambda: daemon.get("/v1/status").json["camera"]["state"] == "lost", 30, "lost")
    assert state
    daemon.wait_for(lambda: daemon.get("/readyz").json["errors"][0]["field"] == "camera", 30, "the camera alone")
    assert "none.mp4" in daemon.get("/readyz").json["detail"]
    assert daemon.get("/v1/camera/snapshot.jpg").status == 503
    with events_of(daemon) as events:
        assert next(data for event, data in events if event == "camera" and data["state"] == "lost")["reason"]


def test_camera_that_comes_back(start_daemon, tiny_model, camera_folder):
    """A folder that is emptied is lost; filled again, frames go on with growing numbers."""
    daemon = start_daemon("--model", str(tiny_model), "--camera", str(camera_folder), "--camera-fps", "20")
    with events_of(daemon) as events:
        before = classifications(events, 3)[-1]["frame"]
        kept = {path: path.read_bytes() for path in camera_folder.iterdir()}
        for path in kept:
            path.unlink()
        assert (
            next(data["state"] for event, data in events if event == "camera" and data["state"] != "online") == "lost"
        )
        with events_of(daemon) as others:  # who comes now is told of no answer from before
            before_camera = list(itertools.takewhile(lambda kind: kind != "camera", (kind for kind, _ in others)))
            assert "extractor" in before_camera and "classification" not in before_camera
        for path, data in kept.items():
            path.write_bytes(data)
        assert (
            next(data["state"] for event, data in events if event == "camera" and data["state"] != "lost") == "online"
        )
        assert classifications(events, 1)[0]["frame"] > before


def test_video_file_is_looped(start_daemon, tiny_model, tmp_path, make_picture):
    """A video of 8 frames goes on beyond its end."""
    import cv2

    path = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25.0, (64, 48))
    for number in range(8):
        writer.write(make_picture("red", number))
    writer.release()
    daemon = start_daemon("--model", str(tiny_model), "--camera", str(path))
    with events_of(daemon) as events:
        assert classifications(events, 20)[-1]["frame"] >= 20


def test_snapshot_is_the_newest_frame(watched):
    """A JPEG of what the camera sees, with its number, never an older one than before."""
    replies = [watched.get("/v1/camera/snapshot.jpg") for _ in range(5)]
    assert {reply.status for reply in replies} == {200}
    assert all(reply.body.startswith(b"\xff\xd8") for reply in replies)
    numbers = [int(reply.headers["X-Frame"]) for reply in replies]
    assert numbers == sorted(numbers)
