"""Frames of the camera that are worth a look, on the disk for as long as there is room for them.

FOLDER/<id>.jpg is the frame and <id>.json what was answered then. Nothing here is promised to anybody, so
nothing is synced, which spares the card; what a power cut leaves half-written is swept at the next start.
"""

import base64
import json
import logging
import os
import threading
import time
import uuid
from collections import OrderedDict
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from coral_learn.errors import CoralLearnError
from coral_learn.image import ImageLimits, read_header
from service.errors import NotFound, StoreError
from service.learning import Answer, Answering

log = logging.getLogger(__name__)

FOLDER = "review"
UNCERTAIN, NOVEL = "uncertain", "novel"
_INTERVAL = 2.0  # seconds between two frames that are kept
_MARGIN = 0.2  # between the two best scores; below it an answer is a guess
# Cosines of centred embeddings, of 12 classes of photographs by the bundled extractor: a picture to itself with
# noise or moved by a twentieth 0.79 and more, to others of its class 0.35 to 0.72, to others 0.37 and less.
_ALIKE, _FOREIGN = 0.8, 0.4
_MOST = 1000  # frames, however small; so many are compared with each new one
_REMEMBERED = 200  # scenes passed over, and frames that were dealt with
_TAUGHT = 10  # frames with their pictures, in memory, in case their teaching is undone
_PICTURE, _FACTS, _UNFINISHED = ".jpg", ".json", ".part"


class Sighting(NamedTuple):
    """A frame that may be kept: why (what `wants` said), its answer, its embedding (D,), seconds since 1970."""

    reason: str
    answer: Answer
    embedding: np.ndarray
    captured: float


class Kept(NamedTuple):
    """A frame in the ring. bytes : on the disk; extractor, direction : where it is among others, (D,) float32"""

    id: str
    captured: float
    reason: str
    label: Optional[str]
    score: float
    predictions: List[Dict[str, Any]]
    width: int
    height: int
    bytes: int
    extractor: str
    direction: np.ndarray

    def as_dict(self) -> Dict[str, Any]:
        """For JSON."""
        return {
            "id": self.id,
            "captured": self.captured,
            "reason": self.reason,
            "class": self.label,
            "score": self.score,
            "predictions": self.predictions,
            "width": self.width,
            "height": self.height,
            "bytes": self.bytes,
        }


