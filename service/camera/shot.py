"""What a source gives at one time, undecoded: most of it is never looked at."""

from typing import NamedTuple, Optional, Tuple

import numpy as np

from coral_learn import image
from coral_learn.errors import ImageError
from service.camera.jpeg import is_jpeg
from service.errors import CameraError

BGR, YUYV = "BGR", "YUYV"


class Shot(NamedTuple):
    """A picture as it came: either the bytes of a file, or pixels.

    raw : (height, width, 3) uint8 in the order BGR, or (height, width, 2) as YUYV
    """

    data: Optional[bytes] = None
    raw: Optional[np.ndarray] = None

    @classmethod
    def of_capture(cls, frame: Optional[np.ndarray]) -> "Shot":
        """What OpenCV's `read` gave, converted or not. Raises `CameraError` for what is no picture."""
        if frame is None or frame.size == 0 or frame.dtype != np.uint8:
            raise CameraError("no picture came")
        if frame.ndim == 3 and frame.shape[2] in (2, 3):
            return cls(raw=frame)
        if frame.ndim == 3 and frame.shape[2] == 1:
            frame = frame[..., 0]
        if frame.ndim <= 2 and is_jpeg(frame.reshape(-1)[:3].tobytes()):
            return cls(data=frame.tobytes())
        raise CameraError(f"what came is neither a JPEG nor pixels of a known layout: shape {frame.shape}")

    @property
    def is_jpeg(self) -> bool:
        return self.data is not None and is_jpeg(self.data)

    def same_as(self, other: Optional["Shot"]) -> bool:
        """Whether both are identical to the byte."""
        if other is None:
            return False
        if self.data is not None or other.data is not None:
            return self.data == other.data
        if self.raw.shape != other.raw.shape:
            return False
        # Pictures of a camera that lives differ in their first rows: only the others are compared whole.
        return np.array_equal(self.raw[:8], other.raw[:8]) and np.array_equal(self.raw, other.raw)

    def middle(self, aspect: float) -> "Shot":
        """Pixels cut to about the part in their centre with this width / height; files as they are."""
        if self.raw is None:
            return self
        height, width = self.raw.shape[:2]
        left = max(0, int((width - height * aspect) / 2)) & ~1  # YUYV shares its colours between two pixels
        top = max(0, int((height - width / aspect) / 2))
        return Shot(raw=self.raw[top : height - top, left : width - left])

    def decode(self, at_least: Optional[int] = None) -> Tuple[np.ndarray, Tuple[int, int]]:
        """RGB pixels, (height, width, 3) uint8, and the width and height of the whole picture.

        at_least : pixels that the shorter side of a file needs: large ones are decoded at a fraction.
        Raises `CameraError` for a file that is damaged or of a kind that isn't known.
        """
        if self.raw is not None:
            return _converted(self.raw), (self.raw.shape[1], self.raw.shape[0])
        try:
            header, rgb = image.read_picture(self.data, at_least=at_least)
        except ImageError as error:
            raise CameraError(str(error)) from error
        turned = (header.width > header.height) != (rgb.shape[1] > rgb.shape[0])  # upright by its EXIF data
        return rgb, ((header.height, header.width) if turned else (header.width, header.height))


def _converted(raw: np.ndarray) -> np.ndarray:
    import cv2

    code = cv2.COLOR_YUV2RGB_YUYV if raw.shape[2] == 2 else cv2.COLOR_BGR2RGB
    return cv2.cvtColor(np.ascontiguousarray(raw), code)
