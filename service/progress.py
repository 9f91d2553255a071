"""A progress bar for people: one line on a terminal's standard error, nothing anywhere else."""

import shutil
import sys
from typing import Any, Optional, TextIO

_WIDTH = 30


class Progress:
    """A bar that is drawn anew in its line. Leaving the context clears it.

    label : what is going on; stream : where to draw, standard error when None
    """

    def __init__(self, label: str, stream: Optional[TextIO] = None):
        self._label, self._stream = label, sys.stderr if stream is None else stream
        self._shown = self._stream.isatty()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: Any) -> None:
        self._draw("")

    def show(self, share: Optional[float], note: str = "") -> None:
        """Draw it. share : 0..1, None where the end isn't known; note : a few words behind the bar"""
        if share is None:
            self._draw(f"{self._label} {note}")
            return
        share = min(max(share, 0.0), 1.0)
        done = round(share * _WIDTH)
        self._draw(f"{self._label} [{'#' * done}{'.' * (_WIDTH - done)}] {share:4.0%} {note}")

    def _draw(self, text: str) -> None:
        if self._shown:
            # To the line's start, the text, and what is left of the last one cleared.
            self._stream.write(f"\r{text[: shutil.get_terminal_size().columns - 1]}\x1b[K")
            self._stream.flush()
