"""The kernel's driver for Edge TPUs on PCIe, and the link to them."""

import re
from typing import List, Tuple

from coral_learn.versions import version_numbers
from service.doctor.check import FAIL, OK, SKIP, WARN, Check
from service.doctor.devices import Found
from service.doctor.machine import Machine

_LAST_FOR_GOOGLES_DRIVER = (6, 11)  # google/gasket-driver#36
_PAGE = 4096
_SLOWER, _COLDEST, _HOTTEST = 85.0, -40.0, 130.0  # degrees Celsius; apex_driver.c trip points; a dead link says -89.7
_STEP = "each of 85, 90 and 95 degrees halves the clock"


def check_driver(machine: Machine, found: Found) -> Check:
    """Modules gasket and apex, for a card on PCIe."""
    if not found.apex and not found.cards:
        return Check("driver", SKIP, "no Edge TPU on PCIe", "USB needs no driver")
    kernel = machine.kernel()
    if found.apex:
        version = machine.read(f"/sys/class/apex/{found.apex[0].rpartition('/')[2]}/driver_version")
        shown = f"apex {version}" if version else "apex"
        if found.cards and machine.page_size() != _PAGE:
            meaning = f"the driver works with pages of {_PAGE} bytes, this kernel has {machine.page_size()}"
            return Check(
                "driver", FAIL, shown, meaning, "Raspberry Pi 5: kernel=kernel8.img in config.txt, then reboot"
            )
        return Check("driver", OK, f"{shown}, kernel {kernel}")
    loaded = [name for name in ("gasket", "apex") if machine.path(f"/sys/module/{name}").exists()]
    seen = f"PCIe card {found.cards[0]}, but no /dev/apex_*; loaded modules: {' '.join(loaded) or 'none'}"
    if len(loaded) == 2:
        meaning, remedy = (
            "the driver is loaded and did not take the card",
            "dmesg | grep -i apex says why; try a reboot",
        )
    else:
        meaning, remedy = _how_to_load(kernel, _builds(machine))
    return Check("driver", FAIL, seen, meaning, remedy)


def _how_to_load(kernel: str, builds: List[str]) -> Tuple[str, str]:
    """(meaning, remedy). builds : the kernels the module was built for"""
    if kernel in builds:
        return "the driver is installed, but not loaded", "sudo modprobe apex"
    if builds:
        meaning = f"the driver was built for {', '.join(builds)}, the running kernel is {kernel}"
        return meaning, f"sudo dkms autoinstall -k {kernel}{_remark(kernel)}"
    remedy = f"install gasket-dkms and linux-headers-{kernel}, then sudo modprobe apex{_remark(kernel)}"
    return "the driver (gasket, apex) is not installed", remedy


def _builds(machine: Machine) -> List[str]:
    """The kernels the module was built for."""
    found = machine.glob("/lib/modules/*/updates/dkms/apex.ko*") + machine.glob("/lib/modules/*/extra/apex.ko*")
    found += machine.glob("/lib/modules/*/kernel/drivers/*/apex.ko*")
    found += machine.glob("/lib/modules/*/kernel/drivers/staging/gasket/apex.ko*")
    names = (re.match(r"/lib/modules/([^/]+)/", machine.shown(path)).group(1) for path in found)
    return list(dict.fromkeys(names))


def _remark(kernel: str) -> str:
    if version_numbers(kernel)[:2] <= _LAST_FOR_GOOGLES_DRIVER:
        return ""
    return "; Google's driver doesn't build on kernel 6.12 and newer: take a patched gasket-driver"


def check_temperature(machine: Machine, found: Found) -> Check:
    """Of Edge TPUs on PCIe; one that can't be true is a dead link."""
    name, read = "edge tpu temperature", {}
    for node in found.apex:
        text = machine.read(f"/sys/class/apex/{node.rpartition('/')[2]}/temp") or ""
        if re.fullmatch(r"-?\d+", text):
            read[node] = int(text) / 1000
    if not read:
        reason = "a USB stick has no sensor" if found.sticks else "no sensor"
        return Check(name, SKIP, reason)
    shown = ", ".join(f"{node} {degrees:.1f} C" for node, degrees in read.items())
    if not all(_COLDEST <= degrees <= _HOTTEST for degrees in read.values()):
        remedy = (
            "power off and on again; without a reboot: echo 1 > /sys/bus/pci/devices/ADDRESS/remove, then "
            "echo 1 > /sys/bus/pci/rescan. Cool it, and turn ASPM off (pcie_aspm=off) where it happens again"
        )
        return Check(name, FAIL, shown, "no chip is as warm as that: the link to it is dead", remedy)
    if max(read.values()) >= _SLOWER:
        return Check(name, WARN, shown, f"it slows down: {_STEP}", "better cooling, a fan, or fewer pictures a second")
    return Check(name, OK, shown)


def check_board_temperature(machine: Machine) -> Check:
    """Of the board's processor."""
    text = machine.read("/sys/class/thermal/thermal_zone0/temp") or ""
    if not re.fullmatch(r"-?\d+", text):
        return Check("board temperature", SKIP, "no sensor")
    degrees = int(text) / 1000
    if degrees >= _SLOWER - 5:  # a Raspberry Pi slows down from 80 on
        meaning, remedy = "boards slow down when they are as warm as that", "better cooling, or a fan"
        return Check("board temperature", WARN, f"{degrees:.1f} C", meaning, remedy)
    return Check("board temperature", OK, f"{degrees:.1f} C")
