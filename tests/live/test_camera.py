"""Cameras that hang, freeze, send rubbish, disappear and come back; servers of the tests' own stand for them."""

import os
import signal
import threading
import time

import numpy as np
import pytest
from picture_servers import MjpegServer, RtspServer

from coral_learn import image
from service.camera import Camera, CameraOptions, Patience
from service.camera.supervisor import LOST, NONE, ONLINE, STARTING
from service.errors import CameraError
from service.region import Region

QUICK = Patience(first=15.0, frame=2.0, network=0.5, pauses=(0.0, 0.1), figures=0.1)
SIDE = 32
SERVERS = [MjpegServer, RtspServer]


@pytest.fixture
def moving(make_picture, encode):
    """Red pictures, each with other noise: 96 high, 128 wide."""
    pictures = [encode(make_picture("red", seed, 128, 96), subsampling=2) for seed in range(16)]
    return lambda number: pictures[number % len(pictures)]


@pytest.fixture
def watch():
    """Makes cameras; all of them are closed at the end, and nothing of them is left."""
    made = []

    def make(source, patience=QUICK, **options):
        made.append(Camera(CameraOptions(source and str(source), **options), patience))
        return made[-1]

    yield make
    for camera in made:
        camera.stop()
        camera.close()
        assert camera.pid is None


def frame_of(camera, seconds=30.0, **wanted):
    """The next frame, over as many starts as it takes."""
    ends = time.monotonic() + seconds
    while True:
        try:
            return camera.next(SIDE, SIDE, wanted.get("with_jpeg", False), wanted.get("caption"))
        except CameraError as error:
            assert time.monotonic() < ends, error


def loss_of(camera, seconds=30.0):
    """Frames until the camera is lost; the reason."""
    ends = time.monotonic() + seconds
    with pytest.raises(CameraError):
        while time.monotonic() < ends:
            camera.next(SIDE, SIDE, False)
    assert camera.state.state == LOST
    return camera.state.reason


@pytest.mark.parametrize("server", SERVERS)
def test_network_camera(server, moving, watch):
    """Frames with what they show, numbers that grow, and a state that says what there is."""
    with server(moving) as running:
        camera = watch(running.url())
        assert camera.state[:3] == (STARTING, "the camera is being opened", running.url())
        frames, ends = [frame_of(camera) for _ in range(20)], time.monotonic() + 10
        while camera.state.fps is None and time.monotonic() < ends:  # some servers begin with many at once
            frames.append(frame_of(camera))
        state = camera.state
    assert all(frame.pixels.shape == (SIDE, SIDE, 3) and frame.pixels[..., 0].mean() > 150 for frame in frames)
    assert [frame.number for frame in frames] == sorted({frame.number for frame in frames})
    assert [frame.captured for frame in frames] == sorted(frame.captured for frame in frames)
    assert {(frame.width, frame.height) for frame in frames} == {(128, 96)}
    assert (state.state, state.reason, state.restarts, state.width, state.height) == (ONLINE, "", 0, 128, 96)
    assert state.kind == ("http" if server is MjpegServer else "rtsp")
    assert state.since == pytest.approx(frames[0].captured, abs=5)
    assert state.fps is not None


@pytest.mark.parametrize("server", SERVERS)
def test_network_camera_that_falls_silent(server, moving, watch):
    """It accepts and says nothing, as a black hole does: lost, again and again, until it speaks."""
    with server(moving) as running:
        camera = watch(running.url())
        before = frame_of(camera)
        running.silent = True
        since, reason = time.time(), loss_of(camera)
        assert running.url() in reason
        for _ in range(2):
            loss_of(camera)
        assert camera.state.since == pytest.approx(since, abs=15)
        assert camera.state.since < time.time() - 0.5  # since it was lost first
        running.silent = False
        after = frame_of(camera)
    assert after.number > before.number
    assert camera.state.state == ONLINE
    assert camera.state.restarts >= 3


