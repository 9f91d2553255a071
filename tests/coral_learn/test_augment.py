"""coral_learn/augment.py and embedding_cache.py: variations of pictures, embedded once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coral_learn.augment import AUGMENTATIONS, Augmentation
from coral_learn.embedding_cache import EmbeddingCache
from coral_learn.errors import OptionError
from coral_learn.extractor import Extractor

pictures = st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99)).map(
    lambda shape: np.random.RandomState(shape[2]).randint(0, 256, (*shape[:2], 3)).astype(np.uint8)
)


@given(pictures, st.sets(st.sampled_from(sorted(AUGMENTATIONS))), st.integers(0, 3), st.integers(0, 9))
def test_variations_are_pictures(rgb, names, copies, seed):
    """As many as wanted, RGB bytes like the picture, the same for the same seed; the picture stays as it is."""
    before, wanted = rgb.copy(), Augmentation(tuple(names), copies, seed)
    varied = wanted.apply(rgb)

    assert len(varied) == copies
    for one, again in zip(varied, wanted.apply(rgb)):
        assert (one.dtype, one.ndim, one.shape[2]) == (np.uint8, 3, 3)
        assert 0 < one.shape[0] <= rgb.shape[0]
        assert 0 < one.shape[1] <= rgb.shape[1]
        np.testing.assert_array_equal(one, again)
    np.testing.assert_array_equal(rgb, before)


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_each_changes_the_picture(name, make_picture):
    """Switched on by its name, each of them shows in one of a few variations; none is none."""
    rgb = make_picture("red")
    rgb[:, :20] = 250

    assert any(one.tobytes() != rgb.tobytes() for one in Augmentation((name,), 5).apply(rgb))
    assert all(one.tobytes() == rgb.tobytes() for one in Augmentation((), 5).apply(rgb))


def test_order_of_names_does_not_matter(make_picture):
    """Augmentations are applied in an order of their own."""
    rgb = make_picture("green")
    forwards, backwards = (Augmentation(names, 2).apply(rgb) for names in (("crop", "noise"), ("noise", "crop")))

    assert [one.tobytes() for one in forwards] == [one.tobytes() for one in backwards]


@pytest.mark.parametrize(
    "wrong", [Augmentation(("flip",)), Augmentation("crop"), Augmentation(copies=-1), Augmentation(copies=1.5)]
)
def test_wrong_augmentations(wrong):
    """Unknown names and impossible numbers are refused, with what is allowed."""
    with pytest.raises(OptionError, match=r"crop, mirror|whole number"):
        wrong.checked()


class CountingExtractor(Extractor):
    """The tiny extractor, counting what it is asked."""

    asked = 0

    def embed(self, rgb):
        self.asked += 1
        return super().embed(rgb)


@pytest.fixture
def extractor(tiny_model):
    """A counting extractor."""
    return CountingExtractor(tiny_model, "cpu")


@pytest.mark.parametrize("kept_in", ["memory", "folder"])
def test_embedded_once(extractor, make_picture, tmp_path, kept_in):
    """A picture and its variations are embedded once; another picture or augmentation anew."""
    cache = EmbeddingCache(extractor, tmp_path / "cache" if kept_in == "folder" else None)
    rgb, varied = make_picture("blue"), Augmentation(("crop",), 2)
    first = cache.embed(rgb, varied)
    first[:] = 7  # the caller's own

    again = cache.embed(rgb.copy(), varied)
    assert (again.shape, extractor.asked) == ((3, extractor.info.embedding_size), 3)
    np.testing.assert_array_equal(again[0], Extractor.embed(extractor, rgb))
    cache.embed(rgb)
    cache.embed(rgb, varied._replace(seed=1))
    cache.embed(make_picture("red"))
    assert extractor.asked == 3 + 1 + 3 + 1


def test_folder_outlives_the_cache(extractor, make_picture, tmp_path):
    """Another cache over the same folder asks nothing; a file that was cut off is made anew."""
    rgb = make_picture("blue")
    expected = EmbeddingCache(extractor, tmp_path).embed(rgb)
    np.testing.assert_array_equal(EmbeddingCache(extractor, tmp_path).embed(rgb), expected)
    assert extractor.asked == 1

    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:40])
    np.testing.assert_array_equal(EmbeddingCache(extractor, tmp_path).embed(rgb), expected)
    assert extractor.asked == 2
