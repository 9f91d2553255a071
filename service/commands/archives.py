"""Everything that was taught, to an archive and back."""

import argparse
from typing import Callable, Optional

from service.client import Client
from service.commands.jobs import see_through
from service.commands.printing import DONE, MEGABYTE, complain, print_json
from service.errors import ArchiveIncomplete, SettingsError
from service.progress import Progress


def export(client: Client, parsed: argparse.Namespace) -> int:
    """Write everything that was taught to an archive."""
    if str(parsed.file) == "-":
        raise SettingsError("an archive is written to a file, whole or not at all; '-' is no name of one")
    if not parsed.file.parent.is_dir():
        raise SettingsError(f"there is no folder {parsed.file.parent} to write {parsed.file.name} into")
    if parsed.file.exists() and not parsed.replace:
        raise SettingsError(f"{parsed.file} is there; --replace writes over it")
    incomplete = None
    with Progress("exporting") as progress:
        try:
            size = client.export(parsed.file, _transfer(progress))
        except ArchiveIncomplete as error:
            incomplete, size = error, error.bytes
    if parsed.json:
        missing = 0 if incomplete is None else incomplete.missing
        print_json({"file": str(parsed.file), "bytes": size, "missing": missing})
    else:
        print(f"{parsed.file}: {size / MEGABYTE:.1f} MB")
    return DONE if incomplete is None else complain(str(incomplete))


def import_(client: Client, parsed: argparse.Namespace) -> int:
    """Teach everything in an archive."""
    with Progress("sending") as progress:
        job = client.import_(parsed.file, _transfer(progress))
    return see_through(client, job, parsed)


def _transfer(progress: Progress) -> Callable[[int, Optional[int]], None]:
    def show(done: int, total: Optional[int]) -> None:
        progress.show(done / total if total else None, f"{done / MEGABYTE:.1f} MB")

    return show
