"""What goes wrong around a daemon, and what it says and does then; run by recovery.py, a row a fault.

Each takes the tests' tiny twins (the path of the compiled one) and a folder of its own.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Dict, Iterator, List

import fake_clock
import numpy as np
from daemon_process import ROOT, RunningDaemon
from made_up_machine import MadeUpMachine
from PIL import Image
from runtime_host import LOAD_DELEGATE, alone_with_edge_tpus, build_libedgetpu, missing

from coral_learn.runtime.fake_bus import FakeBus
from coral_learn.runtime.tflite import EDGETPU_OPERATOR
from service.doctor.library import check_fit

WARM, COOL = 85.0, 60.0  # degrees, the camera being slowed down at 80
HOURS = (5.0, -5.0)


def show(fault: str, text: str) -> None:
    """A row."""
    print(f"{fault:<15} {text}", flush=True)


def picture(path: Path, seed: int, width: int = 64, height: int = 48) -> Path:
    """A file with noise."""
    noise = np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)
    Image.fromarray(noise).save(str(path), "PNG")
    return path


def pictures(folder: Path) -> str:
    """A folder for a camera."""
    folder.mkdir()
    for seed in range(3):
        picture(folder / f"{seed}.png", seed)
    return str(folder)


@contextmanager
def daemon(folder: Path, *flags: str, before=()) -> Iterator[RunningDaemon]:
    """One that is stopped at the end."""
    running = RunningDaemon(folder, *flags, before=before)
    try:
        yield running
    finally:
        running.stop()


def seconds_until(running: RunningDaemon, condition, what: str) -> float:
    """How long it took until a condition held."""
    began = time.monotonic()
    running.wait_for(condition, 60, what)
    return time.monotonic() - began


def health(running: RunningDaemon, times: List[float]) -> float:
    """The slowest GET /healthz so far, in milliseconds."""
    began = time.monotonic()
    assert running.get("/healthz").status == 200
    times.append((time.monotonic() - began) * 1000)
    return max(times)


def status(running: RunningDaemon) -> dict:
    return running.get("/v1/status").json


# -- heat ---------------------------------------------------------------------------------------


def heat(model: Path, folder: Path) -> None:
    """The device grows warm, and cool again: the camera's loop slows down, says so, and goes back."""
    bus = FakeBus()
    source = ["--camera", pictures(folder / "pictures"), "--camera-fps", "10"]
    with daemon(folder / "data", "--model", str(model), "--device", "fake", "--slow-down-at", "80", *source) as one:
        one.wait_ready()
        rates = [_frames_a_second(one)]
        bus.show(WARM)
        slowed = seconds_until(one, lambda: status(one)["slowed_down"], "slowed down")
        said = status(one)["slowed_down"]
        rates.append(_frames_a_second(one))
        bus.show(COOL)
        back = seconds_until(one, lambda: status(one)["slowed_down"] is None, "cool")
        time.sleep(4)  # the last rest ends
        rates.append(_frames_a_second(one))
    shutil.rmtree(str(bus.sysfs), ignore_errors=True)
    shown = ", ".join(f"{rate:.1f}" for rate in rates)
    show(
        "heat", f"noticed after {slowed:.1f} s, left after {back:.1f} s; frames/s before, warm, cool: {shown}; {said!r}"
    )


def _frames_a_second(running: RunningDaemon, seconds: float = 6.0) -> float:
    def frames() -> float:
        lines = running.get("/metrics").body.decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("coral_learn_frames_total "))

    before, began = frames(), time.monotonic()
    time.sleep(seconds)
    return (frames() - before) / (time.monotonic() - began)


# -- wrong model --------------------------------------------------------------------------------


def wrong_model(model: Path, folder: Path) -> None:
    """At the start and over HTTP: no model, no extractor, damaged, another network than its golden picture's."""
    plain = model.with_name("tiny.tflite")
    cases = {
        "text": _write(folder, "text", b"no model"),
        "no extractor": ROOT / "tests" / "data" / "pair.tflite",
        "cut off": _write(folder, "cut", plain.read_bytes()[:3000]),
        "golden": _with_wrong_golden(model, folder / "golden"),
    }
    for name, path in cases.items():
        show(f"model: {name}", f"serve: {_at_start(path, folder / f'start {name}', 'cpu')}")
    _compiled_that_is_cut_off(model, folder)
    with daemon(folder / "running", "--device", "cpu", "--camera", "none") as one:
        one.wait_ready()
        for name, path in cases.items():
            show(f"model: {name}", f"POST /v1/extractor: {_over_http(one, path)}")
            assert one.classify(picture(folder / "asked.png", 9).read_bytes(), "image/png").status == 200
    show("wrong model", "after each of these the extractor before answers")


