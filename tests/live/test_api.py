"""Classes, examples, jobs, models and status, over HTTP."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from urllib.parse import quote

import pytest
import tiny_models
from daemon_process import ROOT

from service.model_files.cutting import cut_model

COLOURS = ("red", "green", "blue")


@pytest.fixture
def taught(tiny_daemon, make_picture, encode):
    """A daemon that knows three colours, six pictures each."""
    for colour in COLOURS:
        for seed in range(6):
            assert tiny_daemon.teach(colour, encode(make_picture(colour, seed))).status == 201
    return tiny_daemon


def multipart(files, field="file"):
    """A multipart body of (filename, bytes), and its content type."""
    boundary = "a-boundary-of-its-own"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
        + data
        + b"\r\n"
        for name, data in files
    ]
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def has_multipart() -> bool:
    from coral_learn.versions import package_version, version_numbers
    from service.http.reading import MULTIPART_FIXED

    return version_numbers(package_version("werkzeug")) >= MULTIPART_FIXED


def test_nothing_learnt_is_no_error(tiny_daemon, make_picture, encode):
    """Before the first example the answer is null, not a failure."""
    answer = tiny_daemon.classify(encode(make_picture("red"))).json
    assert (answer["class"], answer["score"], answer["predictions"]) == (None, 0.0, [])
    assert answer["model"] == {"version": "live", "revision": 0, "head": "imprinting"}


def test_answer_has_all_that_was_promised(taught, make_picture, encode):
    """Class, score, ranked predictions, model, device and times; top_k cuts the list, not the scores."""
    picture = encode(make_picture("green", 50))
    answer = taught.classify(picture).json
    assert list(answer) == ["class", "score", "predictions", "model", "device", "timing_ms"]
    assert answer["class"] == "green"
    assert answer["predictions"][0]["class"] == "green"
    assert sum(one["score"] for one in answer["predictions"]) == pytest.approx(1, abs=1e-5)
    assert set(answer["timing_ms"]) == {"decode", "embed", "head", "total"}
    reply = taught.ask("POST", "/v1/classify?top_k=1", picture, Content_Type="image/jpeg").json
    assert reply["predictions"] == answer["predictions"][:1]


def test_classes_are_made_listed_renamed_and_deleted(taught, make_picture, encode):
    """Renaming needs no training; deleting takes the examples along; both are seen in the next answer."""
    assert taught.post_json("/v1/classes", {"name": "empty"}).status == 201
    assert taught.post_json("/v1/classes", {"name": "empty"}).json["code"] == "class_exists"
    listed = taught.get("/v1/classes").json
    assert [(one["name"], one["examples"]) for one in listed["items"]] == [
        ("red", 6),
        ("green", 6),
        ("blue", 6),
        ("empty", 0),
    ]
    assert (listed["page"], listed["total"]) == (0, 4)
    assert [one["name"] for one in taught.get("/v1/classes?size=2&page=1").json["items"]] == ["blue", "empty"]

    rename = taught.ask("PATCH", "/v1/classes/red", b'{"name": "crimson red"}', Content_Type="application/json")
    facts = {name: rename.json[name] for name in ("name", "examples", "pretrained")}
    assert facts == {"name": "crimson red", "examples": 6, "pretrained": False}
    picture = encode(make_picture("red", 50))
    assert taught.classify(picture).json["class"] == "crimson red"
    taken = taught.ask("PATCH", "/v1/classes/green", b'{"name": "blue"}', Content_Type="application/json")
    assert (taken.status, taken.json["code"]) == (409, "class_exists")

    assert taught.delete(f"/v1/classes/{quote('crimson red')}").json["examples"] == 6
    assert taught.classify(picture).json["class"] in ("green", "blue")
    assert taught.get("/v1/examples").json["total"] == 12


def test_examples_are_listed_shown_and_deleted_exactly(taught, make_picture, encode):
    """After taking back what was added, the answers are what they were, to the byte."""
    pictures = [encode(make_picture(colour, 70)) for colour in COLOURS]
    before = [taught.classify(picture).json["predictions"] for picture in pictures]
    added = taught.teach("red", encode(make_picture("green", 99))).json["accepted"][0]
    assert [taught.classify(picture).json["predictions"] for picture in pictures] != before

    facts = taught.get(f"/v1/examples/{added['id']}").json
    assert (facts["class"], facts["width"], facts["height"], facts["format"]) == ("red", 64, 48, "JPEG")
    image = taught.get(f"/v1/examples/{added['id']}/image")
    assert (image.headers["Content-Type"], image.body) == ("image/jpeg", encode(make_picture("green", 99)))
    assert taught.get("/v1/examples?class=red&size=100").json["total"] == 7

    assert taught.delete(f"/v1/examples/{added['id']}").status == 200
    assert [taught.classify(picture).json["predictions"] for picture in pictures] == before
    assert taught.delete(f"/v1/examples/{added['id']}").status == 404


def test_one_look_one_name(tiny_daemon, make_picture, encode):
    """An accent written apart, as some systems do, and blanks at the ends make no other class."""
    composed, apart = "caf\u00e9", "cafe\u0301"
    assert tiny_daemon.teach(apart, encode(make_picture("red"))).json["class"] == composed
    assert tiny_daemon.teach(f" {composed} ", encode(make_picture("red", 1))).json["class_examples"] == 2
    for name in (composed, apart, f" {apart}"):
        assert tiny_daemon.get("/v1/classes/" + quote(name)).json["name"] == composed
        assert tiny_daemon.get("/v1/examples?class=" + quote(name)).json["total"] == 2
    assert tiny_daemon.post_json("/v1/classes", {"name": apart}).status == 409
    assert tiny_daemon.delete("/v1/classes/" + quote(apart)).status == 200


def test_several_examples_are_deleted_as_one_step(taught):
    """All that are named or none; they come back by one undo, and are gone at once where that is asked for."""
    every = [one["id"] for one in taught.get("/v1/examples?size=100").json["items"]]
    before = taught.get("/v1/classes").json["items"]
    reply = delete_examples(taught, {"examples": [every[0], every[7], every[0]]})
    assert (reply.status, reply.json["deleted"]) == (200, [every[0], every[7]])
    assert taught.get("/v1/examples").json["total"] == 16
    undone = taught.post_json("/v1/undo", {"step": reply.json["step"]}).json["undone"]
    assert (undone["action"], undone["details"]["examples"]) == ("delete_examples", [every[0], every[7]])
    assert taught.get("/v1/classes").json["items"] == before
    assert [one["id"] for one in taught.get("/v1/examples?size=100").json["items"]] == every
    for body, status, code in (
        ({"examples": [every[0], "missing"]}, 404, "example_not_found"),
        ({"examples": []}, 422, "body_invalid"),
        ({"examples": 1001 * ["x"]}, 422, "body_invalid"),
        ({"examples": [1]}, 422, "body_invalid"),
        ({"examples": every, "more": 1}, 422, "body_invalid"),
        ({}, 422, "body_invalid"),
        (None, 422, "body_invalid"),
    ):
        reply = delete_examples(taught, body)
        assert (reply.status, reply.json["code"]) == (status, code), (body, reply.body)
    assert taught.get("/v1/classes").json["items"] == before
    assert delete_examples(taught, {"examples": every[:17]}, "?forever=true").status == 200
    assert taught.get(f"/v1/examples/{every[0]}/image").status == 404
    assert taught.post_json("/v1/undo", {}).json["code"] == "nothing_to_undo"
    assert taught.get("/v1/examples").json["total"] == 1


def delete_examples(daemon, body, query=""):
    """DELETE /v1/examples with a JSON body, or with none."""
    data = None if body is None else json.dumps(body).encode()
    return daemon.ask("DELETE", "/v1/examples" + query, data, **{"Content-Type": "application/json"})


def test_same_picture_twice_counts_once(taught, make_picture, encode):
    """A repeated upload answers with the example that is there; in another class it says so."""
    picture = encode(make_picture("red", 0))
    again = taught.teach("red", picture).json
    assert (again["accepted"][0]["duplicate"], again["class_examples"]) == (True, 6)
    other = taught.teach("blue", picture).json
    assert other["accepted"][0]["duplicate"] is False
    assert any("'red'" in warning for warning in other["accepted"][0]["warnings"])


def test_a_picture_taught_while_a_version_answers_comes_with_a_warning(taught, make_picture, encode):
    """What answers has not seen it, and the answer to the upload says so; of what it was trained on it does not."""

    def warnings(name, seed):
        accepted = taught.teach(name, encode(make_picture(name, seed))).json["accepted"][0]
        return [warning for warning in accepted["warnings"] if "has not seen this picture" in warning]

    assert warnings("red", 76) == []
    version = taught.train(head="softmax", activate="always", epochs=5)["model"]["version"]
    for _ in range(2):
        (warning,) = warnings("red", 77)
        assert warning.startswith(f"version {version} answers now and has not seen this picture: train again")
    assert [warnings("red", 76), warnings("blue", 3)] == [[], []]
    taught.stop()
    taught.start()
    taught.wait_ready()
    assert (warnings("red", 76), len(warnings("red", 77))) == ([], 1)
    taught.post_json("/v1/models/live/activate", {})
    assert warnings("red", 77) == []


def test_picture_taught_again_before_it_was_embedded_anew(taught, data, make_picture, encode):
    """With another extractor, a repeated upload teaches the older examples of that picture as well."""
    picture = encode(make_picture("red", 0))
    taught.teach("blue", picture)
    taught.stop()
    with contextlib.closing(sqlite3.connect(str(taught.data_dir / "coral-learn.sqlite"))) as store, store:
        store.execute("DELETE FROM notes WHERE key = 'extractor_model'")  # so that the one before can't answer
    taught.command[taught.command.index("--model") + 1] = str(data / "tiny_float32.tflite")
    taught.start()
    taught.wait_ready()
    assert taught.teach("red", picture).json["accepted"][0]["duplicate"]
    taught.wait_for(lambda: taught.get("/v1/status").json["extractor"]["to_embed"] == 0, 60, "all embedded")
    for name in ("red", "blue", "green"):
        for example in taught.get(f"/v1/examples?class={name}&size=100").json["items"]:
            assert taught.delete(f"/v1/examples/{example['id']}").status == 200
    assert taught.classify(picture).json["class"] is None


def test_many_files_in_one_request(tiny_daemon, make_picture, encode):
    """Good ones are accepted and bad ones named, in one answer; all bad is a 4xx with each reason."""
    if not has_multipart():
        pytest.skip(
            "Python 3.7's Werkzeug has no safe multipart parser; test_multipart_is_refused_on_old_parsers covers it"
        )
    files = [(f"{seed}.jpg", encode(make_picture("red", seed))) for seed in range(3)]
    body, kind = multipart([*files, ("notes.txt", b"no picture")])
    reply = tiny_daemon.ask("POST", "/v1/examples?class=red", body, Content_Type=kind)
    assert reply.status == 201
    assert len(reply.json["accepted"]) == 3
    assert [(one["filename"], one["code"]) for one in reply.json["rejected"]] == [
        ("notes.txt", "image_format_unsupported")
    ]

    body, kind = multipart([("a.txt", b"a"), ("b.txt", b"b")])
    reply = tiny_daemon.ask("POST", "/v1/examples?class=red", body, Content_Type=kind)
    assert (reply.status, reply.json["code"], len(reply.json["errors"])) == (422, "nothing_accepted", 2)
    body, kind = multipart(files, "photo")
    assert tiny_daemon.ask("POST", "/v1/examples?class=red", body, Content_Type=kind).status == 422
    body, kind = multipart(files[:1])
    assert tiny_daemon.ask("POST", "/v1/classify", body, Content_Type=kind).json["class"] == "red"


def test_multipart_is_refused_on_old_parsers(tiny_daemon, make_picture, encode):
    """Where the parser has a known hole (Python 3.7) a multipart body gets a 415 that names the raw body."""
    body, kind = multipart([("a.jpg", encode(make_picture("red")))])
    reply = tiny_daemon.ask("POST", "/v1/examples?class=red", body, Content_Type=kind)
    if has_multipart():
        assert reply.status == 201
    else:
        assert reply.status == 415
        assert "raw body" in reply.json["detail"]


def test_training_softmax(taught, make_picture, encode):
    """202 with a place; progress to the end; a version with held-out accuracy that answers; and back to live."""
    job = taught.train(head="softmax", activate="if_better", epochs=30)
    assert (job["state"], job["progress"]) == ("succeeded", 1.0)
    assert job["metrics"]["held_out_examples"] == 3
    version = job["model"]["version"]
    listed = taught.get("/v1/models").json["items"]
    assert [one["version"] for one in listed] == ["live", version]
    pages = [taught.get(f"/v1/models?page={number}&size=1").json for number in range(3)]
    assert [one["items"] for one in pages] == [listed[:1], listed[1:], []]
    assert [(one["page"], one["size"], one["total"]) for one in pages] == [(0, 1, 2), (1, 1, 2), (2, 1, 2)]
    assert taught.get("/v1/models?size=0").status == 422
    assert listed[1]["accuracy"] == job["metrics"]["held_out_accuracy"]
    assert listed[1]["active"] is job["model"]["activated"]
    report = taught.get(f"/v1/models/{version}/report").json
    assert report["examples"] == {"all": 18, "trained_before_measuring": 15, "held_out": 3}
    assert report["held_out"]["classes"] == ["red", "green", "blue"]
    assert (job["model"]["activated"], "only 3 examples" in job["model"]["reason"]) == (False, True)

    assert taught.post_json(f"/v1/models/{version}/activate", {}).json["model"] == {
        "version": version,
        "head": "softmax",
    }
    picture = encode(make_picture("blue", 44))
    assert taught.classify(picture).json["model"] == {"version": version, "head": "softmax"}
    taught.teach("yellow", encode(make_picture("yellow", 1)))
    assert taught.get("/v1/status").json["model"]["unseen"] == {"examples": 1, "classes": ["yellow"]}
    taught.delete("/v1/classes/blue")
    assert "blue" not in [one["class"] for one in taught.classify(picture).json["predictions"]]
    assert taught.post_json("/v1/models/live/activate", {}).json["model"]["version"] == "live"
    assert taught.classify(encode(make_picture("yellow", 2))).json["class"] == "yellow"


def test_versions_are_deleted(taught):
    """With their files, for good, also over a restart; not the one that answers, and not the live model."""
    for _ in range(3):
        taught.train(activate="never")
    assert taught.post_json("/v1/models/2/activate", {}).status == 200
    for version, expected in (("live", (409, "model_live")), ("2", (409, "model_in_use"))):
        refused = taught.delete(f"/v1/models/{version}")
        assert (refused.status, refused.json["code"]) == expected
    answer = taught.delete("/v1/models/3").json
    assert (answer["deleted"], answer["model"]["version"]) == (3, 2)
    for version in ("3", "9", "x"):
        assert taught.delete(f"/v1/models/{version}").status == 404
    assert len(list((taught.data_dir / "models").iterdir())) == 2
    taught.kill()
    taught.start()
    taught.wait_ready()
    assert [one["version"] for one in taught.get("/v1/models").json["items"]] == ["live", 2, 1]
    assert taught.get("/v1/status").json["model"]["version"] == 2
    assert taught.train(activate="never")["model"]["version"] == 4, "a number is never given again"
    assert taught.get("/v1/journal").json["items"][0]["action"] == "delete_version"
    assert taught.post_json("/v1/undo", {}).json["undone"]["action"] == "add_examples"


def test_version_that_can_not_answer_is_deleted(taught, data):
    """One of another extractor, which answered before the restart, leaves nothing behind that the next start misses."""
    assert taught.train(activate="always")["model"]["activated"] is True
    for model in ("tiny_float32.tflite", "tiny_float32.tflite"):
        taught.stop()
        taught.command[taught.command.index("--model") + 1] = str(data / model)
        taught.start()
        taught.wait_ready()
        taught.wait_for(
            lambda: all(one["finished"] for one in taught.get("/v1/jobs").json["items"]), 30, "the exchange"
        )
        taught.delete("/v1/models/1")
    assert taught.get("/v1/models/1").status == 404
    assert taught.get("/v1/status").json["model"]["version"] == "live"
    assert "can't answer" not in taught.log.rsplit("answers at", 1)[1]


def test_activating_takes_no_other_fields(taught):
    """A misspelt field is refused by its name and changes nothing; the live model takes a head, a version nothing."""
    version = taught.train(activate="never")["model"]["version"]
    live, numbered = "/v1/models/live/activate", f"/v1/models/{version}/activate"
    for path, body, field in (
        (live, {"haed": "lda"}, "haed"),
        (live, {"head": "lda", "version": 1}, "version"),
        (numbered, {"haed": "lda"}, "haed"),
        (numbered, {"head": "lda"}, "head"),
        (numbered, {"head": None}, "head"),
    ):
        refused = taught.post_json(path, body)
        assert (refused.status, refused.json["code"]) == (422, "body_invalid"), body
        assert [one["field"] for one in refused.json["errors"]] == [field]
        assert f"unknown field '{field}'" in refused.json["detail"]
    for path in (live, numbered):
        for body in (["head"], "lda", None, 1):
            refused = taught.post_json(path, body)
            assert (refused.status, refused.json["code"]) == (422, "body_invalid"), body
    tag = taught.get("/v1/status").json["model"]
    assert (tag["version"], tag["head"]) == ("live", "imprinting")

    for body in (None, b"", b"{}"):
        assert taught.ask("POST", numbered, body).json["model"]["version"] == version
        model = taught.ask("POST", live, body).json["model"]
        assert (model["version"], model["head"]) == ("live", "imprinting")
    assert taught.post_json(live, {"head": None}).json["model"]["head"] == "imprinting"


def test_training_options_that_would_do_nothing(taught):
    """Options of softmax for another head are a 422 that names the option, and no job; what every head has is taken."""
    for body, field in (
        ({"epochs": 5}, "epochs"),
        ({"head": "lda", "search_seconds": 3}, "search_seconds"),
        ({"head": "knn", "dropout": 0.1}, "dropout"),
    ):
        refused = taught.post_json("/v1/train", body)
        assert (refused.status, [one["field"] for one in refused.json["errors"]]) == (422, [field])
        assert f"{field} is an option of softmax" in refused.json["detail"]
    assert taught.get("/v1/jobs").json["total"] == 0
    for body in ({"search_seconds": 0}, {"head": "auto", "epochs": 5}):
        taken = taught.post_json("/v1/train", dict(body, activate="never"))
        assert taken.status == 202
        assert taught.delete(taken.headers["Location"]).status == 200
    assert taught.train(activate="never", head="imprinting", seed=3)["state"] == "succeeded"


def test_training_that_can_not_be_done_fails_in_words(tiny_daemon, make_picture, encode):
    """Nothing at all, and softmax on one class: the job fails and says what is needed."""
    for head in ("imprinting", "lda", "knn", "softmax", "auto"):
        job = tiny_daemon.train(head=head, activate="always")
        assert (job["state"], job["model"]) == ("failed", None)
        assert "there is nothing to train on" in job["error"]["detail"]
    tiny_daemon.teach("red", encode(make_picture("red")))
    job = tiny_daemon.train(head="softmax")
    assert job["state"] == "failed"
    assert "at least 2 classes" in job["error"]["detail"]
    assert tiny_daemon.get("/v1/status").json["model"]["version"] == "live"


def test_worse_version_is_not_activated(taught, make_picture, encode):
    """One step of a hopeless learning rate does not replace a model that is right; divergence fails in words."""
    for colour in COLOURS:
        for seed in range(10, 24):
            taught.teach(colour, encode(make_picture(colour, seed)))
    job = taught.train(head="softmax", epochs=1, learning_rate=10, l2=10, batch_size=1)
    assert job["state"] == "succeeded", job
    assert job["metrics"]["held_out_accuracy"] < 1
    assert job["model"]["activated"] is False
    assert "is below" in job["model"]["reason"]
    assert taught.get("/v1/status").json["model"]["version"] == "live"

    job = taught.train(head="softmax", optimizer="sgd", learning_rate=10, l2=10)
    assert job["state"] == "failed"
    assert "diverged" in job["error"]["detail"]
    listed = taught.get("/v1/jobs").body.decode()
    assert "NaN" not in listed

    good = taught.train(head="softmax")
    assert good["model"]["activated"] is True, good


def begin_training(daemon, **options):
    """Start a training of a second or two; returns where its job is, once it has read the examples."""
    options = dict({"head": "softmax", "epochs": 60, "batch_size": 1, "patience": 0}, **options)
    place = daemon.post_json("/v1/train", options).headers["Location"]
    daemon.wait_for(lambda: daemon.get(place).json["progress"] > 0, 60, "a job at work")
    return place


def end_training(daemon, place):
    """What a job says of its model, at its end."""
    assert daemon.get(place).json["state"] == "running", "it ended before anything could happen meanwhile"
    daemon.wait_for(lambda: daemon.get(place).json["state"] != "running", 120, "its end")
    assert daemon.get(place).json["state"] == "succeeded"
    return daemon.get(place).json["model"]


def teach_more(daemon, make_picture, encode):
    """Enough of the three colours to compare models by."""
    for colour in COLOURS:
        for seed in range(10, 24):
            assert daemon.teach(colour, encode(make_picture(colour, seed))).status == 201


def test_a_class_taught_during_training_is_not_lost(taught, make_picture, encode):
    """A version that does not know it is not activated on its own, with the reason; it is where that was asked for."""
    teach_more(taught, make_picture, encode)
    picture = encode(make_picture("yellow", 40))
    for activate, answers in (("if_better", True), ("always", False)):
        place = begin_training(taught, activate=activate)
        assert taught.teach("yellow", encode(make_picture("yellow", 1))).status == 201
        model = end_training(taught, place)
        assert model["activated"] is not answers, model
        known = [one["class"] for one in taught.classify(picture).json["predictions"]]
        assert ("yellow" in known) is answers
        if answers:
            assert "does not know 'yellow'" in model["reason"]
            assert f"train again, or activate version {model['version']} by hand" in model["reason"]
            assert taught.delete("/v1/classes/yellow").status == 200
    assert taught.train(head="lda")["model"]["activated"] is True
    assert "yellow" in [one["class"] for one in taught.classify(picture).json["predictions"]]


def test_what_was_activated_during_training_is_not_replaced(taught, make_picture, encode):
    """A version that was compared with another model than the one that answers at its end waits for a word."""
    teach_more(taught, make_picture, encode)
    place = begin_training(taught)
    assert taught.post_json("/v1/models/live/activate", {"head": "lda"}).status == 200
    model = end_training(taught, place)
    assert model["activated"] is False, model
    assert "live (lda) was activated meanwhile, with which it was not compared: train again" in model["reason"]
    tag = taught.get("/v1/status").json["model"]
    assert (tag["version"], tag["head"]) == ("live", "lda")


def test_jobs_are_cancelled_and_queued(taught):
    """A running job is cancelled by ending its process; the one behind it runs then; an ended one is a 409."""
    slow = taught.post_json("/v1/train", {"head": "softmax", "epochs": 10000, "batch_size": 1}).json
    quick = taught.post_json("/v1/train", {"head": "imprinting", "activate": "never"}).json
    taught.wait_for(lambda: taught.get(f"/v1/jobs/{slow['id']}").json["metrics"], 30, "progress")
    assert taught.get(f"/v1/jobs/{quick['id']}").json["state"] == "queued"
    cancelled = taught.delete(f"/v1/jobs/{slow['id']}").json
    assert cancelled["state"] == "cancelled"
    done = taught.wait_for(
        lambda: [job for job in [taught.get(f"/v1/jobs/{quick['id']}").json] if job["state"] == "succeeded"],
        30,
        "the second",
    )
    assert done[0]["model"]["activated"] is False
    assert taught.delete(f"/v1/jobs/{slow['id']}").status == 409
    assert [job["state"] for job in taught.get("/v1/jobs").json["items"]] == ["succeeded", "cancelled"]


def test_job_interrupted_by_sigkill_says_so(taught):
    """A job that ran when the daemon died is interrupted; what waited runs at the next start."""
    slow = taught.post_json("/v1/train", {"head": "softmax", "epochs": 10000, "batch_size": 1}).json
    quick = taught.post_json("/v1/train", {"head": "imprinting", "activate": "never"}).json
    taught.wait_for(lambda: taught.get(f"/v1/jobs/{slow['id']}").json["state"] == "running", 30, "running")
    taught.kill()
    taught.start()
    taught.wait_ready()
    interrupted = taught.get(f"/v1/jobs/{slow['id']}").json
    assert (interrupted["state"], interrupted["error"]["code"]) == ("interrupted", "interrupted")
    taught.wait_for(lambda: taught.get(f"/v1/jobs/{quick['id']}").json["state"] == "succeeded", 30, "the second")
    assert len(list((taught.data_dir / "models").iterdir())) == 1


def test_job_events(taught):
    """Server-Sent Events of a job, up to its end."""
    job = taught.post_json("/v1/train", {"head": "softmax", "epochs": 200}).json
    connection = taught.connect()
    with contextlib.closing(connection):
        connection.request("GET", f"/v1/jobs/{job['id']}/events")
        text = connection.getresponse().read().decode()
    states = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    assert states[-1]["state"] == "succeeded"
    shares = [state["progress"] for state in states]
    assert shares == sorted(shares)


def test_another_model_without_the_one_before(start_daemon, tiny_model, data, tmp_path, make_picture, encode):
    """Where the file of before is gone a job embeds anew; a training queued before it waits for its end."""
    before = tmp_path / "before.tflite"
    shutil.copy(str(tiny_model), str(before))
    daemon = start_daemon("--model", str(before))
    for number, colour in enumerate(6 * COLOURS):
        daemon.teach(colour, encode(make_picture(colour, number)))
    long = {"head": "softmax", "epochs": 10000, "batch_size": 1, "patience": 0}
    place = daemon.post_json("/v1/train", long).headers["Location"]
    daemon.wait_for(lambda: daemon.get(place).json["state"] == "running", 30, "a job that the end will interrupt")
    training = daemon.post_json("/v1/train", {"activate": "never"})
    assert "runs, and one runs at a time" in (training.json["waiting_for"] or "it runs, and one runs at a time")
    daemon.kill()
    before.unlink()
    daemon.command[daemon.command.index("--model") + 1] = str(data / "tiny_float32.tflite")
    daemon.start()
    ended = daemon.wait_for(
        lambda: next((one for one in [daemon.get(training.headers["Location"]).json] if one["finished"]), None), 60
    )
    job = next(one for one in daemon.get("/v1/jobs").json["items"] if one["kind"] == "reembed")
    assert (job["state"], job["progress"], job["waiting_for"]) == ("succeeded", 1.0, None)
    assert job["metrics"] == {"embedded": 18, "unusable": 0, "left": 0}
    assert (ended["state"], ended["started"] >= job["finished"]) == ("succeeded", True)
    assert daemon.get("/v1/models/1").json["examples"] == 18
    status = daemon.get("/v1/status").json
    assert (status["incomplete"], status["extractor"]["to_embed"]) == (None, 0)
    assert [daemon.classify(encode(make_picture(colour, 31))).json["class"] for colour in COLOURS] == list(COLOURS)


def test_pretrained_classes_are_kept(start_daemon, shared_data, tiny_model):
    """With --keep-classes the bundled model names ImageNet's classes, and taught ones beside them."""
    daemon = start_daemon("--keep-classes")
    assert daemon.get("/v1/classes").json["total"] == 1000
    picture = shared_data / "imagenet500" / "0022_bald_eagle.jpg"
    assert daemon.classify(picture.read_bytes()).json["class"] == "bald eagle"
    refused = daemon.teach("bald eagle", picture.read_bytes())
    assert (refused.status, refused.json["code"]) == (409, "class_pretrained")
    assert daemon.delete("/v1/classes/tench").json["code"] == "class_pretrained"
    disabled = daemon.ask("PATCH", "/v1/classes/tench", b'{"enabled": false}', Content_Type="application/json")
    assert (disabled.status, disabled.json["code"]) == (409, "class_pretrained")
    objects = shared_data / "objects20" / "kangaroo"
    daemon.teach("my kangaroo", (objects / "00.jpg").read_bytes())
    assert daemon.classify((objects / "00.jpg").read_bytes()).json["class"] == "my kangaroo"
    without = daemon.post_json("/v1/extractor", {"model": str(tiny_model)})
    assert (without.status, without.json["code"]) == (422, "model_unusable")


