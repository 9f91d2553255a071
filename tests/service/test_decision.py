"""From answers to what is published."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coral_learn.classifier import Prediction
from service.learning import Answer
from service.live.decision import Decision, DecisionRule

QUICK = 0.1  # seconds between frames
LABELS = (None, "cup", "key", "pen")


def answer(label, score=0.9, **scores):
    """An answer with this best class; scores : of all classes, where they matter."""
    shown = scores or {name: score if name == label else (1 - score) / 2 for name in LABELS[1:]}
    predictions = sorted((Prediction(name, share) for name, share in shown.items()), key=lambda one: -one.score)
    return Answer(label, predictions[0].score, predictions, {})


def run(rule, answers, interval=QUICK):
    """What is decided at each of these answers."""
    decision = Decision(rule)
    times = [interval * number for number in range(len(answers))]
    return [decision.take(one, 1000.0 + when, when) for one, when in zip(answers, times)]


def labels(decided):
    """The labels alone."""
    return [one.label for one in decided]


def test_some_equal_answers_are_needed():
    """A flicker of one or two frames changes nothing; the third equal answer does."""
    seen = run(
        DecisionRule(frames=3), [answer(label) for label in ("cup",) * 3 + ("key",) * 2 + ("cup",) + ("key",) * 3]
    )
    assert labels(seen) == [None, None, "cup", "cup", "cup", "cup", "cup", "cup", "key"]
    assert [number for number, one in enumerate(seen) if one.changed] == [0, 2, 8]
    assert seen[8].before == "cup"
    assert seen[7].since == 1000.2


def test_one_is_enough_where_so_told():
    """At once, unknown included."""
    assert labels(run(DecisionRule(frames=1), [answer("cup"), answer(None), answer("key")])) == ["cup", None, "key"]


def test_pictures_of_a_slow_camera_stand_for_themselves():
    """From the second frame on, when the pace is known."""
    seen = run(DecisionRule(frames=3), [answer(label) for label in ("cup", "cup", "key", "pen")], interval=2.0)
    assert labels(seen) == [None, "cup", "key", "pen"]


def test_low_scores_count_as_unknown():
    """Below the threshold, not at it."""
    seen = run(DecisionRule(threshold=0.6, frames=1), [answer("cup", 0.6), answer("cup", 0.59)])
    assert labels(seen) == ["cup", None]


def test_smoothing_bridges_single_answers():
    """One odd answer among many of the same class is averaged away, many are not."""
    rule = DecisionRule(frames=1, smoothing=0.8)
    seen = run(rule, [answer("cup")] * 10 + [answer("key")] + [answer("cup")] * 3 + [answer("key")] * 10)
    assert labels(seen[:14]) == ["cup"] * 14
    assert seen[-1].label == "key"
    seen = run(rule, [answer("cup")] * 10 + [answer(None)] + [answer("cup")] + [answer(None)] * 20)
    assert labels(seen[:12]) == ["cup"] * 12
    assert seen[-1].label is None


def test_nothing_is_decided_without_frames():
    """A lost camera ends what was decided; equal answers are counted anew after it."""
    decision = Decision(DecisionRule(frames=2))
    for number in range(3):
        decision.take(answer("cup"), 1000.0 + number * QUICK, number * QUICK)
    lost = decision.lose(1010.0)
    assert (lost.label, lost.changed, lost.before, lost.since) == (None, True, "cup", 1010.0)
    assert not decision.lose(1011.0).changed
    assert decision.take(answer("cup"), 1020.0, 20.0).label is None
    assert decision.take(answer("cup"), 1020.1, 20.1).label == "cup"


@pytest.mark.parametrize("jump", [-5 * 3600.0, 5 * 3600.0])
def test_clock_that_is_set_changes_no_pace(jump):
    """A camera with many frames a second is none with few because the clock was set in between."""
    decision = Decision(DecisionRule(frames=3))
    for number, label in enumerate(["cup"] * 3 + ["key"] * 2 + ["cup"] * 3):
        when = number * QUICK
        seen = decision.take(answer(label), 1000.0 + when + (jump if number > 2 else 0.0), when)
        assert seen.label == ("cup" if number >= 2 else None)


@given(
    st.lists(st.tuples(st.sampled_from(LABELS), st.floats(0.34, 1)), min_size=1, max_size=60),
    st.integers(1, 5),
    st.sampled_from([0.0, 0.5, 0.9]),
    st.sampled_from([0.0, 0.5]),
)
def test_changes_are_told_exactly(stream, frames, smoothing, threshold):
    """`changed` is set where the label is another one, `since` moves only there, and without averages the
    label was that of the last `frames` answers."""
    rule = DecisionRule(threshold, frames, smoothing)
    answers = [answer(label, score) for label, score in stream]
    seen = run(rule, answers)
    for number, (before, now) in enumerate(zip(seen, seen[1:]), 1):
        assert now.changed == (now.label != before.label)
        assert (now.since != before.since) == now.changed
        if now.changed:
            assert now.before == before.label
        if now.changed and not smoothing:
            last = answers[number + 1 - frames : number + 1]
            assert {one.label if one.score >= threshold else None for one in last} == {now.label}
