"""Killed processes: the daemon's own, and the extractor's under it."""

import os
import signal
import subprocess
import sys
import threading

import pytest
from daemon_process import ROOT

pytestmark = pytest.mark.executed
COLOURS = {"red": (200, 30, 30), "green": (30, 180, 40), "blue": (40, 50, 210)}


def teach_colours(daemon, make_picture, encode, count=3) -> None:
    for name, colour in COLOURS.items():
        for seed in range(count):
            assert daemon.teach(name, encode(make_picture(colour, seed), "PNG"), "image/png").status == 201


def answers(daemon, make_picture, encode):
    """Class and scores for pictures that were not taught."""
    pictures = [encode(make_picture(colour, 100 + seed), "PNG") for colour in COLOURS.values() for seed in range(3)]
    return [
        (one["class"], one["predictions"], one["model"]) for one in (daemon.classify(data).json for data in pictures)
    ]


def test_same_answers_after_sigkill(tiny_daemon, make_picture, encode):
    """Killed with -9 and started again: the same classes, scores and revision, to the byte."""
    teach_colours(tiny_daemon, make_picture, encode)
    deleted = tiny_daemon.get("/v1/examples?class=red").json["items"][0]["id"]
    assert tiny_daemon.delete(f"/v1/examples/{deleted}").status == 200
    before = answers(tiny_daemon, make_picture, encode)

    tiny_daemon.kill()
    tiny_daemon.start()
    tiny_daemon.wait_ready()

    assert answers(tiny_daemon, make_picture, encode) == before


def test_version_answers_on_after_sigkill(tiny_daemon, make_picture, encode):
    """A trained version that was active is active again, with the same scores."""
    teach_colours(tiny_daemon, make_picture, encode, 5)
    job = tiny_daemon.train(head="softmax", activate="always")
    assert job["state"] == "succeeded", job
    before = answers(tiny_daemon, make_picture, encode)
    assert before[0][2] == {"version": job["model"]["version"], "head": "softmax"}

    tiny_daemon.kill()
    tiny_daemon.start()
    tiny_daemon.wait_ready()

    assert answers(tiny_daemon, make_picture, encode) == before


def test_acknowledged_examples_survive_sigkill_under_load(tiny_daemon, make_picture, encode):
    """What was answered with 201 is there after -9 in the middle of uploads; nothing else is half there."""
    acknowledged = []

    def upload(worker: int) -> None:
        for number in range(1000):
            data = encode(make_picture((40 * worker, 99, 10), 1000 * worker + number), "PNG")
            try:
                reply = tiny_daemon.teach(f"worker {worker}", data, "image/png")
            except (OSError, EOFError):
                return
            except Exception:  # http.client has its own for a connection cut in the middle
                return
            acknowledged.extend(one["id"] for one in reply.json["accepted"])

    workers = [threading.Thread(target=upload, args=(worker,)) for worker in range(3)]
    for worker in workers:
        worker.start()
    tiny_daemon.wait_for(lambda: len(acknowledged) >= 20, 60, "20 uploads")
    tiny_daemon.kill()
    for worker in workers:
        worker.join(60)
    tiny_daemon.start()
    tiny_daemon.wait_ready()

    stored = {one["id"] for one in tiny_daemon.get("/v1/examples?size=1000").json["items"]}
    assert set(acknowledged) <= stored
    for example in stored:
        assert tiny_daemon.get(f"/v1/examples/{example}/image").status == 200


def test_extractor_killed_by_hand_comes_back(tiny_daemon, make_picture, encode):
    """After -9 on the extractor's process requests wait or get 503, and soon are answered; the daemon lives."""
    teach_colours(tiny_daemon, make_picture, encode)
    picture, daemon_pid = encode(make_picture(COLOURS["red"], 7), "PNG"), tiny_daemon.process.pid
    for _ in range(3):
        pids = tiny_daemon.child_pids()
        assert len(pids) == 1
        os.kill(pids[0], signal.SIGKILL)
        assert tiny_daemon.get("/healthz").status == 200
        assert tiny_daemon.get("/v1/classes").status == 200
        reply = tiny_daemon.classify(picture, "image/png")
        assert reply.status in (200, 503)
        if reply.status == 503:
            assert int(reply.headers["Retry-After"]) > 0
        tiny_daemon.wait_for(lambda: tiny_daemon.classify(picture, "image/png").status == 200, 60, "an answer")
        assert tiny_daemon.child_pids() != pids
    assert tiny_daemon.process.pid == daemon_pid
    assert tiny_daemon.get("/v1/status").json["extractor"]["starts"] == 4


