"""The way of a picture's bytes to its embedding for those who have time: who is busy or lost is asked again."""

import time
from typing import Callable, NamedTuple, Optional, Union

import numpy as np

from coral_learn.errors import ImageError
from coral_learn.extractor import ExtractorInfo
from coral_learn.image import ImageHeader
from service.errors import ExtractorFailed, Refused, Unavailable
from service.extraction import ExtractorSupervisor
from service.pictures import PictureReader

_STEP = 0.1  # seconds between two looks at whether to stop

Stop = Callable[[], bool]


class Patience(NamedTuple):
    """How to treat an extractor that is busy or lost.

    pause : seconds before another try; tries : before it is given up, None for never
    """

    pause: float
    tries: Optional[int] = None


class EmbeddedPicture(NamedTuple):
    """A picture's header, its embedding, (D,) float32, and the digest of the extractor that made it."""

    header: ImageHeader
    embedding: np.ndarray
    extractor: str


class Unusable(NamedTuple):
    """A picture that this extractor can't embed, however often it is asked.

    code : a stable word; reason : in words; failed : whether it is the extractor that failed on it
    """

    code: str
    reason: str
    failed: bool


class Embedder:
    """Embeds pictures with one extractor, as long as that takes.

    present : gives the extractor that pictures are prepared for; may raise `Unavailable`, which is waited out
    """

    def __init__(
        self,
        pictures: PictureReader,
        extraction: ExtractorSupervisor,
        present: Callable[[], ExtractorInfo],
        patience: Patience,
    ):
        self._pictures, self._extraction, self._present, self._patience = pictures, extraction, present, patience

    def embed(self, read: Callable[[], bytes], should_stop: Stop) -> Union[EmbeddedPicture, Unusable, None]:
        """A picture with its embedding, or why there is none; None when told to stop.

        read : gives its bytes. Raises `StoreError` where that does, and `Unavailable` after the last try.
        """
        tried = 0
        while not should_stop():
            try:
                return self._try(read)
            except (ImageError, Refused) as error:
                return Unusable(error.code, str(error), False)
            except ExtractorFailed as error:  # on this very picture; another try would fail as well
                return Unusable(error.code, str(error), True)
            except Unavailable:
                tried += 1
                if tried == self._patience.tries:
                    raise
            self._pause(should_stop)
        return None

    def _try(self, read: Callable[[], bytes]) -> EmbeddedPicture:
        extractor = self._present()
        picture = self._pictures.read(read(), extractor)
        try:
            embedded = self._extraction.embed(picture.pixels)
        except ExtractorFailed as error:
            if self._present().digest == extractor.digest:
                raise
            # Exchanged meanwhile: pixels as the one before takes them say nothing about the picture.
            raise Unavailable("the extractor was exchanged meanwhile") from error
        return EmbeddedPicture(picture.header, embedded.embedding, embedded.extractor)

    def _pause(self, should_stop: Stop) -> None:
        ends = time.monotonic() + self._patience.pause
        while time.monotonic() < ends and not should_stop():
            time.sleep(_STEP)
