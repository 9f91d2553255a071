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
    fixed = change(daemon, {"decide_frames": 5, "decide_smoothing": 0.5})
    assert (fixed.status, fixed.json["code"]) == (409, "setting_fixed")
    assert change(daemon, []).json["code"] == "body_invalid"
    assert daemon.get("/v1/settings").json == before


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
