"""The picture files a command was given, and why one of them is not taken."""

from pathlib import Path
from typing import List, NamedTuple

from service.client import SUFFIXES, is_about_picture
from service.commands.printing import complain
from service.errors import ClientError, ProblemError


class Refusal(NamedTuple):
    """A file that is not taken. code : a stable word; detail : in words"""

    file: str
    code: str
    detail: str


def pictures_in(path: Path) -> List[Path]:
    """The pictures in a folder and in those inside; what is no folder is taken as it is."""
    if not path.is_dir():
        return [path]
    inside = (one for one in sorted(path.rglob("*")) if one.suffix.lower() in SUFFIXES and one.is_file())
    return [one for one in inside if all(is_visible(Path(part)) for part in one.relative_to(path).parts)]


def is_visible(path: Path) -> bool:
    """Whether a file or folder is not hidden."""
    return not path.name.startswith(".")


def no_picture(path: Path) -> Refusal:
    """The refusal of a folder without pictures."""
    return Refusal(str(path), "no_pictures", f"holds no picture ({', '.join(SUFFIXES)})")


def refusal_of(path: Path, error: Exception) -> Refusal:
    """Why one file wasn't taken. What would befall every other one as well is raised on."""
    if isinstance(error, ProblemError):
        if not is_about_picture(error):
            raise error
        return Refusal(str(path), error.code, error.detail)
    if isinstance(error, ClientError):
        raise error
    return Refusal(str(path), "file_unreadable", getattr(error, "strerror", None) or str(error))


def tell_refused(refused: List[Refusal]) -> None:
    """Complain of each."""
    for one in refused:
        complain(f"{one.file}: {one.detail}")
