"""Comparing an embedding with the one the manifest's golden picture should have."""

import numpy as np

from coral_learn import image
from coral_learn.manifest import Golden

_ANY_SIZE = image.ImageLimits(min_side=1)  # a golden picture is as small as the model takes


def picture(golden: Golden) -> np.ndarray:
    """The golden picture, (height, width, 3) uint8 RGB."""
    return image.decode(golden.image, _ANY_SIZE)


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Of two embeddings, (D,) each; 1 for the same direction, 0 when their lengths differ."""
    if one.shape != other.shape:
        return 0.0
    return float(one @ other / max(np.linalg.norm(one) * np.linalg.norm(other), 1e-12))
