"""coral_learn/training/: choosing a kind of head, by folds that hold each example out; and making it."""

import json
from collections import Counter

import numpy as np
import pytest
from blobs import blobs
from hypothesis import given
from hypothesis import strategies as st

from coral_learn import Recipe, SoftmaxOptions, choose_head, evaluate, make_calibrated
from coral_learn.errors import EmbeddingMismatch, OptionError, TooFewExamples, TrainingStopped
from coral_learn.heads import Calibration
from coral_learn.training import INCREMENTAL, KINDS, HeldOut, calibrate, cross_validate, folds, stratified_split
from coral_learn.training.calibration import calibrate_softmax

SIZE = 8
QUICK = SoftmaxOptions(epochs=8, learning_rate=0.02)
RECIPE = Recipe("imprinting", SIZE, softmax=QUICK)


def frozen(head):
    """A head's state as bytes, to compare, but for its calibration."""
    return {name: array.tobytes() for name, array in head.state().items() if name != "calibration"}


# Folds


@st.composite
def labelled(draw):
    """Labels, groups or None, a number of folds and a seed."""
    count = draw(st.integers(0, 30))
    labels = draw(st.lists(st.sampled_from("abcd"), min_size=count, max_size=count))
    group = st.one_of(st.none(), st.integers(0, 8))
    groups = draw(st.one_of(st.none(), st.lists(group, min_size=count, max_size=count)))
    return labels, groups, draw(st.integers(2, 7)), draw(st.integers(0, 5))


@given(labelled())
def test_folds(drawn):
    """Each example is held out at most once, each class keeps one to train on, and groups stay together."""
    labels, groups, count, seed = drawn
    splits = folds(labels, count, seed, groups)

    assert len(splits) <= count
    assert max(Counter(index for split in splits for index in split.held_out).values(), default=1) == 1
    for split in splits:
        assert split.held_out
        assert sorted(split.train + split.held_out) == list(range(len(labels)))
        assert (split.train, split.held_out) == (sorted(split.train), sorted(split.held_out))
        assert {labels[index] for index in split.train} == set(labels)
        if groups is not None:
            sides = [{groups[index] for index in side} - {None} for side in split]
            assert not sides[0] & sides[1]
    assert splits == folds(labels, count, seed, groups)


