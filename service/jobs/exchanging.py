"""Another extractor: every stored picture is embedded by it first, then it takes over."""

import json
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from coral_learn.catalog import bundled_model
from coral_learn.errors import ImageError, ModelError
from coral_learn.manifest import Manifest
from coral_learn.runtime.tflite import read_model
from service.errors import Conflict, ExtractorFailed, ExtractorUnavailable, Invalid, NotFound, StoreError, Unavailable
from service.extraction import ExtractorSupervisor
from service.extraction.supervisor import LOST, READY
from service.pictures import PictureReader
from service.store import Store
from service.store.jobs import StoredJob

EXCHANGE = "extractor"
_NOTE = "extractor_model"
_TELL = 0.25  # seconds between two reports
_PAUSE = 0.2
_LOADING = 130.0  # seconds

Report = Callable[[float, Dict[str, Any]], None]
Stop = Callable[[], bool]


def chosen_model(store: Store, setting: str) -> str:
    """The model file to start with: the one exchanged over HTTP since, unless the setting was changed after that."""
    note = json.loads(store.note(_NOTE) or "{}")
    if note.get("instead_of") == setting and (not note["model"] or Path(note["model"]).exists()):
        return note["model"]
    return setting


def check_model(model: str) -> Manifest:
    """The manifest of a model file, "" for the bundled one. Raises `Invalid`."""
    path = Path(model) if model else bundled_model()
    try:
        read_model(path)
        return Manifest.of(path)
    except ModelError as error:
        raise Invalid(str(error), "model", "model_unusable") from error


class Exchange:
    """Does the jobs of the kind "extractor".

    setting : the model the daemon was told to use

    On a CPU the new extractor works beside the old one, which answers until every picture is embedded.
    An Edge TPU is held by one process, so there the new one takes over first and embeds after that.
    """

    def __init__(self, store: Store, extraction: ExtractorSupervisor, pictures: PictureReader, setting: str):
        self._store, self._extraction, self._pictures, self._setting = store, extraction, pictures, setting

    def run(self, job: StoredJob, report: Report, should_stop: Stop) -> None:
        """Exchange the extractor for the job's. Raises `Invalid`, `ExtractorUnavailable`, `StoreError`."""
        model = job.options["model"]
        manifest, now = check_model(model), self._extraction.info
        if now is None:
            raise ExtractorUnavailable("the present extractor has not been loaded yet", retry_after=5)
        if manifest.digest == now.digest:
            raise Conflict(f"{manifest.name} is in use already", "extractor_in_use")
        if now.device == "cpu" and not self._embed_beside(model, report, should_stop):
            return
        self._take_over(model)
        self._wait_for(manifest.digest, should_stop)

    def _embed_beside(self, model: str, report: Report, should_stop: Stop) -> bool:
        """Embed what is stored with the new extractor. False when told to stop."""
        other = self._extraction.beside(model)
        other.start()
        try:
            self._wait_ready(other, should_stop)
            done, unusable, told = 0, set(), 0.0
            while not should_stop():
                missing = [one for one in self._missing(other) if one not in unusable]
                if not missing:
                    report(1.0, {"embedded": done - len(unusable), "unusable": len(unusable)})
                    return True
                for sha256 in missing:
                    if should_stop():
                        return False
                    if not self._embed(other, sha256):
                        unusable.add(sha256)
                    done += 1
                    if time.monotonic() > told + _TELL:
                        told = time.monotonic()
                        counts = {"embedded": done - len(unusable), "unusable": len(unusable)}
                        report(done / max(done, len(missing)), counts)
            return False
        finally:
            other.stop()

    def _missing(self, other: ExtractorSupervisor) -> List[str]:
        return self._store.examples.without_embedding(other.info.digest)

    def _embed(self, other: ExtractorSupervisor, sha256: str) -> bool:
        """Whether a picture has an embedding now."""
        for _ in range(3):
            try:
                picture = self._pictures.read(self._store.images.read(sha256), other.info)
                embedding = other.embed(picture.pixels).embedding
            except (ImageError, NotFound, ExtractorFailed):
                return False
            except Unavailable:
                time.sleep(_PAUSE)
                continue
            self._store.must_have_room(embedding.nbytes)
            with self._store.database.write() as connection:
                self._store.examples.save_embedding(connection, sha256, other.info.digest, embedding)
            return True
        return False

    def _wait_ready(self, other: ExtractorSupervisor, should_stop: Stop) -> None:
        ends = time.monotonic() + _LOADING
        while other.health.state != READY and time.monotonic() < ends and not should_stop():
            if other.health.state == LOST:
                break
            time.sleep(_PAUSE)
        if other.health.state != READY and not should_stop():
            raise ExtractorUnavailable(f"the new extractor can't be used: {other.health.reason}", retry_after=60)

    def _take_over(self, model: str) -> None:
        with self._store.database.write() as connection:
            self._store.set_note(connection, _NOTE, json.dumps({"model": model, "instead_of": self._setting}))
        self._extraction.exchange(model)

    def _wait_for(self, digest: str, should_stop: Stop) -> None:
        ends = time.monotonic() + _LOADING
        while time.monotonic() < ends and not should_stop():
            info: Optional[Any] = self._extraction.info
            if info is not None and info.digest == digest and self._extraction.health.state == READY:
                return
            time.sleep(_PAUSE)
        if not should_stop():
            raise StoreError(f"the new extractor does not start: {self._extraction.health.reason}")
