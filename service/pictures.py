"""Uploaded bytes to what the extractor takes, with limits, and not too many at a time."""

import hashlib
import threading
import time
from typing import NamedTuple

import numpy as np

from coral_learn import image
from coral_learn.errors import ImageError
from coral_learn.extractor import ExtractorInfo
from coral_learn.image import ImageHeader, ImageLimits
from service.metrics import Metrics

_SMALL_SIDE = 80  # pixels; below it answers are guesses
# Of 367 photographs at the model's size none is below 21; blurred by three pixels (sigma) nearly all are below this.
_SHARP = 8.0


class Picture(NamedTuple):
    """A decoded picture: its bytes, header and pixels as the model takes them."""

    data: bytes
    sha256: str
    header: ImageHeader
    pixels: np.ndarray
    decode_ms: float

    @property
    def warnings(self) -> list:
        """What is doubtful about it, in words."""
        found = []
        if min(self.header.width, self.header.height) < _SMALL_SIDE:
            found.append(f"the picture is small: a side has fewer than {_SMALL_SIDE} pixels")
        if image.sharpness(self.pixels) < _SHARP:
            found.append("the picture is blurred, or there is hardly anything in it")
        return found


class Fitted(NamedTuple):
    """Pixels as the model takes them, and how many milliseconds that took."""

    pixels: np.ndarray
    decode_ms: float


class PictureReader:
    """Decodes pictures; as many at the same time as there are places, so that memory is bounded."""

    def __init__(self, limits: ImageLimits, places: int, metrics: Metrics):
        self._limits, self._metrics = limits, metrics
        self._places = threading.BoundedSemaphore(places)
        image.decode(image.to_png(np.zeros((16, 16, 3), np.uint8)))  # so that the decoders are loaded by now

    def read(self, data: bytes, extractor: ExtractorInfo) -> Picture:
        """Decode and prepare a picture for this extractor. Raises `coral_learn.errors.ImageError`."""
        try:
            with self._places:
                started = time.perf_counter()
                width, height = extractor.input_width, extractor.input_height
                header, rgb = image.read_picture(data, self._limits, image.decode_side(width, height))
                pixels = image.fit(rgb, width, height)
                elapsed = (time.perf_counter() - started) * 1000
        except ImageError as error:
            self._metrics.count_refused(error.code)
            raise
        return Picture(data, hashlib.sha256(data).hexdigest(), header, pixels, elapsed)

    def fit(self, rgb: np.ndarray, extractor: ExtractorInfo) -> Fitted:
        """Prepare RGB pixels for this extractor. Raises `ImageError`."""
        try:
            image.check_size(rgb.shape[1], rgb.shape[0], self._limits)
            with self._places:
                started = time.perf_counter()
                pixels = image.fit(rgb, extractor.input_width, extractor.input_height)
                return Fitted(pixels, (time.perf_counter() - started) * 1000)
        except ImageError as error:
            self._metrics.count_refused(error.code)
            raise