@pytest.fixture
def with_classes(tmp_path, monkeypatch, make_picture, encode):
    """A tiny extractor of five pre-trained classes, with a mean embedding."""
    monkeypatch.setattr(tiny_models, "SIDE", 16)
    folder, source = tmp_path / "pictures", tmp_path / "classifier.tflite"
    folder.mkdir()
    for seed in range(24):
        (folder / f"{seed}.png").write_bytes(encode(make_picture((seed * 9, 250 - seed * 7, seed * 37 % 256)), "PNG"))
    source.write_bytes(tiny_models.classifier()[0])
    cut_model(source, tmp_path / "extractor.tflite", None, folder)
    return tmp_path / "extractor.tflite"


def test_pretrained_classes_are_not_lost_unasked(start_daemon, with_classes, make_picture, encode):
    """With --keep-classes no other live head and no better version replaces them, but a version that is asked for."""
    daemon = start_daemon("--model", str(with_classes))
    assert daemon.post_json("/v1/models/live/activate", {"head": "lda"}).json["model"]["head"] == "lda"
    daemon.stop()
    daemon.command.append("--keep-classes")
    daemon.start()
    daemon.wait_ready()
    assert daemon.get("/v1/status").json["model"]["head"] == "imprinting", "a head that can keep them"
    assert daemon.get("/v1/classes").json["total"] == 5
    for head in ("lda", "knn"):
        refused = daemon.post_json("/v1/models/live/activate", {"head": head})
        assert (refused.status, refused.json["code"]) == (409, "classes_kept")
        assert f"the head {head} can't" in refused.json["detail"]
    assert daemon.post_json("/v1/models/live/activate", {"head": "imprinting"}).status == 200

    for colour in COLOURS:
        for seed in range(8):
            assert daemon.teach(colour, encode(make_picture(colour, seed))).status == 201
    job = daemon.train(head="lda", held_out=0.5)
    assert (job["state"], job["metrics"]["held_out_examples"]) == ("succeeded", 12)
    assert job["model"]["activated"] is False
    assert "pre-trained ones would be lost" in job["model"]["reason"]
    assert daemon.get("/v1/status").json["model"]["version"] == "live"
    picture = encode(make_picture("red", 50))
    assert len(daemon.classify(picture).json["predictions"]) == 5
    assert len(daemon.ask("POST", "/v1/classify?top_k=20", picture, Content_Type="image/jpeg").json["predictions"]) == 8
    job = daemon.train(head="lda", activate="always")
    assert job["model"]["activated"] is True
    assert len(daemon.classify(picture).json["predictions"]) == 3


