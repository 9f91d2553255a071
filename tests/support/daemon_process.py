"""A real daemon in a process of its own, and a small client for it."""

import http.client
import json
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence
from urllib.parse import quote, urlsplit

from nursery import Nursery

ROOT = Path(__file__).resolve().parent.parent.parent


class Reply(NamedTuple):
    """A response, read whole."""

    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body.decode("utf-8"))


class RunningDaemon:
    """`python -m service serve` with given flags on a free port; forked from a nursery, if there is one.

    before : what to put in front of the command, such as a shell that sets something and then runs it
    """

    def __init__(self, data_dir: Path, *flags: str, before: Sequence[str] = (), nursery: Optional[Nursery] = None):
        self.data_dir, self.root, self._nursery = data_dir, str(ROOT), nursery
        place = ["--port", "0", "--data-dir", str(data_dir)]
        self.command = [*before, sys.executable, "-m", "service", "serve", *place, *flags]
        self.lines: List[str] = []
        self.start()

    def start(self) -> None:
        """Start the process and wait until it answers."""
        if self._nursery is not None and self._nursery.fits(self.command, self.root):
            self.process = self._nursery.fork(self.command)
        else:
            self.process = subprocess.Popen(
                self.command, cwd=self.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True
            )
        found = None
        for line in iter(self.process.stdout.readline, ""):
            self.lines.append(line)
            found = re.search(r"answers at (https?://\S+)", line)
            if found:
                break
        assert found, self.log
        self.url = found.group(1)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_ready(self, seconds: float = 90.0) -> None:
        """Wait until /readyz says so."""
        self.wait_for(lambda: self.get("/readyz").status == 200, seconds, "ready")

    def wait_for(self, condition, seconds: float = 30.0, what: str = "the condition"):
        """Wait until a condition holds; returns what it gave."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            result = condition()
            if result:
                return result
            assert self.process.poll() is None, "the daemon ended:\n" + self.log
            time.sleep(0.05)
        raise AssertionError(f"{what} not within {seconds} s:\n{self.log}")

    @property
    def log(self) -> str:
        """What it printed so far."""
        return "".join(self.lines[-50:])

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        self.process.kill()
        self.process.wait(10)
        self._close()

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(20)
        finally:
            self._close()

    def start_again(self, model: Path) -> None:
        """Stop it and start it with another model, wait until that answers and knows what was taught."""
        self.stop()
        self.command[self.command.index("--model") + 1] = str(model)
        self.start()
        self.wait_ready()
        self.wait_for(lambda: all(one["finished"] for one in self.get("/v1/jobs").json["items"]), 60, "the exchange")

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, None, **headers)

    def delete(self, path: str) -> Reply:
        return self.ask("DELETE", path)

    def post_json(self, path: str, body) -> Reply:
        return self.ask("POST", path, json.dumps(body).encode(), Content_Type="application/json")

    def ask(self, method: str, path: str, body=None, **headers: str) -> Reply:
        """One request on a connection of its own."""
        connection = self.connect()
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            return Reply(response.status, dict(response.headers), response.read())
        finally:
            connection.close()

    def connect(self) -> http.client.HTTPConnection:
        address = urlsplit(self.url)
        if address.scheme == "https":
            # Certificates of tests are made on the spot; that one is used is checked by what opens the connection.
            return http.client.HTTPSConnection(
                address.hostname, address.port, timeout=60, context=ssl._create_unverified_context()
            )
        return http.client.HTTPConnection(address.hostname, address.port, timeout=60)

    def teach(self, name: str, data: bytes, kind: str = "image/jpeg") -> Reply:
        return self.ask("POST", f"/v1/examples?class={quote(name, safe='')}", data, Content_Type=kind)

    def classify(self, data: bytes, kind: str = "image/jpeg") -> Reply:
        return self.ask("POST", "/v1/classify", data, Content_Type=kind)

    def train(self, **options) -> dict:
        """Train and wait for the end of the job."""
        reply = self.post_json("/v1/train", options)
        assert reply.status == 202, reply.body
        place = reply.headers["Location"]
        return self.wait_for(
            lambda: next((job for job in [self.get(place).json] if job["state"] not in ("queued", "running")), None),
            120,
        )

    def child_pids(self) -> List[int]:
        """Process ids of its children."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(pid) for task in tasks for pid in task.read_text().split()] if children.exists() else []

    @property
    def extractor_pid(self) -> int:
        """Process id of the extractor's process."""
        commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in self.child_pids()}
        return next(pid for pid, command in commands.items() if b"service.extraction" in command)

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line)

    def _close(self) -> None:
        self._reader.join(10)
        self.process.stdout.close()
