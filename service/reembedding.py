"""Stored pictures that the present extractor has not seen are embedded in the background.

So a daemon started with another model knows again what it was taught, from the pictures.
"""

import logging
import threading
from collections import deque
from typing import Deque, Optional

from service.embedder import Embedder, Patience, Unusable
from service.errors import Refused, StoreError, Unavailable
from service.extraction import ExtractorSupervisor
from service.learning import Answering, Teaching
from service.pictures import PictureReader
from service.store import Store

log = logging.getLogger(__name__)

_PATIENCE = Patience(2.0)  # without end: what is missing is missing until it is embedded


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
        self._store, self._answering, self._teaching = store, answering, teaching
        self._embedder = Embedder(pictures, extraction, answering.must_have_extractor, _PATIENCE)
        self._stopping = threading.Event()
        self._lock = threading.Lock()  # over the next two
        self._missing: Deque[str] = deque()
        self._thread: Optional[threading.Thread] = None

    @property
    def left(self) -> int:
        """Pictures that are still to be embedded."""
        return len(self._missing)

    def start(self) -> None:
        """Look for what is missing and embed it; where that is under way it goes on with what is missing now.

        Call after `Versions.adopt`.
        """
        extractor = self._answering.must_have_extractor()
        with self._lock:
            self._missing = deque(self._store.examples.without_embedding(extractor.digest))
            if not self._missing:
                return
            log.warning("%d stored pictures are embedded anew for %s", self.left, extractor.name)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="reembedding", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """End after the picture at hand."""
        self._stopping.set()
        thread = self._thread
        if thread is not None:
            thread.join(20.0)

    def _run(self) -> None:
        while True:
            with self._lock:
                missing = self._missing
                if self._stopping.is_set() or not missing:
                    self._thread = None
                    return
            self._embed(missing[0])
            missing.popleft()

    def _embed(self, sha256: str) -> None:
        """Embed a picture and teach it, unless it is unusable or this is to stop."""
        while not self._stopping.is_set():
            try:
                embedded = self._embedder.embed(lambda: self._store.images.read(sha256), self._stopping.is_set)
                if isinstance(embedded, Unusable):
                    log.error("the stored picture %s can't be embedded: %s", sha256[:12], embedded.reason)
                elif embedded is not None:
                    self._teaching.add_missing_embedding(sha256, embedded.embedding, embedded.extractor)
                return
            except (Refused, StoreError) as error:
                log.error("the stored picture %s can't be embedded: %s", sha256[:12], error)
                return
            except Unavailable:  # exchanged between embedding and teaching
                self._stopping.wait(_PATIENCE.pause)
