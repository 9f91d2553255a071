"""How warm the board is, where it has a sensor."""

from pathlib import Path
from typing import Dict, Optional

# An Edge TPU whose PCIe link is dead reports a value that no chip survives.
_COLDEST, _HOTTEST = -40.0, 130.0  # degrees Celsius


class Temperature:
    """The sensors the kernel shows. sysfs : where that is, /sys."""

    def __init__(self, sysfs: Path = Path("/sys")):
        self._sysfs = sysfs

    def read(self) -> Dict[str, float]:
        """Degrees Celsius by sensor: apex_N for Edge TPUs on PCIe, thermal_zone0 for the board; those that answer."""
        folders = sorted((self._sysfs / "class" / "apex").glob("apex_[0-9]*"))
        folders.append(self._sysfs / "class" / "thermal" / "thermal_zone0")
        found = {folder.name: _degrees(folder / "temp") for folder in folders}
        return {name: degrees for name, degrees in found.items() if degrees is not None}


def _degrees(path: Path) -> Optional[float]:
    """A file of milli-degrees; None for one that can't be read or can't be true."""
    try:
        degrees = int(path.read_text()) / 1000
    except (OSError, ValueError):
        return None
    return degrees if _COLDEST <= degrees <= _HOTTEST else None
