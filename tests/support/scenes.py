"""Made-up pictures that cost what a camera's cost, for benchmarks."""

from io import BytesIO

import numpy as np
from PIL import Image

# Makers of network cameras state 20 to 50 kB for a motion JPEG frame of 640 x 480, 100 to 200 kB for 1280 x 720 and 200
# to 500 kB for 1920 x 1080 (manuals of TP-LINK TL-SC3230N and PLANET ICA-2250VT, appendix C): the middle of each.
CAMERA_BYTES = {(640, 480): 35000, (1280, 720): 150000, (1920, 1080): 350000}


def scene(seed: int, width: int, height: int) -> Image.Image:
    """A picture with structure of all sizes, as a photograph has."""
    random, mixed = np.random.RandomState(seed), np.zeros((height, width, 3), np.float32)
    for k, weight in enumerate((0.05, 0.1, 0.15, 0.2, 0.25, 0.25), 1):
        layer = random.randint(0, 256, (height >> k, width >> k, 3)).astype(np.uint8)
        mixed += weight * np.asarray(Image.fromarray(layer).resize((width, height), Image.BICUBIC), np.float32)
    return Image.fromarray(mixed.clip(0, 255).astype(np.uint8))


def jpeg(picture: Image.Image, quality: int = 85) -> bytes:
    """A picture as JPEG."""
    file = BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


def camera_jpeg(seed: int, width: int, height: int) -> bytes:
    """A frame as a camera sends it, which lowers the quality until the bytes are few enough."""
    picture = scene(seed, width, height)
    made = (jpeg(picture, quality) for quality in range(95, 20, -5))
    return next(data for data in made if len(data) <= CAMERA_BYTES[width, height])
