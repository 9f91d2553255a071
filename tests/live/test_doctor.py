"""The doctor as a command and as a route, with real daemons and faults that can be real here."""

import json
import os
import re
import socket
import subprocess
import sys
import threading

import pytest
from daemon_process import ROOT

from service.client import Client
from service.doctor.check import STATES

FIELDS = {"name", "state", "found", "meaning", "remedy"}


def run(*arguments, **variables):
    """Exit code, standard output and standard error of the command."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CORAL_LEARN_")}
    command = [sys.executable, "-m", "service", "doctor", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=str(ROOT), env=dict(environ, **variables), capture_output=True, timeout=120, check=False
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def examined(*arguments, **variables):
    """Exit code and checks by name of the command with --json."""
    code, out, err = run(*arguments, "--json", **variables)
    assert err == ""
    return code, by_name(json.loads(out))


def by_name(report):
    """The checks of a report, whose form is what was promised."""
    assert set(report) == {"ok", "checks"}
    assert all(set(check) == FIELDS and check["state"] in STATES for check in report["checks"])
    assert report["ok"] is all(check["state"] != "fail" for check in report["checks"])
    return {check["name"]: check for check in report["checks"]}


@pytest.fixture
def alone(tmp_path, tiny_model):
    """Flags for the doctor of a machine where no daemon runs, with a port that is free."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    return ("--port", port, "--data-dir", tmp_path / "data", "--model", tiny_model, "--camera", "none")


def test_without_a_daemon(alone):
    """It tries the extractor itself; what is printed is a line a check, and what to do below it."""
    code, checks = examined(*alone, "--device", "cpu")
    failed = [name for name, check in checks.items() if check["state"] == "fail"]
    assert (code, failed) == (0, [])
    assert checks["extractor"]["found"].startswith("tiny on cpu")
    assert checks["port"]["found"].endswith("is free")
    code, out, err = run(*alone, "--device", "cpu")
    assert (code, err) == (0, "")
    lines = [line for line in out.splitlines() if not line.lstrip().startswith("->")]
    assert [line[6:29].strip() for line in lines[:-1]] == list(checks)
    assert {line[:4].strip() for line in lines[:-1]} <= {"ok", "warn", "skip"}
    assert lines[-1].startswith("nothing failed")
    assert "\033" not in out


def test_the_bundled_model_is_golden(tmp_path):
    """Its picture gives the embedding that the manifest has."""
    code, checks = examined("--port", "0", "--data-dir", tmp_path, "--camera", "none")
    assert (code, checks["golden embedding"]["state"]) == (0, "ok")


def test_wrong_use(alone):
    """A setting that doesn't exist is exit code 2."""
    assert run(*alone, "--device", "toaster")[0] == 2
    assert run("--port", "x")[0] == 2


