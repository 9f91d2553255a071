"""What embeddings of natural pictures have in common, found from a sample of them."""

from typing import Iterable, NamedTuple

import numpy as np

from coral_learn import image
from coral_learn.catalog import golden_picture
from coral_learn.errors import TooFewExamples
from coral_learn.extractor import Extractor

# Below this the mean follows what happened to be in the pictures.
LEAST_PICTURES = 20


class EmbeddingSample(NamedTuple):
    """What a manifest holds of a sample of pictures.

    mean : (D,) float32, the mean embedding
    golden_image : the picture as far from the mean as is usual, PNG of the model's input size
    golden_embedding : its embedding, (D,) float32
    pictures : how many there were
    """

    mean: np.ndarray
    golden_image: bytes
    golden_embedding: np.ndarray
    pictures: int


def sample_embeddings(extractor: Extractor, pictures: Iterable[np.ndarray]) -> EmbeddingSample:
    """Embed RGB pictures of all sorts, (height, width, 3) uint8 each.

    Raises `TooFewExamples` for fewer than twenty.
    """
    prepared = [extractor.prepare(rgb) for rgb in pictures]
    if len(prepared) < LEAST_PICTURES:
        raise TooFewExamples(
            f"a mean embedding needs {LEAST_PICTURES} pictures of all sorts or more, got {len(prepared)}"
        )
    embeddings = np.stack([extractor.embed_pixels(pixels) for pixels in prepared])
    mean = embeddings.mean(axis=0, dtype=np.float64).astype(np.float32)
    usual = int(np.argsort(np.linalg.norm(embeddings - mean, axis=1), kind="stable")[len(embeddings) // 2])
    return EmbeddingSample(mean, image.to_png(prepared[usual]), embeddings[usual], len(prepared))


def sample_model(path, pictures: Iterable[np.ndarray]) -> EmbeddingSample:
    """The same with the extractor in a file, run on the CPU. Raises `ModelError`, `TooFewExamples`."""
    extractor = Extractor(path, "cpu")
    try:
        return sample_embeddings(extractor, pictures)
    finally:
        extractor.close()


def embed_golden(path) -> np.ndarray:
    """The embedding, (D,) float32, of the drawn golden picture by the extractor in a file, on the CPU.

    Raises `ModelError` or `DeviceError`.
    """
    extractor = Extractor(path, "cpu")
    try:
        return extractor.embed(image.decode(golden_picture().read_bytes()))
    finally:
        extractor.close()