def test_a_model_without_classes_to_keep(tmp_path, tiny_model):
    """--keep-classes with it ends at once with code 2 and a message, not with a daemon that keeps nothing."""
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--data-dir", str(tmp_path / "data")]
    command += ["--camera", "none", "--model", str(tiny_model), "--keep-classes"]
    done = subprocess.run(command, cwd=str(ROOT), capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, b""), done.stderr
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("coral-learn: --keep-classes needs a model with pre-trained classes, tiny has none")


def test_tokens_on_another_address(start_daemon, tiny_model, make_picture, encode):
    """Nothing but /healthz and the page without a token; `classify` reads, `manage` may all; the file is 0600."""
    daemon = start_daemon("--model", str(tiny_model), "--host", "0.0.0.0", ready=False)
    file = daemon.data_dir / "tokens.json"
    assert file.stat().st_mode & 0o777 == 0o600
    tokens = json.loads(file.read_text())
    assert daemon.get("/healthz").status == 200
    assert daemon.get("/").status == 200
    for headers in ({}, {"Authorization": "Bearer nonsense"}, {"X_Api_Key": "é"}):
        assert daemon.get("/v1/status", **headers).status == 401
    with socket.create_connection(("127.0.0.1", int(daemon.url.rsplit(":", 1)[1])), timeout=30) as stranger:
        stranger.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n\r\nx")
        assert stranger.recv(100).startswith(b"HTTP/1.1 401"), "refused before the body was sent"
    reads = {"Authorization": f"Bearer {tokens['classify']}"}
    all_of_it = {"X_Api_Key": tokens["manage"]}
    daemon.wait_for(lambda: daemon.get("/readyz", **reads).status == 200, 60, "ready")
    picture = encode(make_picture("red"))
    assert daemon.ask("POST", "/v1/classify", picture, Content_Type="image/jpeg", **reads).status == 200
    path = "/v1/examples?class=red"
    assert daemon.ask("POST", path, picture, Content_Type="image/jpeg", **reads).json["code"] == "scope_too_small"
    assert daemon.ask("POST", path, picture, Content_Type="image/jpeg", **all_of_it).status == 201


