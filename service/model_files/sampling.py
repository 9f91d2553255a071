"""What a manifest holds of a folder of pictures."""

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import numpy as np

from coral_learn import image
from coral_learn.embedding_sample import LEAST_PICTURES, EmbeddingSample, embed_golden, sample_model
from coral_learn.errors import ImageError, TooFewExamples
from service.errors import SettingsError


def sample_folder(model: bytes, folder: Path) -> EmbeddingSample:
    """Embed the pictures in a folder and the folders in it, with an extractor's bytes. Raises `SettingsError`."""
    if not folder.is_dir():
        raise SettingsError(
            f"--pictures needs a folder with {LEAST_PICTURES} pictures of all sorts or more, got {folder}"
        )
    with _alone(model) as path:
        try:
            return sample_model(path, _pictures(folder))
        except TooFewExamples as error:
            raise SettingsError(f"{folder}: {error}") from error


def golden_embedding(model: bytes) -> np.ndarray:
    """The embedding, (D,) float32, of the drawn golden picture, by an extractor's bytes on the CPU.

    Raises `ModelError` or `DeviceError`.
    """
    with _alone(model) as path:
        return embed_golden(path)


@contextmanager
def _alone(model: bytes) -> Iterator[Path]:
    """A file of the model without any manifest beside it."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "extractor.tflite"
        path.write_bytes(model)
        yield path


def _pictures(folder: Path) -> Iterator[np.ndarray]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            try:
                yield image.decode(path.read_bytes())
            except (ImageError, OSError):
                continue  # a folder of pictures has other files in it too
