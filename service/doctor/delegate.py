"""Why the Edge TPU does not open: "Failed to load delegate" ends in one named cause."""

from typing import Dict, List, Optional

from service.doctor.attempt import is_crash
from service.doctor.check import FAIL, OK, SKIP, Check
from service.doctor.devices import NEW, Found
from service.doctor.machine import Machine

_SECONDS = 90.0  # two opens with up to 25 tries each
# In the order in which one makes the next meaningless.
_CAUSES = (
    "driver",
    "edge tpu",
    "edge tpu temperature",
    "held by",
    "device nodes",
    "edge tpu library",
    "run-time",
    "run-time fits library",
    "udev rule",
)


def check_seen(found: Found, needed: bool) -> Check:
    """Whether the kernel sees an Edge TPU. needed : one was asked for"""
    if found:
        return Check("edge tpu", OK, str(found))
    meaning = "answers come from the CPU"
    if not needed:
        return Check("edge tpu", SKIP, "none connected", meaning)
    remedy = "plug it in (a data cable, lsusb shows 1a6e:089a or 18d1:9302; lspci shows 1ac1:089a), or --device cpu"
    return Check("edge tpu", FAIL, "none on PCIe or USB", "an Edge TPU was asked for", remedy)


def check_delegate(machine: Machine, found: Found, device: str, before: List[Check], running: Optional[str]) -> Check:
    """Whether it opens; if not, the one cause.

    before : the checks made so far; device : as libedgetpu takes it, "" for any
    running : what a daemon of ours says that holds it or tries to; empty when it works, None when there is none
    """
    by_name: Dict[str, Check] = {one.name: one for one in before}
    cause = next((by_name[name] for name in _CAUSES if name in by_name and by_name[name].state == FAIL), None)
    if not found and by_name["edge tpu"].state != FAIL:
        return Check("delegate", SKIP, "no Edge TPU to open")
    if running == "":
        return Check("delegate", OK, "open in the running daemon")
    if cause is not None:
        return _failed(cause)
    if running is not None:
        return Check("delegate", FAIL, f"Failed to load delegate: {running}", *_last_advice(found, is_crash(running)))
    outcome = machine.attempt("service.doctor.child:delegate", {"device": device}, _SECONDS)
    if outcome.result is not None and "error" not in outcome.result:
        return Check("delegate", OK, f"opened through {outcome.result['runtime']}")
    if outcome.result is not None:
        reason = f"{outcome.result['error']} {outcome.result['text']}".strip()
    else:
        reason = f"{outcome.stage}: the process {outcome.ending}"
    said = f" ({outcome.said})" if outcome.said else ""
    return Check("delegate", FAIL, f"Failed to load delegate: {reason}{said}", *_last_advice(found, outcome.crashed))


def _failed(cause: Check) -> Check:
    found = f"Failed to load delegate: {cause.found}"
    return Check("delegate", FAIL, found, cause.meaning, cause.remedy or f"see the check {cause.name!r}")


def _last_advice(found: Found, crashed: bool) -> tuple:
    """(meaning, remedy) where nothing that can be seen from outside is wrong."""
    if crashed:
        meaning = "run-time and libedgetpu crash together: they were not built for each other"
        return meaning, "install a libedgetpu whose package version names your run-time's, like 16.0TF2.17.1"
    if any(stick.ids == NEW for stick in found.sticks):
        meaning = "the firmware was not loaded, or the stick came back under its second id with a node nobody may open"
        return meaning, "check the udev rule for 18d1:9302, use a USB 3 port with enough power, and plug it in again"
    if found.sticks:
        return "the stick answers no more", "unplug it, wait five seconds, plug it into a port with enough power"
    return "the device does not answer", "power off and on again; dmesg | grep -i apex may say more"