def test_stops_cleanly_and_tells_systemd(tmp_path, start_daemon, tiny_model, monkeypatch):
    """READY=1 once it answers, STOPPING=1 on SIGTERM, exit code 0 with a stream open."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        daemon = start_daemon("--model", str(tiny_model))
        assert listener.recv(100).startswith(b"READY=1\n")
        connection = daemon.connect()
        with contextlib.closing(connection):
            connection.request("GET", "/v1/stream")
            with contextlib.closing(connection.getresponse()) as response:
                response.readline()
                os.kill(daemon.process.pid, signal.SIGTERM)
                assert listener.recv(100) == b"STOPPING=1"
                assert daemon.stop() == 0


def test_tokens_that_would_let_everybody_in_are_refused(tmp_path):
    """An empty or broken token file is an error at the start, not an open door."""
    folder = tmp_path / "data"
    folder.mkdir()
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--host", "0.0.0.0", "--data-dir", str(folder)]
    for text in (
        "",
        "[]",
        "{}",
        '{"manage": "", "classify": ""}',
        '{"manage": null, "classify": null}',
        '{"manage": "short"}',
    ):
        (folder / "tokens.json").write_text(text)
        done = subprocess.run(command, cwd=str(ROOT), capture_output=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (1, b""), text
        assert b"tokens.json" in done.stderr
        assert b"Traceback" not in done.stderr


def test_stops_soon_with_an_extractor_that_hangs(start_daemon, tiny_model, tmp_path, make_picture, encode):
    """SIGTERM with a frozen extractor, a camera and a waiting request: code 0, before systemd gives up."""
    folder = tmp_path / "camera"
    folder.mkdir()
    (folder / "1.png").write_bytes(encode(make_picture("red"), "PNG"))
    daemon = start_daemon("--model", str(tiny_model), "--camera", str(folder), "--camera-fps", "10")
    for pid in daemon.child_pids():
        os.kill(pid, signal.SIGSTOP)

    def ask() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):  # the daemon may end first
            daemon.classify(encode(make_picture("red")))

    waiting = threading.Thread(target=ask)
    waiting.start()
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(10) == 0
    waiting.join(10)
    assert "Traceback" not in daemon.log


@pytest.mark.parametrize("head", ["lda", "knn"])
def test_every_live_head_learns_and_forgets(taught, make_picture, encode, head):
    """The live model goes on with another head at once: lessons, deleted examples, classes and a restart count."""
    chosen = taught.post_json("/v1/models/live/activate", {"head": head})
    assert chosen.json["model"]["head"] == head
    pictures = [encode(make_picture(colour, 80)) for colour in COLOURS]
    assert [taught.classify(picture).json["class"] for picture in pictures] == list(COLOURS)
    before = [taught.classify(picture).json["predictions"] for picture in pictures]
    added = taught.teach("red", pictures[1]).json["accepted"][0]  # as near to the green one as can be
    assert [taught.classify(picture).json["predictions"] for picture in pictures] != before
    taught.delete(f"/v1/examples/{added['id']}")
    for picture, expected in zip(pictures, before):
        for one, other in zip(taught.classify(picture).json["predictions"], expected):
            assert (one["class"], one["score"]) == (other["class"], pytest.approx(other["score"], abs=2e-6))

    assert taught.delete("/v1/classes/red").json["examples"] == 6
    assert taught.classify(pictures[0]).json["class"] in ("green", "blue", None)
    taught.kill()
    taught.start()
    taught.wait_ready()
    assert taught.get("/v1/status").json["model"]["head"] == head
    assert taught.classify(pictures[1]).json["class"] == "green"


@pytest.mark.parametrize("head", ["imprinting", "lda", "knn", "auto"])
def test_training_every_head(taught, head):
    """Each head makes a version with held-out figures, a calibration and findings in words; auto says why it chose."""
    job = taught.train(head=head, activate="always")
    assert job["state"] == "succeeded", job
    version = job["model"]["version"]
    report = taught.get(f"/v1/models/{version}/report").json
    assert report["head"] in (("imprinting", "lda", "knn", "softmax") if head == "auto" else (head,))
    assert (report["choice"] is not None) == (head == "auto")
    if head == "auto":
        assert report["choice"]["kind"] == report["head"]
        assert "cross-validated on" in report["choice"]["reason"]
    assert report["held_out"]["examples"] == job["metrics"]["held_out_examples"] == 3
    assert 0 <= report["held_out"]["calibration_error"] <= 1
    assert report["calibration"]["scale"] > 0
    assert {finding["severity"] for finding in report["findings"]} <= {"error", "warning", "advice"}
    assert all(finding["text"] and finding["remedy"] for finding in report["findings"])
    assert taught.get("/v1/status").json["model"]["version"] == version


def test_findings_speak_of_classes_by_name(taught, make_picture, encode):
    """A picture under the wrong class is found, by its id and with the classes' names of the day."""
    wrong = taught.teach("red", encode(make_picture("blue", 91))).json["accepted"][0]["id"]
    job = taught.train(head="lda", activate="never")
    taught.ask("PATCH", "/v1/classes/blue", b'{"name": "sky {0}"}', Content_Type="application/json")
    findings = taught.get(f"/v1/models/{job['model']['version']}/report").json["findings"]

    (finding,) = [one for one in findings if one["code"] == "wrong_label"]
    assert (finding["classes"], finding["examples"]) == (["red", "sky {0}"], [wrong])
    assert finding["text"].startswith("an example of 'red' looks like 'sky {0}'")