@given(st.lists(st.sampled_from("abcd"), max_size=30), st.integers(2, 7))
def test_folds_hold_out_everything_once(labels, count):
    """Without groups, each example of a class that has two is held out once, and classes are spread evenly."""
    splits, sizes = folds(labels, count), Counter(labels)
    held_out = sorted(index for split in splits for index in split.held_out)

    assert held_out == [index for index, label in enumerate(labels) if sizes[label] > 1]
    for label in (label for label in sizes if sizes[label] > 1):
        in_folds = [sum(labels[index] == label for index in split.held_out) for split in splits]
        assert max(in_folds) <= -(-sizes[label] // count)


def test_another_seed_deals_otherwise():
    """Which examples come together is up to the seed."""
    labels = ["a", "b"] * 20

    assert folds(labels, 5, seed=1) != folds(labels, 5, seed=2)


@pytest.mark.parametrize("count", [1, 0, -2, 2.0, "5", None])
def test_folds_refused(count):
    """There are at least two folds."""
    with pytest.raises(OptionError, match="at least 2 folds"):
        folds(["a", "b"], count)


def test_no_folds():
    """Where nothing can be held out there are no folds."""
    assert folds([]) == []
    assert folds(["a", "b", "c"]) == []
    assert folds(["a", "a", "b", "b"], groups=[1, 1, 2, 2]) == []


# Cross-validation


@pytest.mark.parametrize("kind", KINDS)
def test_cross_validation_by_hand(kind):
    """Figures are those of all held-out examples together, each answered by a head made of the others."""
    rows, labels = blobs(per_class=7, spread=0.9)
    recipe, splits, answers = RECIPE._replace(kind=kind), folds(labels, 4), {}
    found = cross_validate(recipe, rows, labels, splits)
    for split in splits:
        head = recipe.make(rows[split.train], [labels[index] for index in split.train])
        answers.update((index, head.predict(rows[index])) for index in split.held_out)
    right = [answers[index] == label for index, label in enumerate(labels)]
    confusion = Counter((labels[index], answer) for index, answer in answers.items())

    assert found.examples == len(answers) == 21
    assert found.accuracy == pytest.approx(np.mean(right))
    assert 0 < found.accuracy < 1
    assert found.mean_class_accuracy == pytest.approx(np.mean([np.mean(right[row : row + 7]) for row in (0, 7, 14)]))
    assert found.confusion == [[confusion[own, given] for given in found.answers] for own in found.classes]


def test_folds_weigh_by_their_examples():
    """A fold of one example doesn't weigh as much as one of many."""
    rows, labels = blobs(classes=("a", "b"), per_class=10, spread=0.01)
    labels[0] = "b"
    splits = folds(labels, 2)
    one = [split for split in splits if 0 in split.held_out]
    found = cross_validate(RECIPE, rows, labels, splits)

    assert len(one) == 1
    assert found.accuracy == pytest.approx(19 / 20)


def test_cross_validation_stops_and_counts():
    """It asks before each fold whether to stop, and tells each that is done."""
    rows, labels = blobs()
    splits, done = folds(labels, 5), []
    cross_validate(RECIPE, rows, labels, splits, on_fold=lambda: done.append(1))
    assert len(done) == 5
    with pytest.raises(TrainingStopped):
        cross_validate(RECIPE, rows, labels, splits, lambda: len(done) == 7, lambda: done.append(1))

    assert len(done) == 7
    assert cross_validate(RECIPE, rows, labels, []).examples == 0


# Choosing


def nuisance():
    """Few numbers tell the classes apart, and the largest ones say nothing: for the discriminant."""
    random, numbers = np.random.RandomState(0), np.repeat(np.arange(4), 20)
    shared = random.normal(size=(80, 2)) @ random.normal(0, 4, (2, 16))
    return random.normal(size=(4, 16))[numbers] + shared + random.normal(0, 0.1, (80, 16)) + 3, numbers


def faint_noise():
    """A number for each class, and many that flattening makes as large: for imprinting."""
    random, numbers = np.random.RandomState(1), np.repeat(np.arange(4), 20)
    return np.eye(4, 64)[numbers] + random.normal(0, 0.25, (80, 64)), numbers


def two_sided():
    """Each class looks like two opposite things: for nearest neighbours."""
    random, numbers = np.random.RandomState(0), np.repeat([0, 1], 24)
    rows = random.normal(size=(2, 16))[numbers] * np.tile([1, -1], 24)[:, None]
    return rows + random.normal(0, 0.2, (48, 16)), numbers


def narrow_and_wide():
    """One class is narrow and close to the edge of a wide one: for softmax."""
    random, numbers = np.random.RandomState(3), np.repeat([0, 1], 60)
    angles = np.concatenate([random.uniform(-0.1, 0, 60), random.uniform(0.15, 1.5, 60)])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1) @ np.eye(2, 8) + random.normal(0, 0.02, (120, 8))
    rows[:, 2:] += random.normal(0, 0.3, (120, 6))
    return rows, numbers


@pytest.mark.parametrize(
    ("kind", "made"),
    [("lda", nuisance), ("imprinting", faint_noise), ("knn", two_sided), ("softmax", narrow_and_wide)],
)
def test_each_kind_wins_where_it_should(kind, made):
    """On examples made for it, each kind is chosen, for the highest of the figures that the reason names."""
    rows, numbers = made()
    options = SoftmaxOptions(learning_rate=0.05 if kind == "softmax" else 0.001)
    choice = choose_head(Recipe("lda", rows.shape[1], softmax=options), rows, [f"class {n}" for n in numbers])

    assert choice.kind == kind == max(choice.accuracy, key=choice.accuracy.get)
    assert set(choice.accuracy) == set(KINDS)
    assert choice.examples == len(numbers)
    assert f"cross-validated on {len(numbers)} examples of {len(set(numbers))} classes" in choice.reason
    assert f"{kind} answered best" in choice.reason
    for name, accuracy in choice.accuracy.items():
        assert f"{name} {accuracy:.1%}" in choice.reason


