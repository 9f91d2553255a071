"""What every head is."""

from abc import ABC, abstractmethod
from typing import Any, Dict, List, Sequence, Type

import numpy as np

from coral_learn.errors import ClassNameInvalid, ClassUnknown, HeadStateError, NothingLearnt
from coral_learn.heads.pipeline import EmbeddingPipeline

State = Dict[str, np.ndarray]
_KINDS: Dict[str, Type["Head"]] = {}


class Head(ABC):
    """The last layer over a set of classes. Plain numpy, no thread, no file.

    A class is named by an int or by a str, the same sort throughout one head. Classes are kept in
    sorted order, so that the order of teaching can't change an answer.

    kind : the head's name in states and in the HTTP API
    pipeline : what is done to an embedding first
    """

    kind = ""

    def __init_subclass__(cls, **arguments):
        super().__init_subclass__(**arguments)
        if cls.kind:
            _KINDS[cls.kind] = cls

    def __init__(self, pipeline: EmbeddingPipeline):
        self.pipeline = pipeline

    @property
    @abstractmethod
    def classes(self) -> List[Any]:
        """The classes that can be answered, in the order of `scores`."""

    @abstractmethod
    def scores(self, embedding: np.ndarray) -> np.ndarray:
        """Score of each class for one embedding, (C,) float64, 0..1, summing to 1.

        Changes nothing. Raises `NothingLearnt` without a class, `EmbeddingMismatch` for a wrong embedding.
        """

    @abstractmethod
    def state(self) -> State:
        """Everything the head knows, as arrays that `load_head` takes. Equal heads give equal states."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: State) -> "Head":
        """The head with this state."""

    def predict(self, embedding: np.ndarray):
        """The class with the highest score."""
        return self.classes[int(np.argmax(self.scores(embedding)))]

    def _must_have_learnt(self) -> None:
        if not self.classes:
            raise NothingLearnt("nothing learnt yet: teach at least one example first")


class IncrementalHead(Head):
    """A head that takes one example more, or one fewer, without training again."""

    def learn_one(self, embedding: np.ndarray, label) -> None:
        """Learn one example of a class, new or known. Raises `EmbeddingMismatch`, `ClassPretrained`."""
        self.learn_many(np.atleast_2d(embedding), [label])

    @abstractmethod
    def learn_many(self, embeddings: np.ndarray, labels: Sequence[Any]) -> None:
        """Learn (N, D) examples; the same as learning them one by one, in any order."""

    @abstractmethod
    def forget(self, embedding: np.ndarray, label) -> None:
        """Take back one example: exactly as if it had never been learnt. Raises `ClassUnknown`."""

    @abstractmethod
    def remove_class(self, label) -> None:
        """Take back all examples of a class. Raises `ClassUnknown`, `ClassPretrained`."""


def load_head(state: State) -> Head:
    """The head that gave this state. Raises `HeadStateError`."""
    try:
        kind = str(state["kind"])
        return _KINDS[kind].from_state(state)
    except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise HeadStateError(
            "this is not the state of a head (kinds: {}): {}".format(", ".join(sorted(_KINDS)), error)
        ) from error


def softmax(logits: np.ndarray) -> np.ndarray:
    """exp(logits) / sum over the last axis, without overflow."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def class_unknown(label, classes: Sequence[Any]) -> ClassUnknown:
    """The error for a class the head doesn't have."""
    some = ", ".join(repr(name) for name in list(classes)[:10])
    return ClassUnknown("no class {!r} here; there are {}: {}".format(label, len(classes), some or "none"))


def check_label(label, classes: Sequence[Any]):
    """Return a class's name as a plain int or str, or raise `ClassNameInvalid`.

    classes : those already there; the new one must be of their sort
    """
    if isinstance(label, np.integer):
        label = int(label)
    sort = int if isinstance(label, int) and not isinstance(label, bool) else str
    if not isinstance(label, sort) or (sort is str and "\0" in label):
        raise ClassNameInvalid(f"a class is named by a whole number or by text without NUL, got {label!r}")
    if classes and not isinstance(classes[0], sort):
        raise ClassNameInvalid(f"the classes here are named like {classes[0]!r}, got {label!r}")
    return label


def class_array(classes: Sequence[Any]) -> np.ndarray:
    """Classes as an array for a state: int64, or text."""
    if not classes or isinstance(classes[0], (int, np.integer)):
        return np.array(list(classes), np.int64)
    return np.array(list(classes), np.str_)