@pytest.mark.parametrize("server", SERVERS)
def test_network_camera_that_ends_and_comes_back(server, moving, watch):
    """In the middle of a stream; the address is refused meanwhile."""
    with server(moving) as running:
        camera = watch(running.url())
        before = frame_of(camera)
        running.stop()
        loss_of(camera)
        loss_of(camera)
        running.start()
        assert frame_of(camera).number > before.number


@pytest.mark.parametrize("server", SERVERS)
def test_stop_while_a_camera_hangs(server, moving, watch):
    """Opening a black hole or waiting for its frame is cut short, and its process is gone."""
    with server(moving) as running:
        running.silent = True
        camera = watch(running.url(), Patience(first=60.0, frame=60.0, network=60.0))
        threading.Timer(1.0, camera.stop).start()
        began = time.monotonic()
        with pytest.raises(CameraError, match="stopping"):
            camera.next(SIDE, SIDE, False)
        pid = camera.pid
        camera.close()
        assert time.monotonic() - began < 20  # and not 60
    assert not os.path.exists(f"/proc/{pid}")


def test_process_that_is_stopped(moving, watch):
    """A process that hangs is replaced, whatever it hangs in."""
    with MjpegServer(moving) as running:
        camera = watch(running.url())
        before, pid = frame_of(camera), camera.pid
        os.kill(pid, signal.SIGSTOP)
        assert loss_of(camera) == "no frame for 2 s"
        assert frame_of(camera).number > before.number
        assert camera.pid != pid
        assert not os.path.exists(f"/proc/{pid}")


def test_no_frame_is_older_than_patience(moving, watch):
    """What lay around while nobody asked and the camera hung is not handed out as live."""
    with MjpegServer(moving) as running:
        camera = watch(running.url(), QUICK._replace(frame=1.0, network=30.0))
        frame_of(camera)
        running.silent = True
        time.sleep(1.5)
        assert loss_of(camera) == "no frame for 1 s"


def test_frozen_camera(moving, watch):
    """The same bytes again and again are no live picture: lost, and not online again before the picture moves."""
    with MjpegServer(moving(0)) as running:
        camera = watch(running.url(), frozen_s=0.5)
        frame_of(camera)
        assert "frozen" in loss_of(camera)
        for _ in range(2):
            assert "frozen" in loss_of(camera)
        running.picture = moving
        assert frame_of(camera).number > 0
        assert camera.state.state == ONLINE
        running.picture = moving(0)
        assert "frozen" in loss_of(camera)


def test_standing_pictures_are_no_frozen_camera(tmp_path, moving, watch):
    """Of a folder; and of a camera where this is turned off."""
    (tmp_path / "one.jpg").write_bytes(moving(0))
    with MjpegServer(moving(0)) as running:
        for camera in (watch(tmp_path, fps=50.0, frozen_s=0.2), watch(running.url(), frozen_s=0)):
            ends = time.monotonic() + 1.0
            while time.monotonic() < ends:
                assert frame_of(camera).width == 128
            assert camera.state.restarts == 0


