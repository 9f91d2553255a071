"""Calls about all that was taught."""

import json
import zipfile
from typing import Any, Dict, Iterator, Optional, Sequence

from service.client.answers import Job, job_of
from service.client.bodies import Counted, PathLike, Transferred
from service.client.calls import Calls
from service.client.download import SLOW, download
from service.errors import ArchiveIncomplete


class Dataset(Calls):
    """Archives of the whole, what was done, and taking it back."""

    def export(self, path: PathLike, progress: Optional[Transferred] = None) -> int:
        """Write the whole data set to an archive, whole or not at all; returns its size in bytes.

        progress : told the bytes so far, and in all where that is known.
        Raises `OSError` when the file can't be written, and `ArchiveIncomplete` when it is, with all the daemon has
        left, but that has lost pictures.
        """
        size = download(self._transport, "/v1/export", path, progress=progress)
        with self._transport.understood():
            missing = _missing(path)
        if missing:
            raise ArchiveIncomplete(
                f"{path} is incomplete: {missing} of the taught pictures {'is' if missing == 1 else 'are'} missing, "
                "because the daemon has lost the files; its log names the examples",
                size,
                missing,
            )
        return size

    def import_(self, path: PathLike, progress: Optional[Transferred] = None) -> Job:
        """Send an archive to be taken in; returns the job that does it. progress : of the sending, as in `export`.

        Raises `OSError` when the file can't be read.
        """
        with open(path, "rb") as file:
            body = Counted(file, progress)
            return self._transport.made(
                job_of,
                self._transport.json("POST", "/v1/import", body, body.kind, timeout=max(self._transport.timeout, SLOW)),
            )

    def journal(self) -> Iterator[Dict[str, Any]]:
        """What was done, {"step", "action", "details", "created"} each, newest first, fetched page by page."""
        return self._transport.pages("/v1/journal")

    def undo(self, step: Optional[int] = None, steps: Optional[Sequence[int]] = None) -> Dict[str, Any]:
        """Take back the last step.

        step : only when that is the last one; steps : all of these, of one gesture, when they are the last ones
        """
        body = {} if step is None else {"step": step}
        return self._transport.json("POST", "/v1/undo", body if steps is None else {"steps": list(steps)})


def _missing(path: PathLike) -> int:
    """How many pictures an archive says it lacks. Raises `ValueError` or `KeyError` for one that is none of ours."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("manifest.json") as manifest:
            # The examples are not kept: 100,000 of them would take 200 MB.
            facts = dict(json.loads(manifest.read().decode("utf-8"), object_hook=_without_examples))
    except zipfile.BadZipFile as error:
        raise ValueError(f"no zip: {error}") from error
    return int(facts.get("missing", 0))  # older daemons don't say


def _without_examples(found: Dict[str, Any]) -> Optional[Dict[str, Any]]:
    return None if "sha256" in found else found
