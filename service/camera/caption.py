"""A line of text drawn into a picture.

OpenCV 5 brings a font with most of the world's letters. Older ones draw ASCII only; with them
Pillow's own font is used, small before Pillow 10.1, and enlarged.
"""

import unicodedata
from abc import ABC, abstractmethod

import numpy as np

_SHARE, _SMALLEST = 0.06, 14  # height of the bar: of the picture's, and in pixels
_LONGEST = 300  # characters looked at
_UNKNOWN, _MORE = "?", "..."
_MARGIN = 4  # pixels


class Captions:
    """Draws captions; keeps its font. pen : how letters are made, None for the best there is"""

    def __init__(self, pen: "Pen" = None):
        self._pen = pen

    def draw(self, rgb: np.ndarray, text: str) -> np.ndarray:
        """A copy of a picture, (height, width, 3) uint8, with the text in a dark bar at its lower edge.

        What the font has no letter for is drawn as a question mark; a text that is too long is cut off.
        """
        drawn = np.array(rgb)
        words = " ".join(unicodedata.normalize("NFC", text[:_LONGEST]).split())
        if not words:
            return drawn
        height, width = rgb.shape[:2]
        bar = min(height, max(_SMALLEST, round(_SHARE * height)))
        ink = self._ink(words, width, bar)[..., None].astype(np.uint16)
        below = drawn[height - bar :].astype(np.uint16) // 4
        drawn[height - bar :] = below + (255 - below) * ink // 255
        return drawn

    def _ink(self, text: str, width: int, height: int) -> np.ndarray:
        """How strong the ink is, (height, width) uint8."""
        self._pen = self._pen or _best_pen()
        shown = "".join(character if character.isprintable() else _UNKNOWN for character in text)
        shown = self._pen.known(shown)
        room = width - 2 * _MARGIN
        if self._pen.length(shown, height) > room:
            fits = range(len(shown), 0, -1)
            kept = next((n for n in fits if self._pen.length(shown[:n] + _MORE, height) <= room), 0)
            shown = shown[:kept] + _MORE
        return self._pen.write(shown, width, height)


class Pen(ABC):
    """Makes letters for a bar of some height, in pixels."""

    @abstractmethod
    def known(self, text: str) -> str:
        """The text with a question mark for what can't be written."""

    @abstractmethod
    def length(self, text: str, height: int) -> int:
        """How many pixels long it gets."""

    @abstractmethod
    def write(self, text: str, width: int, height: int) -> np.ndarray:
        """Its ink, (height, width) uint8."""


class OpencvPen(Pen):
    """OpenCV's font "uni"; it writes a question mark itself."""

    def __init__(self):
        import cv2

        self._cv2, self._font = cv2, cv2.FontFace("uni")

    def known(self, text: str) -> str:
        return text

    def length(self, text: str, height: int) -> int:
        return self._cv2.getTextSize((0, 0), text, (0, 0), self._font, _size(height))[2]

    def write(self, text: str, width: int, height: int) -> np.ndarray:
        paper = np.zeros((height, width), np.uint8)
        self._cv2.putText(paper, text, (_MARGIN, round(0.75 * height)), 255, self._font, _size(height))
        return paper


class PillowPen(Pen):
    """Pillow's own font: little more than ASCII."""

    def known(self, text: str) -> str:
        return text.encode("ascii", "replace").decode()

    def length(self, text: str, height: int) -> int:
        font, scale = self._font(height)
        return scale * int(np.ceil(font.getlength(text)))

    def write(self, text: str, width: int, height: int) -> np.ndarray:
        from PIL import Image, ImageDraw

        font, scale = self._font(height)
        paper = Image.new("L", (-(-width // scale), -(-height // scale)))
        ImageDraw.Draw(paper).text((_MARGIN / scale, 1), text, fill=255, font=font)
        return np.array(paper).repeat(scale, 0).repeat(scale, 1)[:height, :width]

    def _font(self, height: int):
        """The font, and how many times its pixels are to be enlarged."""
        from PIL import ImageFont

        try:
            return ImageFont.load_default(size=_size(height)), 1
        except (TypeError, ImportError):  # before 10.1, or without FreeType: one size only
            return ImageFont.load_default(), max(1, height // 13)


def _size(height: int) -> int:
    return max(8, round(0.7 * height))


def _best_pen() -> Pen:
    import cv2

    return OpencvPen() if hasattr(cv2, "FontFace") else PillowPen()
