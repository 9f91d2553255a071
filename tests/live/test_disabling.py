"""Classes that are disabled: kept, neither taught nor answered, and enabled again."""

import io
import json
import zipfile
from urllib.parse import quote

import pytest

PNG = "image/png"
COLOURS = ("red", "green", "blue")


@pytest.fixture
def picture(make_picture, encode):
    """picture(colour, seed=0): the bytes of a PNG file."""
    return lambda colour, seed=0: encode(make_picture(colour, seed), "PNG")


@pytest.fixture
def taught(tiny_daemon, picture):
    """A daemon that knows three colours, four pictures each."""
    for colour in COLOURS:
        for seed in range(4):
            assert tiny_daemon.teach(colour, picture(colour, seed), PNG).status == 201
    return tiny_daemon


def turn(daemon, name, enabled):
    """Disable or enable a class."""
    body = json.dumps({"enabled": enabled}).encode()
    return daemon.ask("PATCH", f"/v1/classes/{quote(name)}", body, Content_Type="application/json")


def answered(daemon, data):
    """The classes of an answer with their scores."""
    return {one["class"]: one["score"] for one in daemon.classify(data, PNG).json["predictions"]}


def examined(daemon) -> None:
    """Wait until the doctor has looked through what is taught now."""

    def is_done() -> bool:
        report = daemon.get("/v1/models/live/report").json
        revision = daemon.get("/v1/status").json["model"]["revision"]
        return report.get("findings") is not None and report["revision"] == revision

    daemon.wait_for(is_done, 20, "what the doctor says")


def enabled(daemon):
    """Which classes are enabled, and how many the status says they are."""
    listed = {one["name"]: one["enabled"] for one in daemon.get("/v1/classes").json["items"]}
    assert daemon.get("/v1/status").json["counts"]["enabled"] == sum(listed.values())
    return listed


def test_disabled_and_enabled_again(taught, picture):
    """The answers are those of a daemon without the class; enabled again, what they were; after a power cut, too."""
    asked = picture("green", 70)
    before = answered(taught, asked)
    disabled = turn(taught, "green", False)
    assert disabled.status == 200
    facts = {name: disabled.json[name] for name in ("name", "examples", "pretrained", "enabled")}
    assert facts == {"name": "green", "examples": 4, "pretrained": False, "enabled": False}
    without = answered(taught, asked)
    assert set(without) == {"red", "blue"}
    assert enabled(taught) == {"red": True, "green": False, "blue": True}
    assert taught.get("/v1/models/live/labels.txt").body == b"red\nblue\n"
    taught.kill()
    taught.start()
    taught.wait_ready()
    assert enabled(taught)["green"] is False
    assert answered(taught, asked) == without
    step = taught.get("/v1/journal").json["items"][0]
    assert (step["action"], step["step"]) == ("disable_class", disabled.json["step"])
    assert taught.post_json("/v1/undo", {"step": step["step"]}).status == 200
    assert answered(taught, asked) == before
    assert turn(taught, "green", True).json["step"] is None

    turn(taught, "green", False)
    taught.delete("/v1/classes/green")
    assert answered(taught, asked) == without
    taught.post_json("/v1/undo", {})
    assert enabled(taught)["green"] is False
    turn(taught, "green", True)
    assert answered(taught, asked) == before


def test_training_leaves_it_out(taught, picture):
    """A version knows only what was enabled, its report says what was not; older versions drop the class at once."""
    old = taught.train(head="softmax", activate="always")["model"]["version"]
    turn(taught, "green", False)
    assert set(answered(taught, picture("green", 70))) == {"red", "blue"}
    pixels = {"name": "pixels", "datatype": "UINT8", "shape": [1, 32, 32, 3], "data": [0, 255, 0] * 1024}
    infer = {"inputs": [pixels]}
    outputs = {one["name"]: one for one in taught.post_json("/v2/models/coral-learn/infer", infer).json["outputs"]}
    assert outputs["labels"]["data"] == ["blue", "red"]
    assert taught.get(f"/v1/models/{old}/labels.txt").body == b"red\nblue\n"

    job = taught.train(head="lda", activate="never")
    assert (job["metrics"]["disabled_classes"], job["metrics"]["disabled_examples"]) == (1, 4)
    new = job["model"]["version"]
    assert taught.get(f"/v1/models/{new}").json["examples"] == 8
    report = taught.get(f"/v1/models/{new}/report").json
    assert report["disabled"] == {"classes": ["green"], "examples": 4}
    turn(taught, "green", True)
    assert set(answered(taught, picture("green", 70))) == set(COLOURS)
    assert taught.get(f"/v1/models/{new}/labels.txt").body == b"red\nblue\n"


def test_pictures_for_a_disabled_class(taught, picture):
    """They are stored, and the answer says that they are not taught yet."""
    turn(taught, "green", False)
    examined(taught)
    before = answered(taught, picture("green", 70))
    reply = taught.teach("green", picture("green", 50), PNG)
    assert (reply.status, reply.json["class_examples"]) == (201, 5)
    assert "is disabled: the picture is stored" in reply.json["accepted"][0]["warnings"][-1]
    assert answered(taught, picture("green", 70)) == before
    examined(taught)


def test_what_is_refused(taught):
    """Other values than true and false, other fields beside it, classes that aren't there."""
    for value in (0, None, "false", []):
        reply = turn(taught, "green", value)
        assert (reply.status, reply.json["code"]) == (422, "invalid")
    body = b'{"enabled": false, "name": "x"}'
    reply = taught.ask("PATCH", "/v1/classes/green", body, Content_Type="application/json")
    assert (reply.status, reply.json["code"]) == (422, "body_invalid")
    assert turn(taught, "nothing", False).json["code"] == "class_not_found"
    assert all(enabled(taught).values())


def test_taken_along_in_an_archive(taught, start_daemon, tiny_model, tmp_path):
    """A class that was disabled at the export is disabled where it is imported, unless it is there already."""
    turn(taught, "green", False)
    turn(taught, "blue", False)
    exported = taught.get("/v1/export").body
    with zipfile.ZipFile(io.BytesIO(exported)) as archive:
        classes = json.loads(archive.read("manifest.json").decode())["classes"]
    assert [one["enabled"] for one in classes] == [True, False, False]
    other = start_daemon("--model", str(tiny_model), data_dir=tmp_path / "other")
    other.post_json("/v1/classes", {"name": "blue"})
    job = other.ask("POST", "/v1/import", exported, Content_Type="application/zip").json
    other.wait_for(lambda: other.get(f"/v1/jobs/{job['id']}").json["state"] == "succeeded", 60)
    assert enabled(other) == {"blue": True, "green": False, "red": True}
    assert {one["name"]: one["examples"] for one in other.get("/v1/classes").json["items"]} == dict.fromkeys(COLOURS, 4)
    assert other.get("/v1/models/live").json["classes"] == 2
