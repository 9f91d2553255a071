"""The live loop: the newest frame, its embedding, the answer, the decision, and everybody who watches."""

import logging
import os
import queue
import threading
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Callable, Dict, NamedTuple, Optional

import numpy as np

from service.camera import Camera, Frame
from service.errors import CameraError, ExtractorUnavailable, ServiceError
from service.extraction import ExtractorSupervisor
from service.extraction.supervisor import READY, Embedded
from service.learning import Answer, Answering
from service.live.decision import Decided, Decision, DecisionRule
from service.live.viewfinder import Viewfinder
from service.live.watchers import Places, Watchers
from service.metrics import FROM_CAMERA, Metrics
from service.review import NOVEL, ReviewRing, Sighting
from service.temperature import Temperature

log = logging.getLogger(__name__)

CLASSIFICATION, DECISION = "classification", "decision"
CAMERA, EXTRACTOR, MODEL, CLASSES = "camera", "extractor", "model", "classes"
_PREDICTIONS = 20  # a frame
_PATIENCE = 3.0  # seconds for a picture
_ANY_SIZE = 224, 224  # of the pixels of a frame that no extractor takes
_SLOW_MS = 50.0  # of an embedding, from which on the next frame is taken only after the answer
_RATE_OVER = 2.0  # seconds the frame rate is averaged over
_STEP = 0.5  # seconds after which who waits for the extractor looks whether it was lost, and shows another frame


class _Asked(NamedTuple):
    """A frame whose embedding was asked for, at a time of `time.perf_counter`; answered : whether that is done with."""

    frame: Frame
    embedding: Future
    at: float
    answered: threading.Event


