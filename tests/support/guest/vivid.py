"""Run inside a guest: our camera code against the kernel's virtual camera. What came of it goes to results.json.

Its picture is made of colour bars, white at the left and black at the right, with a running clock at the top left.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

from daemon_process import ROOT, RunningDaemon
from guest_machine import SHARED, Modules, bring_up_loopback

from service import v4l2
from service.camera import CameraOptions
from service.camera.making import FrameMaker
from service.camera.sources import resolve_camera
from service.camera.sources.device import V4l2Source
from service.camera.view import View
from service.errors import CameraError
from service.region import Region

DRIVER = Path("/sys/bus/platform/drivers/vivid")
TINY = ROOT / "tests" / "data" / "tiny.tflite"
READS = 6


def main() -> None:
    """Every part after the other, each with what it found and how long it took, or why it failed."""
    told, modules = {}, Modules()
    bring_up_loopback()
    for part in (nodes, formats, views, planes, output_first, plugging, doctor):
        began = time.monotonic()
        print(round(began), part.__name__)
        try:
            told[part.__name__] = part(modules)
        except Exception:
            told[part.__name__] = {"error": traceback.format_exc()}
        told[part.__name__]["took"] = round(time.monotonic() - began, 1)
        print(round(time.monotonic()), told[part.__name__])
        (SHARED / "results.json").write_text(json.dumps(told))
        with contextlib.suppress(OSError):
            modules.unload("vivid")


def plugging(modules) -> dict:
    """A daemon that is started without a camera, and gets one, loses it, and gets it back, twice."""
    flags = ("--camera", "auto", "--camera-width", "320", "--camera-height", "180", "--camera-rotate", "90")
    daemon = RunningDaemon(Path("/dev/shm/data"), "--model", str(TINY), "--camera-fps", "5", *flags)
    try:
        wait_for(daemon, lambda: daemon.get("/readyz").status == 200, "ready")
        stages = [stage(daemon, "none")]
        with Watcher(daemon) as watcher:
            began = time.monotonic()
            modules.load("vivid")
            stages.append(stage(daemon, "online", began, watcher))
            shape = snapshot_size(daemon)
            held = os.open("/dev/video0", os.O_RDWR)  # as a process that doesn't let go: its number stays taken
            busy = refusal(modules.unload, "vivid")
            stages += [pull(daemon, watcher), put_back(daemon, watcher)]
            os.close(held)
            stages.append(pull(daemon, watcher))
            modules.unload("vivid")
            gone = not Path("/sys/module/vivid").exists()
            time.sleep(2)  # at least one look while there is no camera at all
            stages.append(stage(daemon, "lost"))
            began = time.monotonic()
            modules.load("vivid")
            stages.append(stage(daemon, "online", began, watcher))
    finally:
        code = daemon.stop()
    facts = {"stages": stages, "snapshot": shape, "busy": busy, "gone": gone, "code": code}
    return dict(facts, log=daemon.log)


class Watcher:
    """Reads /v1/stream all the time, as a page does. frames : of the classifications so far"""

    def __init__(self, daemon: RunningDaemon):
        self._connection = daemon.connect()
        self._connection.request("GET", "/v1/stream")
        self._response = self._connection.getresponse()
        self.frames, self.states = [], []
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> "Watcher":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._connection.sock and self._connection.sock.close()

    def _read(self) -> None:
        event = ""
        with contextlib.suppress(OSError, ValueError):
            for line in iter(self._response.readline, b""):
                name, _, value = line.decode().rstrip("\n").partition(": ")
                event = value if name == "event" else event
                if name == "data" and event == "classification":
                    self.frames.append(json.loads(value)["frame"])
                elif name == "data" and event == "camera":
                    self.states.append(json.loads(value)["state"])


def stage(daemon, state: str, began: float = 0.0, watcher: Watcher = None) -> dict:
    """Wait for a state; what it is like, what others get meanwhile, and the seconds it took."""
    before = len(watcher.frames) if watcher else 0
    camera = wait_for(daemon, lambda: state_of(daemon, state), state)
    seconds = round(time.monotonic() - began, 1) if began else None
    if watcher and state == "online":
        wait_for(daemon, lambda: len(watcher.frames) >= before + 5, "frames")
    print(round(time.monotonic()), camera, seconds)
    answers = {path: daemon.get(path).status for path in ("/healthz", "/readyz", "/", "/v1/camera/snapshot.jpg")}
    return dict(camera, seconds=seconds, answers=answers, frames=len(watcher.frames) - before if watcher else None)


def wait_for(daemon, condition, what: str):
    """As `RunningDaemon.wait_for`, but asking less often: here that costs."""

    def asked():
        time.sleep(0.5)
        return condition()

    return daemon.wait_for(asked, 90, what)


def state_of(daemon, state: str):
    camera = daemon.get("/v1/status").json["camera"]
    return camera if camera["state"] == state else None


def pull(daemon, watcher) -> dict:
    """Take the device away while it is read, as a cable does."""
    began = time.monotonic()
    (DRIVER / "unbind").write_text("vivid.0")
    return stage(daemon, "lost", began, watcher)


def put_back(daemon, watcher) -> dict:
    began = time.monotonic()
    (DRIVER / "bind").write_text("vivid.0")
    return stage(daemon, "online", began, watcher)


def snapshot_size(daemon) -> list:
    import cv2
    import numpy as np

    data = daemon.get("/v1/camera/snapshot.jpg").body
    return list(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape)


def doctor(modules) -> dict:
    """What `doctor --json` says of cameras."""
    modules.load("vivid")
    command = [sys.executable, "-m", "service", "doctor", "--json", "--model", str(TINY), "--data-dir", "/dev/shm/data"]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, cwd=str(ROOT))
    checks = {one["name"]: one for one in json.loads(ended.stdout.decode())["checks"]}
    return dict(checks["cameras"])


def nodes(modules) -> dict:
    """Every node of a machine with all that vivid has."""
    modules.load("vivid")
    found = {str(path): v4l2.query(path) for path in v4l2.video_nodes()}
    others = sorted(str(path) for pattern in ("vbi*", "radio*", "swradio*") for path in Path("/dev").glob(pattern))
    asked = {path: v4l2.query(Path(path)).takes_pictures for path in others}
    return {
        "auto": resolve_camera("auto"),
        "takes": {path: node.takes_pictures for path, node in found.items()},
        "others": asked,
        "formats": v4l2.describe(Path("/dev/video0")).formats,
    }


def formats(modules) -> dict:
    """What is asked for, and what comes of it."""
    modules.load("vivid")
    wanted = {
        "default": {},
        "YUYV": {"format": "YUYV"},
        "MJPG": {"format": "MJPG"},
        "NV12": {"format": "NV12"},
        "1280x720": {"width": 1280, "height": 720},
        "800x600": {"width": 800, "height": 600},
        "10 a second": {"fps": 10.0},
        "output": {"source": "/dev/video1"},
        "gone": {"source": "/dev/video9"},
    }
    return {name: read(**options) for name, options in wanted.items()}


def read(source: str = "/dev/video0", **options) -> dict:
    """Some pictures from a device."""
    try:
        opened = V4l2Source(CameraOptions(source, **options))
    except CameraError as error:
        return {"refused": str(error)}
    try:
        first, began = opened.read(), time.monotonic()
        later = [opened.read() for _ in range(READS)]
        rate = READS / (time.monotonic() - began)
        moves = any(not one.same_as(first) for one in later)
        rgb = first.decode()[0]
        return {"raw": list(first.raw.shape), "rgb": list(rgb.shape), "rate": rate, "moves": moves, "bars": bars(rgb)}
    finally:
        opened.close()


def bars(rgb) -> list:
    """How bright the four edges are: left, right, top, bottom."""
    height, width = rgb.shape[:2]
    middle, centre = slice(height * 2 // 5, height * 3 // 5), slice(width * 2 // 5, width * 3 // 5)
    parts = rgb[middle, : width // 16], rgb[middle, -width // 16 :], rgb[: height // 16, centre]
    return [int(part.mean()) for part in (*parts, rgb[-height // 16 :, centre])]


def views(modules) -> dict:
    """Turned, mirrored, cut."""
    modules.load("vivid")
    wanted = {
        "plain": View(),
        "mirrored": View(mirror=True),
        "turned": View(90),
        "right half": View(region=Region(0.5, 0, 0.5, 1)),
        "all": View(270, True, Region(0, 0.5, 1, 0.5)),
    }
    source = V4l2Source(CameraOptions("/dev/video0", width=640, height=360))
    try:
        made = {name: FrameMaker(view).make(source.read(), 32, 32, whole=True) for name, view in wanted.items()}
        return {
            name: {"size": list(one.size), "bars": bars(one.rgb), "input": list(one.pixels.shape)}
            for name, one in made.items()
        }
    finally:
        source.close()


def planes(modules) -> dict:
    """A camera with the interface for several planes only, as many on a ribbon cable have."""
    modules.load("vivid", "multiplanar=2")
    return {
        "auto": resolve_camera("auto"),
        "single": not v4l2.query(Path("/dev/video0")).has_planes,
        "formats": v4l2.describe(Path("/dev/video0")).formats[:1],
        "read": read(),
    }


def output_first(modules) -> dict:
    """Two devices: the first can only show pictures."""
    modules.load("vivid", "n_devs=2 node_types=0x100,0x1")
    return {"nodes": list(map(str, v4l2.video_nodes())), "auto": resolve_camera("auto")}


def refusal(call, *arguments) -> str:
    """The error of a call that has to fail."""
    try:
        call(*arguments)
    except OSError as error:
        return os.strerror(error.errno)
    return ""


if __name__ == "__main__":
    main()
