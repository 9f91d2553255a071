"""What every head is."""

from abc import ABC, abstractmethod
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Type

import numpy as np

from coral_learn.errors import ClassNameInvalid, ClassUnknown, EmbeddingMismatch, HeadStateError, NothingLearnt
from coral_learn.heads.pipeline import EmbeddingPipeline
from coral_learn.heads.state import State, numbers

_KINDS: Dict[str, Type["Head"]] = {}
_ROWS_AT_ONCE = 1000


class Calibration(NamedTuple):
    """What turns a head's logits into honest scores, and lets it say "none of these".

    scale : factor on the logits before softmax (the inverse of a temperature)
    threshold : the familiarity below which an embedding belongs to none of the classes;
        minus infinity where nothing is refused
    """

    scale: float
    threshold: float = -np.inf

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """Scores 0..1 that sum to 1 over the last axis."""
        return softmax(self.scale * logits)

    def accepts(self, familiarity: np.ndarray) -> np.ndarray:
        """Whether so familiar an embedding is one of the classes at all."""
        return familiarity >= self.threshold


class Evidence(NamedTuple):
    """What a head finds in embeddings: shapes as of `Head.logits` and `Head.familiarity`."""

    logits: np.ndarray
    familiarity: np.ndarray


class Head(ABC):
    """The last layer over a set of classes. Plain numpy, no thread, no file.

    A class is named by an int or by a str, the same sort throughout one head. Taught classes are
    kept in sorted order, so that the order of teaching can't change an answer.

    kind : the head's name in states and in the HTTP API
    power, centred : of the pipeline that suits this head (`EmbeddingPipeline`)
    pipeline : what is done to an embedding first
    calibration : set it to what `coral_learn.training.calibrate` found
    """

    kind = ""
    power = 1.0
    centred = True
    scale = 1.0

    def __init_subclass__(cls, **arguments):
        super().__init_subclass__(**arguments)
        if cls.kind:
            _KINDS[cls.kind] = cls

    def __init__(self, pipeline: EmbeddingPipeline):
        self.pipeline = pipeline
        self.calibration = Calibration(self.scale)

    @classmethod
    def suited_pipeline(cls, size: int, mean: Optional[np.ndarray] = None) -> EmbeddingPipeline:
        """The pipeline that suits this kind of head best, by measurement (tests/benchmarks/learning.py).

        size : D; mean : (D,), the extractor's mean embedding where it is known
        """
        return EmbeddingPipeline(size, mean if cls.centred else None, cls.power)

    @property
    @abstractmethod
    def classes(self) -> List[Any]:
        """The classes that can be answered, in the order of `logits` and `scores`."""

    @abstractmethod
    def logits(self, embeddings: np.ndarray) -> np.ndarray:
        """Evidence for each class, (C,) for one embedding (D,), (N, C) for (N, D); float64.

        Changes nothing. Raises `NothingLearnt` without a class, `EmbeddingMismatch` for a wrong embedding.
        """

    def familiarity(self, embeddings: np.ndarray) -> np.ndarray:
        """How much like anything taught an embedding is: a number for (D,), (N,) for (N, D)."""
        return self.weigh(embeddings).familiarity

    def weigh(self, embeddings: np.ndarray) -> Evidence:
        """Logits and familiarity together, for the work of one."""
        logits = self.logits(embeddings)
        return Evidence(logits, logits.max(axis=-1))

    @abstractmethod
    def remove(self, label) -> None:
        """Take a class away without its examples at hand. Raises `ClassUnknown`, `ClassPretrained`."""

    @abstractmethod
    def state(self) -> State:
        """Everything the head knows, as arrays that `load_head` takes. Equal heads give equal states."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: State) -> "Head":
        """The head with this state; `load_head` adds what is common to all."""

    def scores(self, embeddings: np.ndarray) -> np.ndarray:
        """Score of each class, 0..1, summing to 1; shapes and errors as of `logits`."""
        return self.calibration.scores(self.logits(embeddings))

    def predict(self, embedding: np.ndarray):
        """The class with the highest score, though it may be none of them."""
        return self.classes[int(np.argmax(self.logits(self._one(embedding))))]

    def decide(self, embedding: np.ndarray):
        """The class with the highest score, or None for an embedding that is none of them."""
        logits, familiarity = self.weigh(self._one(embedding))
        return self.classes[int(np.argmax(logits))] if self.calibration.accepts(familiarity) else None

    def knows(self, embedding: np.ndarray) -> bool:
        """Whether an embedding is like one of the classes at all."""
        return bool(self.calibration.accepts(self.familiarity(self._one(embedding))))

    def adopt_threshold(self, other: "Head") -> None:
        """Take over from a copy of this head where "none of these" begins; scores stay as they are."""
        self.calibration = self.calibration._replace(threshold=other.calibration.threshold)

    def _one(self, embedding: np.ndarray) -> np.ndarray:
        if np.ndim(embedding) != 1:
            raise EmbeddingMismatch(f"one embedding is asked for, (D,), got the shape {np.shape(embedding)}")
        return embedding

    def _common_state(self) -> State:
        state = self.pipeline.state()
        state.update(kind=np.array(self.kind), calibration=np.array(self.calibration, np.float64))
        return state

    def _must_have_learnt(self) -> None:
        if not self.classes:
            raise NothingLearnt("nothing learnt yet: teach at least one example first")


class IncrementalHead(Head):
    """A head that takes one example more, or one fewer, without training again."""

    @classmethod
    def suited(cls, size: int, mean: Optional[np.ndarray] = None) -> "IncrementalHead":
        """An empty head over the pipeline that suits it."""
        return cls(cls.suited_pipeline(size, mean))

    @property
    @abstractmethod
    def counts(self) -> Dict[Any, int]:
        """Examples learnt of each taught class."""

    def learn_one(self, embedding: np.ndarray, label) -> None:
        """Learn one example of a class, new or known. Raises `EmbeddingMismatch`, `ClassPretrained`."""
        self.learn_many(np.atleast_2d(embedding), [label])

    @abstractmethod
    def learn_many(self, embeddings: np.ndarray, labels: Sequence[Any]) -> None:
        """Learn (N, D) examples; the same as learning them one by one, in any order."""

    def learn_all(self, embeddings: np.ndarray, labels: Sequence[Any]) -> None:
        """The same some at a time: at once it takes six times the memory of the embeddings. Not all or none."""
        must_match(embeddings, labels)
        for start in range(0, len(labels), _ROWS_AT_ONCE):
            self.learn_many(embeddings[start : start + _ROWS_AT_ONCE], labels[start : start + _ROWS_AT_ONCE])

    def forget(self, embedding: np.ndarray, label) -> None:
        """Take back one example: exactly as if it had never been learnt. Raises `ClassUnknown`, `ExampleUnknown`."""
        self.forget_many(np.atleast_2d(embedding), label)

    @abstractmethod
    def forget_many(self, embeddings: np.ndarray, label) -> None:
        """Take back (N, D) examples of one class, all or none; without any left the class is gone.

        Raises `ClassUnknown`, and `ExampleUnknown` for one that was never learnt.
        """

    @abstractmethod
    def rename(self, label, new) -> None:
        """Give a class another name. Raises `ClassUnknown`, `ClassPretrained`, `ClassNameInvalid`."""

    @abstractmethod
    def merge(self, label, into) -> None:
        """Make the examples of a class those of another. Raises `ClassUnknown`, `ClassPretrained`."""

    @abstractmethod
    def leave_one_out(self, embeddings: np.ndarray, labels: Sequence[Any]) -> Evidence:
        """What the head would find in examples it has learnt, each as if just this one had not been; exact.

        embeddings, labels : (N, D) and N; any part of what was learnt. Nothing is trained again.
        The logit of an example's own class is minus infinity where it is the only one of it.
        """

    @abstractmethod
    def leave_all_out(self, embeddings: np.ndarray, labels: Sequence[Any]) -> Evidence:
        """What the head would find in examples it has learnt, as if none of these had been; exact.

        embeddings, labels : (N, D) and N, such as frames that were taken together, which are nearly the same.
        The logit of a class is minus infinity where these are all of it.
        """

    @abstractmethod
    def as_strangers(self, embeddings: np.ndarray, labels: Sequence[Any]) -> np.ndarray:
        """Familiarity of examples to a head that was never taught their class, (N,); minus infinity without others.

        embeddings, labels : (N, D) and N; what was learnt of some classes. Of a part of a class the answer is the
            same, but for the discriminant: how the rest of the class scatters stays in what all classes share.
        """

    def _checked(self, embeddings: np.ndarray, labels: Sequence[Any], known: List[Any]):
        """Directions (N, D) and plain labels, all of one sort."""
        directions = self.pipeline(embeddings)
        must_match(directions, labels)
        return directions, check_labels(labels, known)


def must_match(embeddings: np.ndarray, labels: Sequence[Any]) -> None:
    """Raise `EmbeddingMismatch` unless there are as many embeddings as labels."""
    if len(embeddings) != len(labels):
        raise EmbeddingMismatch(f"{len(embeddings)} embeddings with {len(labels)} labels")


def load_head(state: State) -> Head:
    """The head that gave this state. Raises `HeadStateError`."""
    try:
        head = _KINDS[str(state["kind"])].from_state(state)
        head.calibration = _read_calibration(state)
        return head
    except (KeyError, ValueError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise HeadStateError(
            "this is not the state of a head (kinds: {}): {}".format(", ".join(sorted(_KINDS)), error)
        ) from error


def _read_calibration(state: State) -> Calibration:
    scale, threshold = np.asarray(state["calibration"]).tolist()
    numbers({"calibration": np.array(scale)}, "calibration", "real", ())
    if not scale > 0 or not -np.inf <= threshold < np.inf:
        raise ValueError(f"the calibration needs a scale above 0 and a threshold, has {scale!r} and {threshold!r}")
    return Calibration(float(scale), float(threshold))


def softmax(logits: np.ndarray) -> np.ndarray:
    """exp(logits) / sum over the last axis, without overflow."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def like_input(rows: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    """Results for (N, D) as they are; for one embedding (D,) the only row."""
    return rows[0] if np.ndim(embeddings) == 1 else rows


def class_unknown(label, classes: Sequence[Any]) -> ClassUnknown:
    """The error for a class the head doesn't have."""
    some = ", ".join(repr(name) for name in list(classes)[:10])
    return ClassUnknown("no class {!r} here; there are {}: {}".format(label, len(classes), some or "none"))