class LiveLoop:
    """Classifies the camera's newest frame, again and again.

    One thread takes frames and asks for their embeddings, another one answers, so that the extractor has the next
    frame by then. Where it is slow the first waits for the second: a frame taken early would be an old one. Pictures
    go on for those who look, whatever the extractor does.

    nice : how far its threads, and with them the camera's process, give way to the extractor, as in nice(2)
    decision : what is published of the answers; viewfinder : the pictures; viewers : places to look at them
    frames, dropped : how many were classified, and how many passed over, so far
    captured : when the newest was taken, in seconds since 1970; None before the first
    """

    def __init__(
        self,
        camera: Camera,
        extraction: ExtractorSupervisor,
        answering: Answering,
        watchers: Watchers,
        viewers: Places,
        metrics: Metrics,
        rule: DecisionRule,
        review: ReviewRing,
        temperature: Temperature,
        nice: int = 0,
    ):
        self._camera, self._extraction, self._answering, self._watchers = camera, extraction, answering, watchers
        self._metrics, self._review, self._temperature = metrics, review, temperature
        self._to_review: Optional[str] = None
        self._stopping = threading.Event()
        self._asked: queue.Queue[Optional[_Asked]] = queue.Queue(1)
        self._slow, self._nice = False, nice
        self._threads = [
            threading.Thread(target=self._take_frames, name="live", daemon=True),
            threading.Thread(target=self._answer_frames, name="live answers", daemon=True),
        ]
        self._telling = threading.RLock()
        self._told: Dict[str, Any] = {}
        self._rate = FrameRate()
        self.decision = Decision(rule)
        self.viewfinder, self.viewers = Viewfinder(lambda: camera.state), viewers
        self.frames, self.dropped = 0, 0
        self.captured: Optional[float] = None

    def start(self) -> None:
        """Start the loop; a camera may come later, by a changed setting."""
        self._tell(CAMERA, self._camera_facts())
        self.tell_extractor()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the loop and the camera's process."""
        self._stopping.set()
        self._watchers.close()
        self.viewfinder.close()
        self._camera.stop()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(10.0)

    @property
    def camera(self):
        """The camera's state."""
        return self._camera.state

    def picture(self, after: int = 0, timeout: float = _PATIENCE, just_taken: bool = False) -> Frame:
        """The newest frame with its JPEG; with a number, only one that comes after it. Raises `CameraError`.

        just_taken : only one as new as the camera can give, for which the loop may have to be waited for
        """
        return self.viewfinder.frame(timeout, after, just_taken=just_taken)

    def tell_model(self) -> None:
        """Tell watchers which model answers now, and when classes or examples have changed."""
        with self._telling:  # asked for inside, so that an older answer can't be the last one told
            self._tell(MODEL, self._answering.model)
            self._tell(CLASSES, {"change": self._answering.changes})

    def tell_extractor(self) -> None:
        """Tell watchers how the extractor is. While it is not ready nothing is decided: no old answer is passed off."""
        with self._telling:
            health = self._extraction.health
            self._tell(EXTRACTOR, {"state": health.state, "reason": health.reason})
            if health.state != READY:
                self._slow = False  # no answer is to be waited for
                self._tell_loss()

    # -- taking frames ------------------------------------------------------------------------

    def _take_frames(self) -> None:
        os.nice(self._nice)  # of this thread alone, on Linux, and of the processes it starts
        while not self._stopping.is_set():
            try:
                self._take()
            except CameraError:
                self.viewfinder.forget()
                self._watchers.forget(CLASSIFICATION)
                self._tell(CAMERA, self._camera_facts())
                self._asked.put(None)
            except ServiceError as error:
                log.debug("a frame was not classified: %s", error)
                self._stopping.wait(0.2)
            except Exception:
                log.exception("a frame was not classified")
                self._stopping.wait(1.0)
            self._tell(CAMERA, self._camera_facts())
        self._asked.put(None)
        self._camera.close()

    def _take(self) -> None:
        """One pass: one frame, on its way to be answered."""
        self._stopping.wait(self._temperature.pause())
        slow = self._slow
        frame = self._show(captioned=not slow)
        self._must_answer()
        asked = _Asked(frame, self._extraction.submit(frame.pixels), time.perf_counter(), threading.Event())
        self._wait(lambda seconds: self._hand_on(asked, seconds))
        if slow:
            frame = self._wait(asked.answered.wait) or frame
            now = time.monotonic()
            if self.viewfinder.wants(now).annotated:  # not before, so that the caption is that of this very frame
                self.viewfinder.put(frame._replace(jpeg=None, annotated=self._camera.annotated(self._caption())), now)

    def _show(self, captioned: bool) -> Frame:
        """Take the newest frame, with pictures for those who look; captioned : whether with an annotated one, too."""
        info, now = self._answering.extractor, time.monotonic()
        size = _ANY_SIZE if info is None else (info.input_width, info.input_height)
        view = self.viewfinder.wants(now)
        with_jpeg = view.plain or self._to_review is not None
        caption = self._caption() if view.annotated and captioned else None
        frame = self._camera.next(*size, with_jpeg, caption)
        self.captured = frame.captured
        self._tell(CAMERA, self._camera_facts())
        self.viewfinder.put(frame, now)
        return frame

    def _wait(self, is_over: Callable[[float], bool]) -> Optional[Frame]:
        """Wait for the extractor until `is_over(seconds)`; frames go by meanwhile, the newest of them is returned."""
        frame = None
        while not is_over(_STEP):
            frame = self._show(captioned=True)
        return frame

    def _hand_on(self, asked: _Asked, seconds: float) -> bool:
        """Have a frame answered; whether there was room for it within this time."""
        try:
            self._asked.put(asked, timeout=seconds)
        except queue.Full:
            return False
        return True

    def _caption(self) -> str:
        """What is drawn into annotated pictures."""
        return self.decision.now.label or "unknown" if self._extraction.health.state == READY else "no answer"

    def _must_answer(self) -> None:
        """Raise `ExtractorUnavailable` while the extractor is not ready: when it is, this would be an old frame."""
        health = self._extraction.health
        if health.state != READY:
            raise ExtractorUnavailable(f"the extractor is {health.state}: {health.reason}")
        if self._answering.extractor is None:
            raise ExtractorUnavailable("the extractor was loaded this moment")

    def _camera_facts(self) -> Dict[str, Any]:
        return dict(self._camera.state._asdict())

    # -- answering ----------------------------------------------------------------------------

    def _answer_frames(self) -> None:
        os.nice(self._nice)
        while True:
            asked = self._asked.get()
            if asked is None:
                if self._stopping.is_set():
                    return
                with self._telling:
                    self._tell_loss()
                continue
            try:
                self._answer(asked)
            except ServiceError as error:
                log.debug("a frame was not classified: %s", error)
            except Exception:
                log.exception("a frame was not classified")
            asked.answered.set()

    def _answer(self, asked: _Asked) -> None:
        frame, embedded = asked.frame, self._embedded(asked)
        scoring = time.perf_counter()
        answer = self._answering.classify(embedded.embedding, _PREDICTIONS, embedded.extractor)
        ended = time.perf_counter()
        self.frames += 1
        self.dropped = frame.number - self.frames
        self._metrics.time_stages(FROM_CAMERA, embed=embedded.milliseconds, head=(ended - scoring) * 1000)
        self._metrics.count_answer(answer.label)
        self.tell_model()
        facts = {
            **answer.as_dict(),
            "device": embedded.device,
            "frame": frame.number,
            "captured": round(frame.captured, 3),
            "fps": self._rate.count(time.monotonic()),
            "timing_ms": {
                "embed": round(embedded.milliseconds, 2),
                "head": round((ended - scoring) * 1000, 2),
                "total": round((ended - asked.at) * 1000, 2),
            },
        }
        with self._telling:
            self._must_answer()  # once a loss was told, what it said before is no answer of now
            self._slow = embedded.milliseconds > _SLOW_MS
            decided = self.decision.take(answer, frame.captured, frame.came)
            facts.update(decided=decided.label, decided_since=decided.since)
            self._watchers.publish(CLASSIFICATION, facts)
            self._tell_decision(decided, frame.number)
        self._offer(frame, answer, embedded.embedding)

    def _embedded(self, asked: _Asked) -> Embedded:
        """The embedding of a frame. Raises `ExtractorUnavailable` soon after a loss: pictures go on meanwhile."""
        while True:
            try:
                asked.embedding.exception(_STEP)
            except FutureTimeout:
                self._must_answer()
            else:
                return self._extraction.result(asked.embedding)

    def _offer(self, frame: Frame, answer: Answer, embedding: np.ndarray) -> None:
        """Keep a frame that is worth a look; where it came without a picture, the next one that is like it."""
        wanted, before = self._review.wants(answer, embedding), self._to_review
        self._to_review = wanted if frame.jpeg is None else None
        reason = wanted or (before if before == NOVEL else None)  # new it was only to the frame before
        if frame.jpeg is not None and reason is not None:
            self._review.keep(frame.jpeg, Sighting(reason, answer, embedding, frame.captured))

    def _tell_loss(self) -> None:
        """Nothing is decided any more, and who comes now gets no answer from before."""
        self._watchers.forget(CLASSIFICATION)
        self._rate = FrameRate()  # which does not count the time until it is back
        self._tell_decision(self.decision.lose(time.time()), None)

    def _tell_decision(self, decided: Decided, frame: Optional[int]) -> None:
        """An event where the decided class has changed."""
        if decided.changed:
            facts = {"decided": decided.label, "before": decided.before, "since": decided.since, "frame": frame}
            self._watchers.publish(DECISION, facts)

    def _tell(self, kind: str, facts: Dict[str, Any]) -> None:
        """Publish facts when they have changed."""
        with self._telling:
            if self._told.get(kind) != facts:
                self._told[kind] = facts
                self._watchers.publish(kind, facts)


class FrameRate:
    """Frames a second, over the last seconds."""

    def __init__(self) -> None:
        self._began, self._count, self._rate = None, 0, None

    def count(self, now: float) -> Optional[float]:
        """Count a frame; returns the rate, None before there are two frames. now : of `time.monotonic`"""
        if self._began is None:
            self._began = now
            return None
        self._count += 1
        elapsed = now - self._began
        if self._rate is None or elapsed >= _RATE_OVER:
            self._rate = round(self._count / max(elapsed, 1e-3), 1)
        if elapsed >= _RATE_OVER:
            self._began, self._count = now, 0
        return self._rate
