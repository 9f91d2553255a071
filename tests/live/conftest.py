"""Daemons for the tests: real processes."""

import contextlib
import shutil
import signal
import subprocess
from pathlib import Path
from typing import List, Sequence

import pytest
from daemon_process import RunningDaemon
from nursery import Nursery


@pytest.fixture(scope="session")
def all_imported():
    """The process that daemons are forked from."""
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture
def nursery(request, all_imported):
    """Where a test's daemons come from; None where they have to be executed."""
    return None if request.node.get_closest_marker("executed") else all_imported


@contextlib.contextmanager
def daemons(folder, nursery):
    """What starts daemons; all of them are stopped at the end, and have to stop cleanly."""
    running: List[RunningDaemon] = []

    def start(
        *flags: str, data_dir: Path = folder / "data", ready: bool = True, before: Sequence[str] = ()
    ) -> RunningDaemon:
        flags = flags if "--camera" in flags else ("--camera", "none", *flags)
        daemon = RunningDaemon(data_dir, *flags, before=before, nursery=None if before else nursery)
        running.append(daemon)
        if ready:
            daemon.wait_ready()
        return daemon

    yield start
    codes = [daemon.stop() for daemon in running]
    assert all(code in (0, -signal.SIGKILL) for code in codes), codes


@pytest.fixture
def start_daemon(tmp_path, nursery):
    """Starts daemons for one test."""
    with daemons(tmp_path, nursery) as start:
        yield start


@pytest.fixture(scope="module")
def start_shared_daemon(tmp_path_factory, all_imported):
    """Starts daemons for the tests of a file that change nothing the others see."""
    with daemons(tmp_path_factory.mktemp("shared"), all_imported) as start:
        yield start


@pytest.fixture(scope="module")
def shared_daemon(start_shared_daemon, tiny_model):
    """A daemon with the tiny model for the tests of a file that change nothing the others see."""
    return start_shared_daemon("--model", str(tiny_model))


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
