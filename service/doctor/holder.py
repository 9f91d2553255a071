"""Who holds the Edge TPU: one process at a time may."""

from typing import List, Optional

from service.doctor.check import FAIL, OK, SKIP, Check
from service.doctor.devices import Found
from service.doctor.machine import Holder, Machine

_LOCKS = ("/run/lock/coral-learn-edgetpu*.lock", "/tmp/coral-learn-edgetpu*.lock")


def check_holder(machine: Machine, found: Found, ours: Optional[int] = None) -> Check:
    """Other processes that have it open. ours : the process id of a daemon of ours that may hold it"""
    if not found.nodes:
        return Check("held by", SKIP, "no Edge TPU with a device node")
    holders = [one for one in _holders(machine, found) if one.pid != ours]
    if not holders:
        return Check("held by", OK, "nobody else that this user can see" if ours else "nobody that this user can see")
    names = ", ".join(map(str, dict.fromkeys(holders)))
    pids = " ".join(str(one.pid) for one in holders if one.pid)
    remedy = f"end it (kill {pids}), or let it ask this daemon instead" if pids else "sudo coral-learn doctor names it"
    if any("coral-learn" in one.name for one in holders):
        remedy = "that is coral-learn itself: ask the one that runs, or stop it (systemctl stop coral-learn)"
    return Check("held by", FAIL, names, "one process at a time can use an Edge TPU", remedy)


def _holders(machine: Machine, found: Found) -> List[Holder]:
    holders = machine.holders(*found.nodes)
    for pattern in _LOCKS:
        locked = (machine.lock_holder(machine.shown(path)) for path in machine.glob(pattern))
        holders += [one for one in locked if one is not None]
    if holders:
        return holders
    for node in found.apex:  # what the drivers tell everybody
        entry = f"/sys/class/apex/{node.rpartition('/')[2]}"
        owner = machine.read(f"{entry}/device_owner") or ""
        if machine.read(f"{entry}/is_device_owned") == "1" and owner.isdigit():
            holders.append(machine.holder(int(owner)))
    for stick in found.sticks:
        claimed = machine.glob(f"/sys/bus/usb/devices/{stick.slot}:*/driver")
        if any(machine.link(machine.shown(path)) == "usbfs" for path in claimed):
            holders.append(Holder(0, ""))
    return holders
