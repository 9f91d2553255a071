"""The process of a training job has a limit of memory; running into it costs the job, and nothing else."""

import os
import signal

import pytest


def teach_many(daemon, make_picture, encode) -> None:
    """Two classes of some pictures each."""
    for colour in ("red", "blue"):
        for seed in range(6):
            assert daemon.teach(colour, encode(make_picture(colour, seed))).status == 201


def check_told(daemon, job, limit: str) -> None:
    """The job says what was missing and what to do; the daemon goes on."""
    assert (job["state"], job["error"]["code"]) == ("failed", "out_of_memory"), job
    for words in (limit, "job_memory_mb", "fewer examples", "another head"):
        assert words in job["error"]["detail"], job
    assert job["model"] is None
    assert daemon.get("/readyz").status == 200


@pytest.mark.parametrize("megabytes", [20, 60])
def test_a_limit_that_is_too_low(start_daemon, tiny_model, make_picture, encode, megabytes):
    """Too little to load numpy, or too little for its libraries: the job fails and says why."""
    daemon = start_daemon("--model", str(tiny_model), "--job-memory-mb", str(megabytes))
    teach_many(daemon, make_picture, encode)
    check_told(daemon, daemon.train(head="softmax"), f"{megabytes} MB")
    assert daemon.classify(encode(make_picture("red", 50))).json["class"] == "red"


def test_enough_is_enough(start_daemon, tiny_model, make_picture, encode):
    """With a limit that fits the same job succeeds."""
    daemon = start_daemon("--model", str(tiny_model), "--job-memory-mb", "1000")
    teach_many(daemon, make_picture, encode)
    assert daemon.train(head="softmax")["state"] == "succeeded"


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV, signal.SIGKILL])
def test_libraries_that_get_no_memory(tiny_daemon, make_picture, encode, number):
    """They end the process, as does the system when it has none left: the job says what that means most likely."""
    teach_many(tiny_daemon, make_picture, encode)
    before = set(tiny_daemon.child_pids())
    reply = tiny_daemon.post_json("/v1/train", {"head": "softmax", "search_seconds": 60})
    place = reply.headers["Location"]
    # One that is killed before it has taken what it is to do was never at work.
    tiny_daemon.wait_for(lambda: tiny_daemon.get(place).json["progress"] > 0, what="the job being at work")
    (pid,) = set(tiny_daemon.child_pids()) - before
    os.kill(pid, number)
    tiny_daemon.wait_for(lambda: tiny_daemon.get(place).json["state"] == "failed")
    check_told(tiny_daemon, tiny_daemon.get(place).json, f"was ended by {number.name}, most likely for lack of memory")