def class_taken(label) -> ClassNameInvalid:
    """The error for a name that another class has."""
    return ClassNameInvalid(f"there is a class {label!r} already; merge the two, or choose another name")


def check_label(label, classes: Sequence[Any]):
    """Return a class's name as a plain int or str, or raise `ClassNameInvalid`.

    classes : those already there; the new one must be of their sort
    """
    if isinstance(label, (np.integer, np.str_)):
        label = label.item()
    sort = int if isinstance(label, int) and not isinstance(label, bool) else str
    if not isinstance(label, sort) or (sort is str and "\0" in label):
        raise ClassNameInvalid(f"a class is named by a whole number or by text without NUL, got {label!r}")
    if sort is int and not -(2**63) <= label < 2**63:
        raise ClassNameInvalid(f"a class number has 64 bits at most, got {label}")
    if classes and not isinstance(classes[0], sort):
        raise ClassNameInvalid(f"the classes here are named like {classes[0]!r}, got {label!r}")
    return label


def check_labels(labels: Sequence[Any], classes: Sequence[Any] = ()) -> List[Any]:
    """Names as plain ones of one sort, that of the classes already there. Raises `ClassNameInvalid`."""
    known = list(classes[:1]) or [check_label(label, []) for label in labels[:1]]
    return [check_label(label, known) for label in labels]


def places_of(labels: Sequence[Any], classes: Sequence[Any]) -> np.ndarray:
    """The place of each label among the classes, (N,) int64. Raises `ClassUnknown`."""
    places = {label: place for place, label in enumerate(classes)}
    for label in labels:
        if label not in places:
            raise class_unknown(label, classes)
    return np.array([places[label] for label in labels], np.int64)


def class_array(classes: Sequence[Any]) -> np.ndarray:
    """Classes as an array for a state: int64, or text."""
    if not classes or isinstance(classes[0], (int, np.integer)):
        return np.array(list(classes), np.int64)
    return np.array(list(classes), np.str_)