def test_pictures_behind_the_figures(taught):
    """A report lists the examples behind its counts, by the names of the day; one deleted since is marked."""
    version = taught.train(head="lda", activate="never")["model"]["version"]
    figures = taught.get(f"/v1/models/{version}/report").json["held_out"]
    classes = {one["id"]: one["class"] for one in taught.get("/v1/examples?size=100").json["items"]}
    pictures = figures["pictures"]
    assert (len(pictures), figures["not_listed"]) == (figures["examples"], 0)
    for one in pictures:
        assert (one["class"], one["deleted"]) == (classes[one["example"]], False)
    for row, name in enumerate(figures["classes"]):
        for column, answer in enumerate(figures["answers"]):
            behind = [one for one in pictures if (one["class"], one["answer"]) == (name, answer)]
            assert len(behind) == figures["confusion"][row][column]

    taught.delete(f"/v1/examples/{pictures[0]['example']}")
    taught.ask("PATCH", "/v1/classes/blue", b'{"name": "sky"}', Content_Type="application/json")
    again = taught.get(f"/v1/models/{version}/report").json["held_out"]["pictures"]
    assert [one["deleted"] for one in again] == [True] + [False] * (len(pictures) - 1)
    assert {one["class"] for one in again} == {"red", "green", "sky"}


