"""What a training request may say."""

from typing import Any, Dict, NamedTuple

from coral_learn.errors import OptionError
from coral_learn.heads import ImprintingHead, SoftmaxHead
from coral_learn.training import KINDS, SoftmaxOptions
from service.errors import Invalid

AUTO = "auto"
TRAINABLE = (*KINDS, AUTO)
IF_BETTER, ALWAYS, NEVER = ACTIVATE = ("if_better", "always", "never")
HELD_OUT = 0.2
LONGEST_SEARCH = 3600.0


class TrainOptions(NamedTuple):
    """A checked training request.

    head : which head to train, `auto` for the one that does best; activate : when to let it answer;
    held_out : share of each class to measure with, 0..0.5; search_seconds : how long to search for
    better options of a softmax head, 0 takes those given; softmax : its options
    """

    head: str
    activate: str
    held_out: float
    search_seconds: float
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
    activate = _choice(values, "activate", IF_BETTER, ACTIVATE)
    held_out = _number(values, "held_out", HELD_OUT, 0.5)
    search_seconds = _number(values, "search_seconds", 0.0, LONGEST_SEARCH)
    if head not in (SoftmaxHead.kind, AUTO):
        _softmax_only(head, dict(values, **({"search_seconds": 0} if search_seconds else {})))
    unknown = sorted(set(values) - set(SoftmaxOptions._fields))
    if unknown:
        allowed = ", ".join(("head", "activate", "held_out", "search_seconds", *SoftmaxOptions._fields))
        raise Invalid(f"unknown option {unknown[0]!r}, allowed are {allowed}", unknown[0])
    try:
        softmax = SoftmaxOptions(**values).checked()
    except OptionError as error:
        raise Invalid(str(error), str(error).split(" ", 1)[0]) from error
    return TrainOptions(head, activate, held_out, search_seconds, int(softmax.seed), softmax)


def _softmax_only(head: str, values: Dict[str, Any]) -> None:
    """Refuse options that would do nothing."""
    useless = sorted((set(values) & {*SoftmaxOptions._fields, "search_seconds"}) - {"seed"})
    if useless:
        raise Invalid(
            f"{useless[0]} is an option of softmax and does nothing for {head}; "
            f'say "head": "{SoftmaxHead.kind}" or "{AUTO}"',
            useless[0],
        )


def _choice(values: Dict[str, Any], field: str, default: str, allowed) -> str:
    value = values.pop(field, default)
    if value not in allowed:
        raise Invalid(f"{field} is one of {', '.join(allowed)}, got {value!r}", field)
    return value


def _number(values: Dict[str, Any], field: str, default: float, highest: float) -> float:
    value = values.pop(field, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= highest:
        raise Invalid(f"{field} is a number from 0 to {highest:g}, got {value!r}", field)
    return float(value)