def test_hanging_extractor_is_replaced(start_daemon, tiny_model, make_picture, encode):
    """A stopped extractor misses its deadline, is killed, and the waiting request is answered by the next one."""
    daemon = start_daemon("--model", str(tiny_model), "--extractor-timeout", "1")
    teach_colours(daemon, make_picture, encode, 1)
    stopped = daemon.child_pids()[0]
    os.kill(stopped, signal.SIGSTOP)

    reply = daemon.classify(encode(make_picture(COLOURS["blue"], 5), "PNG"), "image/png")

    assert reply.status == 200
    assert reply.json["class"] == "blue"
    assert stopped not in daemon.child_pids()


def test_device_that_aborts_never_ends_the_daemon(start_daemon, data, make_picture, encode):
    """An Edge TPU driver that ends its process in every third run costs retries or 503s, nothing else."""
    daemon = start_daemon("--model", str(data / "tiny_edgetpu.tflite"), "--device", "fake:abort=3")
    picture = encode(make_picture(COLOURS["red"], 1), "PNG")

    statuses = [daemon.classify(picture, "image/png").status for _ in range(6)]

    assert set(statuses) <= {200, 503}
    assert 200 in statuses
    assert daemon.get("/healthz").status == 200
    assert daemon.get("/v1/status").json["device"] == "edgetpu"


def test_model_that_is_no_extractor_is_said(start_daemon, data):
    """A model of another kind: the daemon stays up, /readyz says what is wrong, uploads get 503."""
    daemon = start_daemon("--model", str(data / "pair.tflite"), ready=False)

    detail = daemon.wait_for(lambda: "an extractor" in daemon.get("/readyz").json["detail"], 30)

    assert detail
    assert daemon.get("/readyz").status == 503
    assert daemon.classify(b"whatever").status == 503
    assert daemon.get("/v1/classes").status == 200


def test_two_daemons_do_not_share_a_data_folder(tiny_daemon):
    """The second one ends with exit code 1 and says why."""
    command = tiny_daemon.command
    second = subprocess.run(command, cwd=tiny_daemon.root, capture_output=True, timeout=60, check=False)

    assert second.returncode == 1
    assert b"another coral-learn daemon" in second.stderr


def test_children_end_with_the_daemon(tiny_daemon):
    """No extractor is left behind after -9 on the daemon."""
    pids = tiny_daemon.child_pids()
    assert pids
    tiny_daemon.kill()
    ended = threading.Event()
    for _ in range(200):
        if not any(os.path.exists(f"/proc/{pid}") for pid in pids):
            return
        ended.wait(0.05)
    raise AssertionError(f"still there: {pids}")


@pytest.mark.parametrize("content", [None, b"no model"])
def test_model_file_that_is_wrong_from_the_start(tmp_path, content):
    """A missing file, or no model at all: wrong use, said before anything is served."""
    model = tmp_path / "model.tflite"
    if content is not None:
        model.write_bytes(content)
    command = [sys.executable, "-m", "service", "serve", "--data-dir", str(tmp_path / "data"), "--model", str(model)]
    done = subprocess.run(command, cwd=str(ROOT), capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"model.tflite" in done.stderr
    assert b"Traceback" not in done.stderr


def test_frozen_extractor_with_large_input_is_replaced(start_daemon, data, make_picture, encode):
    """A stopped process that takes no more bytes does not hold who writes to it: nothing waits for ever."""
    daemon = start_daemon("--model", str(data / "tiny.tflite"), "--extractor-timeout", "1")
    stopped = daemon.child_pids()[0]
    os.kill(stopped, signal.SIGSTOP)
    picture = encode(make_picture(COLOURS["red"], 1), "PNG")
    statuses = [daemon.classify(picture, "image/png").status for _ in range(3)]
    assert set(statuses) <= {200, 503}
    daemon.wait_for(lambda: stopped not in daemon.child_pids(), 30, "another process")


def test_damaged_newest_version_is_said_at_the_start(tiny_daemon, make_picture, encode):
    """A version whose file is damaged is named in the log at the next start, and the live model answers."""
    teach_colours(tiny_daemon, make_picture, encode, 3)
    tiny_daemon.train(head="imprinting", activate="never")
    before = answers(tiny_daemon, make_picture, encode)
    tiny_daemon.kill()
    (head,) = (tiny_daemon.data_dir / "models").glob("*/head.npz")
    head.write_bytes(head.read_bytes()[:1000])
    tiny_daemon.start()
    tiny_daemon.wait_ready()

    assert answers(tiny_daemon, make_picture, encode) == before
    tiny_daemon.wait_for(lambda: "the newest version, 1, is damaged" in tiny_daemon.log, what="a word in the log")


def test_blurred_picture_is_taught_with_a_warning(tiny_daemon, make_picture, encode):
    """An upload that is blurred, or has nothing in it, is stored; the answer says so."""
    sharp, empty = make_picture("red", 1), make_picture("red", 1)
    empty[:] = empty.mean(axis=(0, 1))
    warnings = [
        tiny_daemon.teach("red", encode(picture, "PNG")).json["accepted"][0]["warnings"] for picture in (sharp, empty)
    ]
    assert ["blurred" in " ".join(one) for one in warnings] == [False, True]
