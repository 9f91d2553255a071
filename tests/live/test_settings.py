"""/v1/settings of a real daemon."""

import json

import pytest

pytestmark = pytest.mark.executed


def change(daemon, body):
    """PATCH /v1/settings."""
    return daemon.ask("PATCH", "/v1/settings", json.dumps(body).encode(), Content_Type="application/json")


def items(reply):
    """The settings of an answer by name."""
    return {one["name"]: one for one in reply.json["items"]}


def test_listed_and_changed(start_daemon, tiny_model):
    """What a setting is, where it comes from, and what may be made of it; a change is there at once and survives."""
    daemon = start_daemon("--model", str(tiny_model), "--decide-frames", "4", "--max-streams", "9")
    listed = items(daemon.get("/v1/settings"))
    assert listed["decide_frames"] == {
        "name": "decide_frames",
        "value": 4,
        "default": 3,
        "help": listed["decide_frames"]["help"],
        "changeable": True,
        "fixed_by": "the command line",
        "origin": "the command line",
        "kind": "integer",
        "lowest": 1,
        "highest": 1000,
        "choices": None,
    }
    assert [listed["max_streams"][field] for field in ("value", "changeable")] == [9, False]
    assert [listed["head"][field] for field in ("kind", "choices")] == ["text", ["imprinting", "lda", "knn"]]
    assert daemon.get("/v1/review").json["budget_bytes"] == 50 * 1024 * 1024

    changed = change(daemon, {"review_mb": 2, "decide_threshold": 0.25})
    assert changed.status == 200
    assert [items(changed)["review_mb"][field] for field in ("value", "origin")] == [2.0, "chosen over HTTP"]
    assert daemon.get("/v1/review").json["budget_bytes"] == 2 * 1024 * 1024
    daemon.kill()
    daemon.start()
    daemon.wait_ready()
    assert daemon.get("/v1/review").json["budget_bytes"] == 2 * 1024 * 1024
    assert items(daemon.get("/v1/settings"))["decide_threshold"]["value"] == 0.25


def test_refusals(start_daemon, tiny_model):
    """A problem for each, with the fields; nothing is changed."""
    daemon = start_daemon("--model", str(tiny_model), "--decide-frames", "4")
    before = daemon.get("/v1/settings").json
    wrong = change(daemon, {"review_mb": -1, "decide_threshold": "x", "port": 80, "decide_smoothing": 0.5})
    assert (wrong.status, wrong.json["code"]) == (422, "settings_invalid")
    assert [one["field"] for one in wrong.json["errors"]] == ["review_mb", "decide_threshold", "port"]
    wrong = change(daemon, {"camera_format": "MJP", "camera_width": 8.5, "camera_height": 9, "camera_fps": 241})
    assert wrong.status == 422
    assert {one["field"]: one["detail"] for one in wrong.json["errors"]} == {
        "camera_format": 'camera_format can\'t be "MJP": a format has four letters or digits, such as MJPG or YUYV',
        "camera_width": "camera_width is a whole number, got 8.5",
        "camera_height": "camera_height can't be 9: allowed is 16 to 8192",
        "camera_fps": "camera_fps can't be 241: allowed is 0 to 240",
    }
    fixed = change(daemon, {"decide_frames": 5, "decide_smoothing": 0.5})
    assert (fixed.status, fixed.json["code"]) == (409, "setting_fixed")
    assert change(daemon, []).json["code"] == "body_invalid"
    assert daemon.get("/v1/settings").json == before


def test_camera_is_opened_anew(start_daemon, tiny_model, tmp_path, make_picture, encode):
    """Its size, format and pace are taken over at once, each by a new process; what changes nothing starts none."""
    (tmp_path / "one.png").write_bytes(encode(make_picture("red"), "PNG"))
    daemon = start_daemon("--model", str(tiny_model), "--camera", str(tmp_path))

    def is_open(restarts):
        camera = daemon.get("/v1/status").json["camera"]
        return (camera["state"], camera["restarts"]) == ("online", restarts)

    daemon.wait_for(lambda: is_open(0), what="the camera")
    changes = [("camera_width", 320, 320), ("camera_height", 240, 240), ("camera_format", "mjpg", "MJPG")]
    for count, (name, value, shown) in enumerate([*changes, ("camera_fps", 50, 50.0)], 1):
        changed = items(change(daemon, {name: value}))[name]
        assert (changed["value"], changed["changeable"]) == (shown, True)
        daemon.wait_for(lambda restarts=count: is_open(restarts), what=name)
    before = daemon.get("/v1/status").json["counts"]["frames"]
    daemon.wait_for(lambda: daemon.get("/v1/status").json["counts"]["frames"] > before + 60, what="a minute's pictures")
    assert change(daemon, {"camera_fps": 50.0, "camera_format": "MJPG"}).status == 200
    change(daemon, dict.fromkeys(("camera_width", "camera_height", "camera_format", "camera_fps")))
    daemon.wait_for(lambda: is_open(5), what="the defaults")


def test_passwords_are_hidden(start_daemon, tiny_model):
    """Of a camera's address only what is no secret is shown."""
    daemon = start_daemon("--model", str(tiny_model), "--camera", "none")
    shown = daemon.get("/v1/settings")
    assert items(shown)["camera"]["fixed_by"] == "the command line"
    daemon.stop()
    daemon.command[daemon.command.index("--camera") :] = []
    daemon.start()
    daemon.wait_for(lambda: daemon.get("/healthz").status == 200)
    reply = change(daemon, {"camera": "rtsp://user:secret@localhost:1/x"})
    assert items(reply)["camera"]["value"] == "rtsp://user:***@localhost:1/x"
    assert b"secret" not in reply.body
    change(daemon, {"camera": "none"})
