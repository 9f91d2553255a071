"""Where everything is put."""

from pathlib import Path
from typing import NamedTuple

UNIT = "coral-learn.service"
USER = "coral-learn"
GROUPS = ("apex", "video", "plugdev")  # of PCIe accelerators, cameras, USB accelerators
DEFAULT_PREFIX = Path("/opt/coral-learn")


class Place(NamedTuple):
    """The folders and files of an installation, all of them in `root`.

    prefix : where programs are, as the installed system sees it
    """

    root: Path
    prefix: Path = DEFAULT_PREFIX

    def inside(self, path: Path) -> Path:
        """From here, what the installed system calls `path`."""
        return self.root / path.relative_to("/")

    @property
    def home(self) -> Path:
        return self.inside(self.prefix)

    @property
    def state(self) -> Path:
        """The data folder."""
        return self.root / "var/lib/coral-learn"

    @property
    def database(self) -> Path:
        return self.state / "coral-learn.sqlite"

    @property
    def config(self) -> Path:
        return self.root / "etc/coral-learn.conf"

    @property
    def example(self) -> Path:
        """Every setting with its default; always that of the installed version."""
        return self.root / "etc/coral-learn.conf.example"

    @property
    def unit(self) -> Path:
        return self.root / "etc/systemd/system" / UNIT

    @property
    def sysusers(self) -> Path:
        return self.root / "etc/sysusers.d/coral-learn.conf"

    @property
    def rules(self) -> Path:
        return self.root / "etc/udev/rules.d/60-coral-learn.rules"
