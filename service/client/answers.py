"""What the daemon answers, as types, and how they are made of what came."""

from typing import Any, Dict, List, NamedTuple, Optional

ENDED = ("succeeded", "failed", "cancelled", "interrupted")


class Prediction(NamedTuple):
    """A class and its score, 0..1."""

    label: str
    score: float


class Classification(NamedTuple):
    """What is in a picture. label : None for nothing known; answer : all of it, as it came."""

    label: Optional[str]
    score: float
    predictions: List[Prediction]
    model: Dict[str, Any]
    device: str
    timing_ms: Dict[str, float]
    answer: Dict[str, Any]


class Example(NamedTuple):
    """A stored picture. width, height : pixels; created : seconds since 1970; facts : all of it, as it came."""

    id: str
    class_name: str
    sha256: str
    width: int
    height: int
    created: float
    facts: Dict[str, Any]


class AddedExample(NamedTuple):
    """A picture that was taught. duplicate : it was there already; class_examples : of its class by now."""

    id: str
    class_name: str
    duplicate: bool
    warnings: List[str]
    class_examples: int
    model: Dict[str, Any]


class CapturedFrames(NamedTuple):
    """Frames of the camera that were taught.

    capture : what they share; frames : taken, of which near_duplicates were dropped; class_examples : of the class
    by now
    """

    class_name: str
    capture: str
    accepted: List[AddedExample]
    frames: int
    near_duplicates: int
    class_examples: int
    missed: Optional[str]


class RefusedFile(NamedTuple):
    """A picture that was not taught. filename : empty for bytes; code : a stable word for programs."""

    filename: str
    code: str
    detail: str


class AddedExamples(NamedTuple):
    """What became of several pictures."""

    accepted: List[AddedExample]
    refused: List[RefusedFile]


class ListedClass(NamedTuple):
    """A class. examples : how many."""

    name: str
    examples: int
    pretrained: bool


class Job(NamedTuple):
    """Work in the background. progress : 0..1; model : {"version", "activated", "reason"} or None; error : a problem
    document or None; facts : all of it, as it came.
    """

    id: str
    kind: str
    state: str
    progress: float
    metrics: Dict[str, Any]
    model: Optional[Dict[str, Any]]
    error: Optional[Dict[str, Any]]
    facts: Dict[str, Any]

    @property
    def ended(self) -> bool:
        """Whether it has come to an end, of whatever kind."""
        return self.state in ENDED


class Event(NamedTuple):
    """Something that happened. kind : classification, camera, model ...; id : for going on behind it, may be empty."""

    kind: str
    data: Dict[str, Any]
    id: str


def listed_class(facts: Dict[str, Any]) -> ListedClass:
    """A class as it came."""
    return ListedClass(facts["name"], facts["examples"], facts["pretrained"])


def example_of(facts: Dict[str, Any]) -> Example:
    """An example as it came."""
    names = ("id", "class", "sha256", "width", "height", "created")
    return Example(*(facts[name] for name in names), facts)


def job_of(facts: Dict[str, Any]) -> Job:
    """A job as it came."""
    names = ("id", "kind", "state", "progress", "metrics", "model", "error")
    return Job(*(facts[name] for name in names), facts)
