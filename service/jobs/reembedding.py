"""Stored pictures that the present extractor has not seen are embedded, in a job.

So a daemon whose model file is another one than before knows again what it was taught, from the pictures. That
extractor answers meanwhile, with what is embedded so far: the one before is not there any more, as in an exchange.
"""

import logging
import threading
from typing import Callable, Optional

from service.embedder import EmbeddedPicture, Embedder, Patience
from service.errors import StoreError
from service.extraction import ExtractorSupervisor
from service.jobs.backlog import Backlog, Report, Stop
from service.learning import Answering, Teaching
from service.pictures import PictureReader
from service.store import Store
from service.store.jobs import StoredJob

log = logging.getLogger(__name__)

REEMBED = "reembed"
_PATIENCE = Patience(2.0)  # without end: what is missing is missing until it is embedded


class Reembedding:
    """Does the jobs of the kind "reembed".

    on_missing, to be set before the start : called when there is something to embed, to have a job do it; with
        whether the one that runs, if any, has looked for the last time
    """

    def __init__(
        self,
        store: Store,
        extraction: ExtractorSupervisor,
        pictures: PictureReader,
        answering: Answering,
        teaching: Teaching,
    ):
        self._store, self._teaching = store, teaching
        self._embedder = Embedder(pictures, extraction, answering.must_have_extractor, _PATIENCE)
        self._lock = threading.Lock()  # over the next two
        self._backlog: Optional[Backlog] = None
        self._ending = False  # whether the job that runs has looked for the last time
        self.on_missing: Callable[[bool], None] = lambda _: None

    @property
    def left(self) -> int:
        """Pictures that are still to be embedded."""
        return 0 if self._backlog is None else self._backlog.left

    @property
    def incomplete(self) -> Optional[str]:
        """What answers lack meanwhile, in words; None where they lack nothing."""
        backlog = self._backlog
        if backlog is None or not backlog.left:
            return None
        return (
            f"{backlog.left} stored pictures are still to be embedded for this extractor, {backlog.done} are done: "
            "until then answers know only what is embedded, and training waits"
        )

    def look(self, digest: str) -> None:
        """Look for what the extractor of this digest has not seen, and have it embedded. Raises `StoreError`."""
        with self._lock:
            if self._backlog is None or self._backlog.digest != digest:
                self._backlog = Backlog(self._store, digest)
            if not self._backlog.look():
                return
            log.warning("%d stored pictures are to be embedded anew", self._backlog.left)
            try:
                self.on_missing(self._ending)
                self._ending = False
            except StoreError as error:  # the extractor answers all the same, and an undoing that is done is done
                log.error("no job can be queued to embed them: %s", error)

    def run(self, _: StoredJob, report: Report, should_stop: Stop) -> None:
        """Embed what is missing and teach it. Raises `ExtractorUnavailable`, `StoreError`."""
        ending = self._backlog is None
        while not ending:
            try:
                self._backlog.work_off(self._embedder, self._keep, report, should_stop)
            except Exception:
                self._ending = True
                raise
            with self._lock:  # what comes back from now on gets a job of its own
                ending = self._ending = should_stop() or not self._backlog.look()

    def _keep(self, sha256: str, embedded: EmbeddedPicture) -> None:
        self._store.must_have_room(embedded.embedding.nbytes)
        self._teaching.add_missing_embedding(sha256, embedded.embedding, embedded.extractor)