class ReviewRing:
    """Keeps what is uncertain, and what is unlike all seen lately, in at most so many bytes. Safe from any thread.

    When it is full, the oldest frame goes of whichever reason there are more of. What is like a frame in it, or
    like one that was taught or thrown away lately, is not kept.

    must_have_room : raises `StoreError` where the disk has no room for so many bytes more
    budget : bytes; with 0 nothing is kept
    """

    def __init__(self, folder: Path, answering: Answering, must_have_room: Callable[[int], None], budget: int):
        self._folder, self._answering, self._must_have_room = folder, answering, must_have_room
        self._lock = threading.RLock()
        self._budget = budget
        self._next = 0.0
        self._failing = False
        self._passed, self._settled = _Memory(), _Memory()
        self._taught: OrderedDict[int, Tuple[Kept, bytes]] = OrderedDict()  # by the step of the journal
        self._known_by = ""  # the extractor whose embeddings these two are of
        self._frames = _Frames(self._load())
        self._make_room(0)

    # -- for the live loop ------------------------------------------------------------------

    def wants(self, answer: Answer, embedding: np.ndarray, now: Optional[float] = None) -> Optional[str]:
        """Why a frame with this answer and embedding, (D,), is worth keeping; None when it is not. Writes nothing.

        now : of the monotonic clock
        """
        with self._lock:
            if not self._budget or (time.monotonic() if now is None else now) < self._next:
                return None
            direction, extractor = self._direction(embedding), self._extractor
            if direction is None:
                return None
            alike = self._frames.likeness(direction, extractor)
            if alike >= _ALIKE or self._settled.likeness(direction) >= _ALIKE:
                return None
            if _is_uncertain(answer):
                return UNCERTAIN
            alike = max(alike, self._passed.likeness(direction), self._settled.likeness(direction))
            if alike < _ALIKE:
                self._passed.add(direction)
            return NOVEL if alike < _FOREIGN else None

    def keep(self, jpeg: bytes, sighting: Sighting, now: Optional[float] = None) -> Optional[str]:
        """Keep a frame; returns its id, None where that can't be or it is like another. Never raises on a full disk."""
        with self._lock:
            direction = self._direction(sighting.embedding)
            if not self._budget or direction is None:
                return None
            if self._frames.likeness(direction, self._extractor) >= _ALIKE:
                return None
            self._next = (time.monotonic() if now is None else now) + _INTERVAL
            try:
                header = read_header(jpeg, ImageLimits(min_side=1))
                kept = self._kept(sighting, (header.width, header.height), len(jpeg), direction)
                return self._write(kept, jpeg)
            except (OSError, StoreError, CoralLearnError) as error:
                if not self._failing:
                    log.error("frames can't be kept for review: %s", error)
                self._failing = True
                return None

    # -- for people -------------------------------------------------------------------------

    @property
    def budget(self) -> int:
        """Bytes there may be."""
        return self._budget

    @property
    def bytes(self) -> int:
        """Bytes there are."""
        with self._lock:
            return self._frames.bytes

    def __len__(self) -> int:
        with self._lock:
            return len(self._frames)

    def page(self, page: int, size: int) -> Tuple[List[Kept], int]:
        """A page of the frames, newest first, and how many there are."""
        with self._lock:
            newest = self._frames.by_age()[::-1]
        return newest[page * size : (page + 1) * size], len(newest)

    def get(self, frame: str) -> Kept:
        """A frame's facts. Raises `NotFound`."""
        with self._lock:
            found = self._frames.find(frame)
        if found is None:
            raise NotFound(f"there is no frame {frame[:50]!r} to review (any more)", "frame_not_found")
        return found

    def image(self, frame: str) -> bytes:
        """A frame's JPEG. Raises `NotFound`."""
        try:
            return self._path(self.get(frame).id, _PICTURE).read_bytes()
        except OSError as error:
            raise NotFound(f"the picture of the frame {frame[:50]!r} is gone", "frame_not_found") from error

    def remove(self, frame: str) -> None:
        """Remove a frame that was dealt with; what is like it is not kept again soon. Raises `NotFound`."""
        with self._lock:
            kept = self.get(frame)
            self._drop(kept)
            if kept.extractor == self._known_by:
                self._settled.add(kept.direction)

    def take_out(self, frame: str, jpeg: bytes, step: Optional[int]) -> None:
        """Remove a frame whose picture was taught in this step of the journal. Raises `NotFound`."""
        with self._lock:
            kept = self.get(frame)
            self.remove(frame)
            if step is not None:
                self._taught[step] = kept, jpeg
            while len(self._taught) > _TAUGHT:
                self._taught.popitem(last=False)

    def put_back(self, step: int) -> None:
        """Have the frame again that was taught in a step which was undone, if it was one of the last few."""
        with self._lock:
            kept, jpeg = self._taught.pop(step, (None, b""))
            if kept is None:
                return
            try:
                self._write(kept, jpeg)
            except (OSError, StoreError) as error:
                log.error("a frame can't be put back for review: %s", error)

    def clear(self) -> int:
        """Remove every frame, each as `remove` does; returns how many."""
        with self._lock:
            every = self._frames.by_age()
            for kept in every:
                self.remove(kept.id)
            return len(every)

    def set_budget(self, budget: int) -> None:
        """From now on so many bytes, which what is there has to fit into at once."""
        with self._lock:
            self._budget = budget
            self._make_room(0)

    # -- parts ------------------------------------------------------------------------------

    @property
    def _extractor(self) -> str:
        extractor = self._answering.extractor
        return "" if extractor is None else extractor.digest

    def _direction(self, embedding: np.ndarray) -> Optional[np.ndarray]:
        """An embedding as heads see it, (D,) float32; None where it is of another extractor than the one in use."""
        extractor = self._answering.extractor
        if extractor is None or embedding.shape != (extractor.embedding_size,):
            return None
        if extractor.digest != self._known_by:
            self._known_by, self._passed, self._settled = extractor.digest, _Memory(), _Memory()
        return self._answering.pipeline(embedding)[0].astype(np.float32)

    def _kept(self, sighting: Sighting, shape: Tuple[int, int], size: int, direction: np.ndarray) -> Kept:
        answer = sighting.answer.as_dict()
        return Kept(
            uuid.uuid4().hex,
            round(sighting.captured, 3),
            sighting.reason,
            answer["class"],
            answer["score"],
            answer["predictions"],
            *shape,
            size,
            self._extractor,
            direction,
        )

    def _write(self, kept: Kept, jpeg: bytes) -> Optional[str]:
        """Put a frame on the disk; returns its id, None where it is larger than all that there may be."""
        name, facts = kept.id, _pack(kept, len(jpeg))
        kept = kept._replace(bytes=len(jpeg) + len(facts))
        if kept.bytes > self._budget:
            return None
        self._must_have_room(kept.bytes)
        self._make_room(kept.bytes)
        unfinished = self._path(name, _UNFINISHED)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._path(name, _PICTURE).write_bytes(jpeg)
            unfinished.write_bytes(facts)
            os.replace(str(unfinished), str(self._path(name, _FACTS)))
        except OSError:
            for suffix in (_PICTURE, _UNFINISHED):
                _unlink(self._path(name, suffix))
            raise
        self._frames.add(kept)
        self._failing = False
        return name

    def _make_room(self, wanted: int) -> None:
        while len(self._frames) and (self._frames.bytes + wanted > self._budget or len(self._frames) >= _MOST):
            self._drop(self._frames.first_to_go())

    def _drop(self, kept: Kept) -> None:
        self._frames.remove(kept.id)
        for suffix in (_FACTS, _PICTURE):  # in this order: a picture without facts is swept
            _unlink(self._path(kept.id, suffix))

    def _path(self, name: str, suffix: str) -> Path:
        return self._folder / (name + suffix)

    def _load(self) -> List[Kept]:
        """What an earlier run kept; what is not whole is removed."""
        try:
            files = sorted(self._folder.iterdir()) if self._folder.exists() else []
        except OSError as error:
            log.error("the frames kept for review can't be read: %s", error)
            return []
        found = [_read(path) for path in files if path.suffix == _FACTS]
        kept = [one for one in found if one is not None]
        whole = {one.id + suffix for one in kept for suffix in (_FACTS, _PICTURE)}
        for path in files:
            if path.name not in whole and path.suffix in (_PICTURE, _FACTS, _UNFINISHED):
                _unlink(path)
        return kept


