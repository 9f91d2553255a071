"""A folder of pictures as a camera."""

import time
from pathlib import Path
from typing import Iterator

from coral_learn import image
from coral_learn.errors import ImageError
from service.camera.shot import Shot
from service.camera.sources.base import Source
from service.errors import CameraError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


class FolderSource(Source):
    """The pictures of a folder in the order of their names, again and again, `rate` a second.

    What is no picture by its header is passed over; a folder without any is an error. The folder is
    read anew in each round.
    """

    kind = "folder"

    def __init__(self, folder: Path, rate: float):
        self._folder, self._interval = folder, 1.0 / rate
        self._round: Iterator[Path] = iter(())
        self._due = time.monotonic()
        if not self._paths():
            raise CameraError(f"the folder {folder} holds no picture ({', '.join(IMAGE_SUFFIXES)})")

    def read(self) -> Shot:
        time.sleep(max(0.0, self._due - time.monotonic()))
        self._due = max(self._due + self._interval, time.monotonic())
        return Shot(data=self._next())

    def close(self) -> None:
        """Nothing is held open."""

    def _paths(self) -> list:
        return sorted(path for path in self._folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)

    def _next(self) -> bytes:
        for paths in (self._round, self._paths()):
            self._round = iter(paths)
            for path in self._round:
                try:
                    data = path.read_bytes()
                    image.read_header(data)
                except (ImageError, OSError):
                    self.broken += 1
                else:
                    return data
        raise CameraError(f"no picture in the folder {self._folder} can be decoded")
