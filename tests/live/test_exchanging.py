"""The exchange of the extractor of a real daemon, on an Edge TPU that isn't there and on a CPU."""

import base64
import os
import shutil
import threading
import time

import pytest
import tiny_models
from daemon_process import ROOT

from service.store.jobs import ENDED


@pytest.fixture
def daemon(start_daemon, data, tmp_path, make_picture, encode):
    """A daemon on the fake device that was taught a picture, with other models beside its own."""
    models = tmp_path / "models"
    models.mkdir()
    compiled = (data / "tiny_edgetpu.tflite").read_bytes()
    for number, name in enumerate(("first", "other")):
        (models / f"{name}_edgetpu.tflite").write_bytes(compiled + bytes(16 * number))
    shutil.copy(str(data / "tiny.tflite"), str(models / "first.tflite"))
    started = start_daemon("--model", str(models / "first_edgetpu.tflite"), "--device", "fake")
    started.teach("red", encode(make_picture("red")))
    return started


def exchange(daemon, tmp_path):
    """Ask for the model "other"; returns where its job is."""
    model = str(tmp_path / "models" / "other_edgetpu.tflite")
    reply = daemon.post_json("/v1/extractor", {"model": model})
    assert reply.status == 202, reply.body
    return reply.headers["Location"]


def ended_job(daemon, job):
    """The job once it has ended."""
    return daemon.wait_for(lambda: next((one for one in [daemon.get(job).json] if one["state"] in ENDED), None), 60)


def digest(daemon):
    """That of the extractor in use."""
    return daemon.get("/v1/status").json["extractor"]["digest"]


def test_one_that_does_not_start(daemon, tmp_path, make_picture, encode):
    """The job fails with the reason, the one before answers, and does so after a restart."""
    before, data = digest(daemon), encode(make_picture("red", 1))
    job = ended_job(daemon, exchange(daemon, tmp_path))
    assert (job["state"], job["error"]["code"]) == ("failed", "extractor_unavailable")
    assert job["error"]["detail"].endswith("the one before, first_edgetpu, answers again")
    for restart in (False, True):
        if restart:
            daemon.stop()
            daemon.start()
        daemon.wait_ready()
        assert digest(daemon) == before
        assert daemon.classify(data).json["class"] == "red"


def test_killed_and_cancelled_while_one_loads(daemon, tmp_path, make_picture, encode):
    """After -9 the job goes on; cancelled it leaves the one before, asked for again it brings the new one."""
    before, twin, data = digest(daemon), tmp_path / "models" / "other.tflite", encode(make_picture("red", 1))
    os.mkfifo(str(twin))  # whoever opens it waits, as a driver that loads
    job = exchange(daemon, tmp_path)
    daemon.wait_for(lambda: daemon.get("/readyz").status == 503, 30, "the exchange")
    daemon.kill()
    daemon.start()
    daemon.wait_for(lambda: daemon.get(job).json["state"] == "running" and daemon.get("/readyz").status == 503, 60)
    assert daemon.get(job).json["metrics"] == {"restarted": True}
    assert daemon.delete(job).json["state"] in ("running", "cancelled")
    assert ended_job(daemon, job)["state"] == "cancelled"
    daemon.wait_ready()
    assert digest(daemon) == before
    assert daemon.classify(data).json["class"] == "red"
    twin.unlink()
    shutil.copy(str(tmp_path / "models" / "first.tflite"), str(twin))
    job = ended_job(daemon, exchange(daemon, tmp_path))
    assert job["state"] == "succeeded"
    daemon.kill()
    daemon.start()
    daemon.wait_ready()
    daemon.wait_for(lambda: daemon.get("/v1/status").json["extractor"]["to_embed"] == 0, 30, "all embedded")
    assert digest(daemon) != before
    assert daemon.classify(data).json["class"] == "red"


