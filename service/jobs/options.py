"""What a training request may say."""

from typing import Any, Dict, NamedTuple

from coral_learn.errors import OptionError
from coral_learn.heads import ImprintingHead, SoftmaxHead
from coral_learn.training import SoftmaxOptions
from service.errors import Invalid

TRAINABLE = (ImprintingHead.kind, SoftmaxHead.kind)
ACTIVATE = ("if_better", "always", "never")
HELD_OUT = 0.2


class TrainOptions(NamedTuple):
    """A checked training request.

    head : which head to train; activate : when to let it answer; held_out : share of each class
    to measure with, 0..0.5; softmax : options of the softmax head
    """

    head: str
    activate: str
    held_out: float
    seed: int
    softmax: SoftmaxOptions

    def as_dict(self) -> Dict[str, Any]:
        """For JSON and for the job's process."""
        return dict(self._asdict(), softmax=dict(self.softmax._asdict()))

    @classmethod
    def from_dict(cls, values: Dict[str, Any]) -> "TrainOptions":
        """The options that gave this dictionary."""
        return cls(**dict(values, softmax=SoftmaxOptions(**values["softmax"])))


def read_options(body: Any) -> TrainOptions:
    """Options from a request's JSON. Raises `Invalid` that names the field."""
    if not isinstance(body, dict):
        raise Invalid('the body is a JSON object like {"head": "softmax"}', code="body_invalid")
    values = dict(body)
    head = _choice(values, "head", ImprintingHead.kind, TRAINABLE)
    activate = _choice(values, "activate", "if_better", ACTIVATE)
    held_out = values.pop("held_out", HELD_OUT)
    if isinstance(held_out, bool) or not isinstance(held_out, (int, float)) or not 0 <= held_out <= 0.5:
        raise Invalid(f"held_out is a number from 0 to 0.5, got {held_out!r}", "held_out")
    unknown = sorted(set(values) - set(SoftmaxOptions._fields))
    if unknown:
        allowed = ", ".join(("head", "activate", "held_out", *SoftmaxOptions._fields))
        raise Invalid(f"unknown option {unknown[0]!r}, allowed are {allowed}", unknown[0])
    try:
        softmax = SoftmaxOptions(**values).checked()
    except OptionError as error:
        raise Invalid(str(error), str(error).split(" ", 1)[0]) from error
    return TrainOptions(head, activate, float(held_out), int(softmax.seed), softmax)


def _choice(values: Dict[str, Any], field: str, default: str, allowed) -> str:
    value = values.pop(field, default)
    if value not in allowed:
        raise Invalid(f"{field} is one of {', '.join(allowed)}, got {value!r}", field)
    return value
