"""The service under load, beside the same work without it, in one run on one machine.

    .venv/bin/python tests/benchmarks/service.py [PART...] [--calls N] [--model FILE]

Parts: latency throughput uploads start stream memory overload; without one all run.
Ratios count; the milliseconds are this machine's.
"""

import argparse
import hashlib
import http.client
import itertools
import json
import os
import random
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import List, NamedTuple, Optional
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

import numpy as np  # noqa: E402
from daemon_process import RunningDaemon  # noqa: E402
from scenes import jpeg, scene  # noqa: E402

from coral_learn import image  # noqa: E402
from coral_learn.catalog import bundled_model  # noqa: E402
from coral_learn.extractor import Extractor  # noqa: E402
from coral_learn.heads import ImprintingHead  # noqa: E402
from coral_learn.image import ImageLimits  # noqa: E402
from coral_learn.manifest import Manifest  # noqa: E402
from service.cores import extractor_threads  # noqa: E402
from service.store import Store  # noqa: E402

PARTS = ("latency", "throughput", "uploads", "start", "stream", "memory", "overload")
CLASSES = 20
ROUNDS = 300
CLIENTS = 8
LOAD_SECONDS = 8.0
READERS, PICTURE_READERS = 32, 4  # as many as are let in by default
FIRST = 1000  # answers, after which memory is looked at for the first time
CROWDS = (16, 32, 64)  # clients: twice, four and eight times the seats
READ_EVERY = 0.05  # seconds
CROWD_SECONDS = 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--calls", type=int, default=10000, help="classify calls of the part memory (default: 10000)")
    parser.add_argument("--model", help="another extractor for it: a small one takes less time for as many")
    parser.add_argument("--crowd", nargs=4, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.crowd:
        crowd(*wanted.crowd[:2], float(wanted.crowd[2]), int(wanted.crowd[3]))
        return
    parts = wanted.parts or PARTS
    for part in parts:
        with tempfile.TemporaryDirectory() as place:
            {
                "latency": latency,
                "throughput": throughput,
                "uploads": uploads,
                "start": start,
                "stream": stream,
                "memory": lambda folder: memory(folder, wanted.calls, wanted.model),
                "overload": overload,
            }[part](Path(place))


def picture(seed: int) -> bytes:
    """A 640 x 480 JPEG."""
    return jpeg(scene(seed, 640, 480))


def taught_daemon(folder: Path, *flags: str) -> RunningDaemon:
    daemon = RunningDaemon(folder / "data", "--camera", "none", *flags)
    daemon.wait_ready()
    for number in range(CLASSES):
        daemon.teach(f"class {number}", picture(number))
    time.sleep(1.5)  # let it measure the model it has now
    return daemon


class Bare:
    """Decode, embed and head without HTTP, in this process."""

    def __init__(self):
        self.extractor, self._lock = Extractor(threads=extractor_threads(0)), threading.Lock()
        info = self.extractor.info
        self._size = info.input_width, info.input_height
        self._head = ImprintingHead.suited(info.embedding_size, self.extractor.manifest.mean_embedding)
        for number in range(CLASSES):
            self._head.learn_one(self.extractor.embed(image.decode(picture(number))), number)

    def answer(self, data: bytes) -> None:
        side = image.decode_side(*self._size)
        _, rgb = image.read_picture(data, ImageLimits(), side)
        pixels = image.fit(rgb, *self._size)
        with self._lock:
            embedding = self.extractor.embed_pixels(pixels)
        self._head.scores(embedding)


def latency(folder: Path) -> None:
    """One client on a kept connection, in turns with the same work in this process."""
    daemon, bare, data = taught_daemon(folder), Bare(), picture(100)
    connection, whole, alone = daemon.connect(), [], []
    for _ in range(ROUNDS):
        whole.append(timed(ask, connection, data))
        alone.append(timed(bare.answer, data))
    daemon.stop()
    over, under = (1000 * statistics.median(times) for times in (whole, alone))
    print(f"latency: {over:.1f} ms over HTTP, {under:.1f} ms decode, embed and head alone: {over - under:.1f} ms added")


def throughput(folder: Path) -> None:
    """Eight clients in another process, beside eight threads that do the same work without HTTP; in turns."""
    daemon, bare, data = taught_daemon(folder), Bare(), picture(100)
    served, alone, times = [], [], []
    for _ in range(3):
        found = start_crowd(daemon, "/v1/classify", LOAD_SECONDS / 2, CLIENTS).communicate()[0]
        answered = [seconds for status, seconds in json.loads(found.decode()) if status == 200]
        served.append(len(answered) / (LOAD_SECONDS / 2))
        times += answered
        alone.append(threads_alone(bare, data))
    daemon.stop()
    times.sort()
    median, late = times[len(times) // 2], times[int(0.99 * len(times))]
    print(
        f"throughput: {statistics.median(served):.0f} answers a second to {CLIENTS} clients, "
        f"{statistics.median(alone):.0f} without HTTP: {statistics.median(served) / statistics.median(alone):.2f}; "
        f"median {1000 * median:.1f} ms, 99th of 100 {late / median:.2f} times that"
    )


def threads_alone(bare: Bare, data: bytes) -> float:
    ends, counts = time.perf_counter() + LOAD_SECONDS / 2, []

    def work() -> None:
        count = 0
        while time.perf_counter() < ends:
            bare.answer(data)
            count += 1
        counts.append(count)

    run_all([threading.Thread(target=work) for _ in range(CLIENTS)])
    return sum(counts) / (LOAD_SECONDS / 2)


def uploads(folder: Path) -> None:
    """An upload to the answer that knows it, beside the bare embedding, in stores of several sizes."""
    extractor = Extractor(threads=extractor_threads(0))
    for size in (10, 10000, 100000):
        data_dir = folder / str(size) / "data"
        fill(data_dir, size)
        daemon = RunningDaemon(data_dir, "--camera", "none")
        daemon.wait_ready()
        time.sleep(2.0)
        connection, whole, bare = daemon.connect(), [], []
        for number in range(60):
            data = picture(1000 + number)
            whole.append(timed(ask, connection, data, "/v1/examples?class=class%201"))
            bare.append(timed(lambda data: extractor.embed(image.decode(data)), data))
        daemon.stop()
        over, under = (1000 * statistics.median(times) for times in (whole, bare))
        print(f"uploads: beside {size:6d} examples {over:.1f} ms, decoding and embedding alone {under:.1f} ms")


def start(folder: Path) -> None:
    """From starting the process to ready, with many examples: the first time, and after SIGKILL."""
    data_dir = folder / "data"
    fill(data_dir, 100000)
    for how in ("never started before", "stopped", "killed"):
        began = time.perf_counter()
        daemon = RunningDaemon(data_dir, "--camera", "none")
        daemon.wait_ready()
        ready = time.perf_counter() - began
        time.sleep(3.0)
        print(
            f"start: 100,000 examples, {how}: ready after {ready:.2f} s, resident {resident(daemon.process.pid):.0f} MB"
        )
        daemon.kill() if how == "stopped" else daemon.stop()


def stream(folder: Path) -> None:
    """Frames classified a second with nobody watching, with many readers, and with readers that read nothing.

    With a usual camera, and with one that is faster than the extractor, so that whatever else is done costs frames.
    """
    frames = folder / "frames"
    frames.mkdir()
    for number in range(20):
        (frames / f"{number}.jpg").write_bytes(picture(number))
    for fps in ("30", "240"):
        stream_of(taught_daemon(folder / fps, "--camera", str(frames), "--camera-fps", fps))


def stream_of(daemon: RunningDaemon) -> None:
    rates = {"nobody": [], "readers": [], "stalled": []}
    for _ in range(3):
        rates["nobody"].append(frames_a_second(daemon))
        for kind in ("readers", "stalled"):
            connections = watch(daemon, kind == "readers")
            rates[kind].append(frames_a_second(daemon))
            for connection in connections:
                connection.shutdown(socket.SHUT_RDWR)
                connection.close()
            time.sleep(4.0)
    daemon.stop()
    alone, read, stalled = (statistics.median(rates[kind]) for kind in ("nobody", "readers", "stalled"))
    print(
        f"stream: {alone:.0f} frames a second with nobody watching; with {READERS} readers of events and "
        f"{PICTURE_READERS} of pictures {read / alone:.2f} of it, with as many that read nothing {stalled / alone:.2f}"
    )


def frames_a_second(daemon: RunningDaemon, seconds: float = 3.0) -> float:
    before = daemon.get("/v1/status").json["counts"]["frames"]
    time.sleep(seconds)
    return (daemon.get("/v1/status").json["counts"]["frames"] - before) / seconds


def watch(daemon: RunningDaemon, read: bool) -> list:
    """Connections to the streams of events and of pictures."""
    address, connections = urlsplit(daemon.url), []
    for path in ("/v1/stream",) * READERS + ("/v1/camera/stream.mjpg",) * PICTURE_READERS:
        connection = socket.create_connection((address.hostname, address.port))
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
        status = connection.recv(12)
        assert status == b"HTTP/1.1 200", status
        connections.append(connection)
    if read:
        threading.Thread(target=drain, args=(list(connections),), daemon=True).start()
    return connections


def drain(connections: List[socket.socket]) -> None:
    """Read what has come, a few times a second: readers on machines of their own take nothing of this one's time."""
    while connections:
        time.sleep(READ_EVERY)
        for connection in list(connections):
            try:
                while connection.recv(1024 * 1024, socket.MSG_DONTWAIT):
                    pass
                connections.remove(connection)
            except BlockingIOError:
                pass
            except OSError:
                connections.remove(connection)


def memory(folder: Path, calls: int, model: Optional[str]) -> None:
    """What the daemon and its extractor hold after the first answers, and after many more with uploads and deletes.

    An upload and a delete every ten answers: with --calls 100000 it is 10,000 of both.
    """
    daemon, data = taught_daemon(folder, *(("--model", model) if model else ())), picture(100)
    pictures, rounds = [picture(2000 + number) for number in range(50)], random.Random(0)
    connection = daemon.connect()
    first, uploads = min(FIRST, calls), 0
    for call in range(calls):
        ask(connection, data)
        if call % 10 == 0:
            taught = ask(connection, rounds.choice(pictures), "/v1/examples?class=more")
            connection.request("DELETE", f"/v1/examples/{taught['accepted'][0]['id']}?forever=true")
            response = connection.getresponse()
            assert response.status == 200, response.read()
            response.read()
            uploads += 1
        if call == first - 1:
            early = held(daemon)
    late = held(daemon)
    daemon.stop()
    print(f"memory after {first:,} answers, and after {calls:,} with {uploads:,} uploads and deletes:")
    for name, before, after in zip(("daemon", "extractor"), early, late):
        grown = after.megabytes / before.megabytes
        print(
            f"  {name:9s} {before.megabytes:.1f} MB, {after.megabytes:.1f}, which is {grown:.3f} of it; "
            f"open files {before.files}, {after.files}; threads {before.threads}, {after.threads}"
        )


class Held(NamedTuple):
    """What a process holds: resident memory, open files, threads."""

    megabytes: float
    files: int
    threads: int


def held(daemon: RunningDaemon) -> List[Held]:
    """What the daemon holds, and the extractor's process, its only child without a camera."""
    found = []
    (extractor,) = daemon.child_pids()
    for pid in (daemon.process.pid, extractor):
        files, threads = (len(os.listdir(f"/proc/{pid}/{what}")) for what in ("fd", "task"))
        found.append(Held(resident(pid), files, threads))
    return found


def overload(folder: Path) -> None:
    """How soon the clients of a crowd are answered and refused, and /healthz beside them."""
    daemon = taught_daemon(folder)
    for path, clients in itertools.product(("/v1/classify", "/v1/examples?class=more"), CROWDS):
        health = []
        with tempfile.TemporaryFile() as file:
            client = start_crowd(daemon, path, CROWD_SECONDS, clients, file)
            while client.poll() is None:
                health.append([200, timed(daemon.get, "/healthz")])
                time.sleep(0.1)
            file.seek(0)
            found = json.loads(file.read().decode())
        print(f"overload: {clients} clients at {path} for {CROWD_SECONDS:g} s")
        for what, answers in (("200, 201", found), ("503", found), ("/healthz", health)):
            times = sorted(1000 * seconds for status, seconds in answers if (status == 503) == (what == "503"))
            if times:
                late = times[int(0.99 * len(times))]
                median = statistics.median(times)
                print(f"  {what:9s} {len(times):5d} times: median {median:.0f} ms, p99 {late:.0f}, max {times[-1]:.0f}")
    daemon.stop()


def start_crowd(
    daemon: RunningDaemon, path: str, seconds: float, clients: int, output=subprocess.PIPE
) -> subprocess.Popen:
    """Clients in a process of their own, which prints what `crowd` does."""
    asked = daemon.url, path, str(seconds), str(clients)
    return subprocess.Popen([sys.executable, str(Path(__file__).resolve()), "--crowd", *asked], stdout=output)


def crowd(url: str, path: str, seconds: float, clients: int) -> None:
    """Ask again and again on so many kept connections, all in one thread; prints [status, seconds] of each answer.

    One thread, because with as many as clients they would wait for each other, and that would be measured.
    """
    address, data = urlsplit(url), picture(100)
    head = f"POST {path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: image/jpeg\r\n"
    request, found = head.encode() + b"Content-Length: %d\r\n\r\n" % len(data) + data, []
    ends = time.perf_counter() + seconds
    with selectors.DefaultSelector() as selector:

        def send(connection: socket.socket) -> None:
            began[connection] = time.perf_counter()
            connection.sendall(request)

        began = {}
        for _ in range(clients):
            connection = socket.create_connection((address.hostname, address.port))
            selector.register(connection, selectors.EVENT_READ, [b""])
            send(connection)
        while began:
            for key, _ in selector.select():
                connection, received = key.fileobj, key.data
                received[0] += connection.recv(65536)
                head, gap, body = received[0].partition(b"\r\n\r\n")
                if not gap or len(body) < int(head.lower().partition(b"content-length:")[2].split()[0]):
                    continue
                now, received[0] = time.perf_counter(), b""
                found.append([int(head.split()[1]), now - began.pop(connection)])
                if now < ends:
                    send(connection)
    print(json.dumps(found))


# -- parts ----------------------------------------------------------------------------------------


def fill(data_dir: Path, count: int, classes: int = 100) -> None:
    """A data folder with made-up examples."""
    store, numbers = Store(data_dir), np.random.RandomState(0)
    digest, size = Manifest.of(bundled_model()).digest, 1280
    centres = np.abs(numbers.normal(0, 0.5, (classes, size)))
    with store.database.write() as connection:
        ids = [store.classes.create(connection, f"class {number}") for number in range(classes)]
        for number in range(count):
            sha256 = hashlib.sha256(str(number).encode()).hexdigest()
            embedding = centres[number % classes] + np.abs(numbers.normal(0, 0.4, size))
            example = hashlib.md5(str(number).encode()).hexdigest()
            connection.execute(
                "INSERT INTO examples (id, class_id, sha256, format, width, height, bytes, source, created) "
                "VALUES (?, ?, ?, 'JPEG', 300, 300, 100, 'upload', 0)",
                (example, ids[number % classes], sha256),
            )
            blob = embedding.astype(np.float32).tobytes()
            connection.execute("INSERT INTO embeddings VALUES (?, ?, ?)", (sha256, digest, blob))
            path = store.images.path(sha256)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * 100)
    store.close()


def ask(connection: http.client.HTTPConnection, data: bytes, path: str = "/v1/classify"):
    connection.request("POST", path, data, {"Content-Type": "image/jpeg"})
    response = connection.getresponse()
    body = response.read()
    assert response.status < 300, body
    return json.loads(body)


def run_all(threads: list) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def timed(action, *arguments) -> float:
    began = time.perf_counter()
    action(*arguments)
    return time.perf_counter() - began


def resident(pid: int) -> float:
    """Resident memory of a process, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


if __name__ == "__main__":
    main()
