"""Teaching what the camera sees, and its live picture."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from coral_learn import image
from service.client import Client
from service.cores import cores

FPS = "20"


@pytest.fixture(scope="module")
def red_pictures(tmp_path_factory, make_picture, encode):
    """A folder of pictures of one colour, each another one, that stays as it is."""
    folder = tmp_path_factory.mktemp("camera")
    for number in range(6):
        (folder / f"{number}.png").write_bytes(encode(make_picture("red", 50 + number), "PNG"))
    return folder


@pytest.fixture
def camera_folder(tmp_path, red_pictures):
    """A copy of it for one test."""
    folder = tmp_path / "camera"
    shutil.copytree(str(red_pictures), str(folder))
    return folder


@pytest.fixture
def seeing(start_daemon, tiny_model, camera_folder):
    """A daemon that sees the folder."""
    flags = ("--camera", str(camera_folder), "--camera-fps", FPS, "--max-picture-streams", "2")
    return start_daemon("--model", str(tiny_model), *flags)


@pytest.fixture(scope="module")
def refusing(start_shared_daemon, tiny_model, red_pictures):
    """A daemon that sees the folder, for tests in which nothing is taught."""
    return start_shared_daemon("--model", str(tiny_model), "--camera", str(red_pictures), "--camera-fps", FPS)


@contextlib.contextmanager
def live_picture(daemon, query=""):
    """The response of the live picture."""
    connection = daemon.connect()
    connection.request("GET", "/v1/camera/stream.mjpg" + query)
    response = connection.getresponse()
    try:
        yield response
    finally:
        response.close()
        connection.close()


def run_command(daemon, *arguments):
    """A command against this daemon."""
    command = [sys.executable, "-m", "service", *arguments, "--url", daemon.url]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def next_part(response):
    """The headers and the bytes of the next picture."""
    headers = {}
    for line in iter(response.readline, b"\r\n"):
        name, _, value = line.decode().strip().partition(": ")
        headers[name] = value
    data = response.read(int(headers["Content-Length"]))
    assert response.readline() == b"\r\n"
    return headers, data


def test_what_is_seen_is_taught(seeing):
    """As many frames as were asked for, all of one capture, and usable at once."""
    answer = seeing.post_json("/v1/camera/capture", {"class": "ball", "count": 4, "interval_s": 0.05, "capture": "one"})
    assert answer.status in (200, 201), answer.json
    body = answer.json
    assert (body["class"], body["capture"], body["frames"], body["missed"]) == ("ball", "one", 4, None)
    assert len(body["accepted"]) + body["near_duplicates"] == 4
    assert len(body["accepted"]) == body["class_examples"] >= 1
    stored = seeing.ask("GET", "/v1/examples?class=ball").json["items"]
    assert {(one["source"], one["capture"]) for one in stored} == {("camera", "one")}
    data = seeing.ask("GET", f"/v1/examples/{stored[0]['id']}/image").body
    assert seeing.classify(data).json["class"] == "ball"


def test_class_that_is_gone_is_not_made_again(seeing):
    """Where that is asked for, by a page that records into a class which somebody deletes meanwhile."""
    asked = {"class": "ball", "create": False}
    missing = seeing.post_json("/v1/camera/capture", asked)
    assert (missing.status, missing.json["code"]) == (404, "class_not_found")
    assert seeing.get("/v1/classes").json["items"] == []
    assert seeing.post_json("/v1/classes", {"name": "ball"}).status == 201
    assert seeing.post_json("/v1/camera/capture", asked).status == 201


def test_frames_nearly_the_same_are_dropped(start_daemon, tiny_model, tmp_path, make_picture, encode):
    """Of a thing that does not move one frame is kept; the next capture keeps one again, the same one goes on."""
    folder = tmp_path / "still"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(encode(make_picture("red", 5), "PNG"))
    daemon = start_daemon("--model", str(tiny_model), "--camera", str(folder), "--camera-fps", FPS)
    asked = {"class": "ball", "count": 5, "interval_s": 0.0, "capture": "one"}
    first = daemon.post_json("/v1/camera/capture", asked)
    assert (first.status, len(first.json["accepted"]), first.json["near_duplicates"]) == (201, 1, 4)
    again = daemon.post_json("/v1/camera/capture", asked)
    assert (again.status, again.json["accepted"], again.json["near_duplicates"]) == (200, [], 5)
    assert (again.json["class_examples"], again.json["step"]) == (1, None)
    other = daemon.post_json("/v1/camera/capture", {"class": "ball"})
    assert other.json["accepted"][0]["duplicate"] is True
    assert other.json["capture"] != "one"


def test_a_capture_that_goes_on_waits_for_no_frame(start_daemon, tiny_model, camera_folder):
    """With a slow camera the frame that was taken is not taken again, nor the next one waited for."""
    flags = ("--camera", str(camera_folder), "--camera-fps", "0.05")
    daemon = start_daemon("--model", str(tiny_model), *flags)
    asked = {"class": "ball", "capture": "one"}
    first, again = (daemon.post_json("/v1/camera/capture", asked) for _ in range(2))
    assert (first.status, first.json["frames"]) == (201, 1)
    assert (again.status, again.json["frames"], again.json["near_duplicates"]) == (200, 0, 0)
    assert "no new picture" in again.json["missed"]


def test_a_capture_is_one_step(seeing):
    """Undone as a whole."""
    taught = seeing.post_json("/v1/camera/capture", {"class": "ball", "count": 3, "interval_s": 0})
    assert seeing.post_json("/v1/undo", {"step": taught.json["step"]}).status == 200
    assert seeing.ask("GET", "/v1/classes").json["items"] == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "class"),
        ({"class": "a", "frames": 2}, "class"),
        ({"class": "a/b"}, "name"),
        ({"class": "a", "count": 0}, "count"),
        ({"class": "a", "count": 101}, "count"),
        ({"class": "a", "count": 1.5}, "count"),
        ({"class": "a", "count": True}, "count"),
        ({"class": "a", "interval_s": "1"}, "interval_s"),
        ({"class": "a", "count": 100, "interval_s": 10}, "count"),
        ({"class": "a", "capture": ""}, "capture"),
        ({"class": "a", "create": 1}, "create"),
    ],
)
def test_what_can_not_be_captured(refusing, body, field):
    """Named in the answer; nothing is taught."""
    answer = refusing.post_json("/v1/camera/capture", body)
    assert answer.status == 422, answer.json
    assert field in answer.json["detail"] or answer.json["errors"][0]["field"] == field
    assert refusing.ask("GET", "/v1/classes").json["items"] == []


def test_without_a_camera(start_daemon, tiny_model):
    """A capture and the live picture are refused with the reason."""
    daemon = start_daemon("--model", str(tiny_model), "--camera", "none")
    for answer in (
        daemon.post_json("/v1/camera/capture", {"class": "ball"}),
        daemon.ask("GET", "/v1/camera/stream.mjpg"),
        daemon.ask("GET", "/v1/camera/snapshot.jpg"),
    ):
        assert (answer.status, answer.json["code"]) == (503, "camera")
        assert "no camera" in answer.json["detail"]
    assert daemon.ask("GET", "/v1/classes").json["items"] == []


def test_live_picture_moves(seeing):
    """One JPEG after another, each newer than the one before."""
    with live_picture(seeing, "?annotated=false") as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("multipart/x-mixed-replace; boundary=")
        parts = [next_part(response) for _ in range(5)]
    times = [float(headers["X-Captured"]) for headers, _ in parts]
    assert times == sorted(set(times))
    assert all(image.decode(data).shape[2] == 3 for _, data in parts)
    assert len({data for _, data in parts}) > 1


def test_live_picture_while_the_extractor_hangs(seeing, camera_folder, make_picture, encode):
    """It goes on, and what is taught is what the camera sees by then, not what it saw before the extractor hung."""
    extractor = seeing.extractor_pid
    os.kill(extractor, signal.SIGSTOP)
    try:
        time.sleep(1.0)  # until the frames that were under way stand still
        for number, path in enumerate(sorted(camera_folder.iterdir())):
            path.write_bytes(encode(make_picture("blue", 70 + number), "PNG"))
        seeing.wait_for(lambda: colour_of(seeing.get("/v1/camera/snapshot.jpg").body) == "blue", 5.0, "a new picture")
        assert seeing.get("/v1/status").json["extractor"]["state"] == "ready"
        with ThreadPoolExecutor(1) as one:
            capture = one.submit(seeing.post_json, "/v1/camera/capture", {"class": "ball"})
            time.sleep(0.2)
            os.kill(extractor, signal.SIGCONT)
            taught = capture.result(30).json["accepted"]
    finally:
        os.kill(extractor, signal.SIGCONT)
    assert colour_of(seeing.get(f"/v1/examples/{taught[0]['id']}/image").body) == "blue"


def colour_of(data: bytes) -> str:
    """Which of the three a picture has most of."""
    return ("red", "green", "blue")[int(image.decode(data).mean(axis=(0, 1)).argmax())]


def test_live_picture_without_an_extractor(start_daemon, tiny_twins, camera_folder):
    """What the camera sees is shown, to aim it, though nothing can be answered."""
    flags = "--model", str(tiny_twins), "--device", "fake:absent", "--camera", str(camera_folder)
    daemon = start_daemon(*flags, ready=False)
    daemon.wait_for(lambda: daemon.get("/v1/camera/snapshot.jpg").status == 200, 20, "a picture")
    status = daemon.get("/v1/status").json
    assert (status["camera"]["state"], status["extractor"]["state"] != "ready") == ("online", True)
    refused = daemon.post_json("/v1/camera/capture", {"class": "ball"})
    assert (refused.status, refused.json["code"]) == (503, "extractor_unavailable")


def test_places_at_the_live_picture(seeing):
    """No more than there are; one that is closed is given to the next; the stream of events has its own."""
    with live_picture(seeing) as one, live_picture(seeing) as other:
        next_part(one), next_part(other)
        refused = seeing.ask("GET", "/v1/camera/stream.mjpg")
        assert (refused.status, refused.json["code"]) == (503, "too_many_streams")
        assert int(refused.headers["Retry-After"]) > 0
        assert seeing.ask("GET", "/healthz").status == 200
    ends = time.monotonic() + 20
    while time.monotonic() < ends:
        with live_picture(seeing) as response:
            if response.status == 200:
                next_part(response)
                return
        time.sleep(0.2)
    raise AssertionError("the places were not given back")


def test_live_picture_ends_with_the_camera(seeing, camera_folder):
    """No old picture is shown on; the daemon stops with a picture open."""
    with live_picture(seeing) as response:
        next_part(response)
        for path in camera_folder.iterdir():
            path.unlink()
        while True:
            line = response.readline()
            if not line:
                break
    assert seeing.ask("GET", "/readyz").status == 503


def test_stops_with_the_live_picture_open(seeing):
    """SIGTERM ends it at once."""
    with live_picture(seeing) as response:
        next_part(response)
        assert seeing.stop() == 0


def test_by_client_and_command(seeing):
    """Both say what was taken and what the class has now."""
    with Client(seeing.url) as client:
        captured = client.capture("ball", count=2, interval=0, capture="one")
    assert (captured.class_name, captured.capture, captured.frames, captured.missed) == ("ball", "one", 2, None)
    assert len(captured.accepted) + captured.near_duplicates == 2
    done = run_command(seeing, "capture", "ball", "--count", "2", "--interval", "0.1")
    assert done.returncode == 0
    assert done.stdout.startswith("ball: ")
    assert "the class has" in done.stdout
    refused = run_command(seeing, "capture", "ball", "--count", "0")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "count is a number from 1 to 100" in refused.stderr


@pytest.mark.parametrize("spare", [False, True])
def test_camera_gives_way_to_the_extractor(start_daemon, tiny_model, camera_folder, spare):
    """Where the extractor leaves a core to others; nothing else of the daemon is put back."""
    if spare and cores() == 1:
        pytest.skip("this machine has one core only")
    flags = ("--threads", str(cores() - spare), "--camera", str(camera_folder), "--camera-fps", FPS)
    daemon = start_daemon("--model", str(tiny_model), *flags)
    daemon.wait_for(lambda: daemon.get("/v1/status").json["counts"]["frames"] > 2, what="frames")
    least = os.nice(0)
    # One of them is the extractor's, the other one the camera's.
    assert sorted(sorted(set(nices(pid))) for pid in daemon.child_pids()) == [[least], [least + 5 * spare]]
    # The loop's two threads, and the one that reads what the camera's process writes to its standard error.
    assert sum(nice != least for nice in nices(daemon.process.pid)) == 3 * spare


def nices(pid):
    """The nice values of all threads of a process (proc(5))."""
    stats = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/stat")]
    return [int(stat.rpartition(")")[2].split()[16]) for stat in stats]