@pytest.mark.parametrize(
    ("kinds", "kind"),
    [
        (KINDS, "lda"),
        (("softmax", "knn", "imprinting"), "imprinting"),
        (("softmax", "knn"), "knn"),
        (("softmax",), "softmax"),
    ],
)
def test_of_equals_the_one_that_keeps_learning(kinds, kind):
    """Where all answer right, the kind that learns as examples come is chosen before one that trains again."""
    rows, labels = blobs(spread=0.05)
    recipe = RECIPE._replace(softmax=SoftmaxOptions(epochs=40, learning_rate=0.02))
    choice = choose_head(recipe, rows, labels, kinds=kinds)

    assert choice.kind == kind
    assert set(choice.accuracy.values()) == {1.0}


def test_a_lead_that_chance_would_explain():
    """One right answer more of a dozen is no reason to choose another kind, and the reason says so."""
    found = None
    for seed in range(20):
        rows, labels = blobs(per_class=4, spread=0.7, seed=seed)
        choice = choose_head(RECIPE, rows, labels)
        best = max(choice.accuracy.values())
        if choice.kind == "lda" and choice.accuracy["lda"] < best:
            found = choice
            break

    assert found is not None
    ahead = max(found.accuracy, key=found.accuracy.get)
    assert f"{ahead} is ahead by no more than chance would explain" in found.reason
    assert "lda learns from one image more at once" in found.reason
    error = np.sqrt(best * (1 - best) / 12)
    assert found.accuracy["lda"] >= best - max(error, 1 / 12) - 1e-9


def test_few_examples_are_mentioned():
    """With fewer than five examples of a class the choice may change, which is told."""
    rows, labels = blobs(per_class=6)
    assert "may change with more" not in choose_head(RECIPE, rows, labels).reason
    few = choose_head(RECIPE, rows[2:], labels[2:])

    assert "1 of the classes have fewer than 5 examples: the choice may change with more" in few.reason


@pytest.mark.parametrize(
    ("labels", "groups", "words"),
    [
        (list("aaaaaa"), None, "only one class"),
        (["a"], None, "only one class"),
        (list("abcdef"), None, "no class with two examples"),
        pytest.param(
            list("aaabbb"),
            [1, 1, 1, 2, 2, 2],
            "taken together",
        ),
    ],
)
def test_nothing_to_measure_by(labels, groups, words):
    """Where nothing can be held out, what was measured elsewhere decides, and the reason says why."""
    rows = np.random.RandomState(0).uniform(0, 1, (len(labels), SIZE))
    choice = choose_head(RECIPE, rows, labels, groups)

    assert (choice.kind, choice.accuracy, choice.examples) == ("lda", {}, 0)
    assert words in choice.reason
    assert "nothing could be measured" in choice.reason


def test_only_kinds_asked_for():
    """Also where nothing can be measured, only a kind that was asked for is chosen."""
    assert choose_head(RECIPE, np.ones((2, SIZE)), ["a", "b"], kinds=["imprinting", "knn"]).kind != "lda"


