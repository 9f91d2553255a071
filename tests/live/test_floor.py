"""With less free than --min-free-mb: what adds to the disk gets 507, all else goes on."""

import json

import pytest

FLOOR = ["--min-free-mb", "999999"]  # more than the disk of any test has
GO_ON = {
    ("post", "/v1/classify"),
    ("post", "/v1/session"),
    ("post", "/v1/undo"),
    ("post", "/v1/models/{version}/activate"),
    ("post", "/v2/models/{model}/infer"),
    ("post", "/v2/models/{model}/versions/{version}/infer"),
}
KEYS = {"name": "red", "version": "live"}


@pytest.fixture
def full(tiny_daemon, make_picture, encode):
    """A daemon of two classes and a version, whose disk has less free than must stay so since its last start."""
    for name in ("red", "blue"):
        for seed in range(3):
            assert tiny_daemon.teach(name, encode(make_picture(name, seed))).status == 201
    assert tiny_daemon.train(activate="never")["state"] == "succeeded"
    tiny_daemon.stop()
    tiny_daemon.command += FLOOR
    tiny_daemon.start()
    tiny_daemon.wait_ready()
    return tiny_daemon


def changing(daemon):
    """(method, path as described, path as asked for) of every route that changes something and deletes nothing."""
    for described, methods in daemon.get("/openapi.json").json["paths"].items():
        path = described
        for name, value in dict(KEYS, example="none", frame="none", job="none", model="live").items():
            path = path.replace("{" + name + "}", value)
        for method in sorted({"post", "put", "patch"} & set(methods)):
            assert "507" in methods[method]["responses"] or (method, described) in GO_ON
            yield method, described, path


def test_nothing_is_added(full):
    """Every route that may add something answers 507 before it looks at its body; the others don't."""
    found = list(changing(full))
    assert GO_ON.issubset((method, described) for method, described, _ in found)
    for method, described, path in found:
        kind = "application/zip" if path == "/v1/import" else "application/json"
        reply = full.ask(method.upper(), path, b'{"name": "green"}', Content_Type=kind)
        if (method, described) in GO_ON:
            assert reply.status < 500, (path, reply.body)
        else:
            assert (reply.status, reply.json["code"]) == (507, "store_full"), (path, reply.body)
            assert "must stay free" in reply.json["detail"]
    reply = full.get("/v1/models/1/model.tflite")
    assert (reply.status, reply.json["code"]) == (507, "store_full")
    assert [one["version"] for one in full.get("/v1/models").json["items"]] == ["live", 1]
    assert [one["name"] for one in full.get("/v1/classes").json["items"]] == ["red", "blue"]
    assert full.ask("POST", "/v1/nothing", b"").status == 404


def test_the_rest_goes_on(full, make_picture, encode):
    """Answers, versions that are there, deleting, undoing, and the setting that makes room."""
    picture = encode(make_picture("red", 9))
    assert full.classify(picture).json["class"] == "red"
    for version in ("1", "live"):
        assert full.post_json(f"/v1/models/{version}/activate", {}).status == 200
    assert full.delete("/v1/models/1").status == 200
    assert full.delete("/v1/classes/blue").status == 200
    assert full.post_json("/v1/undo", {}).status == 200
    assert full.get("/v1/classes/blue").json["examples"] == 3
    assert full.delete("/v1/examples/" + full.get("/v1/examples").json["items"][0]["id"]).status == 200
    for body, status in (({"review_mb": 1}, 200), ({"decide_frames": 4}, 507), ({"review_mb": 1, "mirror": 1}, 507)):
        reply = full.ask("PATCH", "/v1/settings", json.dumps(body).encode())
        assert reply.status == status, reply.body
    assert full.get("/readyz").status == 200


def test_a_job_writes_no_version(tiny_daemon, make_picture, encode):
    """One that was queued before fails with the reason, and leaves nothing."""
    for name in ("red", "blue"):
        for seed in range(3):
            assert tiny_daemon.teach(name, encode(make_picture(name, seed))).status == 201
    tiny_daemon.post_json("/v1/train", {"head": "softmax", "epochs": 10000, "batch_size": 1, "patience": 0})
    waiting = tiny_daemon.post_json("/v1/train", {"activate": "always"}).headers["Location"]
    tiny_daemon.kill()
    tiny_daemon.command += FLOOR
    tiny_daemon.start()
    tiny_daemon.wait_for(lambda: tiny_daemon.get(waiting).json["state"] not in ("queued", "running"), 60, "its end")
    job = tiny_daemon.get(waiting).json
    assert (job["state"], job["error"]["code"], job["model"]) == ("failed", "store_full", None)
    assert "must stay free" in job["error"]["detail"]
    assert list((tiny_daemon.data_dir / "models").iterdir()) == []
    assert tiny_daemon.get("/v1/status").json["model"]["version"] == "live"
