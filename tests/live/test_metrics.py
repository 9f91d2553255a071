"""/metrics of a real daemon, and its log."""

import json
import os
import signal

import pytest
from prometheus_client.parser import text_string_to_metric_families

COLOURS = ("red", "green", "blue")


def scrape(daemon):
    """{(name without prefix, ((label, value), ...)): value}."""
    reply = daemon.get("/metrics")
    assert reply.status == 200
    return {
        (sample.name[len("coral_learn_") :], tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(reply.body.decode())
        for sample in family.samples
    }


def value(daemon, name, **labels):
    """One sample, None where there is none."""
    return scrape(daemon).get((name, tuple(sorted(labels.items()))))


@pytest.fixture
def taught(tiny_daemon, make_picture, encode):
    """A daemon that knows three colours, four pictures each."""
    for colour in COLOURS:
        for seed in range(4):
            assert tiny_daemon.teach(colour, encode(make_picture(colour, seed))).status == 201
    return tiny_daemon


def test_what_comes(tiny_daemon):
    """Prometheus' text, not to be kept, every name ours and explained, and none of them twice."""
    reply = tiny_daemon.get("/metrics")
    assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert reply.headers["Cache-Control"] == "no-store"
    families = list(text_string_to_metric_families(reply.body.decode()))
    names = [family.name for family in families]
    assert len(names) == len(set(names)) > 25
    assert all(name.startswith("coral_learn_") for name in names)
    assert all(family.documentation for family in families)
    assert tiny_daemon.ask("HEAD", "/metrics").status == 200
    assert tiny_daemon.ask("POST", "/metrics").status == 405


def test_a_day_at_work(taught, make_picture, encode):
    """Teaching, asking, refusing and training are in it, as they were done."""
    for number, colour in enumerate(("red", "red", "blue")):
        assert taught.classify(encode(make_picture(colour, 50 + number))).json["class"] == colour
    assert taught.classify(b"no picture").status == 415
    assert taught.get("/v1/nothing").status == 404
    assert taught.train(head="imprinting", activate="never")["state"] == "succeeded"

    found = scrape(taught)
    assert (found["classes", ()], found["examples", ()]) == (3, 12)
    assert [found["class_examples", (("class", colour),)] for colour in COLOURS] == [4, 4, 4]
    assert found["predictions_total", (("class", "red"),)] == 2
    assert found["predictions_total", (("class", "blue"),)] == 1
    assert ("predictions_total", (("class", "green"),)) not in found
    for stage in ("decode", "embed", "head"):
        assert found["stage_seconds_count", (("origin", "upload"), ("stage", stage))] == 3
    for stage in ("decode", "embed", "store"):
        assert found["stage_seconds_count", (("origin", "lesson"), ("stage", stage))] == 12
    post = ("method", "POST")
    assert found["requests_total", (post, ("route", "/v1/classify"), ("status", "200"))] == 3
    assert found["requests_total", (post, ("route", "/v1/classify"), ("status", "415"))] == 1
    assert found["requests_total", (post, ("route", "/v1/examples"), ("status", "201"))] == 12
    assert found["requests_total", (("method", "GET"), ("route", "unmatched"), ("status", "404"))] == 1
    assert found["request_seconds_count", (post, ("route", "/v1/classify"))] == 4
    assert sum(number for (name, _), number in found.items() if name == "pictures_refused_total") == 1
    assert found["jobs_total", (("state", "succeeded"),)] == 1
    assert found["job_seconds_count", (("kind", "train"),)] == 1
    assert found["jobs_waiting", ()] == 0
    assert found["model_revision", ()] == 12
    assert found["model_info", (("head", "imprinting"), ("version", "live"))] == 1
    assert found["store_up", ()] == found["extractor_up", ()] == found["extractor_starts_total", ()] == 1
    assert found["disk_free_bytes", ()] > 0
    assert found["database_bytes", ()] > 0
    for process in ("daemon", "extractor"):
        assert found["process_resident_bytes", (("process", process),)] > 1_000_000


def test_pictures_of_none_of_the_classes(tiny_daemon, make_picture, encode):
    """They are counted apart, without a class."""
    assert tiny_daemon.classify(encode(make_picture("red"))).json["class"] is None
    found = scrape(tiny_daemon)
    assert found["unknown_total", ()] == 1
    assert not any(name == "predictions_total" for name, _ in found)


def test_another_model_answers(taught):
    """A version that is activated is the one whose labels are told."""
    version = taught.train(head="imprinting", activate="always")["model"]["version"]
    assert value(taught, "model_info", version=str(version), head="imprinting") == 1
    assert value(taught, "model_info", version="live", head="imprinting") is None


def test_an_extractor_that_is_lost(tiny_daemon):
    """Its process's end shows as one start more."""
    for pid in tiny_daemon.child_pids():
        os.kill(pid, signal.SIGKILL)
    tiny_daemon.wait_for(lambda: value(tiny_daemon, "extractor_starts_total") == 2, 30, "a second start")
    tiny_daemon.wait_for(lambda: value(tiny_daemon, "extractor_up") == 1, 30, "the extractor")


def test_a_camera(start_daemon, tiny_model, tmp_path, make_picture, encode):
    """Frames classified and passed over only grow, the newest is young, and its stages are timed."""
    folder = tmp_path / "camera"
    folder.mkdir()
    for colour in COLOURS:
        (folder / f"{colour}.png").write_bytes(encode(make_picture(colour), "PNG"))
    daemon = start_daemon("--model", str(tiny_model), "--camera", str(folder), "--camera-fps", "50")
    before = daemon.wait_for(lambda: next_frames(daemon, 3), 30, "three frames")
    after = daemon.wait_for(lambda: next_frames(daemon, before["frames_total", ()] + 3), 30, "three frames more")
    assert after["camera_up", ()] == 1
    assert after["frames_dropped_total", ()] >= before["frames_dropped_total", ()] >= 0
    assert 0 <= after["frame_age_seconds", ()] < 60
    assert after["stage_seconds_count", (("origin", "camera"), ("stage", "embed"))] >= before["frames_total", ()]
    assert ("stage_seconds_count", (("origin", "camera"), ("stage", "decode"))) not in after
    assert after["unknown_total", ()] > 0


def next_frames(daemon, least):
    """All samples, once so many frames were classified; None before."""
    found = scrape(daemon)
    return found if found["frames_total", ()] >= least else None


def test_watchers_are_counted(tiny_daemon):
    """A client that watches is one, and none once it has gone."""
    assert value(tiny_daemon, "watchers") == 0
    connection = tiny_daemon.connect()
    connection.request("GET", "/v1/stream")
    response = connection.getresponse()
    assert value(tiny_daemon, "watchers") == 1
    response.close()
    connection.close()
    tiny_daemon.wait_for(lambda: value(tiny_daemon, "watchers") == 0, 30, "the place")


def test_the_log_is_json_where_nobody_reads(start_daemon, tiny_model):
    """Each line of it, with the ids that clients gave; and text when that is asked for."""
    flags = ("--model", str(tiny_model), "--log-level", "debug")
    daemon = start_daemon(*flags)
    daemon.get("/healthz", X_Request_Id="mine-1")
    daemon.stop()
    logged = [json.loads(line) for line in daemon.lines if line.startswith("{")]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in logged)
    (line,) = [line for line in logged if line.get("request_id") == "mine-1"]
    assert (line["method"], line["path"], line["status"]) == ("GET", "/healthz", 200)
    again = start_daemon(*flags, "--log-format", "text")
    again.get("/healthz", X_Request_Id="mine-2")
    again.stop()
    assert not any(line.startswith("{") for line in again.lines)
    assert any("GET /healthz: 200 after" in line and line.endswith(" ms [mine-2]\n") for line in again.lines)


def test_no_password_leaves_the_daemon(start_daemon, tiny_model):
    """A camera's address is in the log, in the status and on the screen without it."""
    daemon = start_daemon(
        "--model", str(tiny_model), "--camera", "nothing://user:secret@camera/1", "--log-level", "debug", ready=False
    )
    shown = "nothing://user:***@camera/1"
    camera = daemon.wait_for(
        lambda: next((one for one in [daemon.get("/v1/status").json["camera"]] if one["state"] == "lost"), None)
    )
    readiness = daemon.get("/readyz").body.decode()
    daemon.stop()
    assert camera["source"] == shown
    assert shown in daemon.log
    assert "secret" not in daemon.log + json.dumps(camera) + readiness
