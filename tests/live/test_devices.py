"""A daemon whose Edge TPU breaks in all its ways: what answers, what is said, and that it comes back."""

import hashlib
import json
import os
import shutil
import signal

import pytest
from runtime_host import LOAD_DELEGATE, alone_with_edge_tpus, build_libedgetpu, missing, write_pycoral

from coral_learn.runtime.fake_bus import FakeBus

RED = (200, 30, 30)


@pytest.fixture
def bus(tmp_path, monkeypatch):
    """Where the fake device of this test's daemons is plugged in."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return FakeBus(tmp_path)


@pytest.fixture
def twins(tiny_twins):
    """The compiled model of two that are one extractor."""
    return str(tiny_twins)


@pytest.fixture
def other_twins(tiny_twins, data, tmp_path):
    """The folder of another extractor's two files, of the same names, and its manifest."""
    folder = tmp_path / "other"
    shutil.copytree(str(tiny_twins.parent), str(folder))
    content = (data / "tiny_int8.tflite").read_bytes()
    (folder / "tiny.tflite").write_bytes(content)
    (folder / "tiny_edgetpu.tflite").write_bytes(content + b"edgetpu-custom-op")
    facts = json.loads((folder / "tiny.json").read_text())
    facts.update(name="other", sha256=hashlib.sha256(content).hexdigest())
    (folder / "tiny.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture
def picture(make_picture, encode):
    """picture(seed): a red one, encoded."""
    return lambda seed=0: encode(make_picture(RED, seed), "PNG")


def status(daemon):
    return daemon.get("/v1/status").json


def metric(daemon, name):
    """The value of a metric without labels."""
    lines = daemon.get("/metrics").body.decode().splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(f"coral_learn_{name} ")), None)


def answers(daemon, data):
    """Whether a picture is answered now."""
    return daemon.classify(data, "image/png").status == 200


def not_ready(daemon):
    """Why the daemon isn't ready, "" when it is."""
    reply = daemon.get("/readyz")
    return "" if reply.status == 200 else reply.json["detail"]


# -- the device is unplugged --------------------------------------------------------------------


def test_waits_for_the_device(start_daemon, bus, twins, picture):
    """Without a word about it the service waits: 503 and the reason, then answers as soon as the device is back."""
    daemon = start_daemon("--model", twins, "--device", "fake:vanish=3")
    for seed in range(2):
        assert daemon.teach("red", picture(seed), "image/png").status == 201
    daemon.wait_for(lambda: not bus.present, what="unplugged")

    assert daemon.classify(picture(9), "image/png").status == 503
    daemon.wait_for(lambda: "unplugged" in not_ready(daemon), what="the reason")
    assert (status(daemon)["degraded"], status(daemon)["extractor"]["state"]) == (True, "lost")
    assert metric(daemon, "extractor_up") == 0
    assert daemon.get("/v1/classes").json["total"] == 1

    bus.marker.unlink()
    daemon.wait_for(lambda: answers(daemon, picture(9)), 60, "an answer")
    found = daemon.classify(picture(8), "image/png")
    assert (found.json["class"], found.json["device"]) == ("red", "edgetpu")
    assert status(daemon)["extractor"]["losses"] == metric(daemon, "extractor_losses_total") == 1
    assert status(daemon)["extractor"]["recovery_s"] > 0
    assert metric(daemon, "extractor_recovery_seconds") > 0


def test_cpu_stands_in(start_daemon, bus, twins, picture):
    """Told so, the CPU answers with what was taught, says that it stands in, and hands back to the device."""
    daemon = start_daemon("--model", twins, "--device", "fake:vanish=4", "--on-device-loss", "cpu")
    for seed in range(2):
        assert daemon.teach("red", picture(seed), "image/png").status == 201
    before = daemon.classify(picture(9), "image/png").json
    assert before["device"] == "edgetpu"

    daemon.wait_for(lambda: answers(daemon, picture(9)), 60, "an answer of the CPU")
    after = daemon.classify(picture(9), "image/png").json
    assert after["device"] == "cpu"
    assert {name: after[name] for name in ("class", "predictions", "model")} == {
        name: before[name] for name in ("class", "predictions", "model")
    }
    found = status(daemon)
    assert (found["device"], found["degraded"], found["extractor"]["stand_in"]) == ("cpu", True, True)
    assert "the CPU stands in for the Edge TPU since 20" in found["device_reason"]
    assert "unplugged" in found["device_reason"]
    assert (found["extractor"]["to_embed"], metric(daemon, "extractor_stand_in")) == (0, 1)
    assert daemon.get("/readyz").status == 200
    assert daemon.teach("red", picture(3), "image/png").status == 201
    assert "the extractor runs on the cpu: the CPU stands in" in daemon.log

    bus.marker.unlink()
    daemon.wait_for(lambda: status(daemon)["device"] == "edgetpu", 60, "the Edge TPU")
    found = status(daemon)
    assert (found["degraded"], found["extractor"]["stand_in"], found["extractor"]["to_embed"]) == (False, False, 0)
    assert "the CPU stood in from 20" in found["device_reason"]
    answer = daemon.classify(picture(9), "image/png").json
    assert (answer["device"], answer["class"]) == ("edgetpu", "red")
    assert "the Edge TPU is back" in daemon.log


