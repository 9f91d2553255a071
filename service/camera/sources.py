"""Sources of frames, one interface. OpenCV is imported where it is used: the daemon itself never opens a device."""

import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Iterator, Optional

import numpy as np

from coral_learn import image
from coral_learn.errors import ImageError
from service.errors import CameraError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


class Source(ABC):
    """Gives one frame after another, at its own pace."""

    @abstractmethod
    def read(self) -> np.ndarray:
        """The next frame, (height, width, 3) uint8 RGB. Raises `CameraError` when there is none."""

    @abstractmethod
    def close(self) -> None:
        """Let the device or file go."""


class FolderSource(Source):
    """The pictures of a folder in the order of their names, again and again, `rate` a second.

    A picture that can't be decoded is passed over; a folder without any that can is an error. The
    folder is read anew in each round.
    """

    def __init__(self, folder: Path, rate: float):
        self._folder, self._interval = folder, 1.0 / rate
        self._round: Iterator[Path] = iter(())
        self._due = time.monotonic()
        if not self._paths():
            raise CameraError(f"the folder {folder} holds no picture ({', '.join(IMAGE_SUFFIXES)})")

    def read(self) -> np.ndarray:
        time.sleep(max(0.0, self._due - time.monotonic()))
        self._due = max(self._due + self._interval, time.monotonic())
        return self._next()

    def close(self) -> None:
        """Nothing is held open."""

    def _paths(self) -> list:
        return sorted(path for path in self._folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)

    def _next(self) -> np.ndarray:
        for paths in (self._round, self._paths()):
            self._round = iter(paths)
            for path in self._round:
                try:
                    return image.decode(path.read_bytes())
                except (ImageError, OSError):
                    continue
        raise CameraError(f"no picture in the folder {self._folder} can be decoded")


class VideoSource(Source):
    """A video file at its own speed, again and again."""

    def __init__(self, path: Path):
        import cv2

        self._path = path
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise CameraError(f"the video {path} can't be opened: missing, or in a format OpenCV doesn't read")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self._interval = 1.0 / rate if 1.0 <= rate <= 240.0 else 1.0 / 25.0
        self._due = time.monotonic()

    def read(self) -> np.ndarray:
        import cv2

        good, frame = self._capture.read()
        if not good:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
            good, frame = self._capture.read()
        if not good:
            raise CameraError(f"the video {self._path} has no frame that can be decoded")
        self._due = max(self._due + self._interval, time.monotonic() - 1.0)
        time.sleep(max(0.0, self._due - time.monotonic()))
        return np.ascontiguousarray(frame[..., ::-1])

    def close(self) -> None:
        self._capture.release()


class V4l2Source(Source):
    """A camera of the kernel, /dev/videoN. Not yet seen on a board: `pytest -m board`.

    width, height : asked for in pixels; the driver gives what is nearest
    """

    def __init__(self, device: str, width: int = 640, height: int = 480):
        import cv2

        if not Path(device).exists():
            raise CameraError(f"there is no {device}")
        self._device = device
        self._capture = cv2.VideoCapture(device, cv2.CAP_V4L2)
        if not self._capture.isOpened():
            raise CameraError(f"{device} can't be opened as a camera: in use, not permitted, or not a capture device")
        self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
        self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)

    def read(self) -> np.ndarray:
        good, frame = self._capture.read()
        # After an unplug OpenCV may go on to report success with no picture.
        if not good or frame is None or frame.ndim != 3:
            raise CameraError(f"{self._device} delivers no more frames")
        return np.ascontiguousarray(frame[..., ::-1])

    def close(self) -> None:
        self._capture.release()


def open_source(name: str, fps: float) -> Source:
    """Open the source a resolved camera setting names. Raises `CameraError`.

    fps : pictures a second of a folder, 0 for one; cameras and videos have a pace of their own
    """
    path = Path(name)
    if path.is_dir():
        return FolderSource(path, fps or 1.0)
    if name.startswith("/dev/"):
        return V4l2Source(name)
    if path.is_file():
        return VideoSource(path)
    if "://" in name:
        raise CameraError(f"network cameras are not taken yet: {name}")
    raise CameraError(f"there is no camera, video file or folder {name}")


def resolve_camera(setting: str, devices: Path = Path("/dev")) -> Optional[str]:
    """What a --camera setting means: the name `open_source` takes, or None for no camera.

    `auto` is the first V4L2 device, none if there is none.
    """
    if setting == "none" or not setting:
        return None
    if setting == "auto":
        found = sorted(devices.glob("video[0-9]*"), key=lambda path: (len(path.name), path.name))
        return str(found[0]) if found else None
    return f"/dev/video{setting}" if setting.isdigit() else setting
