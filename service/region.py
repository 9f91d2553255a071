"""A part of a picture, in shares of its width and height."""

import math
from typing import NamedTuple, Optional, Tuple

_SMALLEST = 0.01  # of a side


class Region(NamedTuple):
    """Left and upper corner, width and height, each a share 0..1 of the whole picture."""

    x: float
    y: float
    width: float
    height: float

    @classmethod
    def parse(cls, text: str) -> Optional["Region"]:
        """Read "x,y,width,height"; None for no text. Raises `ValueError` that says what is wrong."""
        if not text.strip():
            return None
        wanted = "a region is x,y,width,height in shares of the picture, such as 0.25,0,0.5,1"
        try:
            found = cls(*(float(part) for part in text.split(",")))
        except (TypeError, ValueError):
            raise ValueError(f"{wanted}; got {text!r}") from None
        if not all(math.isfinite(value) for value in found):
            raise ValueError(f"{wanted}; got {text!r}")
        if not (0 <= found.x < 1 and 0 <= found.y < 1):
            raise ValueError(f"x and y are at least 0 and below 1, got {found.x:g} and {found.y:g}")
        if not (_SMALLEST <= found.width <= 1 and _SMALLEST <= found.height <= 1):
            raise ValueError(f"width and height are {_SMALLEST:g} to 1, got {found.width:g} and {found.height:g}")
        if found.x + found.width > 1 + 1e-6 or found.y + found.height > 1 + 1e-6:
            raise ValueError(
                f"the region reaches beyond the picture: x + width is {found.x + found.width:g}, "
                f"y + height is {found.y + found.height:g}, at most 1 is allowed"
            )
        return found

    def within(self, width: int, height: int) -> Tuple[int, int, int, int]:
        """Left, top, right and bottom in pixels of a picture of this size; never empty."""
        left, top = min(width - 1, round(self.x * width)), min(height - 1, round(self.y * height))
        right = min(width, max(left + 1, round((self.x + self.width) * width)))
        bottom = min(height, max(top + 1, round((self.y + self.height) * height)))
        return left, top, right, bottom
