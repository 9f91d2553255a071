"""A video file as a camera."""

import time
from pathlib import Path

from service.camera.shot import Shot
from service.camera.sources.base import Source
from service.errors import CameraError


class VideoSource(Source):
    """A video file at its own speed, again and again."""

    kind = "video"

    def __init__(self, path: Path):
        import cv2

        self._path, self._rewind = path, cv2.CAP_PROP_POS_FRAMES
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise CameraError(f"the video {path} can't be opened: missing, or in a format OpenCV doesn't read")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self._interval = 1.0 / rate if 1.0 <= rate <= 240.0 else 1.0 / 25.0
        self._due = time.monotonic()

    def read(self) -> Shot:
        good, frame = self._capture.read()
        if not good:
            self._capture.set(self._rewind, 0)
            good, frame = self._capture.read()
        if not good:
            raise CameraError(f"the video {self._path} has no frame that can be decoded")
        self._due = max(self._due + self._interval, time.monotonic() - 1.0)
        time.sleep(max(0.0, self._due - time.monotonic()))
        return Shot.of_capture(frame)

    def close(self) -> None:
        self._capture.release()
