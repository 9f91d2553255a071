"""The live loop: the newest frame, its embedding, the answer, and everybody who watches."""

import json
import logging
import threading
import time
from typing import Any, Dict, List, NamedTuple, Optional

from service.camera import Camera, Frame
from service.camera.supervisor import LOST, NONE, ONLINE
from service.errors import CameraError, ServiceError, TooManyStreams
from service.extraction import ExtractorSupervisor
from service.learning import Answering
from service.metrics import FROM_CAMERA, Metrics

log = logging.getLogger(__name__)

CLASSIFICATION, CAMERA, MODEL = "classification", "camera", "model"
_JPEG_INTEREST = 5.0  # seconds a picture is made for after somebody asked for one
_MAX_PICTURES = 15.0  # JPEGs a second, at most
_JUST_TAKEN = 1.0  # seconds


class Event(NamedTuple):
    """Something to tell watchers: a number that grows, a kind, and JSON text."""

    number: int
    kind: str
    data: str


class Watchers:
    """The newest event of each kind, for any number of readers. A slow one misses events; it delays nobody."""

    def __init__(self, places: int):
        self._places = places
        self._changed = threading.Condition()
        self._newest: Dict[str, Event] = {}
        self._number = 0
        self._closed = False
        self.watching = 0

    def publish(self, kind: str, data: Dict[str, Any]) -> None:
        """Tell everybody."""
        text = json.dumps(data, ensure_ascii=False)
        with self._changed:
            self._number += 1
            self._newest[kind] = Event(self._number, kind, text)
            self._changed.notify_all()

    def wait(self, after: int, timeout: float) -> List[Event]:
        """The newest event of each kind that came after this number, oldest first; none after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._number > after, timeout)
            return sorted(event for event in self._newest.values() if event.number > after)

    def enter(self) -> None:
        """Take a place. Raises `TooManyStreams`."""
        with self._changed:
            if self.watching >= self._places:
                raise TooManyStreams(f"{self._places} clients watch already", retry_after=5)
            self.watching += 1

    def leave(self) -> None:
        """Give the place back."""
        with self._changed:
            self.watching -= 1

    @property
    def closed(self) -> bool:
        """Whether watching is over."""
        return self._closed

    def close(self) -> None:
        """Let everybody go."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class LiveLoop:
    """A thread that classifies the camera's newest frame, again and again.

    frames, dropped : how many were classified, and how many passed over, so far
    captured : when the newest was taken, in seconds since 1970; None before the first
    """

    def __init__(
        self,
        camera: Camera,
        extraction: ExtractorSupervisor,
        answering: Answering,
        watchers: Watchers,
        metrics: Metrics,
        top_k: int = 5,
    ):
        self._camera, self._extraction, self._answering, self._watchers = camera, extraction, answering, watchers
        self._metrics, self._top_k = metrics, top_k
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)
        self._picture = threading.Condition()
        self._jpeg: Optional[Frame] = None
        self._wanted_until, self._next_picture = 0.0, 0.0
        self._telling = threading.RLock()
        self._told: Dict[str, Any] = {}
        self._newest = 0
        self.frames, self.dropped = 0, 0
        self.captured: Optional[float] = None

    def start(self) -> None:
        """Start the loop; without a camera there is nothing to do."""
        self._tell(CAMERA, self._camera_facts())
        if self._camera.state.source is not None:
            self._thread.start()

    def stop(self) -> None:
        """End the loop and the camera's process."""
        self._stopping.set()
        self._watchers.close()
        self._camera.stop()
        if self._thread.is_alive():
            self._thread.join(10.0)

    @property
    def camera(self):
        """The camera's state."""
        return self._camera.state

    def picture(self, timeout: float = 3.0) -> Frame:
        """The newest frame with its JPEG. Raises `CameraError`."""
        asked = time.time()
        with self._picture:
            self._wanted_until = time.monotonic() + _JPEG_INTEREST
            fresh = self._picture.wait_for(lambda: self._fresh(asked) or self._gone(), timeout)
            if not fresh or not self._fresh(asked):
                state = self._camera.state
                raise CameraError(state.reason or f"the camera gave no picture for {timeout:g} s")
            return self._jpeg

    def _fresh(self, asked: float) -> bool:
        """Whether there is a JPEG of the newest frame, or of one just taken, from a camera that is there."""
        jpeg = self._jpeg
        if jpeg is None or self._camera.state.state != ONLINE:
            return False
        return jpeg.number == self._newest or jpeg.captured > asked - _JUST_TAKEN

    def _gone(self) -> bool:
        return self._camera.state.state in (NONE, LOST) or self._stopping.is_set()

    def tell_model(self) -> None:
        """Tell watchers which model answers now."""
        with self._telling:  # asked for inside, so that an older answer can't be the last one told
            self._tell(MODEL, self._answering.model)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._step()
            except CameraError:
                with self._picture:
                    self._picture.notify_all()
            except ServiceError as error:
                log.debug("a frame was not classified: %s", error)
                self._stopping.wait(0.2)
            except Exception:
                log.exception("a frame was not classified")
                self._stopping.wait(1.0)
            self._tell(CAMERA, self._camera_facts())
        self._camera.close()

    def _step(self) -> None:
        """One pass: one frame, one answer."""
        info = self._answering.extractor
        if info is None:
            self._stopping.wait(0.2)
            return
        now = time.monotonic()
        with_jpeg = self._next_picture <= now < self._wanted_until
        frame = self._camera.next(info.input_width, info.input_height, with_jpeg)
        self._newest, self.captured = frame.number, frame.captured
        self._tell(CAMERA, self._camera_facts())
        if frame.jpeg is not None:
            self._next_picture = now + 1.0 / _MAX_PICTURES
            with self._picture:
                self._jpeg = frame
                self._picture.notify_all()
        self._classify(frame)

    def _classify(self, frame: Frame) -> None:
        started = time.perf_counter()
        embedded = self._extraction.embed(frame.pixels)
        scoring = time.perf_counter()
        answer = self._answering.classify(embedded.embedding, self._top_k, embedded.extractor)
        ended = time.perf_counter()
        self.frames += 1
        self.dropped = frame.number - self.frames
        self._metrics.time_stages(FROM_CAMERA, embed=embedded.milliseconds, head=(ended - scoring) * 1000)
        self._metrics.count_answer(answer.label)
        self.tell_model()
        self._watchers.publish(
            CLASSIFICATION,
            {
                **answer.as_dict(),
                "decided": answer.label,
                "device": embedded.device,
                "frame": frame.number,
                "captured": round(frame.captured, 3),
                "timing_ms": {
                    "embed": round(embedded.milliseconds, 2),
                    "head": round((ended - scoring) * 1000, 2),
                    "total": round((ended - started) * 1000, 2),
                },
            },
        )

    def _camera_facts(self) -> Dict[str, Any]:
        return dict(self._camera.state._asdict())

    def _tell(self, kind: str, facts: Dict[str, Any]) -> None:
        """Publish facts when they have changed."""
        with self._telling:
            if self._told.get(kind) != facts:
                self._told[kind] = facts
                self._watchers.publish(kind, facts)
