"""The wall clock is set while the daemon works, as by NTP on a board without a battery: nobody is lost by it.

The clock is one of the daemon's own, in front of the C library; what waits follows it as it would the kernel's.
"""

import json
import sys
from contextlib import closing

import fake_clock
import pytest
from manager import SECONDS, Manager

# Ahead of the real one. Before Python 3.9 threads wait by the wall clock, and stand still when it is set back.
HOURS = (5.0, -5.0) if sys.version_info >= (3, 9) else (5.0,)


@pytest.fixture
def clock(tmp_path):
    """The daemon's clock."""
    reason = fake_clock.missing()
    if reason:
        pytest.skip(reason)
    return fake_clock.FakeClock(tmp_path)


@pytest.fixture
def manager(tmp_path, monkeypatch):
    """A systemd that watches over the daemon."""
    one = Manager(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", one.path)
    monkeypatch.setenv("WATCHDOG_USEC", str(int(SECONDS * 1e6)))
    yield one
    one.close()


@pytest.fixture
def daemon(start_daemon, clock, manager, tiny_model, tmp_path, make_picture, encode):  # noqa: ARG001
    """One with a camera of twenty pictures a second, tokens, and a watchdog."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed, colour in enumerate(("red", "green", "blue")):
        (folder / f"{colour}.png").write_bytes(encode(make_picture(colour, seed), "PNG"))
    flags = ["--model", str(tiny_model), "--camera", str(folder), "--camera-fps", "20", "--host", "0.0.0.0"]
    before = [*clock.before, "sh", "-c", 'WATCHDOG_PID=$$ exec "$0" "$@"']
    return start_daemon(*flags, "--extractor-timeout", "2", ready=False, before=before)


@pytest.fixture
def token(daemon):
    """The token that allows everything."""
    return json.loads((daemon.data_dir / "tokens.json").read_text())["manage"]


def half_sent(daemon, token, data):
    """A connection on which an upload has come halfway."""
    connection = daemon.connect()
    connection.putrequest("POST", "/v1/examples?class=red")
    for name, value in (("X-Api-Key", token), ("Content-Type", "image/png"), ("Content-Length", str(len(data)))):
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(data[: len(data) // 2])
    return connection


@pytest.mark.slow
def test_clock_is_set_forward_and_back(daemon, clock, manager, token, make_picture, encode):
    """Camera, extractor, session, half an upload and watchdog stay; what is captured has the new time."""

    def get(path):
        return daemon.get(path, X_Api_Key=token).json

    def frame_age():
        return abs(float(daemon.get("/v1/camera/snapshot.jpg", X_Api_Key=token).headers["X-Captured"]) - clock.now)

    daemon.wait_for(lambda: daemon.get("/readyz", X_Api_Key=token).status == 200, 60, "ready")
    signed_in = daemon.post_json("/v1/session", {"token": token})
    cookie = signed_in.headers["Set-Cookie"].partition(";")[0]
    assert frame_age() < 2
    for number, hours in enumerate(HOURS):
        data = encode(make_picture("red", 50 + number), "PNG")
        with closing(half_sent(daemon, token, data)) as upload:
            clock.set(hours)
            daemon.wait_for(lambda: frame_age() < 2, 10, "a frame by the new clock")
            for _ in range(2):
                manager.wait_for("WATCHDOG=1", SECONDS)
            upload.send(data[len(data) // 2 :])
            assert upload.getresponse().status == 201
        assert daemon.get("/v1/session", Cookie=cookie).json["scope"] == "manage"
        example = get("/v1/examples?size=100")["items"][-1]
        assert abs(example["created"] - clock.now) < 30
        status = get("/v1/status")
        assert (status["camera"]["state"], status["camera"]["restarts"]) == ("online", 0)
        assert (status["extractor"]["starts"], status["extractor"]["losses"]) == (1, 0)
