"""Whether a new version is to answer."""

import pytest

from service.errors import Invalid
from service.jobs.options import TrainOptions, read_options
from service.jobs.queue import ENOUGH, decide

BASELINE = {"version": "live", "head": "imprinting", "accuracy": 0.9}


@pytest.mark.parametrize(
    ("activate", "accuracy", "baseline", "expected"),
    [
        ("always", None, 0.9, True),
        ("never", 1.0, 0.1, False),
        ("if_better", 0.9, 0.9, True),
        ("if_better", 0.89, 0.9, False),
        ("if_better", 0.5, None, True),
    ],
)
def test_decision(activate, accuracy, baseline, expected):
    """Not worse on held-out examples, or the user's word; and a reason in any case."""
    activated, reason = decide(activate, accuracy, ENOUGH, dict(BASELINE, accuracy=baseline))
    assert activated is expected
    assert reason


def test_too_little_to_judge_by():
    """A handful of held-out examples replaces nothing on its own."""
    assert decide("if_better", 1.0, ENOUGH - 1, BASELINE)[0] is False
    assert decide("if_better", None, 0, BASELINE)[0] is False
    assert decide("always", None, 0, BASELINE)[0] is True


def test_options_survive_json():
    """What goes into the table of jobs comes out again."""
    options = read_options({"head": "softmax", "epochs": 5, "activate": "never", "held_out": 0.1})
    assert TrainOptions.from_dict(options.as_dict()) == options
    assert (options.softmax.epochs, options.softmax.batch_size) == (5, 32)


@pytest.mark.parametrize("body", [[], {"head": []}, {"epochs": 1.5}, {"epochs": True}, {"l2": float("nan")}, {"x": 1}])
def test_options_that_are_refused(body):
    """Invalid, never another error."""
    with pytest.raises(Invalid):
        read_options(body)
