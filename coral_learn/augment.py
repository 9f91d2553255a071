"""Variations of a picture: the same thing from a little elsewhere, in other light.

They stand in for pictures that were not taken. Each is drawn at random within bounds that leave
what is shown recognisable; the same seed gives the same variations.
"""

from typing import Callable, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from coral_learn.errors import OptionError

_SMALLEST_CROP = 0.6  # share of each side
_LARGEST_TURN = 15.0  # degrees
_BRIGHTNESS = 0.3  # share of the brightness, either way
_NOISE = 8.0  # standard deviation, of 255
_MOST_COPIES = 100


def mirror(rgb: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Left and right swapped, in half of the cases."""
    return rgb[:, ::-1] if random.random_sample() < 0.5 else rgb


def crop(rgb: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """A part of the picture, which fills the model's input as the whole did."""
    height, width = rgb.shape[:2]
    share = random.uniform(_SMALLEST_CROP, 1.0)
    rows, columns = max(1, int(height * share)), max(1, int(width * share))
    top, left = random.randint(height - rows + 1), random.randint(width - columns + 1)
    return rgb[top : top + rows, left : left + columns]


def rotation(rgb: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Turned a little, the corners filled with what is mirrored at the edge."""
    import cv2

    height, width = rgb.shape[:2]
    angle = random.uniform(-_LARGEST_TURN, _LARGEST_TURN)
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    return cv2.warpAffine(np.ascontiguousarray(rgb), turn, (width, height), borderMode=cv2.BORDER_REFLECT_101)


def brightness(rgb: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Darker or brighter."""
    return _to_bytes(rgb * random.uniform(1 - _BRIGHTNESS, 1 + _BRIGHTNESS))


def noise(rgb: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """With the noise of a camera in poor light."""
    return _to_bytes(rgb + random.normal(0, _NOISE, rgb.shape))


AUGMENTATIONS: Dict[str, Callable[[np.ndarray, np.random.RandomState], np.ndarray]] = {
    "crop": crop,
    "mirror": mirror,
    "rotation": rotation,
    "brightness": brightness,
    "noise": noise,
}


class Augmentation(NamedTuple):
    """Which variations to make. names : of `AUGMENTATIONS`; copies : of each picture, beside itself; seed."""

    names: Tuple[str, ...] = ("crop", "mirror")
    copies: int = 2
    seed: int = 0

    def checked(self) -> "Augmentation":
        """Return this with exact types, the names in the order they are applied. Raises `OptionError`."""
        unknown = [name for name in self.names if name not in AUGMENTATIONS]
        if unknown or isinstance(self.names, str):
            raise OptionError("augmentations are {}, got {!r}".format(", ".join(AUGMENTATIONS), self.names))
        whole = isinstance(self.copies, int) and not isinstance(self.copies, bool)
        if not whole or not 0 <= self.copies <= _MOST_COPIES:
            raise OptionError(f"copies must be a whole number from 0 to {_MOST_COPIES}, got {self.copies!r}")
        return self._replace(names=tuple(name for name in AUGMENTATIONS if name in self.names))

    def apply(self, rgb: np.ndarray) -> List[np.ndarray]:
        """The variations of a picture, (height, width, 3) uint8 each, without the picture itself."""
        wanted, random = self.checked(), np.random.RandomState(self.seed)
        return [_vary(rgb, wanted.names, random) for _ in range(wanted.copies)]


def _vary(rgb: np.ndarray, names: Sequence[str], random: np.random.RandomState) -> np.ndarray:
    for name in names:
        rgb = AUGMENTATIONS[name](rgb, random)
    return np.ascontiguousarray(rgb)


def _to_bytes(pixels: np.ndarray) -> np.ndarray:
    return np.rint(pixels).clip(0, 255).astype(np.uint8)
