"""Which model file a daemon starts with."""

import json
import logging
import stat
from pathlib import Path
from typing import Any, Callable, Dict, Optional

from coral_learn.catalog import bundled_model
from coral_learn.errors import ModelError
from coral_learn.manifest import Manifest
from coral_learn.runtime.tflite import read_model
from service.errors import Invalid, StoreError
from service.store import Store
from service.store.jobs import StoredJob

log = logging.getLogger(__name__)

EXCHANGE = "extractor"
_NOTE = "extractor_model"
_LARGEST = 2**31 - 1  # bytes: offsets in a flatbuffer have 32 bits and a sign

Queue = Callable[[str, Dict[str, Any]], None]


def check_model(model: str) -> Manifest:
    """The manifest of a model file, "" for the bundled one. Raises `Invalid`."""
    path = Path(model) if model else bundled_model()
    try:
        _check_file(path)
        read_model(path)
        return Manifest.of(path)
    except ModelError as error:
        raise Invalid(str(error), "model", "model_unusable") from error


def _check_file(path: Path) -> None:
    """Raise `Invalid` for what can't be read whole, before it is opened: a pipe would be waited for."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return  # reading says it best
    except (OSError, ValueError) as error:  # a name too long, or with a NUL character
        raise Invalid(f"{str(path)[:100]!r} can't be read as a model: {error}", "model", "model_unusable") from error
    if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
        what = f"has {status.st_size} bytes" if stat.S_ISREG(status.st_mode) else "is not a file"
        detail = f"{path} {what}; a model is a file of at most {_LARGEST} bytes"
        raise Invalid(detail, "model", "model_unusable")


class ModelChoice:
    """The model that answered last, kept in the store, and the one the daemon is told to use.

    setting : that one, "" for the bundled one
    serves : whether the daemon, as it is set up, can answer with a model of this manifest

    model : what to start with. A model exchanged over HTTP stays until the setting is changed. Where the setting
        was changed, the one before answers until the new one has seen every picture, if it still can.
    """

    def __init__(self, store: Store, setting: str, serves: Callable[[Manifest], bool] = lambda _: True):
        self._store, self.setting, self._serves = store, setting, serves
        self.model = setting
        self._waits, self._settled = False, False
        note = self._note()
        if note.get("instead_of") == setting:
            self._stay_with(note["model"])
        elif self._knows_more(note):
            self.model, self._waits = note["model"], True

    def give_up(self) -> Optional[str]:
        """The first one does not start: returns what is to be loaded instead, None where it is to be tried again."""
        if self._settled or not self._waits:
            return None
        self.model, self._waits = self.setting, False
        return self.model

    def settle(self, digest: str, queue: Queue) -> None:
        """A model has been loaded. The first time: keep that, or queue what leads to the one that was set."""
        if self._settled:
            return
        self._settled = True
        note = self._note()
        try:
            if self._waits:
                log.warning("this model answers until the one that was set has embedded every picture")
                queue(EXCHANGE, {"model": self.setting, "setting": self.setting})
            elif (note.get("instead_of"), note.get("digest")) != (self.setting, digest):
                self._keep(self.model, digest, note.get("job"))
        except StoreError as error:  # it answers all the same
            log.error("which model answers can't be written down: %s", error)

    def overtaken(self, job: StoredJob) -> bool:
        """Whether the exchange was begun for a setting that has been changed since."""
        return job.options.get("setting", self.setting) != self.setting

    def keep(self, job: StoredJob, digest: str) -> None:
        """Have the next start take the model of this exchange, which has run by now. Raises `StoreError`.

        Not before: a daemon that ends while a model is tried comes up with the one before, of which it is known
        that it runs, and does the job again, because it has not ended. The other way round a model that does not
        start would be chosen for good. Nothing is lost on the way: embeddings are kept by extractor, and the one
        before has all of its own. With the job's id, a job done but not ended at such a moment is known to be done.
        """
        self._keep(job.options["model"], digest, job.id)

    def is_of(self, job: StoredJob) -> bool:
        """Whether this exchange led to the model that is kept."""
        return self._note().get("job") == job.id

    def _stay_with(self, exchanged: str) -> None:
        """Start with the model that was exchanged for the setting's, where it can still be used."""
        if exchanged == self.setting:
            return
        try:
            self._usable(exchanged)
            self.model = exchanged
        except (Invalid, ModelError) as error:
            log.error("the model %s, which answered last, can't be used: %s; the one that is set is", exchanged, error)

    def _knows_more(self, note: Dict[str, Any]) -> bool:
        """Whether the model of a note can answer now, and has seen more of the pictures than that of the setting."""
        if "digest" not in note:  # of a daemon that did not write it
            return False
        try:
            before, new = self._usable(note["model"]), check_model(self.setting)
        except (Invalid, ModelError):
            return False
        unseen = self._store.examples.without_embedding
        same = before.digest == note["digest"] != new.digest
        return same and len(unseen(before.digest)) < len(unseen(new.digest))

    def _usable(self, model: str) -> Manifest:
        """The manifest of a model that the daemon can answer with. Raises `Invalid`, `ModelError`."""
        manifest = check_model(model)
        if not self._serves(manifest):
            raise Invalid("it lacks what the settings want of it", "model", "model_unusable")
        return manifest

    def _note(self) -> Dict[str, Any]:
        return json.loads(self._store.note(_NOTE) or "{}")

    def _keep(self, model: str, digest: str, job: Optional[str]) -> None:
        note = {"model": model, "digest": digest, "instead_of": self.setting, "job": job}
        with self._store.database.write() as connection:
            self._store.set_note(connection, _NOTE, json.dumps(note))
