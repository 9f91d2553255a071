"""Whether the extractor works: it loads, gives the golden embedding, and takes as long as it should."""

from typing import Any, Callable, Dict, List, NamedTuple

from coral_learn.manifest import Manifest
from service.doctor.check import FAIL, OK, SKIP, WARN, Check
from service.doctor.golden import cosine, picture
from service.doctor.machine import Machine

LOAD_SECONDS = 90.0  # a USB stick takes up to a minute
_RUNS = 5
# Milliseconds of MobileNet v1 with 224 x 224 pixels on an Edge TPU (pycoral's benchmarks/reference), by what
# /proc/device-tree/model says, or by the processor.
_REFERENCE_MODEL = "mobilenet_v1_1.0_224"
_REFERENCES = (("Phanbell", "the Dev Board", 2.2), ("Raspberry Pi 4", "a Raspberry Pi 4", 4.2))
_REFERENCE_PC = ("x86_64", "a PC", 2.2)
_MUCH_SLOWER = 3.0


class Tried(NamedTuple):
    """What a try of the extractor gave.

    facts : of `ExtractorInfo`, with cosine and least where there is a golden picture, and milliseconds
    failure : why it gave nothing, empty when it did; crashed : by a signal
    skipped : why it was not tried, empty when it was
    """

    facts: Dict[str, Any] = {}  # noqa: RUF012 - never written to
    failure: str = ""
    crashed: bool = False
    skipped: str = ""


def try_alone(machine: Machine, model: str, device: str, threads: int) -> Tried:
    """Try it in a process of its own."""
    arguments = {"model": model, "device": device, "threads": threads}
    outcome = machine.attempt("service.doctor.child:extract", arguments, LOAD_SECONDS)
    if outcome.result is None:
        said = f" ({outcome.said})" if outcome.said else ""
        return Tried(failure=f"its process {outcome.ending} at {outcome.stage}{said}", crashed=outcome.crashed)
    if "error" in outcome.result:
        return Tried(failure=outcome.result["text"])
    return Tried(outcome.result)


def try_running(info: Any, model: Any, embed: Callable) -> Tried:
    """Try the one that runs in the daemon.

    info : its `ExtractorInfo`; model : its file; embed : of `ExtractorSupervisor`. Raises what these raise.
    """
    import numpy as np

    from coral_learn import image

    facts, golden = dict(info._asdict()), Manifest.of(model).golden()
    pixels = np.full((info.input_height, info.input_width, 3), 128, np.uint8)
    if golden is not None:
        pixels = image.fit(picture(golden), info.input_width, info.input_height)
        facts.update(cosine=cosine(embed(pixels).embedding, golden.embedding), least=golden.min_cosine)
    times: List[float] = sorted(embed(pixels).milliseconds for _ in range(_RUNS))
    return Tried(dict(facts, milliseconds=times[_RUNS // 2]))


def check_extractor(tried: Tried) -> Check:
    """Whether it loads, and on which device."""
    if tried.skipped:
        return Check("extractor", SKIP, tried.skipped)
    if tried.failure:
        remedy = "the checks above say what is wrong; with --device cpu it runs without an Edge TPU"
        return Check("extractor", FAIL, tried.failure, "no picture can be answered", remedy)
    facts = tried.facts
    found = f"{facts['name']} on {facts['device']}, {facts['runtime']}"
    if facts["degraded"]:
        remedy = "coral-learn models fetch mobilenet_v1 brings a model with its compiled file, and says how to use it; "
        remedy += "for another one edgetpu_compiler makes that; --device cpu says that the CPU is wanted"
        return Check("extractor", WARN, found, facts["reason"], remedy)
    return Check("extractor", OK, found, facts["reason"])


def check_golden(tried: Tried) -> Check:
    """Whether it computes what it should."""
    name = "golden embedding"
    if tried.skipped or tried.failure:
        return Check(name, SKIP, tried.skipped or "the extractor gave no embedding")
    if "cosine" not in tried.facts:
        return Check(name, SKIP, "the model's manifest has no golden picture", "whether it computes right is unknown")
    found = f"cosine {tried.facts['cosine']:.4f} to the manifest's, at least {tried.facts['least']:.2f} is needed"
    if not tried.facts["cosine"] >= tried.facts["least"]:
        remedy = "power the Edge TPU off and on again; on a CPU another version of the run-time, or the model file anew"
        return Check(name, FAIL, found, f"{tried.facts['runtime']} computes this model wrongly", remedy)
    return Check(name, OK, found)


def check_speed(machine: Machine, tried: Tried) -> Check:
    """Milliseconds of an embedding, beside what this board should do where that is known."""
    name = "speed"
    if "milliseconds" not in tried.facts:
        return Check(name, SKIP, tried.skipped or "the extractor gave no embedding")
    facts = tried.facts
    found = f"{facts['milliseconds']:.1f} ms an embedding on {facts['device']}"
    board = machine.read("/proc/device-tree/model") or machine.architecture()
    known = next(((title, ms) for key, title, ms in (*_REFERENCES, _REFERENCE_PC) if key in board), None)
    unknown = _why_no_reference(facts, known is not None)
    if unknown:
        return Check(name, OK, found, f"no reference is known for {unknown}")
    compared = f"{known[0]} should take {known[1]:g} ms"
    if facts["milliseconds"] > _MUCH_SLOWER * known[1]:
        remedy = "USB 3, cooling, and nothing else that computes beside it"
        return Check(name, WARN, found, compared, remedy)
    return Check(name, OK, found, compared)


def _why_no_reference(facts: Dict[str, Any], board_is_known: bool) -> str:
    """What nobody measured in these facts of the extractor, empty when there is a reference."""
    if facts["runtime"].startswith("fake"):
        return "a fake Edge TPU"
    if facts["device"] != "edgetpu":
        return "a CPU"
    if _REFERENCE_MODEL not in facts["name"]:
        return f"the model {facts['name']}"
    return "" if board_is_known else "this board"
