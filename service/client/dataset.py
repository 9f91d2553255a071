"""Calls about all that was taught."""

from typing import Any, Dict, Iterator, Optional, Sequence

from service.client.answers import Job, job_of
from service.client.bodies import Counted, PathLike, Transferred
from service.client.calls import Calls
from service.client.download import SLOW, download


class Dataset(Calls):
    """Archives of the whole, what was done, and taking it back."""

    def export(self, path: PathLike, progress: Optional[Transferred] = None) -> int:
        """Write the whole data set to an archive, whole or not at all; returns its size in bytes.

        progress : told the bytes so far, and in all where that is known.
        Raises `OSError` when the file can't be written.
        """
        return download(self._transport, "/v1/export", path, progress=progress)

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
