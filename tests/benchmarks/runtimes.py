"""A table of every sort of run-time that can be had on this Python, with one model.

    .venv/bin/python tests/benchmarks/runtimes.py [MODEL.tflite]

The bundled model when none is named. It is made into a compiled one by its mark alone, which only the stand-ins
for pycoral and libedgetpu take: their rows show that the ways work, and cost what the CPU costs.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

import numpy as np  # noqa: E402
from runtime_host import CPU_LITERT, CPU_TFLITE, SORTS, RuntimeHost, alone_with_edge_tpus, missing  # noqa: E402

from coral_learn.catalog import bundled_model  # noqa: E402
from coral_learn.runtime.tflite import EDGETPU_OPERATOR  # noqa: E402

RUNS = 20


def measure(sort: str, plain: Path, compiled: Path, folder: Path):
    """Name, seconds to load, milliseconds of the first run and the median of the others, and the output."""
    host = RuntimeHost(sort, folder)
    try:
        began = time.perf_counter()
        _, name, taken, _ = host("open", str(plain if sort in (CPU_LITERT, CPU_TFLITE) else compiled))
        loading, took = time.perf_counter() - began, []
        stored = np.random.RandomState(0).randint(0, 256, taken[0]).astype(taken[1])
        for _ in range(RUNS):
            began = time.perf_counter()
            output = host("invoke", stored)
            took.append((time.perf_counter() - began) * 1000)
        return name, loading, took[0], statistics.median(took[1:]), output.astype(float).ravel()
    finally:
        host.end()


def main() -> None:
    plain, reference = Path(sys.argv[1]) if sys.argv[1:] else bundled_model(), None
    print(f"{plain.name}, Python {sys.version.split()[0]}")
    print(f"{'run-time':<28}{'version':<34}{'load s':>8}{'first ms':>10}{'median ms':>11}{'cosine':>9}")
    with tempfile.TemporaryDirectory() as name, alone_with_edge_tpus():
        folder = Path(name)
        (folder / plain.name).write_bytes(plain.read_bytes())
        compiled = folder / f"{plain.stem}_edgetpu.tflite"
        compiled.write_bytes(plain.read_bytes() + EDGETPU_OPERATOR)
        for sort in SORTS:
            reason = missing(sort)
            if reason:
                print(f"{sort:<28}{reason}")
                continue
            version, loading, first, median, output = measure(sort, plain, compiled, folder)
            reference = output if reference is None else reference
            cosine = output @ reference / np.linalg.norm(output) / np.linalg.norm(reference)
            print(f"{sort:<28}{version:<34}{loading:8.2f}{first:10.1f}{median:11.1f}{cosine:9.4f}")


if __name__ == "__main__":
    main()