def test_a_port_in_use(alone):
    """Whoever has it is named, and the code is 1."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", alone[1]))
        taken.listen(1)
        taken.settimeout(60)
        threading.Thread(target=hang_up, args=(taken,), daemon=True).start()
        code, checks = examined(*alone)
    assert code == 1
    assert checks["port"]["state"] == "fail"
    assert f"process {os.getpid()} (" in checks["port"]["found"]


def hang_up(listener):
    """Accept a connection and close it."""
    try:
        while True:
            listener.accept()[0].close()
    except OSError:
        return


def test_a_full_disk(alone, tmp_path):
    """A real one, in the memory."""
    folder = tmp_path / "full"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("a small file system needs root and the right to mount")
    try:
        (folder / "filler").write_bytes(bytes(1024 * 1000))
        code, checks = examined(*alone, "--data-dir", folder, TMPDIR=str(folder))
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
    assert code == 1
    assert checks["disk"]["state"] == "fail"
    assert "must stay free" in checks["disk"]["meaning"]


def test_the_wrong_packages(alone, tmp_path):
    """A pycoral that is another program, and an OpenCV that can't be imported, on the path of the command."""
    for name, text in (("pycoral", ""), ("cv2", "raise ImportError('libGL.so.1: cannot open shared object file')")):
        (tmp_path / "packages" / name).mkdir(parents=True)
        (tmp_path / "packages" / name / "__init__.py").write_text(text)
    path = os.pathsep.join([str(tmp_path / "packages"), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    code, checks = examined(*alone, PYTHONPATH=path)
    assert code == 1
    assert [checks[name]["state"] for name in ("pycoral", "packages")] == ["warn", "fail"]
    assert "reef atlas" in checks["pycoral"]["meaning"]


def test_a_damaged_model(alone, tiny_model, tmp_path):
    """It can't be loaded, and that is the one thing that fails."""
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(tiny_model.read_bytes()[:3000])
    code, checks = examined(*alone, "--model", damaged)
    assert (code, [name for name, check in checks.items() if check["state"] == "fail"]) == (1, ["extractor"])


def test_output_that_nobody_reads(alone):
    """The reader may go."""
    command = f"{sys.executable} -m service doctor {' '.join(map(str, alone))} | head -1"
    done = subprocess.run(command, shell=True, cwd=str(ROOT), capture_output=True, timeout=120, check=True)
    assert done.stderr == b""


# -- beside a daemon ------------------------------------------------------------------------


def test_a_running_daemon_examines_itself(start_daemon):
    """The route, the client and the command say the same; the extractor that runs is the one that was asked."""
    daemon = start_daemon()
    reply = daemon.get("/v1/doctor")
    checks = by_name(reply.json)
    assert reply.status == 200
    for name in ("packages", "extractor", "golden embedding", "speed", "port", "memory", "disk"):
        assert checks[name]["state"] == "ok", checks[name]
    assert "the daemon answers there" in checks["port"]["found"]
    with Client(daemon.url) as client:
        assert list(by_name(client.doctor())) == list(checks)
    code, out, err = run("--url", daemon.url)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == f"The daemon at {daemon.url} examined itself:"
    assert re.search(r"ok +golden embedding +cosine", out)
    assert daemon.get("/v1/status").json["extractor"]["starts"] == 1


def test_everything_goes_on_meanwhile(tiny_daemon):
    """While one is examined: a second examination is refused, everything else answered."""
    replies = []
    threads = [threading.Thread(target=lambda: replies.append(tiny_daemon.get("/v1/doctor"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert tiny_daemon.get("/healthz").status == 200
        for thread in threads:
            thread.join(0.1)
    statuses = sorted(reply.status for reply in replies)
    assert statuses[0] == 200
    assert set(statuses) == {200, 409}
    refused = next(reply for reply in replies if reply.status == 409)
    assert refused.json["code"] == "doctor_busy"
    assert tiny_daemon.get("/v1/doctor").status == 200


def test_an_extractor_that_keeps_dying(start_daemon, data):
    """How its process ends is the finding."""
    daemon = start_daemon("--model", str(data / "tiny_edgetpu.tflite"), "--device", "fake:abort=1", ready=False)
    daemon.wait_for(lambda: daemon.get("/v1/status").json["extractor"]["state"] == "lost", 60)
    checks = by_name(daemon.get("/v1/doctor").json)
    assert checks["extractor"]["state"] == "fail"
    assert "SIGABRT" in checks["extractor"]["found"]
    assert run("--url", daemon.url)[0] == 1


def test_a_daemon_that_refuses(start_daemon, tiny_model, tmp_path):
    """Without its manage token it is left alone: a warning says so, and leaves out what only the daemon knows."""
    daemon = start_daemon("--model", str(tiny_model), "--host", "0.0.0.0", ready=False)
    tokens = json.loads((daemon.data_dir / "tokens.json").read_text())
    daemon.wait_for(lambda: daemon.get("/readyz", X_Api_Key=tokens["classify"]).status == 200, 90)
    assert daemon.get("/v1/doctor", X_Api_Key=tokens["classify"]).json["code"] == "scope_too_small"
    assert daemon.get("/v1/doctor", X_Api_Key=tokens["manage"]).status == 200
    port = daemon.url.rpartition(":")[2]
    place = ("--port", port, "--data-dir", tmp_path / "another", "--model", tiny_model)
    code, checks = examined(*place, "--url", daemon.url, "--token", tokens["classify"])
    assert code == 0
    assert next(iter(checks)) == "daemon"
    assert checks["daemon"]["state"] == "warn"
    assert "does not examine itself" in checks["daemon"]["found"]
    assert "the daemon answers there" in checks["port"]["found"]
    assert checks["extractor"] == dict(checks["extractor"], state="skip", found="the running daemon holds it")


def test_a_daemon_on_the_network(start_daemon, tiny_model, tmp_path):
    """With the daemon's configuration it is asked, if that names the data folder; if not, the remedy is that line."""
    daemon = start_daemon("--model", str(tiny_model), "--host", "0.0.0.0", ready=False)
    port = daemon.url.rpartition(":")[2]
    config = tmp_path / "coral-learn.conf"
    lines = f"[coral-learn]\nhost = 0.0.0.0\nport = {port}\nmodel = {tiny_model}\n"
    config.write_text(lines)
    _, out, _ = run("--config", config, XDG_DATA_HOME=str(tmp_path / "home"))
    first, remedy, *_ = out.splitlines()
    assert first.startswith("warn  daemon ")
    assert "a line data-dir" in remedy
    assert "nothing failed, " in out.splitlines()[-1]
    config.write_text(f"{lines}data-dir = {daemon.data_dir}\n")
    _, checks = examined("--config", config)
    assert "daemon" not in checks
    assert str(daemon.data_dir) in checks["disk"]["found"]


def test_a_daemon_at_another_port(tiny_daemon, alone):
    """It is known by its data folder's lock, and nothing is tried beside it."""
    _, checks = examined(*alone[:2], "--data-dir", tiny_daemon.data_dir, "--model", alone[5])
    held = f"the running daemon holds it (process {tiny_daemon.process.pid} ("
    assert checks["extractor"]["found"].startswith(held)


def test_a_daemon_elsewhere(alone):
    """One on another machine that can't be reached is a failure, not a reason to examine this one."""
    code, out, err = run(*alone, "--url", "http://192.0.2.1.invalid:1")
    assert (code, out) == (1, "")
    assert "192.0.2.1.invalid" in err
