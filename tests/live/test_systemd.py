"""What systemd and a daemon say to each other: sd_notify, the watchdog, SIGTERM, SIGHUP."""

import contextlib
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import time
import zipfile

import pytest
from manager import SECONDS, Manager


@pytest.fixture
def manager(tmp_path, monkeypatch):
    """A manager that the daemons started here speak to."""
    one = Manager(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", one.path)
    yield one
    one.close()


@pytest.fixture
def watched(start_daemon, manager, monkeypatch, tiny_model):  # noqa: ARG001
    """watched(*flags): a daemon that systemd's watchdog looks after."""
    monkeypatch.setenv("WATCHDOG_USEC", str(int(SECONDS * 1e6)))

    def start(*flags):
        # A shell, because only it knows the process's number beforehand.
        shell = ["sh", "-c", 'WATCHDOG_PID=$$ exec "$0" "$@"']
        return start_daemon("--model", str(tiny_model), *flags, ready=False, before=shell)

    return start


def test_ready_comes_once_it_answers_and_stopping_at_the_end(manager, start_daemon, tiny_model):
    """READY=1 with the address as status, STOPPING=1, and no ping where nobody watches."""
    daemon = start_daemon("--model", str(tiny_model), ready=False)
    assert manager.next() == f"READY=1\nSTATUS=answers at {daemon.url}"
    assert daemon.get("/healthz").status == 200
    assert daemon.stop() == 0
    assert manager.next() == "STOPPING=1"


@pytest.mark.parametrize(
    "flags", [(), *(pytest.param(("--host", host), marks=pytest.mark.slow) for host in ("0.0.0.0", "::1"))]
)
def test_watchdog_is_fed(watched, manager, flags):
    """At whatever address it listens."""
    watched(*flags)
    for _ in range(2):
        manager.wait_for("WATCHDOG=1", SECONDS)


def test_watchdog_is_fed_over_tls(watched, manager, certificate):
    """With a certificate in another's name, which nobody vouches for."""
    paths = certificate()
    watched("--tls-cert", str(paths[0]), "--tls-key", str(paths[1]))
    for _ in range(2):
        manager.wait_for("WATCHDOG=1", SECONDS)


@pytest.mark.slow
def test_watchdog_is_fed_without_the_extractor(watched, manager):
    """An extractor that is stopped, and killed whenever it comes back, is no reason to start the daemon anew."""
    daemon = watched("--extractor-timeout", "1")
    daemon.wait_ready()
    manager.wait_for("WATCHDOG=1")
    for number in (signal.SIGSTOP, signal.SIGKILL, signal.SIGKILL, signal.SIGKILL):
        for pid in daemon.child_pids():
            os.kill(pid, number)
        ends = time.monotonic() + 1.5 * SECONDS
        while time.monotonic() < ends:
            assert manager.next(SECONDS) == "WATCHDOG=1"
    assert daemon.process.poll() is None


@pytest.mark.slow
def test_watchdog_starves_while_the_store_can_not_write(watched, manager):
    """A writer that does not get its turn; when it does, all is well again."""
    daemon = watched()
    manager.wait_for("WATCHDOG=1")
    blocking = sqlite3.connect(str(daemon.data_dir / "coral-learn.sqlite"), isolation_level=None)
    blocking.execute("BEGIN IMMEDIATE")
    assert manager.pings_stop()
    assert "watchdog is not fed: the store: the database failed: database is locked" in daemon.log
    blocking.execute("ROLLBACK")
    blocking.close()
    manager.wait_for("WATCHDOG=1")


@pytest.mark.slow
def test_watchdog_starves_while_the_daemon_is_frozen(watched, manager):
    """None of its children pings in its place."""
    daemon = watched()
    manager.wait_for("WATCHDOG=1")
    os.kill(daemon.process.pid, signal.SIGSTOP)
    assert manager.pings_stop()
    os.kill(daemon.process.pid, signal.SIGCONT)
    manager.wait_for("WATCHDOG=1")


def test_sigterm_right_after_the_first_line(tiny_model, tmp_path):
    """Whoever waits for the address may end it then: it ends well, its parts barely started."""
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--camera", "none", "--model", str(tiny_model)]
    process = subprocess.Popen(
        [*command, "--data-dir", str(tmp_path / "data")], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert b"answers at" in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors.decode()


@pytest.mark.parametrize("redirections", ["", "2> /dev/full", ">&- 2>&-"])
def test_daemon_serves_though_nobody_reads_what_it_prints(tiny_model, tmp_path, manager, unread, redirections):
    """Standard output is a pipe whose reader has gone; it is ready, and ends well."""
    command = ["sh", "-c", f'exec "$0" "$@" {redirections}', sys.executable, "-m", "service", "serve", "--port", "0"]
    command += ["--camera", "none", "--model", str(tiny_model), "--data-dir", str(tmp_path / "data")]
    process = subprocess.Popen(command, stdout=unread, stderr=subprocess.PIPE)
    address = manager.wait_for("READY=1").partition("answers at ")[2]
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors.decode()
    assert b"Traceback" not in errors
    if not redirections:
        assert f"it answers at {address}, which standard output could not take" in errors.decode()


@pytest.fixture
def configured(start_daemon, tiny_model, tmp_path, manager):
    """A daemon with a configuration file, and a function that writes it and reloads; gives what systemd is told."""
    path = tmp_path / "coral-learn.conf"
    path.write_text("[coral-learn]\ndecide-frames = 4\n")
    daemon = start_daemon("--model", str(tiny_model), "--config", str(path), "--decide-threshold", "0.5")
    manager.wait_for("READY=1")

    def reload(*lines):
        path.write_text("\n".join(["[coral-learn]", *lines]) + "\n")
        daemon.process.send_signal(signal.SIGHUP)
        begins = manager.wait_for("RELOADING=1")
        assert "MONOTONIC_USEC=" in begins
        return manager.wait_for("READY=1").partition("STATUS=")[2]

    return daemon, reload


def values_of(daemon):
    """Value and origin of each setting."""
    return {one["name"]: (one["value"], one["origin"]) for one in daemon.get("/v1/settings").json["items"]}


def test_sighup_takes_over_what_changed(configured):
    """Settings of the page and the log's level change at once; a line taken out gives the default back."""
    daemon, reload = configured
    assert reload("decide-frames = 7", "log-level = debug") == "reloaded, changed: decide_frames, log_level"
    assert values_of(daemon)["decide_frames"] == (7, "the configuration file")
    assert values_of(daemon)["log_level"][0] == "debug"
    daemon.wait_for(lambda: daemon.get("/healthz") and "GET /healthz: 200" in daemon.log, what="a debug line")
    assert reload() == "reloaded, changed: decide_frames, log_level"
    assert values_of(daemon)["decide_frames"] == (3, "default")
    assert reload() == "reloaded, changed: no setting"


def test_sighup_says_what_it_could_not_change(configured):
    """By name: what needs a restart, what was chosen on the page; a flag is stronger than the file anyhow."""
    daemon, reload = configured
    daemon.ask("PATCH", "/v1/settings", b'{"decide_frames": 9}', Content_Type="application/json")
    assert reload("decide-frames = 7", "max-streams = 9", "review-mb = 1", "decide-threshold = 0.1") == (
        "reloaded, changed: review_mb; changed in the file, but taken over by a restart only: max_streams; "
        "changed in the file, but chosen otherwise over HTTP: decide_frames"
    )
    values = values_of(daemon)
    assert values["decide_frames"] == (9, "chosen over HTTP")
    assert values["decide_threshold"] == (0.5, "the command line")
    daemon.ask("PATCH", "/v1/settings", b'{"decide_frames": null}', Content_Type="application/json")
    assert values_of(daemon)["decide_frames"] == (7, "the configuration file")


def test_sighup_with_a_mistake_changes_nothing(configured):
    """All of the file or nothing; the daemon goes on."""
    daemon, reload = configured
    said = reload("decide-frames = 7", "prot = 9")
    assert said.startswith("nothing was reloaded: ")
    assert "did you mean port?" in said
    assert values_of(daemon)["decide_frames"] == (4, "the configuration file")


def test_daemon_ends_with_its_terminal(tiny_model, tmp_path):
    """SIGHUP means another thing there: whoever closes the window does not want a daemon to be left."""
    child, terminal = pty.fork()
    if child == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as in a shell; these tests themselves may run under nohup
        command = [sys.executable, "-m", "service", "serve", "--port", "0", "--camera", "none"]
        os.execv(sys.executable, [*command, "--model", str(tiny_model), "--data-dir", str(tmp_path / "data")])
    text = b""
    while b"extractor ready" not in text:
        text += os.read(terminal, 4096)
    os.close(terminal)
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            assert os.WIFEXITED(status)
            assert os.WEXITSTATUS(status) == 0
            return
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError("it outlived its terminal")


@pytest.mark.slow
@pytest.mark.parametrize("first", ["train", "import"])
def test_sigterm_in_the_middle_of_everything(start_daemon, tiny_model, tmp_path, make_picture, encode, first):
    """Streams open, a job at work and one waiting: it ends soon, and what was acknowledged is there afterwards."""
    camera = tmp_path / "camera"
    camera.mkdir()
    (camera / "1.png").write_bytes(encode(make_picture("red"), "PNG"))
    flags = ("--model", str(tiny_model), "--camera", str(camera), "--camera-fps", "10")
    daemon = start_daemon(*flags)
    for seed in range(10):
        for colour in ("red", "green"):
            assert daemon.teach(colour, encode(make_picture(colour, seed))).status == 201
    archive = tmp_path / "many.zip"
    with zipfile.ZipFile(str(archive), "w") as file:
        for seed in range(400):
            file.writestr(f"blue/{seed}.png", encode(make_picture("blue", 1000 + seed, 320, 240), "PNG"))
    jobs = {
        "train": lambda: daemon.post_json("/v1/train", {"head": "softmax", "search_seconds": 60}),
        "import": lambda: daemon.ask("POST", "/v1/import", archive.read_bytes(), Content_Type="application/zip"),
    }
    with contextlib.ExitStack() as open_streams:
        for path in ["/v1/camera/stream.mjpg"] * 4 + ["/v1/stream"] * 8:
            connection = daemon.connect()
            open_streams.callback(connection.close)
            connection.request("GET", path)
            response = connection.getresponse()
            open_streams.callback(response.close)
            assert response.status == 200
            response.readline()
        places = [jobs[kind]().headers["Location"] for kind in (first, *(set(jobs) - {first}))]
        daemon.wait_for(lambda: daemon.get(places[0]).json["state"] == "running", what="a running job")
        begun = time.monotonic()
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(15) == 0
        print(f"ended after {time.monotonic() - begun:.2f} s")
    daemon.stop()
    assert "Traceback" not in daemon.log
    again = start_daemon(*flags)
    counts = {one["name"]: one["examples"] for one in again.get("/v1/classes").json["items"]}
    assert (counts["red"], counts["green"]) == (10, 10)
    if first == "train":
        assert again.get(places[0]).json["state"] == "interrupted"
    else:  # the archive is on the disk: it goes on where it was
        again.wait_for(lambda: again.get(places[0]).json["state"] == "succeeded", 120, "the rest of the archive")
        assert again.get("/v1/classes/blue").json["examples"] == 400