class _Memory:
    """The newest directions of those that were added."""

    def __init__(self):
        self._rows: Optional[np.ndarray] = None
        self._added = 0

    def add(self, direction: np.ndarray) -> None:
        """Add one, (D,)."""
        if self._rows is None:
            self._rows = np.zeros((_REMEMBERED, len(direction)), np.float32)
        self._rows[self._added % _REMEMBERED] = direction
        self._added += 1

    def likeness(self, direction: np.ndarray) -> float:
        """The cosine to the nearest, -1 without any."""
        return -1.0 if self._rows is None else float((self._rows[: self._added] @ direction).max())


class _Frames:
    """The frames by id, and their directions in one array."""

    def __init__(self, frames: List[Kept]):
        self._frames = {one.id: one for one in sorted(frames, key=lambda one: one.captured)}
        self._directions: Optional[Tuple[str, np.ndarray]] = None
        self.bytes = sum(one.bytes for one in frames)

    def __len__(self) -> int:
        return len(self._frames)

    def by_age(self) -> List[Kept]:
        """All, oldest first."""
        return sorted(self._frames.values(), key=lambda one: one.captured)

    def find(self, name: str) -> Optional[Kept]:
        """One, or None."""
        return self._frames.get(name)

    def add(self, kept: Kept) -> None:
        """Add one."""
        self._frames[kept.id] = kept
        self.bytes += kept.bytes
        self._directions = None

    def remove(self, name: str) -> None:
        """Take one out."""
        self.bytes -= self._frames.pop(name).bytes
        self._directions = None

    def first_to_go(self) -> Kept:
        """The oldest of whichever reason there are more of; of novel ones where there are as many of both."""
        every = self.by_age()
        uncertain = [one for one in every if one.reason == UNCERTAIN]
        novel = [one for one in every if one.reason != UNCERTAIN]
        return (novel if len(novel) >= len(uncertain) else uncertain)[0]

    def likeness(self, direction: np.ndarray, extractor: str) -> float:
        """The cosine to the nearest frame that this extractor has seen, -1 without any."""
        if self._directions is None or self._directions[0] != extractor:
            rows = [one.direction for one in self._frames.values() if one.extractor == extractor]
            fitting = [row for row in rows if row.shape == direction.shape]
            self._directions = extractor, np.array(fitting, np.float32).reshape(len(fitting), len(direction))
        rows = self._directions[1]
        return float((rows @ direction).max()) if len(rows) else -1.0


def _is_uncertain(answer: Answer) -> bool:
    """Whether there are classes, but the answer is none of them, or hardly more likely than the next."""
    if not answer.predictions:
        return False
    first, *others = answer.predictions
    return answer.label is None or (bool(others) and first.score - others[0].score < _MARGIN)


def _pack(kept: Kept, picture_bytes: int) -> bytes:
    packed = base64.b64encode(kept.direction.astype("<f2").tobytes()).decode()
    facts = dict(kept.as_dict(), bytes=picture_bytes, extractor=kept.extractor, direction=packed)
    return json.dumps(facts, ensure_ascii=False).encode()


def _read(path: Path) -> Optional[Kept]:
    """The frame of a file of facts, None where it or its picture is not whole."""
    picture = path.with_suffix(_PICTURE)
    try:
        data = path.read_bytes()
        facts = json.loads(data.decode("utf-8"))
        with open(str(picture), "rb") as file:
            start, size = file.read(2), file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 2))
            ends = start == b"\xff\xd8" and file.read(2) == b"\xff\xd9"
        if not ends or size != facts["bytes"] or facts["id"] != path.stem:
            return None
        direction = np.frombuffer(base64.b64decode(facts["direction"]), "<f2").astype(np.float32)
        return Kept(
            facts["id"],
            float(facts["captured"]),
            facts["reason"],
            facts["class"],
            float(facts["score"]),
            list(facts["predictions"]),
            int(facts["width"]),
            int(facts["height"]),
            size + len(data),
            facts["extractor"],
            direction,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _unlink(path: Path) -> None:
    try:
        path.unlink()
    except FileNotFoundError:
        pass
    except OSError as error:
        log.warning("%s can't be removed: %s", path, error)
