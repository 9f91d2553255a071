"""Room on the disk of the data folder, and the wear of the card below it."""

from pathlib import Path

from service.doctor.check import FAIL, OK, SKIP, WARN, Check
from service.doctor.machine import Machine

_MEGABYTE = 1024 * 1024
_AMPLE = 5  # times what must stay free
_END_OF_LIFE = {"0x01": "", "0x02": "80 % of the reserve is used up", "0x03": "the reserve is nearly used up"}
_WORN, _DEAD = 0x09, 0x0B  # 80 to 90 % of the life time used; more than all of it (JEDEC eMMC 5.0)


def check_disk(machine: Machine, folder: Path, least_free_mb: float) -> Check:
    """Free space for the data folder. least_free_mb : what the daemon leaves free"""
    try:
        space = machine.space(folder)
    except OSError as error:
        remedy = "mount it, or name another one: --data-dir"
        return Check("disk", FAIL, f"{folder}: {error.strerror}", "the data folder can't be used", remedy)
    free = space.free / _MEGABYTE
    shown = f"{free:.0f} MB free of {space.total / _MEGABYTE:.0f} for {folder}"
    if space.read_only:
        meaning = "the file system takes no writes; after an error the kernel makes it so"
        return Check(
            "disk", FAIL, shown, meaning, "dmesg says why; check the card, then remount it: mount -o remount,rw"
        )
    if not machine.may_write(folder):
        meaning = f"the user {machine.user()[1]} may not write there"
        return Check("disk", FAIL, shown, meaning, f"sudo chown -R {machine.user()[1]} {folder}, or another --data-dir")
    if free < least_free_mb:
        meaning = f"{least_free_mb:g} MB must stay free (min-free-mb): nothing more is stored"
        return Check("disk", FAIL, shown, meaning, "delete examples or versions, or make room on the disk")
    if free < _AMPLE * least_free_mb:
        return Check("disk", WARN, shown, f"storing stops at {least_free_mb:g} MB", "make room on the disk soon")
    return Check("disk", OK, shown)


def check_wear(machine: Machine) -> Check:
    """What an eMMC tells about its life time; SD cards tell nothing."""
    cards = machine.glob("/sys/block/mmcblk[0-9]*/device")
    told, silent = {}, []
    for card in cards:
        name, place = card.parent.name, machine.shown(card)
        if "boot" in name or "rpmb" in name:
            continue
        life, reserve = machine.read(f"{place}/life_time"), machine.read(f"{place}/pre_eol_info")
        used = [int(one, 16) for one in (life or "").split() if one.startswith("0x")]
        if used and max(used):
            told[name] = max(used), _END_OF_LIFE.get(reserve or "", "")
        else:
            silent.append(name)
    if not told:
        reason = f"{', '.join(silent)} tells nothing: SD cards don't" if silent else "no eMMC or SD card"
        return Check("wear", SKIP, reason, "how worn it is can't be known; keep an export elsewhere" if silent else "")
    shown = ", ".join(_used(name, used) + (f", {note}" if note else "") for name, (used, note) in told.items())
    worst, noted = max(used for used, _ in told.values()), any(note for _, note in told.values())
    remedy = "coral-learn export FILE, and replace the board or card"
    if worst >= _DEAD:
        return Check("wear", FAIL, shown, "it may fail at any time", remedy)
    if worst >= _WORN or noted:
        return Check("wear", WARN, shown, "its end is near", remedy)
    return Check("wear", OK, shown)


def _used(name: str, used: int) -> str:
    if used >= _DEAD:
        return f"{name}: more than its life time is used"
    return f"{name}: {10 * used - 10} to {10 * used} % of its life time is used"
