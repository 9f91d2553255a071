"""From shots to what is handed out: pixels for the extractor, JPEGs for viewers, each only when asked for."""

from typing import NamedTuple, Optional

import numpy as np

from coral_learn import image
from service.camera import jpeg
from service.camera.caption import Captions
from service.camera.shot import Shot
from service.camera.view import View


class Made(NamedTuple):
    """What was made of a shot so far. rgb : decoded and turned; whole : whether at full size; size : of the whole."""

    shot: Shot
    wanted: tuple
    pixels: np.ndarray
    rgb: np.ndarray
    whole: bool
    size: tuple


class FrameMaker:
    """Makes frames as one view of the camera wants them. Raises `CameraError` for a shot that is damaged."""

    def __init__(self, view: View):
        self._view, self._captions = view, Captions()

    def make(self, shot: Shot, width: int, height: int, whole: bool) -> Made:
        """Pixels for an input of this size. whole : whether the picture is needed at its full size as well"""
        part = shot if whole or not self._view.changes_nothing else shot.middle(width / height)
        at_least = None if whole else self._view.at_least(image.decode_side(width, height))
        rgb, size = part.decode(at_least)
        whole = part is shot and rgb.shape[0] * rgb.shape[1] == size[0] * size[1]
        if shot.raw is not None:
            size = shot.raw.shape[1], shot.raw.shape[0]
        rgb = self._view.apply(rgb)
        return Made(shot, (width, height), image.fit(rgb, width, height), rgb, whole, self._view.size(*size))

    def plain(self, made: Made) -> bytes:
        """The whole picture as JPEG: the camera's own where nothing was turned or cut."""
        if made.shot.is_jpeg and self._view.changes_nothing:
            return jpeg.complete(made.shot.data)
        return jpeg.encode(self._whole(made))

    def annotated(self, made: Made, text: str) -> bytes:
        """The whole picture with a text in it, as JPEG."""
        return jpeg.encode(self._captions.draw(self._whole(made), text)) if text.strip() else self.plain(made)

    def needs_all(self, shot: Shot, plain: bool, text: Optional[str]) -> bool:
        """Whether the picture has to be decoded at full size for the JPEGs that are asked for."""
        own = shot.is_jpeg and self._view.changes_nothing
        return bool(text and text.strip()) or ((plain or text is not None) and not own)

    def _whole(self, made: Made) -> np.ndarray:
        return made.rgb if made.whole else self._view.apply(made.shot.decode()[0])
