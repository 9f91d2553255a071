"""What the camera's stages cost, and how near the live loop comes to the bare extractor, side by side in one run.

    .venv/bin/python tests/benchmarks/camera.py [stages] [loop] [viewers] [--seconds N] [--threads N] [--model FILE]

Stages: each as a ratio to the naive way, which decodes the whole picture and resizes it. Loop: frames a second of a
running daemon and of the extractor alone, in turns, with a camera that is faster than both; and what any loop could
reach here at best: the extractor beside a process that does nothing but decode the same pictures, or the pictures
decoded, whichever are fewer. Ratios count; the milliseconds are this machine's. Viewers: what the daemon's own process
takes of a processor for a camera of 30 frames a second, and for pages that show it. `--camera URL|FOLDER` adds a source
of yours to the loop.
"""

import argparse
import contextlib
import itertools
import multiprocessing
import os
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Optional
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

import numpy as np  # noqa: E402
from daemon_process import RunningDaemon  # noqa: E402
from picture_servers import MjpegServer  # noqa: E402
from scenes import camera_jpeg  # noqa: E402

from coral_learn import image  # noqa: E402
from coral_learn.extractor import Extractor  # noqa: E402
from coral_learn.heads import ImprintingHead  # noqa: E402
from service.camera import jpeg  # noqa: E402
from service.camera.making import FrameMaker  # noqa: E402
from service.camera.shot import Shot  # noqa: E402
from service.camera.view import View  # noqa: E402
from service.memory import keep_memory  # noqa: E402

SIZES = {"480p": (640, 480), "720p": (1280, 720), "1080p": (1920, 1080)}
PICTURES = 8
ROUNDS = 40
TURNS = 5
PAGE_STREAMS = ["/v1/stream", "/v1/camera/stream.mjpg?annotated=false"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help="stages, loop, viewers")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement of the loop")
    parser.add_argument(
        "--threads",
        type=int,
        default=1,
        help="of the extractor; one, as an Edge TPU leaves a core to the camera as well (default: 1)",
    )
    parser.add_argument("--model", help="another extractor than the bundled one")
    parser.add_argument("--camera", help="a source to measure the loop with as well")
    wanted = parser.parse_args()
    for part in wanted.parts or ("stages", "loop", "viewers"):
        {"stages": stages, "loop": loop, "viewers": viewers}[part](wanted)


def stages(wanted) -> None:
    """Medians of each stage, the careful and the naive way in turns."""
    extractor = Extractor(wanted.model, threads=wanted.threads)
    width, height = extractor.info.input_width, extractor.info.input_height
    head, maker = (
        ImprintingHead.suited(extractor.info.embedding_size, extractor.manifest.mean_embedding),
        FrameMaker(View()),
    )
    for name, size in SIZES.items():
        times, folder = {}, tempfile.TemporaryDirectory()
        files = [Path(folder.name) / f"{number}.jpg" for number in range(PICTURES)]
        for number, file in enumerate(files):
            file.write_bytes(camera_jpeg(number, *size))
        for number, file in enumerate(files[:3]):
            head.learn_one(extractor.embed(image.decode(file.read_bytes())), number)
        side = image.decode_side(width, height)
        for number in range(ROUNDS):
            data = timed(times, "read", files[number % PICTURES].read_bytes)
            whole = timed(times, "naive decode", image.decode, data)
            timed(times, "naive resize", image.fit, whole, width, height)
            shot = Shot(data=data)
            rgb, _ = timed(times, "decode", shot.decode, side)
            pixels = timed(times, "resize", image.fit, rgb, width, height)
            embedding = timed(times, "embed", extractor.embed_pixels, pixels)
            timed(times, "head", head.scores, embedding)
            timed(times, "naive encode", jpeg.encode, whole)
            made = maker.make(shot, width, height, whole=False)
            timed(times, "encode", maker.plain, made)
            timed(times, "annotate", maker.annotated, made, "cup 97 %")
        folder.cleanup()
        middle = {stage: 1000 * statistics.median(found) for stage, found in times.items()}
        line = [f"{stage} {middle[stage]:.2f} ms" for stage in ("read", "embed", "head", "annotate")]
        for stage in ("decode", "resize", "encode"):
            before = middle["naive " + stage]
            line.append(f"{stage} {middle[stage]:.2f} ms, {middle[stage] / before:.2f} of the naive {before:.2f}")
        both = (middle["decode"] + middle["resize"]) / (middle["naive decode"] + middle["naive resize"])
        share = (middle["decode"] + middle["resize"]) / middle["embed"]
        print(f"stages {name}: {'; '.join(line)}; decode and resize {both:.2f} of naive, {share:.2f} of the embedding")
    extractor.close()