def test_cpu_stands_in_from_the_start(start_daemon, twins, picture, bus):
    """A daemon that starts without its device serves as well, and says so."""
    bus.unplug()
    daemon = start_daemon("--model", twins, "--device", "fake", "--on-device-loss", "cpu")
    assert daemon.teach("red", picture(), "image/png").status == 201
    assert (status(daemon)["device"], status(daemon)["degraded"]) == ("cpu", True)
    bus.marker.unlink()
    daemon.wait_for(lambda: status(daemon)["device"] == "edgetpu", 60, "the Edge TPU")
    assert daemon.classify(picture(1), "image/png").json["class"] == "red"


@pytest.mark.parametrize("name", ["tiny.tflite", "tiny_edgetpu.tflite"])
def test_exchange_while_the_cpu_stands_in(start_daemon, bus, twins, other_twins, picture, name):
    """Another extractor is taken over by the CPU as well, and then by the Edge TPU when that is back."""
    bus.unplug()
    daemon = start_daemon("--model", twins, "--device", "fake", "--on-device-loss", "cpu")
    assert daemon.teach("red", picture(), "image/png").status == 201
    reply = daemon.post_json("/v1/extractor", {"model": str(other_twins / name)})
    assert reply.status == 202, reply.body

    def job():
        found = daemon.get(reply.headers["Location"]).json
        return found if found["state"] not in ("queued", "running") else None

    ended = daemon.wait_for(job, 60, "the exchange")
    assert ended["state"] == "succeeded", ended
    found = status(daemon)
    assert (found["device"], found["extractor"]["name"], found["extractor"]["to_embed"]) == ("cpu", "other", 0)
    bus.marker.unlink()
    daemon.wait_for(lambda: status(daemon)["device"] == "edgetpu", 60, "the Edge TPU")
    assert status(daemon)["extractor"]["digest"] == found["extractor"]["digest"]
    assert daemon.classify(picture(1), "image/png").json["class"] == "red"


@pytest.mark.usefixtures("bus")
def test_no_stand_in_for_another_extractor(start_daemon, data):
    """Files that nothing shows to be one extractor don't stand in for each other; the reason says what is missing."""
    model = str(data / "tiny_edgetpu.tflite")
    daemon = start_daemon("--model", model, "--device", "fake:absent", "--on-device-loss", "cpu", ready=False)
    daemon.wait_for(lambda: "two extractors" in not_ready(daemon), what="the reason")
    assert "golden picture" in not_ready(daemon)
    assert status(daemon)["device"] is None
    assert "can't stand in" in daemon.log


def test_automatic_choice_is_kept(start_daemon, twins, picture, tmp_path, monkeypatch):
    """`auto` that took the Edge TPU doesn't take the CPU, in silence, when the Edge TPU is gone at the next start."""
    unplugged = tmp_path / "unplugged"
    root = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(write_pycoral(tmp_path)), root]))
    monkeypatch.setenv("FAKE_PYCORAL_UNPLUGGED", str(unplugged))
    with alone_with_edge_tpus():
        daemon = start_daemon("--model", twins.replace("_edgetpu", ""), "--device", "auto")
        chosen = status(daemon)
        assert (chosen["device"], chosen["extractor"]["runtime"]) == ("edgetpu", "pycoral")
        unplugged.touch()
        (pid,) = daemon.child_pids()
        os.kill(pid, signal.SIGKILL)
        daemon.wait_for(lambda: "no Edge TPU found" in not_ready(daemon), what="the reason")
        unplugged.unlink()
        daemon.wait_for(lambda: answers(daemon, picture()), 60, "an answer")
        assert (status(daemon)["device"], status(daemon)["device_reason"]) == ("edgetpu", chosen["device_reason"])
        daemon.stop()


# -- it stops answering -------------------------------------------------------------------------