def test_strangers_get_no_class(start_daemon, tiny_model, make_picture, encode):
    """With enough examples to know what strangers look like, a picture of nothing taught gets no class."""
    daemon = start_daemon("--model", str(tiny_model), "--false-accept-rate", "0.1", "--most-refused", "0.5")
    for colour in COLOURS:
        for seed in range(8):
            daemon.teach(colour, encode(make_picture(colour, seed)))
    strange = encode(make_picture("yellow", 3))
    known = encode(make_picture("red", 60))

    daemon.wait_for(lambda: daemon.classify(strange).json["class"] is None, what="a stranger being refused")
    answer = daemon.classify(strange).json
    assert len(answer["predictions"]) == 3
    assert answer["score"] == answer["predictions"][0]["score"]
    assert daemon.classify(known).json["class"] == "red"


@pytest.mark.parametrize("head", ["imprinting", "softmax"])
def test_a_deleted_class_makes_nothing_known(start_daemon, tiny_model, make_picture, encode, head):
    """It is gone from the version that answers: no name, no score, and no picture counts as known for its sake."""
    daemon = start_daemon("--model", str(tiny_model), "--false-accept-rate", "0.1")
    for colour in COLOURS:
        for seed in range(8):
            daemon.teach(colour, encode(make_picture(colour, seed)))
    job = daemon.train(head=head, activate="always")
    version, asked = job["model"]["version"], [encode(make_picture("red", seed)) for seed in (0, 60, 61)]
    others = [encode(make_picture(colour, 62)) for colour in COLOURS[1:]]
    assert [daemon.classify(picture).json["class"] for picture in asked] == ["red"] * 3

    daemon.delete("/v1/classes/red")
    answers = [daemon.classify(picture).json for picture in asked + others]
    assert [answer["class"] for answer in answers] == [None] * 3 + list(COLOURS[1:])
    for answer in answers:
        assert answer["model"] == {"version": version, "head": head}
        assert {one["class"] for one in answer["predictions"]} == {"green", "blue"}
        assert sum(one["score"] for one in answer["predictions"]) == pytest.approx(1, abs=1e-5)
        assert answer["score"] == answer["predictions"][0]["score"]
    daemon.stop()
    daemon.start()
    daemon.wait_ready()
    for picture, before in zip(asked + others, answers):
        answer = daemon.classify(picture).json
        assert [answer[key] for key in ("class", "predictions", "model")] == [
            before[key] for key in ("class", "predictions", "model")
        ]


