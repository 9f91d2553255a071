"""How a picture is turned and cut before anything is made of it."""

from typing import NamedTuple, Optional, Tuple

import numpy as np

from service.region import Region


class View(NamedTuple):
    """First turned by `rotate` degrees clockwise, then mirrored, then cut to `region`."""

    rotate: int = 0
    mirror: bool = False
    region: Optional[Region] = None

    @property
    def changes_nothing(self) -> bool:
        return not self.rotate and not self.mirror and (self.region is None or self.region == (0, 0, 1, 1))

    def apply(self, rgb: np.ndarray) -> np.ndarray:
        """Turn and cut pixels, (height, width, 3)."""
        if self.changes_nothing:
            return rgb
        turned = np.rot90(rgb, -self.rotate // 90)
        if self.mirror:
            turned = turned[:, ::-1]
        if self.region is not None:
            left, top, right, bottom = self.region.within(turned.shape[1], turned.shape[0])
            turned = turned[top:bottom, left:right]
        return np.ascontiguousarray(turned)

    def size(self, width: int, height: int) -> Tuple[int, int]:
        """Width and height of what is made of a picture of this size."""
        if self.rotate in (90, 270):
            width, height = height, width
        if self.region is None:
            return width, height
        left, top, right, bottom = self.region.within(width, height)
        return right - left, bottom - top

    def at_least(self, side: int) -> int:
        """How long the whole picture's shorter side has to be for the part kept to have `side` pixels."""
        if self.region is None:
            return side
        return int(np.ceil(side / min(self.region.width, self.region.height)))
