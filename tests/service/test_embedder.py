"""Embedding with patience: what is tried again, how often, and what never is."""

import numpy as np
import pytest

from coral_learn.extractor import ExtractorInfo
from coral_learn.image import ImageLimits
from service.embedder import EmbeddedPicture, Embedder, Patience, Unusable, embed_now
from service.errors import ExtractorBusy, ExtractorFailed, ExtractorUnavailable, NotFound, StoreError
from service.extraction.supervisor import Embedded
from service.metrics import Metrics
from service.pictures import PictureReader

INFO = ExtractorInfo("tiny", "e" * 64, "cpu", "", False, "none", 64, 32, 32)
OTHER = INFO._replace(digest="f" * 64, input_width=16, input_height=16)


class ScriptedExtractor:
    """An extractor that fails as it is told to, one word a request, and then answers. info : what it says it is"""

    def __init__(self, *errors):
        self.info, self.errors, self.shapes = INFO, list(errors), []

    def embed(self, pixels):
        self.shapes.append(pixels.shape)
        if self.errors:
            error = self.errors.pop(0)
            if error is OTHER:
                self.info = OTHER
                raise ExtractorFailed("32 x 32 pixels are not 16 x 16")
            raise error
        return Embedded(np.ones(64, np.float32), "cpu", 0.1, self.info.digest)


@pytest.fixture
def embed(make_picture, encode):
    """embed(extractor, tries=None, read=None, should_stop=never): the result for a picture, without pauses."""
    pictures, data = PictureReader(ImageLimits(), 1, Metrics()), encode(make_picture("red"))

    def run(extractor, tries=None, read=lambda: data, should_stop=lambda: False):
        embedder = Embedder(pictures, extractor, lambda: extractor.info, Patience(0.0, tries))
        return embedder.embed(read, should_stop)

    return run


def test_busy_and_lost_are_waited_out(embed):
    """However often, where there is no end to the patience."""
    extractor = ScriptedExtractor(*[ExtractorBusy("busy"), ExtractorUnavailable("lost")] * 5)
    assert isinstance(embed(extractor), EmbeddedPicture)
    assert len(extractor.shapes) == 11


def test_patience_ends(embed):
    """After the last try the error is raised: it is none of the picture's."""
    lost = [ExtractorUnavailable("lost")] * 3
    assert isinstance(embed(ScriptedExtractor(*lost[1:]), 3), EmbeddedPicture)
    extractor = ScriptedExtractor(*lost, *lost)
    with pytest.raises(ExtractorUnavailable):
        embed(extractor, 3)
    assert len(extractor.shapes) == 3


def test_a_picture_it_fails_on_is_not_tried_again(embed):
    """Whatever the patience."""
    extractor = ScriptedExtractor(ExtractorFailed("lost on it"))
    assert embed(extractor) == Unusable("extractor_failed", "lost on it", True)
    assert len(extractor.shapes) == 1


def test_pictures_that_are_none(embed):
    """What can't be decoded or is gone is unusable; a store that fails is not the picture's fault."""
    extractor = ScriptedExtractor()

    def gone():
        raise NotFound("gone", "image_not_found")

    def broken():
        raise StoreError("the disk")

    assert embed(extractor, read=gone) == Unusable("image_not_found", "gone", False)
    assert embed(extractor, read=lambda: b"nothing").code.startswith("image_")
    with pytest.raises(StoreError):
        embed(extractor, read=broken)
    assert extractor.shapes == []


def test_exchanged_meanwhile(embed):
    """Pixels for the extractor before say nothing about the picture: it is prepared anew."""
    extractor = ScriptedExtractor(OTHER)
    assert embed(extractor).extractor == OTHER.digest
    assert extractor.shapes == [(32, 32, 3), (16, 16, 3)]


def test_exchanged_after_it_answered(make_picture, encode):
    """An embedding by the extractor before is of no use: it is made anew, but not for ever."""
    pictures, data = PictureReader(ImageLimits(), 1, Metrics()), encode(make_picture("red"))
    extractor, asked = ScriptedExtractor(), []

    def present():
        asked.append(INFO if len(asked) % 2 == 0 and len(asked) < limit else OTHER)
        return asked[-1]

    def embed_picture():
        asked.clear()
        return embed_now(extractor, present, lambda info: pictures.read(data, info))

    limit, extractor.info = 1, OTHER
    picture, embedded = embed_picture()
    assert (picture.pixels.shape, embedded.extractor) == ((32, 32, 3), OTHER.digest)  # of the right one by chance
    extractor.info, extractor.shapes = INFO, []
    limit = 100
    with pytest.raises(ExtractorUnavailable, match="exchanged while this was on its way; ask again"):
        embed_picture()
    assert len(extractor.shapes) == 3


def test_stopped(embed):
    """Between two tries."""
    extractor = ScriptedExtractor(*[ExtractorUnavailable("lost")] * 9)
    assert embed(extractor, should_stop=lambda: len(extractor.shapes) == 2) is None
    assert len(extractor.shapes) == 2
