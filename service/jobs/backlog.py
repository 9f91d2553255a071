"""Stored pictures that an extractor has not seen, and working them off."""

import logging
import time
from functools import partial
from typing import Any, Callable, Dict, List, Set, Union

from service.embedder import EmbeddedPicture, Embedder, Unusable
from service.errors import ExtractorUnavailable, StoreError
from service.store import Store

log = logging.getLogger(__name__)

_TELL = 0.25  # seconds between two reports

Report = Callable[[float, Dict[str, Any]], None]
Stop = Callable[[], bool]
Keep = Callable[[str, EmbeddedPicture], None]


class Backlog:
    """What one extractor has not seen. digest : the extractor's

    left : pictures that are still to be embedded, without those that can't be; done : the others since the last
    start of working off. As of the last look; both may be read from any thread.
    """

    def __init__(self, store: Store, digest: str):
        self.digest, self._store = digest, store
        self.left, self._embedded = 0, 0
        self._unusable: Set[str] = set()
        self._failures: List[str] = []
        self._told = 0.0

    @property
    def done(self) -> int:
        """See above."""
        return self._embedded + len(self._unusable)

    def look(self) -> List[str]:
        """The sha256 of what is still to be embedded."""
        missing = [one for one in self._store.examples.without_embedding(self.digest) if one not in self._unusable]
        self.left = len(missing)
        return missing

    def work_off(self, embedder: Embedder, keep: Keep, report: Report, should_stop: Stop) -> None:
        """Embed until nothing is missing, not even what was taught meanwhile, or told to stop.

        keep : called with a picture's sha256 and what was made of it. Raises what that does, and
        `ExtractorUnavailable` when the extractor failed on all it was asked.
        """
        self._embedded, self._failures = 0, []
        while not should_stop():
            missing = self.look()
            if not missing:
                self._end(report)
                return
            for sha256 in missing:
                embedded = self._embed(sha256, embedder, should_stop)
                if embedded is None:
                    return
                self._take(sha256, embedded, keep)
                self._tell(report)

    def _embed(self, sha256: str, embedder: Embedder, should_stop: Stop) -> Union[EmbeddedPicture, Unusable, None]:
        try:
            return embedder.embed(partial(self._store.images.read, sha256), should_stop)
        except StoreError as error:  # one that can't be read must not keep the others from being embedded
            return Unusable(error.code, str(error), False)

    def _take(self, sha256: str, embedded: Union[EmbeddedPicture, Unusable], keep: Keep) -> None:
        if isinstance(embedded, Unusable):
            log.error("the stored picture %s can't be embedded: %s", sha256[:12], embedded.reason)
            self._unusable.add(sha256)
            if embedded.failed:
                self._failures.append(embedded.reason)
        else:
            keep(sha256, embedded)
            self._embedded += 1
        self.left = max(0, self.left - 1)  # another thread may have looked since it was kept

    def _tell(self, report: Report) -> None:
        """Report, but not too often."""
        if time.monotonic() > self._told + _TELL:
            self._told = time.monotonic()
            report(self.done / (self.done + self.left), self._counts())

    def _end(self, report: Report) -> None:
        if self._failures and not self._embedded:
            raise ExtractorUnavailable(
                f"the extractor could embed none of {len(self._failures)} pictures: {self._failures[0]}",
                retry_after=60,
            )
        report(1.0, self._counts())

    def _counts(self) -> Dict[str, int]:
        return {"embedded": self._embedded, "unusable": len(self._unusable), "left": self.left}
