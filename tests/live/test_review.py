"""/v1/review of a real daemon: frames that an earlier run has kept."""

import json
from typing import NamedTuple

import numpy as np
import pytest

from coral_learn.classifier import Prediction
from coral_learn.extractor import ExtractorInfo
from coral_learn.heads import EmbeddingPipeline
from service.learning import Answer
from service.review import ReviewRing, Sighting


class Answers(NamedTuple):
    """What the ring has to know of what answers: the extractor and what is done to its embeddings."""

    extractor = ExtractorInfo("tiny", "e" * 64, "cpu", "", False, "none", 8, 32, 32)
    pipeline = EmbeddingPipeline(8)


@pytest.fixture
def frames(make_picture, encode):
    """Three frames."""
    return [encode(make_picture(colour)) for colour in ("red", "green", "blue")]


@pytest.fixture
def daemon(start_daemon, tiny_model, tmp_path, frames):
    """A daemon whose data folder holds these frames."""
    ring = ReviewRing(tmp_path / "data" / "review", Answers(), lambda _: None, 10**7)
    answer = Answer("red", 0.5, [Prediction("red", 0.5), Prediction("blue", 0.4)], {"version": "live"})
    for number, frame in enumerate(frames):
        assert ring.keep(frame, Sighting("uncertain", answer, np.eye(8, dtype=np.float32)[number], 100.0 + number), 0)
    return start_daemon("--model", str(tiny_model), "--review-mb", "3")


def test_look_at_teach_and_delete(daemon, frames):
    """The newest first; one is taught and leaves, one is deleted, and the rest at once."""
    listed = daemon.get("/v1/review").json
    assert [one["captured"] for one in listed["items"]] == [102.0, 101.0, 100.0]
    assert (listed["page"], listed["size"], listed["total"]) == (0, 20, 3)
    assert sum(one["bytes"] for one in listed["items"]) == listed["bytes"]
    assert listed["budget_bytes"] == 3 * 1024 * 1024
    first = listed["items"][0]
    assert (first["reason"], first["class"], first["score"]) == ("uncertain", "red", 0.5)
    assert first["predictions"] == [{"class": "red", "score": 0.5}, {"class": "blue", "score": 0.4}]
    place = f"/v1/review/{first['id']}"
    picture = daemon.get(place + "/image")
    assert (picture.headers["Content-Type"], picture.body) == ("image/jpeg", frames[2])
    assert daemon.get(place + "/image", If_None_Match=picture.headers["Etag"]).status == 304

    taught = daemon.post_json(place, {"class": "blue"})
    assert taught.status == 201
    assert (taught.json["class"], taught.json["class_examples"], taught.json["rejected"]) == ("blue", 1, [])
    example = daemon.get(f"/v1/examples/{taught.json['accepted'][0]['id']}")
    assert (example.json["source"], example.json["class"]) == ("camera", "blue")
    assert daemon.get(f"/v1/examples/{example.json['id']}/image").body == frames[2]
    assert daemon.classify(frames[2]).json["class"] == "blue"
    assert daemon.post_json(place, {"class": "blue"}).json["code"] == "frame_not_found"

    assert daemon.post_json("/v1/undo", {"step": taught.json["step"]}).status == 200
    assert daemon.get("/v1/review").json == listed
    assert daemon.get(place + "/image").body == frames[2]
    assert daemon.post_json(place, {"class": "blue"}).json["class_examples"] == 1

    other = listed["items"][1]["id"]
    assert daemon.delete(f"/v1/review/{other}").json == {"deleted": other}
    assert daemon.delete(f"/v1/review/{other}").status == 404
    assert daemon.get("/v1/review").json["total"] == 1
    assert b"coral_learn_review_frames 1.0" in daemon.get("/metrics").body
    assert daemon.delete("/v1/review").json == {"deleted": 1}
    assert daemon.get("/v1/review").json["bytes"] == 0


def test_what_is_refused(daemon):
    """Names that no class may have, other bodies, frames that aren't there; the frame stays."""
    place = "/v1/review/" + daemon.get("/v1/review").json["items"][0]["id"]
    for body, code in (({}, "body_invalid"), ({"class": "a/b"}, "name_invalid"), ([], "body_invalid")):
        reply = daemon.post_json(place, body)
        assert (reply.status, reply.json["code"]) == (422, code)
    for path in ("/v1/review/nothing/image", "/v1/review/..%2Fcoral-learn.sqlite/image"):
        assert daemon.get(path).status == 404
    assert daemon.get("/v1/review").json["total"] == 3


def test_after_a_power_cut(daemon):
    """What is half there is gone, and the rest can be seen."""
    first, second, _ = [one["id"] for one in daemon.get("/v1/review").json["items"]]
    daemon.kill()
    (daemon.data_dir / "review" / f"{first}.jpg").write_bytes(b"\xff\xd8half")
    (daemon.data_dir / "review" / f"{second}.json").write_text(json.dumps({"id": second}))
    daemon.start()
    daemon.wait_ready()
    assert daemon.get("/v1/review").json["total"] == 1
    assert len(list((daemon.data_dir / "review").iterdir())) == 2
