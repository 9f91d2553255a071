"""What every source is."""

from abc import ABC, abstractmethod

from service.camera.shot import Shot


class Source(ABC):
    """Gives one shot after another, at its own pace.

    kind : v4l2, rtsp, http, video or folder; live : whether identical pictures mean that it hangs;
    broken : pictures passed over so far because they were damaged
    """

    kind: str
    live = False
    broken = 0

    @abstractmethod
    def read(self) -> Shot:
        """The next shot. Raises `CameraError` when there is none."""

    @abstractmethod
    def close(self) -> None:
        """Let the device, connection or file go."""
