"""The way of a picture to its embedding by the extractor in use, which may be exchanged on that way.

`embed_now` is for those who wait for an answer; an `Embedder` has time, and asks again who is busy or lost.
"""

import time
from typing import Any, Callable, NamedTuple, Optional, Tuple, TypeVar, Union

import numpy as np

from coral_learn.errors import ImageError
from coral_learn.extractor import ExtractorInfo
from coral_learn.image import ImageHeader
from service.errors import ExtractorFailed, ExtractorUnavailable, Refused, Unavailable
from service.extraction import ExtractorSupervisor
from service.extraction.supervisor import Embedded
from service.pictures import PictureReader

_STEP = 0.1  # seconds between two looks at whether to stop
_EXCHANGES = 3  # of the extractor, while one picture is on its way

Stop = Callable[[], bool]
_Prepared = TypeVar("_Prepared", bound=Any)  # whatever has pixels


def embed_now(
    extraction: ExtractorSupervisor,
    present: Callable[[], ExtractorInfo],
    prepare: Callable[[ExtractorInfo], _Prepared],
) -> Tuple[_Prepared, Embedded]:
    """What was prepared for the extractor in use, with its embedding by that one.

    present : gives that extractor; prepare : makes something with `pixels` for it, again when it was exchanged.
    Raises what they do and what `ExtractorSupervisor.embed` does.
    """
    for _ in range(_EXCHANGES):
        extractor = present()
        prepared = prepare(extractor)
        try:
            embedded = extraction.embed(prepared.pixels)
        except ExtractorFailed:
            if present().digest == extractor.digest:
                raise
            continue  # pixels as the one before takes them say nothing about the picture
        if embedded.extractor == present().digest:
            return prepared, embedded
    raise ExtractorUnavailable("the extractor was exchanged while this was on its way; ask again")


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
        data = read()
        picture, embedded = embed_now(self._extraction, self._present, lambda one: self._pictures.read(data, one))
        return EmbeddedPicture(picture.header, embedded.embedding, embedded.extractor)

    def _pause(self, should_stop: Stop) -> None:
        ends = time.monotonic() + self._patience.pause
        while time.monotonic() < ends and not should_stop():
            time.sleep(_STEP)
