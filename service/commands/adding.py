"""Teaching pictures."""

import argparse
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

from service.client import AddedExample, Client
from service.commands.pictures import Refusal, is_visible, no_picture, pictures_in, refusal_of, tell_refused
from service.commands.printing import DONE, FAILED, print_json
from service.errors import ProblemError, SettingsError
from service.progress import Progress


class _Tally:
    """What became of the pictures. accepted : (class, file, example)"""

    def __init__(self) -> None:
        self.accepted: List[Tuple[str, str, AddedExample]] = []
        self.refused: List[Refusal] = []
        self._told: set = set()

    def accept(self, name: str, path: Path, example: AddedExample) -> None:
        """Keep it, and tell each warning that is not just for this picture once."""
        self.accepted.append((name, str(path), example))
        for warning in example.warnings:
            if warning not in self._told:
                self._told.add(warning)
                print(f"{path}: {warning}", file=sys.stderr)

    def as_dict(self) -> Dict[str, Any]:
        """For --json."""
        accepted = [
            {"class": name, "file": file, "id": one.id, "duplicate": one.duplicate, "warnings": one.warnings}
            for name, file, one in self.accepted
        ]
        return {"accepted": accepted, "refused": [dict(one._asdict()) for one in self.refused]}

    def lines(self) -> Iterator[str]:
        """A line a class."""
        for name in dict.fromkeys(name for name, _, _ in self.accepted):
            mine = [one for other, _, one in self.accepted if other == name]
            again = sum(one.duplicate for one in mine)
            known = f", {again} were known" if again else ""
            yield f"{name}: {len(mine) - again} pictures taught{known}; the class has {mine[-1].class_examples}"


def add(client: Client, parsed: argparse.Namespace) -> int:
    """Teach pictures to classes."""
    lessons, tally, unusable = _lessons(parsed), _Tally(), set()
    tally.refused = [no_picture(path) for _, given, found in lessons for path in given if not found[path]]
    work = [(name, path) for name, _, found in lessons for paths in found.values() for path in paths]
    try:
        with Progress("teaching") as progress:
            for number, (name, path) in enumerate(work):
                progress.show(number / len(work), f"{number} of {len(work)}")
                if name in unusable:
                    continue
                try:
                    tally.accept(name, path, client.add_example(name, path))
                except (ProblemError, OSError) as error:
                    if getattr(error, "code", "") == "name_invalid":
                        unusable.add(name)
                        tally.refused.append(Refusal(name, "name_invalid", str(error)))
                    else:
                        tally.refused.append(refusal_of(path, error))
    finally:  # what was taught was taught, however it ended
        if parsed.json:
            print_json(tally.as_dict())
        else:
            for line in tally.lines():
                print(line)
        tell_refused(tally.refused)
    return FAILED if tally.refused else DONE


def _lessons(parsed: argparse.Namespace) -> List[Tuple[str, List[Path], Dict[Path, List[Path]]]]:
    """The class, what was given for it, and the pictures that were found there."""
    if parsed.folders:
        classes = []
        for text in parsed.what:
            if not Path(text).is_dir():
                raise SettingsError(f"--folders takes folders with a folder a class inside, {text} is none")
            inside = [path for path in sorted(Path(text).iterdir()) if path.is_dir() and is_visible(path)]
            if not inside:
                raise SettingsError(f"{text} has no folders inside, so no classes; without --folders: add CLASS {text}")
            classes += [(path.name, [path]) for path in inside]
    else:
        name, *files = parsed.what
        if not files:
            folder = Path(name).is_dir()
            hint = f"; for a folder a class: add --folders {name}" if folder else ""
            raise SettingsError(f"add takes a class and its pictures, got {name!r} alone{hint}")
        classes = [(name, [Path(text) for text in files])]
    return [(name, given, {path: pictures_in(path) for path in given}) for name, given in classes]