def test_searching_for_options(taught):
    """A softmax job may search for better options first; the report has what was tried and why what was taken."""
    job = taught.train(head="softmax", activate="always", search_seconds=0.5, epochs=5)
    assert job["state"] == "succeeded", job
    report = taught.get(f"/v1/models/{job['model']['version']}/report").json
    assert report["options"]["search_seconds"] == 0.5
    assert set(report["search"]) == {"options", "reason", "trials"}
    assert report["search"]["options"] == report["options"]["softmax"]
    assert f"{len(report['search']['trials'])} tried" in report["search"]["reason"]
    assert all(set(trial) == {"options", "loss", "accuracy"} for trial in report["search"]["trials"])
    assert report["search"]["options"] in [trial["options"] for trial in report["search"]["trials"]]
    plain = taught.train(head="softmax", activate="never", epochs=5)["model"]["version"]
    assert taught.get(f"/v1/models/{plain}/report").json["search"] is None

    refused = taught.post_json("/v1/train", {"head": "softmax", "search_seconds": -1})
    assert (refused.status, refused.json["errors"][0]["field"]) == (422, "search_seconds")


def test_live_model_is_measured_as_it_learns(taught, make_picture, encode):
    """Each example left out in turn gives the live model's accuracy, of the revision it says, kept current."""

    def report():
        reply = taught.get("/v1/models/live/report")
        return reply.json if reply.status == 200 else {"revision": None}

    revision = taught.get("/v1/status").json["model"]["revision"]
    taught.wait_for(lambda: report()["revision"] == revision, what="the live model's report")
    figures = report()["left_out"]
    assert (figures["examples"], figures["accuracy"]) == (18, 1.0)
    assert figures["classes"] == ["red", "green", "blue"]
    assert taught.get("/v1/models").json["items"][0]["accuracy"] == 1.0

    wrong = taught.teach("red", encode(make_picture("blue", 90))).json["accepted"][0]["id"]
    taught.wait_for(lambda: report()["revision"] == revision + 1, what="the report after one more lesson")
    figures = report()["left_out"]
    assert (figures["examples"], figures["not_listed"]) == (19, 0)
    assert figures["accuracy"] == pytest.approx(18 / 19)
    behind = {"example": wrong, "class": "red", "answer": "blue", "deleted": False}
    assert [one for one in figures["pictures"] if one["class"] != one["answer"]] == [behind]

    taught.wait_for(lambda: report()["findings"], what="what the doctor says")
    found = [one for one in report()["findings"] if one["code"] == "same_picture_two_classes"]
    assert found
    assert all((one["classes"], one["examples"][1]) == (["blue", "red"], wrong) for one in found)
    assert report()["revision"] == revision + 1
