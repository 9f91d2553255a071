"""The main job in figures, over HTTP against a real process, beside the bare extractor in this process.

    .venv/bin/python tests/benchmarks/main_job.py [FOLDER]

FOLDER holds a folder a class with 30 pictures NN.jpg each (default: ../shared/data/objects20 beside
the repository). Prints accuracy, milliseconds of an answer as a ratio to the bare extractor, resident
memory, and seconds to the first answer.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from daemon_process import RunningDaemon  # noqa: E402

from coral_learn import image  # noqa: E402
from coral_learn.extractor import Extractor  # noqa: E402
from service.cores import extractor_threads  # noqa: E402

TEST = range(10, 30)
ROUNDS = 200


def main(folder: Path) -> None:
    if not folder.is_dir():
        raise SystemExit(
            f"there is no folder {folder}; name one that holds a folder a class with 00.jpg to 29.jpg each"
        )
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    pictures = {name: [(folder / name / f"{number:02d}.jpg").read_bytes() for number in range(30)] for name in names}
    with tempfile.TemporaryDirectory() as place:
        started = time.perf_counter()
        daemon = RunningDaemon(Path(place) / "data", "--camera", "none")
        try:
            daemon.wait_ready()
            print(f"ready after {time.perf_counter() - started:.2f} s")
            accuracies(daemon, names, pictures)
            latency(daemon, pictures[names[0]][TEST[0]])
            memory(daemon)
        finally:
            daemon.stop()


def accuracies(daemon, names, pictures) -> None:
    for upto in (1, 2, 5, 10):
        teach(daemon, names, pictures, upto)
        print(f"imprinting, {upto:2d} a class: {accuracy(daemon, names, pictures):.4f}")
        if upto in (5, 10):
            job = daemon.train(head="softmax", activate="always")
            share = accuracy(daemon, names, pictures)
            seconds = job["finished"] - job["started"]
            print(f"softmax,    {upto:2d} a class: {share:.4f}   (the job took {seconds:.2f} s)")
            daemon.post_json("/v1/models/live/activate", {})


def teach(daemon, names, pictures, upto) -> None:
    for name in names:
        for data in pictures[name][:upto]:
            daemon.teach(name, data)


def accuracy(daemon, names, pictures) -> float:
    answers = [daemon.classify(pictures[name][number]).json["class"] == name for name in names for number in TEST]
    return sum(answers) / len(answers)


def latency(daemon, data: bytes) -> None:
    """One client, one picture after another on a kept connection; in turns with the bare extractor."""
    extractor = Extractor(threads=extractor_threads(0))
    pixels = extractor.prepare(image.decode(data))
    connection, whole, inside, bare = daemon.connect(), [], [], []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        connection.request("POST", "/v1/classify", data, {"Content-Type": "image/jpeg"})
        connection.getresponse().read()
        whole.append(time.perf_counter() - started)
        started = time.perf_counter()
        extractor.embed_pixels(pixels)
        bare.append(time.perf_counter() - started)
        started = time.perf_counter()
        extractor.prepare(image.decode(data))
        inside.append(time.perf_counter() - started)
    connection.close()
    answer, alone, decode = (1000 * statistics.median(times) for times in (whole, bare, inside))
    print(f"an answer over HTTP {answer:.2f} ms, the bare embedding {alone:.2f} ms: {answer / alone:.2f} times")
    print(f"decoding and resizing {decode:.2f} ms: everything else adds {answer - alone - decode:.2f} ms")


def memory(daemon) -> None:
    for what, pids in (("the daemon", [daemon.process.pid]), ("the extractor's process", daemon.child_pids())):
        resident, own = (sum(megabytes(pid, name) for pid in pids) for name in ("Rss", "Pss"))
        print(f"memory of {what}: {resident:.0f} MB resident, {own:.0f} MB with shared files counted in shares")


def megabytes(pid: int, name: str) -> float:
    """Rss or Pss of a process, see proc(5)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name + ":")).split()[1]) / 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared" / "data" / "objects20")
