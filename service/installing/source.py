"""What is installed, and how."""

import re
import shutil
from pathlib import Path
from typing import NamedTuple, Optional

from service.errors import InstallError

_OURS = Path(__file__).resolve().parent.parent.parent
_NOT_COPIED = (".git", ".venv*", "build", "dist", "data", "*.egg-info", "__pycache__", ".*_cache", "tests")


class Source(NamedTuple):
    """A wheel or a folder with the sources, and what else is needed to install it.

    wheelhouse : folder with all wheels, None to let pip ask its index; python : program that makes the environment
    """

    path: Path
    wheelhouse: Optional[Path]
    system_site_packages: bool
    python: str

    @classmethod
    def find(cls, path: Optional[str], wheelhouse: Optional[str], system_site_packages: bool, python: str) -> "Source":
        """Look at what was named. Raises `InstallError`."""
        found = Path(path).resolve() if path else _OURS
        if found.is_dir() and not (found / "setup.cfg").is_file():
            raise InstallError(
                f"{found} holds no sources of coral-learn; --from names a wheel, or a folder with its setup.cfg"
                if path
                else "this program was installed without its sources; --from names a wheel or a folder to install"
            )
        if not found.is_dir() and not (found.is_file() and found.suffix == ".whl"):
            raise InstallError(f"--from {found} is neither a wheel nor a folder")
        house = Path(wheelhouse).resolve() if wheelhouse else None
        if house is not None and not any(house.glob("*.whl")):
            raise InstallError(f"--wheelhouse {house} holds no wheel")
        source = cls(found, house, system_site_packages, python)
        source.version  # noqa: B018, says what is wrong
        return source

    @property
    def version(self) -> str:
        """The version it says it is."""
        if self.path.is_file():
            match = re.match(r"coral_learn-([0-9][^-]*)-", self.path.name)
        else:
            match = re.search(r'^__version__ = "([^"]+)"', _text(self.path / "coral_learn/__init__.py"), re.MULTILINE)
        if match is None:
            raise InstallError(f"{self.path} is not coral-learn")
        return match.group(1)

    def bring(self, folder: Path) -> "Source":
        """Copy what is needed into an empty folder: nothing is built inside the sources."""
        target = folder / self.path.name
        if self.path.is_dir():
            shutil.copytree(str(self.path), str(target), ignore=shutil.ignore_patterns(*_NOT_COPIED))
        else:
            shutil.copy(str(self.path), str(target))
        house = None
        if self.wheelhouse is not None:
            house = folder / "wheelhouse"
            shutil.copytree(str(self.wheelhouse), str(house))
        return self._replace(path=target, wheelhouse=house)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def shipped_folder() -> Path:
    """The unit and what belongs to it: in the installed package, or in the sources."""
    package = Path(__file__).resolve().parent / "files"
    return package if package.is_dir() else _OURS / "systemd"