def test_answers_while_it_is_exchanged(start_daemon, tiny_model, make_picture, encode):
    """Models with other inputs and embeddings: every answer is right, or a 503 to ask again; never half of one."""
    colours = ("red", "green", "blue")
    daemon = start_daemon("--model", str(tiny_model), "--false-accept-rate", "1")
    for seed in range(12):
        daemon.teach(colours[seed % 3], encode(make_picture(colours[seed % 3], seed)))
    pictures, ended, found = [encode(make_picture(colour, 99)) for colour in colours], threading.Event(), []
    inputs = {"name": "image", "datatype": "BYTES", "shape": [15]}
    batch = dict(inputs, data=[base64.b64encode(one).decode() for one in 5 * pictures])

    def classify():
        reply = daemon.classify(pictures[0])
        return reply, reply.status == 503 or reply.json["class"] == "red"

    def infer():
        reply = daemon.post_json("/v2/models/coral-learn/infer", {"inputs": [batch], "outputs": [{"name": "label"}]})
        return reply, reply.status == 503 or reply.json["outputs"][0]["data"] == 5 * list(colours)

    def teach():
        reply = daemon.teach("green", encode(make_picture("green", 1000 + len(found))))
        return reply, reply.status in (201, 503)

    def ask(question):
        while not ended.is_set():
            found.append(question())

    threads = [threading.Thread(target=ask, args=(question,)) for question in (classify, infer, teach)]
    for thread in threads:
        thread.start()
    try:
        for model in (str(tiny_models.BUNDLED), str(tiny_model)):
            job = daemon.post_json("/v1/extractor", {"model": model}).headers["Location"]
            assert ended_job(daemon, job)["state"] == "succeeded"
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert [reply.body for reply, right in found if not right] == []
    codes = {reply.json.get("code", "") for reply, _ in found if reply.status == 503}
    assert codes <= {"extractor_unavailable", "extractor_busy", "unavailable"}, codes


def test_models_that_are_no_files(start_daemon, tiny_model, tmp_path):
    """Each is refused at once, in words: none is waited for, or read without end."""
    daemon = start_daemon("--model", str(tiny_model))
    os.mkfifo(str(tmp_path / "pipe"))
    for model in ("\0", "a" * 5000, str(tmp_path / "pipe"), "/dev/zero", str(tmp_path), str(tmp_path / "none")):
        reply = daemon.post_json("/v1/extractor", {"model": model})
        assert (reply.status, reply.json["code"]) == (422, "model_unusable"), reply.body
    assert daemon.get("/v1/jobs").json["total"] == 0


def test_repaired_by_another_model(start_daemon, tiny_model, tmp_path, make_picture, encode):
    """A daemon whose model does not start takes another one over HTTP, and says that it is not the one that is set."""
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(tiny_model.read_bytes()[:3000])
    daemon = start_daemon("--model", str(broken), ready=False)
    daemon.wait_for(lambda: daemon.get("/v1/status").json["extractor"]["state"] == "lost", 30, "the loss")
    job = daemon.post_json("/v1/extractor", {"model": str(tiny_model)}).headers["Location"]
    assert ended_job(daemon, job)["state"] == "succeeded"
    assert daemon.get("/v1/status").json["extractor"]["instead_of"] == str(broken)
    assert daemon.teach("red", encode(make_picture("red"))).status == 201


def test_back_to_the_one_that_is_set(start_daemon, tiny_model, data):
    """Which model is set is said while another one answers, and not once it answers again, however it is named."""
    set_one = os.path.relpath(str(tiny_model), str(ROOT))
    daemon = start_daemon("--model", set_one)
    for model, instead_of in ((data / "tiny_float32.tflite", set_one), (tiny_model, None)):
        job = daemon.post_json("/v1/extractor", {"model": str(model)}).headers["Location"]
        assert ended_job(daemon, job)["state"] == "succeeded"
        assert daemon.get("/v1/status").json["extractor"]["instead_of"] == instead_of


def test_started_with_another_model(start_daemon, tiny_model, data, make_picture, encode):
    """Every answer from the first on knows what was taught; the model that was set comes to answer, also after -9."""
    daemon = start_daemon("--model", str(tiny_model))
    for seed in range(40):
        daemon.teach(("red", "green", "blue")[seed % 3], encode(make_picture(("red", "green", "blue")[seed % 3], seed)))
    before, picture = digest(daemon), encode(make_picture("red", 99))
    daemon.stop()
    daemon = start_daemon("--model", str(data / "tiny_float32.tflite"))
    digests, lacking = [digest(daemon)], daemon.get("/v1/status").json["incomplete"]
    daemon.kill()
    daemon.start()
    daemon.wait_ready()
    ends = time.monotonic() + 30
    while digests[-1] == before and time.monotonic() < ends:
        answer = daemon.classify(picture)
        assert answer.status == 503 or answer.json["class"] == "red"
        status = daemon.get("/v1/status").json
        lacking = lacking or status["incomplete"]
        digests.append(status["extractor"]["digest"])
    assert (digests[0], lacking) == (before, None)
    assert digests[-1] != before
    assert daemon.classify(picture).json["class"] == "red"
    daemon.wait_for(lambda: [job["state"] for job in daemon.get("/v1/jobs").json["items"]] == ["succeeded"], 10)
