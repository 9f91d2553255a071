"""Sources of shots, one interface, and what a camera setting names.

OpenCV is imported where it is used: the daemon itself never opens a camera.
"""

from pathlib import Path
from typing import Callable, Optional

from service.addresses import masked
from service.camera.options import CameraOptions, Patience
from service.camera.sources.base import Source
from service.camera.sources.device import V4l2Source
from service.camera.sources.folder import FolderSource
from service.camera.sources.http import HttpSource
from service.camera.sources.rtsp import RtspSource
from service.camera.sources.video import VideoSource
from service.errors import CameraError
from service.v4l2 import can_capture, video_nodes

__all__ = ["AUTO", "WAITING", "Source", "open_source", "resolve_camera"]

AUTO = "auto"  # the first device of the kernel that takes pictures
WAITING = "no camera is connected; waiting for one"

_FOLDER_RATE = 1.0  # pictures a second


def open_source(options: CameraOptions, patience: Patience = Patience()) -> Source:
    """Open the source that resolved options name. Raises `CameraError`."""
    name = options.source
    scheme = name.partition("://")[0].lower() if "://" in name else ""
    if scheme in ("rtsp", "rtsps"):
        return RtspSource(name, patience.network)
    if scheme in ("http", "https"):
        return HttpSource(name, patience.network, options.fps)
    if scheme:
        raise CameraError(f"{masked(name)} is no camera: rtsp, rtsps, http and https are the addresses taken")
    path = Path(name)
    if path.is_dir():
        return FolderSource(path, options.fps or _FOLDER_RATE)
    if path.is_file():  # a regular one, wherever it lies: /dev/shm holds files as well
        return VideoSource(path)
    if name.startswith("/dev/"):
        return V4l2Source(options)
    raise CameraError(f"there is no camera, video file or folder {name}")


def resolve_camera(
    setting: str, devices: Path = Path("/dev"), captures: Callable[[Path], bool] = can_capture
) -> Optional[str]:
    """What a --camera setting means: the name `open_source` takes, or None for no camera.

    `auto` is the first V4L2 device that takes pictures, none if there is none.
    """
    if setting == "none" or not setting:
        return None
    if setting == AUTO:
        return next((str(node) for node in video_nodes(devices) if captures(node)), None)
    return f"/dev/video{setting}" if setting.isdigit() else setting