def _compiled_that_is_cut_off(model: Path, folder: Path) -> None:
    if missing(LOAD_DELEGATE):
        show("model: compiled", f"SKIPPED: {missing(LOAD_DELEGATE)}")
        return
    path = _write(folder, "cut_edgetpu", model.read_bytes()[:3000] + EDGETPU_OPERATOR)
    os.environ["LD_LIBRARY_PATH"] = str(build_libedgetpu(folder))
    try:
        with alone_with_edge_tpus():
            show("model: compiled", f"serve, cut off: {_at_start(path, folder / 'start compiled', 'edgetpu')}")
    finally:
        del os.environ["LD_LIBRARY_PATH"]


def _write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / f"{name}.tflite"
    path.write_bytes(content)
    return path


def _with_wrong_golden(model: Path, folder: Path) -> Path:
    """The twins with the embedding of another picture as the golden one."""
    shutil.copytree(str(model.parent), str(folder))
    with np.load(str(folder / "tiny.npz")) as arrays:
        golden = arrays["golden"].copy()
    golden[::2] *= -1
    np.savez(str(folder / "tiny.npz"), golden=golden)
    return folder / "tiny.tflite"


def _at_start(path: Path, data: Path, device: str) -> str:
    """What `serve` says of a model: its end, or why it isn't ready."""
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--data-dir", str(data), "--camera", "none"]
    process = subprocess.Popen(
        [*command, "--model", str(path), "--device", device],
        cwd=str(ROOT),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    )
    with suppress(subprocess.TimeoutExpired):
        said, _ = process.communicate(timeout=5)
        return f"exit code {process.returncode}: {said.strip().splitlines()[-1]}"
    process.terminate()
    process.communicate()
    with daemon(data, "--model", str(path), "--device", device, "--camera", "none") as one:
        one.wait_for(lambda: status(one)["extractor"]["state"] == "lost", 60, "a reason")
        return f"runs, 503 at /readyz: {one.get('/readyz').json['detail']}"


def _over_http(running: RunningDaemon, path: Path) -> str:
    reply = running.post_json("/v1/extractor", {"model": str(path)})
    if reply.status != 202:
        return f"{reply.status} {reply.json['code']}: {reply.json['detail']}"
    place = reply.headers["Location"]
    running.wait_for(lambda: running.get(place).json["state"] not in ("queued", "running"), 120, "the job's end")
    job = running.get(place).json
    return f"202, the job {job['state']}: {(job['error'] or {}).get('detail')}"


# -- wrong packages -----------------------------------------------------------------------------


def wrong_packages(model: Path, folder: Path) -> None:
    """What the doctor says of a wrong pycoral, of numpy 2 under tflite-runtime, and of a pair that crashes."""
    _package(folder, "pycoral", "0.3.1")
    _package(folder, "tflite_runtime", "2.14.0", interpreter="raise ImportError('numpy.core.multiarray failed')")
    checks = _doctor(model, folder)
    for name in ("pycoral", "run-time"):
        show("wrong packages", _line(checks[name]))
    started = daemon(folder / "data", "--model", str(model.with_name("tiny.tflite")), "--camera", "none")
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), before])
    try:
        with started as one:
            one.wait_ready()
            found = status(one)
            show("wrong packages", f"serve beside them: ready, {found['device']} by {found['extractor']['runtime']}")
    finally:
        os.environ["PYTHONPATH"] = before
    board = MadeUpMachine(folder / "board")
    board.package("tflite_runtime", "2.14.0", "tflite-runtime")
    board.library(version="16.0")
    show("wrong packages", _line(check_fit(board)._asdict()) + " (a made-up board)")


