"""Another extractor: every stored picture is embedded by it first, then it takes over."""

import time

from service.embedder import EmbeddedPicture, Embedder, Patience
from service.errors import Conflict, ExtractorUnavailable, StoreError
from service.extraction import ExtractorSupervisor
from service.extraction.supervisor import LOST, READY
from service.jobs.backlog import Backlog, Report, Stop
from service.jobs.choice import ModelChoice, check_model
from service.pictures import PictureReader
from service.store import Store
from service.store.jobs import StoredJob

_PAUSE = 0.2  # seconds between two looks at how the extractor is
_LOADING = 130.0  # seconds
# Long enough for one restart; an extractor that ends again and again fails the job, and the one before stays.
_PATIENCE = Patience(3.0, tries=3)


class Exchange:
    """Does the jobs of the kind "extractor".

    choice : remembers the model that took over

    On a CPU the new extractor works beside the old one, which answers until every picture is embedded.
    An Edge TPU is held by one process, so there the new one takes over first and embeds after that; and so where
    the old one can't be loaded.
    Either way the old one answers again where the new one does not start, or when the job is cancelled.
    """

    def __init__(self, store: Store, extraction: ExtractorSupervisor, pictures: PictureReader, choice: ModelChoice):
        self._store, self._extraction, self._pictures, self._choice = store, extraction, pictures, choice

    def run(self, job: StoredJob, report: Report, should_stop: Stop) -> None:
        """Exchange the extractor for the job's. Raises `Invalid`, `Conflict`, `ExtractorUnavailable`, `StoreError`."""
        model = job.options["model"]
        manifest, now = check_model(model), self._extraction.info
        if self._choice.is_of(job):
            return
        if self._choice.overtaken(job):
            raise Conflict("another model than this was set at a start since", "extractor_not_wanted")
        if now is not None and manifest.digest == now.digest:
            if "setting" in job.options:
                return  # started with it meanwhile, as nothing was left to embed
            raise Conflict(f"{manifest.name} is in use already", "extractor_in_use")
        if now is not None and now.device == "cpu" and not self._embed_beside(model, report, should_stop):
            return
        self._take_over(job, should_stop)

    # -- beside the present one -------------------------------------------------------------

    def _embed_beside(self, model: str, report: Report, should_stop: Stop) -> bool:
        """Embed what is stored with the new extractor. False when told to stop."""
        other = self._extraction.beside(model)
        other.start()
        try:
            self._wait_until_loaded(other, 0, should_stop)
            if not should_stop():
                self._embed_missing(other, report, should_stop)
            return not should_stop()
        finally:
            other.stop()

    def _embed_missing(self, other: ExtractorSupervisor, report: Report, should_stop: Stop) -> None:
        embedder = Embedder(self._pictures, other, lambda: other.info, _PATIENCE)
        Backlog(self._store, other.info.digest).work_off(embedder, self._keep, report, should_stop)

    def _keep(self, sha256: str, embedded: EmbeddedPicture) -> None:
        self._store.must_have_room(embedded.embedding.nbytes)
        with self._store.database.write() as connection:
            self._store.examples.save_embedding(connection, sha256, embedded.extractor, embedded.embedding)

    # -- in its place -----------------------------------------------------------------------

    def _take_over(self, job: StoredJob, should_stop: Stop) -> None:
        """Have the new extractor answer; the one before where that fails or is called off."""
        extraction, model = self._extraction, job.options["model"]
        before = extraction.model
        name = extraction.info.name if extraction.info is not None else before or "the bundled one"
        number = extraction.exchange(model)
        try:
            self._wait_until_loaded(extraction, number, should_stop)
            if not should_stop():
                self._choice.keep(job, extraction.info.digest)
                return
        except (ExtractorUnavailable, StoreError) as error:
            self._go_back(before, name, str(error))
            raise type(error)(f"{error}; the one before, {name}, answers again") from error
        self._go_back(before, name, "the exchange was called off")

    def _go_back(self, before: str, name: str, why: str) -> None:
        """Have the extractor before answer again. Raises `ExtractorUnavailable` where it doesn't."""
        extraction = self._extraction
        number = extraction.exchange(before)
        try:
            self._wait_until_loaded(extraction, number, lambda: extraction.stopping)
        except ExtractorUnavailable as error:
            raise ExtractorUnavailable(
                f"{why}; and the one before, {name}, can't be used either and is tried again and again: "
                f"{extraction.health.reason}",
                retry_after=60,
            ) from error

    def _wait_until_loaded(self, extraction: ExtractorSupervisor, number: int, should_stop: Stop) -> None:
        """Until the model of this exchange runs, or it is to stop. Raises `ExtractorUnavailable` when it does not."""
        ends = time.monotonic() + _LOADING
        while not should_stop():
            health = extraction.health
            told = health.exchanges == number and not extraction.stopping  # at a stop jobs are told soon after
            if told and health.state == READY:
                return
            if (told and health.state == LOST) or time.monotonic() > ends:
                raise ExtractorUnavailable(f"the new extractor does not start: {health.reason}", retry_after=60)
            time.sleep(_PAUSE)