def test_groups_stay_on_one_side():
    """Frames captured together don't answer for each other: without the groups figures look better than they are."""
    random = np.random.RandomState(0)
    scenes = random.normal(0, 1, (8, SIZE))  # four scenes a class, which share nothing
    rows = scenes.repeat(5, axis=0) + random.normal(0, 0.01, (40, SIZE))
    labels, groups = ["a"] * 20 + ["b"] * 20, [number // 5 for number in range(40)]
    kinds = ["knn"]

    assert choose_head(RECIPE, rows, labels, kinds=kinds).accuracy["knn"] == 1.0
    assert choose_head(RECIPE, rows, labels, groups, kinds).accuracy["knn"] < 0.8


def test_same_seed_same_choice():
    """The same seed gives the same figures twice, another seed other folds."""
    rows, labels = blobs(per_class=8, spread=0.9)
    first, again, other = (choose_head(RECIPE, rows, labels, seed=seed) for seed in (1, 1, 2))

    assert first == again
    assert first.accuracy != other.accuracy


def test_progress():
    """Progress rises with each fold of each kind, and reaches 1 exactly."""
    rows, labels = blobs()
    seen = []
    choose_head(RECIPE, rows, labels, on_progress=seen.append)

    assert seen == [number / 20 for number in range(1, 21)]
    seen.clear()
    choose_head(RECIPE, rows[:20], labels[:20], groups=[number // 4 for number in range(20)], on_progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1


def test_stops():
    """Between folds it asks whether to stop."""
    rows, labels = blobs()
    seen = []
    with pytest.raises(TrainingStopped):
        choose_head(RECIPE, rows, labels, should_stop=lambda: len(seen) == 7, on_progress=seen.append)

    assert len(seen) == 7


def test_choice_is_json():
    """A choice goes into a report as it is."""
    rows, labels = blobs(spread=0.9)
    choice = choose_head(RECIPE, rows, labels)

    assert json.loads(json.dumps(choice.as_dict())) == choice.as_dict()


def test_choosing_refused():
    """Without examples there is nothing to choose by; a kind that doesn't exist is refused."""
    rows, labels = blobs()
    with pytest.raises(TooFewExamples):
        choose_head(RECIPE, np.zeros((0, SIZE)), [])
    with pytest.raises(OptionError, match="forest"):
        choose_head(RECIPE, rows, labels, kinds=["forest"])
    with pytest.raises(EmbeddingMismatch):
        choose_head(RECIPE._replace(size=7), rows, labels)


def test_no_kinds():
    """Without a kind to choose from the call is refused by name."""
    with pytest.raises(OptionError):
        choose_head(RECIPE, *blobs(), kinds=[])


def test_inputs_are_not_written_to():
    """Examples and labels stay as they were."""
    rows, labels = blobs()
    kept, names = rows.copy(), list(labels)
    choose_head(RECIPE, rows, labels)

    assert (rows == kept).all()
    assert labels == names


# Making a head and calibrating it


@pytest.mark.parametrize("kind", sorted(INCREMENTAL))
def test_incremental_heads_are_made_of_everything(kind):
    """A head that learns as examples come learns all of them, and is calibrated by leaving each out."""
    rows, labels = blobs()
    made = make_calibrated(RECIPE._replace(kind=kind), rows, labels)
    head = RECIPE._replace(kind=kind).make(rows, labels)
    calibrated = calibrate(head, rows, labels)

    assert frozen(made.head) == frozen(head)
    assert made.calibrated == calibrated
    assert made.head.calibration == calibrated.calibration != Calibration(head.scale)
    assert made.history.epochs == []


def test_softmax_stops_early_then_trains_on_everything():
    """A fifth held out says after how many epochs to stop; then all examples are trained on for so many."""
    rows, labels = blobs(per_class=25, spread=1.2)
    options = SoftmaxOptions(epochs=60, learning_rate=0.05, patience=5, l2=0.0)
    recipe, reports = Recipe("softmax", SIZE, softmax=options), []
    made = make_calibrated(recipe, rows, labels, on_epoch=reports.append)
    split = stratified_split(labels, 0.2)
    best = made.history.best

    assert reports == made.history.epochs
    assert len(split.held_out) == 15
    assert all(report.held_out_loss is not None for report in reports)
    assert best.epoch == min(reports, key=lambda report: report.held_out_loss).epoch
    assert len(reports) < 60
    whole = recipe._replace(softmax=options._replace(epochs=best.epoch)).make(rows, labels)
    assert frozen(made.head) == frozen(whole)

    train, held_out = ([labels[index] for index in side] for side in split)
    first = recipe.make(rows[split.train], train, held_out=HeldOut(rows[split.held_out], held_out))
    expected = calibrate_softmax(whole, rows, labels, first.logits(rows[split.held_out]), held_out)
    assert made.calibrated == expected
    assert made.head.calibration == expected.calibration


@pytest.mark.parametrize(("per_class", "patience"), [(5, 10), (16, 0)])
def test_softmax_without_a_held_out_part(per_class, patience):
    """With fewer than ten to hold out, or no patience, training runs once, on everything, for all epochs."""
    rows, labels = blobs(per_class=per_class)
    options, reports = QUICK._replace(patience=patience), []
    recipe = Recipe("softmax", SIZE, softmax=options)
    made = make_calibrated(recipe, rows, labels, on_epoch=reports.append)

    assert reports == made.history.epochs
    assert [report.epoch for report in reports] == list(range(1, 9))
    assert all(report.held_out_loss is None for report in reports)
    assert frozen(made.head) == frozen(recipe.make(rows, labels))
    assert made.head.calibration.scale == made.head.scale


def test_groups_decide_what_is_held_out():
    """Groups reach the split: of classes that are one group each nothing is held out."""
    rows, labels = blobs(per_class=20)
    recipe = Recipe("softmax", SIZE, softmax=QUICK)

    assert make_calibrated(recipe, rows, labels).history.best.held_out_loss is not None
    groups = [number // 20 for number in range(60)]
    assert make_calibrated(recipe, rows, labels, groups).history.best.held_out_loss is None


def test_made_heads_are_good_and_honest():
    """A head made of noisy examples answers new ones, and scores about as sure as it is right."""
    recipe = Recipe("softmax", SIZE, softmax=SoftmaxOptions(epochs=60, learning_rate=0.02))
    made = make_calibrated(recipe, *blobs(per_class=60, spread=0.6))
    found = evaluate(made.head, *blobs(per_class=200, spread=0.6, seed=1))

    assert found.accuracy > 0.8
    assert found.calibration_error < 0.08


@pytest.mark.parametrize("kind", KINDS)
def test_same_examples_same_bytes(kind):
    """The same recipe and examples give the same bytes, calibration included."""
    rows, labels = blobs(per_class=20)
    heads = [make_calibrated(RECIPE._replace(kind=kind), rows, labels).head.state() for _ in range(2)]

    assert all(heads[0][name].tobytes() == array.tobytes() for name, array in heads[1].items())


def test_making_stops():
    """The stop check reaches both trainings: the one with a held-out part and the last one."""
    rows, labels = blobs(per_class=20)
    recipe, asked = Recipe("softmax", SIZE, softmax=QUICK), []
    make_calibrated(recipe, rows, labels, should_stop=lambda: bool(asked.append(1)))
    for limit in (0, len(asked) - 1):
        count = []
        with pytest.raises(TrainingStopped):
            make_calibrated(recipe, rows, labels, should_stop=lambda c=count, n=limit: len(c) >= n or c.append(1))


def test_rates_reach_the_calibration():
    """A false-accept rate of 1 refuses nothing; a rate that is none is refused."""
    rows, labels = blobs(per_class=20)
    for kind in KINDS:
        recipe = RECIPE._replace(kind=kind)
        assert make_calibrated(recipe, rows, labels, false_accept_rate=1.0).head.calibration.threshold == -np.inf
        assert make_calibrated(recipe, rows, labels, most_refused=0.0).calibrated.refused == 0.0
        with pytest.raises(OptionError):
            make_calibrated(recipe, rows, labels, false_accept_rate=0)
