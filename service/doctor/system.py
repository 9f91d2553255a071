"""The clock and the memory."""

import time

from service.doctor.check import FAIL, OK, SKIP, WARN, Check
from service.doctor.machine import Machine

_MEGABYTE = 1024 * 1024
NEEDED_MB = 200  # daemon and extractor, measured: 115 each, a third of it shared; your own model may take more
CAMERA_MB = 50  # a camera's process
_RESERVE_MB = 30  # for a daemon that runs already
_SET_CLOCK = "sudo timedatectl set-ntp true; a board without a battery needs a time server"


def check_clock(machine: Machine, built: float) -> Check:
    """Whether the clock is right. built : seconds since 1970 that it can't be before"""
    now = machine.now()
    shown = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now))
    if time.gmtime(now).tm_year < time.gmtime(built).tm_year:
        meaning = f"it was later when this was installed, {time.strftime('%Y-%m-%d', time.gmtime(built))}"
        return Check("clock", FAIL, shown, f"{meaning}: certificates and times of examples are wrong", _SET_CLOCK)
    if machine.path("/run/systemd/timesync/synchronized").exists():
        return Check("clock", OK, f"{shown}, synchronised")
    kept = machine.clock_is_set()
    if kept is None:
        return Check("clock", SKIP, shown, "whether a time server keeps it can't be known here")
    if not kept:
        return Check("clock", WARN, shown, "no time server keeps it: times of examples may be wrong", _SET_CLOCK)
    return Check("clock", OK, f"{shown}, synchronised")


def check_memory(machine: Machine, running: bool, camera: bool) -> Check:
    """Memory that can be had without swapping.

    running : the daemon runs and has taken its share; camera : it is to have one
    """
    lines = (line.split() for line in (machine.read("/proc/meminfo") or "").splitlines())
    facts = {fields[0].rstrip(":"): int(fields[1]) // 1024 for fields in lines if len(fields) > 1}
    if "MemAvailable" not in facts:
        return Check("memory", SKIP, "the kernel doesn't say")
    needed = _RESERVE_MB if running else NEEDED_MB + CAMERA_MB * camera
    available = facts["MemAvailable"]
    shown = f"{available} MB available of {facts.get('MemTotal', 0)}"
    remedy = "end other programs; a smaller model takes less"
    if available < needed:
        meaning = f"{needed} MB are needed" + (" beside what it has" if running else " by the daemon and its children")
        return Check("memory", FAIL, shown, f"{meaning}: the kernel will kill it", remedy)
    if available < 2 * needed:
        return Check("memory", WARN, shown, f"little beyond the {needed} MB that are needed", remedy)
    return Check("memory", OK, shown)
