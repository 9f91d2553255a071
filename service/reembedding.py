"""Stored pictures that the present extractor has not seen are embedded in the background.

So a daemon started with another model knows again what it was taught, from the pictures.
"""

import logging
import threading
from typing import List, Optional

from coral_learn.errors import ImageError
from service.errors import ExtractorFailed, Refused, StoreError, Unavailable
from service.extraction import ExtractorSupervisor
from service.learning import Answering, Teaching
from service.pictures import PictureReader
from service.store import Store

log = logging.getLogger(__name__)

_PAUSE = 2.0  # seconds before another try when the extractor is busy or lost


class Reembedding:
    """A thread that works off what is missing, and ends."""

    def __init__(
        self,
        store: Store,
        extraction: ExtractorSupervisor,
        pictures: PictureReader,
        answering: Answering,
        teaching: Teaching,
    ):
        self._store, self._extraction, self._pictures = store, extraction, pictures
        self._answering, self._teaching = answering, teaching
        self._stopping = threading.Event()
        self._thread: Optional[threading.Thread] = None
        self.left = 0

    def start(self) -> None:
        """Look for what is missing and embed it, unless that is under way. Call after `Versions.adopt`."""
        if self._thread is not None and self._thread.is_alive():
            return
        missing = self._store.examples.without_embedding(self._answering.extractor.digest)
        self.left = len(missing)
        if missing:
            log.warning("%d stored pictures are embedded anew for %s", self.left, self._answering.extractor.name)
            self._thread = threading.Thread(target=self._run, args=(missing,), name="reembedding", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End after the picture at hand."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(20.0)

    def _run(self, missing: List[str]) -> None:
        for sha256 in missing:
            while not self._stopping.is_set() and not self._embed(sha256):
                self._stopping.wait(_PAUSE)
            self.left -= 1

    def _embed(self, sha256: str) -> bool:
        """Whether this picture is done with: embedded, or unusable."""
        try:
            picture = self._pictures.read(self._store.images.read(sha256), self._answering.extractor)
            embedded = self._extraction.embed(picture.pixels)
            self._teaching.add_missing_embedding(sha256, embedded.embedding, embedded.extractor)
        except (ImageError, Refused, StoreError, ExtractorFailed) as error:
            log.error("the stored picture %s can't be embedded: %s", sha256[:12], error)
        except Unavailable:
            return False
        return True