def loop(wanted) -> None:
    """Frames a second that a daemon classifies, beside those of the extractor alone in this process."""
    extractor = Extractor(wanted.model, threads=wanted.threads)
    # Faster than the extractor, but not by so much that it is the camera's work that is measured.
    rate = min(240, round(1.5 * embeddings_a_second(extractor, 1.0)))
    for name, size in SIZES.items():
        pictures = [camera_jpeg(number, *size) for number in range(PICTURES)]
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "frames"
            folder.mkdir()
            for number, data in enumerate(pictures):
                (folder / f"{number}.jpg").write_bytes(data)
            with Decoder(pictures, extractor, rate) as decoder:
                compare(wanted, extractor, f"{name} folder", str(folder), Path(place) / "one", rate, decoder)
            with MjpegServer(lambda number, all_=tuple(pictures): all_[number % PICTURES], rate=float(rate)) as server:
                compare(wanted, extractor, f"{name} MJPEG", server.url(), Path(place) / "two", rate)
    if wanted.camera:
        with tempfile.TemporaryDirectory() as place:
            compare(wanted, extractor, wanted.camera, wanted.camera, Path(place), rate)
    extractor.close()


class Decoder:
    """A process that decodes pictures for an extractor and throws them away, so many a second at most."""

    def __init__(self, pictures: list, extractor: Extractor, rate: float):
        context = multiprocessing.get_context("spawn")
        self._count = context.Value("L", 0)
        size = extractor.info.input_width, extractor.info.input_height
        self._process = context.Process(target=decode_on, args=(pictures, size, rate, self._count), daemon=True)

    def __enter__(self) -> "Decoder":
        self._process.start()
        while self._count.value < PICTURES:
            time.sleep(0.1)
        stop([self._process.pid])
        return self

    def __exit__(self, *_) -> None:
        self._process.kill()
        self._process.join()

    def beside(self, extractor: Extractor, seconds: float) -> float:
        """The lesser of embeddings and decoded pictures a second, both made at the same time."""
        go_on([self._process.pid])
        before, began = self._count.value, time.perf_counter()
        embedded = embeddings_a_second(extractor, seconds)
        decoded = (self._count.value - before) / (time.perf_counter() - began)
        stop([self._process.pid])
        return min(embedded, decoded)


