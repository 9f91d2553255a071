"""How long a daemon is without answers when its Edge TPU breaks, by fault, with the fake device.

    .venv/bin/python tests/benchmarks/recovery.py [abort] [hang] [stop] [kill] [slow-load] [wait] [stand-in]
        [heat] [wrong-model] [wrong-packages] [full-disk] [clock]

The second line's are those of faults.py, which says what each does. Without a word all run. "without answers" is
a client's: from the last 200 before to the first after; "recovery" is the supervisor's, from the moment it knew;
"slowest" is the slowest GET /healthz meanwhile. The extractor's deadline is 2 s here, and the model is the tests'
tiny one: a real one takes longer to load.
"""

import io
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

import faults  # noqa: E402
import numpy as np  # noqa: E402
from daemon_process import RunningDaemon  # noqa: E402
from PIL import Image  # noqa: E402

from coral_learn import Extractor  # noqa: E402
from coral_learn.runtime.fake_bus import FakeBus  # noqa: E402

DEADLINE = 2.0  # seconds
UNPLUGGED = 5.0  # seconds
FAULTS = {  # device, and what is done by hand
    "abort": ("fake:abort=8", None),
    "hang": ("fake:hang=8", None),
    "stop": ("fake", signal.SIGSTOP),
    "kill": ("fake", signal.SIGKILL),
    "slow-load": ("fake:load_slowly=5", signal.SIGKILL),
    "wait": ("fake", "unplug"),
    "stand-in": ("fake", "unplug"),
}


def make_model(folder: Path) -> Path:
    """The tests' tiny twins, one extractor by a golden picture."""
    data, pixels = ROOT / "tests" / "data", np.full((48, 64, 3), 90, np.uint8)
    for name in ("tiny.tflite", "tiny_edgetpu.tflite"):
        shutil.copy(str(data / name), str(folder / name))
    Image.fromarray(pixels).save(str(folder / "golden.png"))
    np.savez(str(folder / "tiny.npz"), golden=Extractor(data / "tiny.tflite", "cpu").embed(pixels))
    facts = json.loads((data / "tiny.json").read_text())
    facts["golden"] = {"image": "golden.png", "embedding": "tiny.npz:golden"}
    (folder / "tiny.json").write_text(json.dumps(facts))
    return folder / "tiny_edgetpu.tflite"


class Watch:
    """Asks for answers and for /healthz, again and again, and keeps when they came."""

    def __init__(self, daemon: RunningDaemon):
        file = io.BytesIO()
        noise = np.random.RandomState(0).randint(0, 256, (48, 64, 3)).astype(np.uint8)
        Image.fromarray(noise).save(file, "PNG")
        self._daemon, self._picture = daemon, file.getvalue()
        self.answers, self.healthy, self._done = [], [], threading.Event()
        self._threads = [threading.Thread(target=self._repeat, args=(one,)) for one in (self._classify, self._health)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def wait(self, condition, what: str) -> None:
        self._daemon.wait_for(lambda: condition(list(self.answers)), 120, what)

    @property
    def gap(self) -> float:
        """The longest time without an answer."""
        times = [when for when, _ in self.answers]
        return max(later - earlier for earlier, later in zip(times, times[1:]))

    def _repeat(self, ask) -> None:
        while not self._done.wait(0.05):
            ask()

    def _classify(self) -> None:
        reply = self._daemon.classify(self._picture, "image/png")
        if reply.status == 200:
            self.answers.append((time.monotonic(), reply.json["device"]))

    def _health(self) -> None:
        asked = time.monotonic()
        self._daemon.get("/healthz")
        self.healthy.append(time.monotonic() - asked)


def measure(fault: str, model: Path, folder: Path) -> None:
    """Run one fault in a daemon of its own and print its row."""
    device, by_hand = FAULTS[fault]
    bus, loss = FakeBus(), "cpu" if fault == "stand-in" else "wait"
    flags = ["--model", str(model), "--device", device, "--on-device-loss", loss, "--camera", "none"]
    daemon = RunningDaemon(folder / fault, *flags, "--extractor-timeout", str(DEADLINE))
    returned = None
    try:
        daemon.wait_ready()
        watch = Watch(daemon)
        watch.wait(lambda answers: len(answers) > 3, "answers")
        if by_hand == "unplug":
            bus.unplug()
            time.sleep(UNPLUGGED)
            bus.marker.unlink()
            returned, before = time.monotonic(), len(watch.answers)
            watch.wait(lambda answers: answers[before:] and answers[-1][1] == "edgetpu", "the Edge TPU")
            returned = watch.answers[-1][0] - returned
        elif by_hand is not None:
            os.kill(daemon.child_pids()[0], by_hand)
        daemon.wait_for(lambda: daemon.get("/v1/status").json["extractor"]["recovery_s"], 60, "a recovery")
        count = len(watch.answers)
        watch.wait(lambda answers: len(answers) > count + 2, "answers again")
        watch.stop()
        found = daemon.get("/v1/status").json["extractor"]
        devices = "+".join(sorted({device for _, device in watch.answers}))
        back = "" if returned is None else f"; answers on the Edge TPU {returned:.1f} s after it was plugged in"
        print(
            f"{fault:<10} without answers {watch.gap:5.1f} s   recovery {found['recovery_s']:5.1f} s   "
            f"slowest {max(watch.healthy) * 1000:4.0f} ms   {devices}{back}",
            flush=True,
        )
    finally:
        daemon.stop()
        shutil.rmtree(str(bus.sysfs), ignore_errors=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        tempfile.tempdir = os.environ["TMPDIR"] = name
        folder = Path(name) / "model"
        folder.mkdir()
        model = make_model(folder)
        for fault in sys.argv[1:] or [*FAULTS, *faults.FAULTS]:
            if fault in FAULTS:
                measure(fault, model, Path(name))
            else:
                own = Path(name) / fault
                own.mkdir()
                faults.FAULTS[fault](model, own)
        tempfile.tempdir = None


if __name__ == "__main__":
    main()
