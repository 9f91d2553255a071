"""The process of a training job has a limit of memory; running into it costs the job, and nothing else."""

import os
import signal
from pathlib import Path
from typing import Tuple

import pytest

from service.memory import half_of_machine
from service.settings import MEGABYTE


def teach_many(daemon, make_picture, encode) -> None:
    """Two classes of some pictures each."""
    for colour in ("red", "blue"):
        for seed in range(6):
            assert daemon.teach(colour, encode(make_picture(colour, seed))).status == 201


def check_told(daemon, job, limit: str) -> None:
    """The job says what was missing and what to do; the daemon goes on."""
    assert (job["state"], job["error"]["code"]) == ("failed", "out_of_memory"), daemon.log[-2000:]
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


def job_at_work(daemon) -> Tuple[str, int]:
    """A training that takes its time: where it is, and the id of its process."""
    before = set(daemon.child_pids())
    place = daemon.post_json("/v1/train", {"head": "softmax", "search_seconds": 60}).headers["Location"]
    # One that has not taken what it is to do yet was never at work.
    daemon.wait_for(lambda: daemon.get(place).json["progress"] > 0, what="the job being at work")
    (pid,) = set(daemon.child_pids()) - before
    return place, pid


def niceness(pid: int) -> int:
    """How polite a process is, as the system has it."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[16])


def data_limit(pid: int) -> Tuple[str, str]:
    """The bytes of memory that a process may use, as the system has it: soft and hard."""
    line = next(one for one in Path(f"/proc/{pid}/limits").read_text().splitlines() if one.startswith("Max data size"))
    return tuple(line.split()[3:5])


@pytest.mark.parametrize("flags", [(), ("--job-memory-mb", "700")])
def test_what_the_system_says_of_its_process(start_daemon, tiny_model, make_picture, encode, flags):
    """It runs at a low priority and within its limit, all threads of it; the daemon and the extractor don't."""
    daemon = start_daemon("--model", str(tiny_model), *flags)
    teach_many(daemon, make_picture, encode)
    (extractor,) = daemon.child_pids()
    place, pid = job_at_work(daemon)
    polite = min(19, niceness(daemon.process.pid) + 10)
    assert {niceness(int(thread.name)) for thread in Path(f"/proc/{pid}/task").iterdir()} == {polite}
    limit = str(700 * MEGABYTE if flags else half_of_machine())
    assert data_limit(pid) == (limit, limit)
    assert niceness(extractor) == niceness(daemon.process.pid) < polite
    assert data_limit(extractor) == data_limit(daemon.process.pid) != data_limit(pid)
    assert daemon.delete(place).json["state"] == "cancelled"


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV, signal.SIGKILL])
def test_libraries_that_get_no_memory(tiny_daemon, make_picture, encode, number):
    """They end the process, as does the system when it has none left: the job says what that means most likely."""
    teach_many(tiny_daemon, make_picture, encode)
    place, pid = job_at_work(tiny_daemon)
    os.kill(pid, number)
    tiny_daemon.wait_for(lambda: tiny_daemon.get(place).json["state"] == "failed")
    check_told(tiny_daemon, tiny_daemon.get(place).json, f"was ended by {number.name}, most likely for lack of memory")