@pytest.mark.usefixtures("bus")
def test_run_that_never_returns(start_daemon, twins, picture):
    """Its process is ended at the deadline, the picture is answered by the next, and a PCI rescan is suggested."""
    daemon = start_daemon("--model", twins, "--device", "fake:hang=3", "--extractor-timeout", "1")
    statuses = [daemon.classify(picture(seed), "image/png").status for seed in range(4)]
    assert statuses == [200] * 4
    assert status(daemon)["extractor"]["losses"] > 0
    assert "no answer for 1 s" in daemon.log
    assert "/sys/bus/pci/rescan" in daemon.log


def test_dead_link(start_daemon, bus, twins, picture):
    """A temperature that can't be true ends the waiting long before the deadline; a sane one brings the device back."""
    daemon = start_daemon("--model", twins, "--device", "fake:dead_link=3", "--extractor-timeout", "600")
    assert answers(daemon, picture())
    assert daemon.classify(picture(), "image/png").status == 503
    reason = daemon.wait_for(lambda: not_ready(daemon), what="the reason")
    assert "PCIe link is dead: apex_0 reports -89.7 degrees" in reason
    assert "echo 1 > /sys/bus/pci/rescan" in reason
    assert status(daemon)["temperature"] == {}
    bus.show(50)
    daemon.wait_for(lambda: answers(daemon, picture()), 60, "an answer")


def test_gets_warm(start_daemon, bus, twins, picture):
    """What is too warm is in status and metrics, with what follows from it."""
    daemon = start_daemon("--model", twins, "--device", "fake:heat=20", "--slow-down-at", "80")
    assert (status(daemon)["slowed_down"], metric(daemon, "slowed_down")) == (None, 0)
    assert answers(daemon, picture())
    daemon.wait_for(lambda: status(daemon)["slowed_down"], what="too warm")
    assert status(daemon)["temperature"] == {"apex_0": 85.0}
    assert "the camera rests 3.0 s" in status(daemon)["slowed_down"]
    assert metric(daemon, "slowed_down") == 1
    bus.show(60)
    daemon.wait_for(lambda: status(daemon)["slowed_down"] is None, what="cool again")


# -- it loads slowly, or not at all -------------------------------------------------------------


@pytest.mark.usefixtures("bus")
def test_serves_while_the_driver_holds_the_interpreter(start_daemon, twins):
    """The interpreter lock of its own process is all that a slow load holds."""
    daemon = start_daemon("--model", twins, "--device", "fake:load_slowly=4", ready=False)
    assert status(daemon)["extractor"]["state"] == "starting"
    for _ in range(20):
        assert daemon.get("/healthz").status == 200
        assert daemon.get("/v1/classes").status == 200
    assert status(daemon)["extractor"]["state"] == "starting"
    daemon.wait_ready()
    assert status(daemon)["device"] == "edgetpu"


@pytest.fixture
def libedgetpu(tmp_path, monkeypatch):
    """libedgetpu(NAME=value): the daemon's libedgetpu.so.1 is ours, and told to misbehave."""
    reason = missing(LOAD_DELEGATE)
    if reason:
        pytest.skip(reason)

    def install(**told):
        monkeypatch.setenv("LD_LIBRARY_PATH", str(build_libedgetpu(tmp_path)))
        for name, value in told.items():
            monkeypatch.setenv(f"FAKE_LIBEDGETPU_{name}", value)

    with alone_with_edge_tpus():
        yield install


def test_real_load_delegate_that_is_slow(start_daemon, twins, picture, libedgetpu):
    """Through the run-time's own load_delegate, which holds the interpreter lock: HTTP goes on, then it answers."""
    libedgetpu(SLEEP="4")
    daemon = start_daemon("--model", twins, "--device", "usb", ready=False)
    for _ in range(20):
        assert daemon.get("/v1/classes").status == 200
    assert status(daemon)["extractor"]["state"] == "starting"
    daemon.wait_ready()
    assert daemon.classify(picture(), "image/png").json["device"] == "edgetpu"
    daemon.stop()


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"FAIL": "usb transfer failed"}, "the driver says: usb transfer failed"),
        ({"ABORT": "1"}, "its process was ended by SIGABRT while it loaded the model"),
        ({"DEVICE": "usb:3"}, "no Edge TPU found as 'usb'"),
    ],
)
def test_real_load_delegate_that_fails(start_daemon, twins, libedgetpu, told, reason):
    """The cause is in /readyz and status; the daemon goes on, and goes on trying."""
    libedgetpu(**told)
    daemon = start_daemon("--model", twins, "--device", "usb", ready=False)
    daemon.wait_for(lambda: reason in not_ready(daemon), what=reason)
    daemon.wait_for(lambda: status(daemon)["extractor"]["starts"] > 2, what="a third start")
    assert reason in status(daemon)["extractor"]["reason"]
    assert daemon.get("/v1/classes").status == 200
    daemon.stop()