def test_damaged_pictures_are_passed_over(moving, watch):
    """Cut off, no JPEG at all, a bomb by its header: counted; good ones between them go on."""

    def picture(number):
        good = moving(number)
        bomb = good.replace(b"\x00\x60\x00\x80", b"\xff\xff\xff\xff", 1)
        return (good, good[: len(good) // 2], b"<html>busy</html>", bomb)[number % 4]

    assert picture(3) != moving(3)
    with MjpegServer(picture, rate=100.0) as running:
        camera = watch(running.url())
        for _ in range(30):
            assert frame_of(camera).pixels[..., 0].mean() > 150
        assert camera.state.restarts == 0
        assert camera.state.broken > 0


def test_camera_that_sends_rubbish_only(moving, watch):
    """Lost, with what is wrong."""
    with MjpegServer(lambda number: moving(number)[:300]) as running:
        assert "can't be decoded" in loss_of(watch(running.url()))
        assert "answers 404" in loss_of(watch(running.url("nothing")))


def test_parts_without_lengths_and_redirects(moving, watch):
    """Pictures end at the boundary; another address of the same camera is followed."""
    with MjpegServer(moving, lengths=False) as running:
        assert frame_of(watch(running.url("moved"))).width == 128


def test_pictures_that_are_asked_for_one_by_one(moving, watch):
    """An address that gives one JPEG is asked again and again, on one connection."""
    with MjpegServer(moving, rate=500.0) as running:
        camera = watch(running.url("snapshot"), fps=50.0)
        numbers = [frame_of(camera).number for _ in range(5)]
        assert numbers == sorted(set(numbers))
        assert len(running.requests) >= 5
        assert len(running._connections) == 1


def test_password(moving, watch):
    """Is sent, and shown nowhere: not when it is right, not when it is wrong."""
    with MjpegServer(moving, user="me:se:cret@1") as running:
        camera = watch(running.url(user="me:se%3Acret%401"))
        assert frame_of(camera).width == 128
        assert camera.state.source == f"http://me:***@127.0.0.1:{running.port}/stream"
        wrong = watch(running.url(user="me:verysecret"))
        assert "401" in loss_of(wrong)
        assert "password is missing or wrong" in wrong.state.reason
        assert "verysecret" not in str(wrong.state)


def test_pictures_for_viewers(moving, watch):
    """Each only when asked for; plain is what the camera sent, annotated has the caption."""
    with MjpegServer(moving, rate=100.0) as running:
        camera = watch(running.url())
        frame_of(camera)
        frames = [frame_of(camera) for _ in range(3)]
        assert any(frame.jpeg is None for frame in frames)  # but of slow sources they are made in advance
        assert all(frame.annotated is None for frame in frames)
        both = frame_of(camera, with_jpeg=True, caption="cup \u30ab\u30c3\u30d7")
        assert both.jpeg in [moving(number) for number in range(16)]
        plain, drawn = image.decode(both.jpeg), image.decode(both.annotated)
        assert plain.shape == drawn.shape
        assert np.abs(plain[:70].astype(int) - drawn[:70]).mean() < 10
        assert drawn[-14:].mean() < plain[-14:].mean()
        again = image.decode(camera.annotated("another"))
        assert np.abs(plain[:70].astype(int) - again[:70]).mean() < 10
        assert not np.array_equal(again, drawn)


def test_options_change_while_it_runs(tmp_path, moving, make_picture, encode, watch):
    """The next frame is of the other source, turned and cut; numbers go on; none is a source as well."""
    (tmp_path / "one.png").write_bytes(encode(make_picture("blue", 0, 64, 48), "PNG"))
    with MjpegServer(moving) as running:
        camera = watch(running.url())
        before = frame_of(camera)
        other = CameraOptions(str(tmp_path), fps=50.0, rotate=90, region=Region(0, 0, 1, 0.5))
        threading.Timer(0.1, camera.change, [other]).start()
        ends, frame = time.monotonic() + 20, before
        while frame.width == 128 and time.monotonic() < ends:
            frame = frame_of(camera)
        assert (frame.width, frame.height) == (48, 32)
        assert frame.pixels[..., 2].mean() > 150
        assert frame.number > before.number
        assert camera.state.kind == "folder"
        camera.change(CameraOptions(None))
        with pytest.raises(CameraError, match="no camera is configured"):
            for _ in range(3):
                camera.next(SIDE, SIDE, False)
        assert camera.state.state == NONE
        camera.change(CameraOptions(running.url()))
        assert frame_of(camera).width == 128


def test_change_cuts_short_what_hangs(moving, watch):
    """A black hole is left at once."""
    with MjpegServer(moving) as running, MjpegServer(moving) as other:
        running.silent = True
        camera = watch(running.url(), Patience(first=60.0, frame=60.0, network=60.0))
        threading.Timer(0.5, camera.change, [CameraOptions(other.url())]).start()
        began = time.monotonic()
        assert frame_of(camera).width == 128
        assert time.monotonic() - began < 40
        assert camera.options.source == other.url()


def test_auto_finds_what_is_connected_later(tmp_path, moving):
    """None, and not lost, until there is one; a folder stands for the device."""
    (tmp_path / "one.jpg").write_bytes(moving(0))
    connected = []
    camera = Camera(CameraOptions("auto"), QUICK._replace(search=0.05), lambda _: connected[0] if connected else None)
    try:
        for _ in range(3):
            with pytest.raises(CameraError, match="waiting for one"):
                camera.next(SIDE, SIDE, False)
        assert camera.state[:3] == (NONE, "no camera is connected; waiting for one", None)
        assert camera.pid is None
        connected.append(str(tmp_path))
        assert frame_of(camera).number == 1
        assert (camera.state.state, camera.state.source, camera.state.restarts) == (ONLINE, str(tmp_path), 0)
        assert camera.options.source == "auto"  # so that no other setting seems to have changed it
    finally:
        camera.stop()
        camera.close()


def test_auto_is_left_at_once(moving):
    """A change and a stop do not wait for the next look."""
    with MjpegServer(moving) as running:
        camera = Camera(CameraOptions("auto"), QUICK._replace(search=60.0), lambda _: None)
        try:
            threading.Timer(0.3, camera.change, [CameraOptions(running.url())]).start()
            began = time.monotonic()
            assert frame_of(camera).width == 128
            assert time.monotonic() - began < 40
        finally:
            camera.stop()
            camera.close()


def test_folder_that_is_emptied_and_filled(tmp_path, moving, watch):
    """Lost with the reason, and back."""
    (tmp_path / "one.jpg").write_bytes(moving(0))
    camera = watch(tmp_path, fps=50.0)
    before = frame_of(camera)
    (tmp_path / "one.jpg").unlink()
    assert "the folder" in loss_of(camera)
    (tmp_path / "two.jpg").write_bytes(moving(1))
    assert frame_of(camera).number > before.number


def test_daemon_with_a_network_camera(start_daemon, tiny_model, moving):
    """Status, readiness and snapshot follow the camera; no password is printed; a hanging camera delays no stop."""
    with MjpegServer(moving, user="me:hidden") as running:
        url = running.url(user="me:hidden")
        daemon = start_daemon("--model", str(tiny_model), "--camera", url, "--camera-rotate", "90")
        status = daemon.get("/v1/status").json["camera"]
        assert (status["state"], status["kind"], status["width"], status["height"]) == ("online", "http", 96, 128)
        assert image.decode(daemon.get("/v1/camera/snapshot.jpg").body).shape == (128, 96, 3)
        running.silent = True
        daemon.wait_for(lambda: daemon.get("/v1/status").json["camera"]["state"] == "lost", 40, "lost")
        assert daemon.get("/readyz").status == 503
        assert daemon.get("/v1/camera/snapshot.jpg").status == 503
        children = daemon.child_pids()
        began = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - began < 10
        assert "hidden" not in daemon.log
        assert not [pid for pid in children if os.path.exists(f"/proc/{pid}")]


@pytest.mark.slow
@pytest.mark.parametrize("server", SERVERS)
def test_many_losses_leave_nothing(server, moving, watch):
    """25 times lost and back: as many files and processes as before, numbers still grow."""
    with server(moving) as running:
        camera = watch(running.url())
        number, files, children = frame_of(camera).number, len(os.listdir("/proc/self/fd")), set()
        for _ in range(25):
            children.add(camera.pid)
            running.cut()
            loss_of(camera)
            frame = frame_of(camera)
            assert frame.number > number
            number = frame.number
        assert len(os.listdir("/proc/self/fd")) <= files + 4
    assert not [pid for pid in children - {camera.pid} if os.path.exists(f"/proc/{pid}")]