def decode_on(pictures: list, size: tuple, rate: float, count) -> None:
    """What the process of a `Decoder` does: the least of what a camera's has to do."""
    keep_memory()
    maker, due = FrameMaker(View()), time.monotonic()
    for number in itertools.count():
        maker.make(Shot(data=pictures[number % len(pictures)]), *size, whole=False)
        count.value += 1
        due = max(due + 1 / rate, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


def compare(
    wanted,
    extractor: Extractor,
    name: str,
    camera: str,
    data_dir: Path,
    rate: float,
    decoder: Optional[Decoder] = None,
) -> None:
    """The daemon at work and stopped, in turns with the extractor alone, and that beside a decoder."""
    flags = ["--camera", camera, "--threads", str(wanted.threads)] + (["--model", wanted.model] if wanted.model else [])
    if Path(camera).is_dir():
        flags += ["--camera-fps", str(rate)]
    daemon = RunningDaemon(data_dir, *flags)
    daemon.wait_ready()
    for number in range(3):
        daemon.teach(f"class {number}", camera_jpeg(number, 640, 480))
    time.sleep(2.0)  # let it measure the model it has now
    ours = family(daemon)
    watched, alone, best = [], [], []
    for _ in range(TURNS):
        watched.append(frames_a_second(daemon, wanted.seconds))
        stop(ours)
        alone.append(embeddings_a_second(extractor, wanted.seconds / 2))
        if decoder is not None:
            best.append(decoder.beside(extractor, wanted.seconds / 2))
        go_on(ours)
        time.sleep(0.5)
    daemon.stop()
    line = f"loop {name}: {statistics.median(watched):.1f} frames a second, the extractor alone "
    line += f"{statistics.median(alone):.1f}: {ratio(watched, alone)}"
    print(line + (f"; at best {ratio(best, alone)}" if best else ""))


def ratio(some: list, others: list) -> str:
    """The median of the ratios of each turn, and how far they lie apart."""
    found = [one / other for one, other in zip(some, others)]
    return f"{statistics.median(found):.3f} ({min(found):.3f} to {max(found):.3f})"


def viewers(wanted) -> None:
    """Processor time of the daemon's process, without what classifies: for nobody, and for pages with the picture."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "frames"
        folder.mkdir()
        for number in range(PICTURES):
            (folder / f"{number}.jpg").write_bytes(camera_jpeg(number, 640, 480))
        flags = ["--camera", str(folder), "--camera-fps", "30", "--threads", str(wanted.threads)]
        daemon = RunningDaemon(Path(place) / "data", *flags)
        daemon.wait_ready()
        for number in range(3):
            daemon.teach(f"class {number}", camera_jpeg(number, 640, 480))
        time.sleep(3.0)
        for count in (0, 1, 4):
            pages = [open_stream(daemon, path) for path in PAGE_STREAMS * count]
            time.sleep(1.0)
            before, began = processor_seconds(daemon.process.pid), time.perf_counter()
            seen = frames_a_second(daemon, 2 * wanted.seconds)
            taken = (processor_seconds(daemon.process.pid) - before) / (time.perf_counter() - began)
            print(
                f"viewers: {seen:.1f} frames a second and {count} pages take {taken:.3f} of a processor in the daemon"
            )
            for page in pages:
                page.shutdown(socket.SHUT_RDWR)
                page.close()
            time.sleep(4.0)
        daemon.stop()


def open_stream(daemon: RunningDaemon, path: str) -> socket.socket:
    """A connection whose endless answer is read and thrown away."""
    address = urlsplit(daemon.url)
    connection = socket.create_connection((address.hostname, address.port))
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
    status = connection.recv(12)
    assert status == b"HTTP/1.1 200", status

    def drain() -> None:
        with contextlib.suppress(OSError):
            while connection.recv(65536):
                pass

    threading.Thread(target=drain, daemon=True).start()
    return connection


def processor_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def timed(times: dict, stage: str, action, *arguments):
    began = time.perf_counter()
    result = action(*arguments)
    times.setdefault(stage, []).append(time.perf_counter() - began)
    return result


def frames_a_second(daemon: RunningDaemon, seconds: float) -> float:
    before, began = daemon.get("/v1/status").json["counts"]["frames"], time.perf_counter()
    time.sleep(seconds)
    after = daemon.get("/v1/status").json["counts"]["frames"]
    return (after - before) / (time.perf_counter() - began)


def embeddings_a_second(extractor: Extractor, seconds: float) -> float:
    """What the extractor gives when nothing else is asked of the machine."""
    width, height = extractor.info.input_width, extractor.info.input_height
    pixels = np.random.RandomState(0).randint(0, 256, (height, width, 3)).astype(np.uint8)
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        extractor.embed_pixels(pixels)
        count += 1
    return count / (time.perf_counter() - began)


def family(daemon: RunningDaemon) -> list:
    """The daemon's own process and those it started."""
    return [daemon.process.pid, *daemon.child_pids()]


def stop(pids: list) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)


def go_on(pids: list) -> None:
    for pid in reversed(pids):
        os.kill(pid, signal.SIGCONT)


if __name__ == "__main__":
    main()