def _package(folder: Path, module: str, version: str, **files: str) -> None:
    """An installed package that is imported before the real one."""
    (folder / module).mkdir()
    for name, text in {"__init__": "", **files}.items():
        (folder / module / f"{name}.py").write_text(text)
    info = folder / f"{module}-{version}.dist-info"
    info.mkdir()
    name = module.replace("_", "-")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def _doctor(model: Path, folder: Path) -> Dict[str, dict]:
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    place = ["--port", "0", "--data-dir", str(folder / "doctor"), "--camera", "none"]
    command = [sys.executable, "-m", "service", "doctor", "--json", *place]
    command += ["--model", str(model.with_name("tiny.tflite"))]
    environ = dict(os.environ, PYTHONPATH=path)
    done = subprocess.run(command, cwd=str(ROOT), env=environ, stdout=subprocess.PIPE, check=False)
    return {check["name"]: check for check in json.loads(done.stdout.decode())["checks"]}


def _line(check: dict) -> str:
    remedy = f" -> {check['remedy']}" if check["remedy"] else ""
    return f"doctor: {check['state']}: {check['found']}: {check['meaning']}{remedy}"


# -- full disk ----------------------------------------------------------------------------------


def full_disk(model: Path, folder: Path) -> None:
    """Uploads until none is taken: what goes on, and how long after room was made the next is taken."""
    disk = folder / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=9m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode:
        show("full disk", "SKIPPED: a small file system needs root and the right to mount")
        return
    flags = ["--model", str(model.with_name("tiny.tflite")), "--camera", "none", "--min-free-mb", "5"]
    try:
        with daemon(disk / "data", *flags) as one:
            one.wait_ready()
            _fill(one, folder)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def _fill(running: RunningDaemon, folder: Path) -> None:
    taken, data = 0, b""
    while True:
        data = picture(folder / "large.png", taken, 260, 210).read_bytes()
        reply = running.teach("much", data, "image/png")
        if reply.status != 201:
            break
        taken += 1
    examples = running.get("/v1/examples?size=1000").json["items"]
    reads = [
        running.get(f"/v1/examples/{examples[0]['id']}/image").status,
        running.classify(data, "image/png").status,
        running.get("/v1/classes").status,
        running.get("/healthz").status,
    ]
    began = time.monotonic()
    deleted = [running.delete(f"/v1/examples/{one['id']}?forever=true").status for one in examples[:3]]
    running.wait_for(lambda: running.teach("much", data, "image/png").status == 201, 60, "room")
    show(
        "full disk",
        f"{taken} pictures taken, then {reply.status} {reply.json['code']}; reading meanwhile {reads}; deleting "
        f"{deleted}; uploads again {time.monotonic() - began:.2f} s after the first was deleted",
    )


# -- clock --------------------------------------------------------------------------------------


def clock(model: Path, folder: Path) -> None:
    """The wall clock is set forward and back: what is lost, and from when on frames have the new time."""
    reason = fake_clock.missing()
    if reason:
        show("clock", f"SKIPPED: {reason}")
        return
    clock = fake_clock.FakeClock(folder)
    flags = ["--model", str(model.with_name("tiny.tflite")), "--camera", pictures(folder / "pictures")]
    with daemon(folder / "data", *flags, "--camera-fps", "10", before=clock.before) as one:
        one.wait_ready()

        def follows() -> bool:
            reply = one.get("/v1/camera/snapshot.jpg")
            return reply.status == 200 and abs(float(reply.headers["X-Captured"]) - clock.now) < 2

        one.wait_for(follows, 30, "a frame")
        for hours in HOURS:
            times: List[float] = []
            clock.set(hours)
            took = seconds_until(one, follows, "a frame with the new time")
            for _ in range(100):
                health(one, times)
                time.sleep(0.02)
            found = status(one)
            show(
                "clock",
                f"set to {hours:+g} h: frames have the new time after {took:.1f} s; camera {found['camera']['state']}, "
                f"{found['camera']['restarts']} restarts; extractor lost {found['extractor']['losses']} times; "
                f"GET /healthz {statistics.median(times):.0f} ms, slowest {max(times):.0f} ms",
            )


FAULTS = {
    "heat": heat,
    "wrong-model": wrong_model,
    "wrong-packages": wrong_packages,
    "full-disk": full_disk,
    "clock": clock,
}
