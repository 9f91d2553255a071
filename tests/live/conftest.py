"""Daemons for the tests: real processes."""

import shutil
import signal
import subprocess
from pathlib import Path
from typing import List, Sequence

import pytest
from daemon_process import RunningDaemon


@pytest.fixture
def start_daemon(tmp_path):
    """Starts daemons; all of them are stopped at the end, and have to stop cleanly."""
    running: List[RunningDaemon] = []

    def start(
        *flags: str, data_dir: Path = tmp_path / "data", ready: bool = True, before: Sequence[str] = ()
    ) -> RunningDaemon:
        flags = flags if "--camera" in flags else ("--camera", "none", *flags)
        daemon = RunningDaemon(data_dir, *flags, before=before)
        running.append(daemon)
        if ready:
            daemon.wait_ready()
        return daemon

    yield start
    codes = [daemon.stop() for daemon in running]
    assert all(code in (0, -signal.SIGKILL) for code in codes), codes


@pytest.fixture
def tiny_daemon(start_daemon, tiny_model):
    """A daemon with the tiny model."""
    return start_daemon("--model", str(tiny_model))


@pytest.fixture
def objects20(shared_data):
    """The folder of 20 classes with 30 pictures each."""
    return shared_data / "objects20"


@pytest.fixture
def certificate(tmp_path):
    """certificate(name="own"): paths of a certificate for localhost, made on the spot, and of its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed: apt-get install openssl")

    def make(name: str = "own"):
        paths = tmp_path / f"{name}.pem", tmp_path / f"{name}.key"
        command = [openssl, "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "2", "-subj", "/CN=localhost"]
        command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        subprocess.run([*command, "-out", str(paths[0]), "-keyout", str(paths[1])], check=True, capture_output=True)
        return paths

    return make
