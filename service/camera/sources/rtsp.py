"""Network cameras that speak RTSP (RFC 2326), by FFmpeg in OpenCV."""

import os
import re
from typing import List

from service.addresses import masked
from service.camera.shot import Shot
from service.camera.sources.base import Source
from service.errors import CameraError

_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_FFMPEG_5 = 59  # major version of its libavformat


class RtspSource(Source):
    """A camera by its URL, over TCP: over UDP pictures arrive torn. timeout : seconds for opening and each frame"""

    kind, live = "rtsp", True

    def __init__(self, url: str, timeout: float):
        import cv2

        self._shown, self._timeout = masked(url), timeout
        os.environ.setdefault(_OPTIONS, capture_options(timeout, cv2.getBuildInformation()))
        self._capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, _properties(cv2, timeout))
        if not self._capture.isOpened():
            raise CameraError(
                f"{self._shown} can't be opened: nothing answered within {timeout:g} s, "
                "or it refused the address or the password, or sends no video"
            )

    def read(self) -> Shot:
        good, frame = self._capture.read()
        if not good or frame is None:
            raise CameraError(f"{self._shown} sends no more frames")
        return Shot.of_capture(frame)

    def close(self) -> None:
        self._capture.release()


def capture_options(timeout: float, build: str) -> str:
    """What FFmpeg is told. build : OpenCV's build information

    Before FFmpeg 5 the time limit of a read is called `stimeout`, and `timeout` would make it wait for
    a caller; since then it is called `timeout`.
    """
    found = re.search(r"avformat:\s+\S+ \((\d+)\.", build)
    old = found is not None and int(found.group(1)) < _FFMPEG_5
    return f"rtsp_transport;tcp|{'stimeout' if old else 'timeout'};{int(timeout * 1e6)}"


def _properties(cv2, timeout: float) -> List[int]:
    """Both time limits of OpenCV's own, in milliseconds; without them opening takes half a minute."""
    names = ("CAP_PROP_OPEN_TIMEOUT_MSEC", "CAP_PROP_READ_TIMEOUT_MSEC")
    return [value for name in names if hasattr(cv2, name) for value in (getattr(cv2, name), int(timeout * 1000))]
