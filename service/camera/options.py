"""What a camera is told: which source, how it is opened, and what is made of its pictures."""

from typing import NamedTuple, Optional, Tuple

from service.region import Region


class CameraOptions(NamedTuple):
    """All that settings say about the camera.

    source : a resolved name, `auto`, None for no camera; fps : frames a second at most, 0 for the source's own pace;
    width, height, format : asked of a V4L2 device, in pixels and as four characters, "" for the driver's choice;
    rotate : degrees clockwise; mirror : left and right exchanged, after turning; region : what is kept of the
    picture after both, None for all; frozen_s : seconds of identical pictures from a camera after which it counts
    as lost, 0 for never; kind : what to call the source, "" for what it is
    """

    source: Optional[str] = None
    fps: float = 0.0
    width: int = 640
    height: int = 480
    format: str = ""
    rotate: int = 0
    mirror: bool = False
    region: Optional[Region] = None
    frozen_s: float = 10.0
    kind: str = ""


class Patience(NamedTuple):
    """How long is waited, in seconds.

    first : for the first frame; frame : for each further one; network : for one answer of a network camera;
    pauses : before each new start, the last for all further; figures : between two updates of the figures in the state;
    search : between two looks for a camera while none is connected
    """

    first: float = 20.0
    frame: float = 10.0
    network: float = 5.0
    pauses: Tuple[float, ...] = (0.0, 1.0, 2.0, 5.0, 10.0)
    figures: float = 5.0
    search: float = 3.0
