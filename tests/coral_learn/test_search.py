"""coral_learn/training/search.py: a search for options within a time budget."""

import json
import math

import numpy as np
import pytest
from blobs import blobs

from coral_learn import Recipe, SoftmaxOptions, evaluate
from coral_learn.errors import OptionError, TooFewExamples, TrainingStopped
from coral_learn.training import EpochReport, HeldOut, History, Search, Trial, folds, search_options

SIZE = 8
OPTIONS = SoftmaxOptions(epochs=6, learning_rate=0.003, seed=5)
RECIPE = Recipe("softmax", SIZE, softmax=OPTIONS)
DRAWN = ("learning_rate", "l2", "dropout", "batch_size")
DIVERGES = SoftmaxOptions(epochs=40, learning_rate=10.0, l2=10.0, optimizer="sgd", dropout=0.1)


def ticking(step=1.0):
    """A clock on which `step` seconds pass from each reading to the next."""
    now = [0.0]

    def clock():
        now[0] += step
        return now[0]

    return clock


def search(seconds=1000.0, recipe=RECIPE, examples=None, clock=None, **options):
    """A search by a clock that ticks a second each time it is read."""
    rows, labels = examples or blobs(spread=0.6)
    return search_options(recipe, rows, labels, seconds, clock=clock or ticking(), **options)


@pytest.mark.parametrize("seconds", [0.0, -5.0, 0.5])
def test_the_first_trial_always_runs(seconds):
    """However little time there is, the recipe's own options are tried, and stay."""
    found = search(seconds)
    (trial,) = found.trials

    assert found.options == trial.options == OPTIONS
    assert 0 < trial.loss < 2
    assert 0 <= trial.accuracy <= 1
    assert found.reason.startswith("1 tried, 30 held-out answers each: none is ahead")


@pytest.mark.parametrize("seconds", [1.5, 4.5, 9.5])
def test_the_budget_ends_it(seconds):
    """No trial starts after the time is over: by a clock of a second a trial there are as many as seconds begun."""
    assert len(search(seconds).trials) == math.ceil(seconds)


def test_time_that_stands_still():
    """A clock that doesn't move is no endless search: `most` ends it."""
    assert len(search(1.0, clock=lambda: 0.0, most=3).trials) == 3
    assert len(search(1.0, clock=lambda: 0.0, most=0).trials) == 1


def test_the_clock_is_read_between_trials():
    """A trial that takes longer than the budget is the last one, and is counted."""
    readings = iter([0.0, 3.0, 11.0])

    assert len(search(10.0, clock=lambda: next(readings)).trials) == 2


def test_best_first():
    """Trials come by falling accuracy, then rising loss, and the first is as good as the recipe's own at least."""
    seen = []
    trials = search(most=12, on_trial=seen.append).trials

    assert trials == sorted(trials, key=lambda trial: (-trial.accuracy, trial.loss))
    assert sorted(seen) == sorted(trials)
    assert seen[0].options == OPTIONS
    assert trials[0].accuracy >= seen[0].accuracy
    assert len({trial.loss for trial in trials}) == 12


def test_what_is_tried():
    """Rates, l2, dropout and batch sizes are drawn from their ranges; the rest, epochs too, stays the recipe's."""
    seen = []
    search(most=30, on_trial=seen.append)
    options = [trial.options for trial in seen[1:]]

    assert all(1e-4 <= one.learning_rate <= 1e-2 for one in options)
    assert all(1e-5 <= one.l2 <= 1e-1 for one in options)
    assert {one.dropout for one in options} == {0.0, 0.2, 0.5}
    assert {one.batch_size for one in options} == {16, 32, 64}
    assert min(one.learning_rate for one in options) < 5e-4
    assert max(one.learning_rate for one in options) > 2e-3
    for one in options:
        drawn = {name: getattr(OPTIONS, name) for name in DRAWN}
        assert one._replace(**drawn) == OPTIONS
        assert one.checked() == one


def test_same_seed_same_trials():
    """The same seed tries the same, the clock only decides how many; another seed tries others."""
    trials = {}
    for name, seconds, seed in (("long", 8.5, 1), ("again", 8.5, 1), ("short", 3.5, 1), ("other", 3.5, 2)):
        trials[name] = []
        search(seconds, seed=seed, on_trial=trials[name].append)

    assert trials["long"] == trials["again"]
    assert trials["short"] == trials["long"][:4]
    assert [trial.options for trial in trials["other"][1:]] != [trial.options for trial in trials["short"][1:]]


def test_ignores_the_global_random_state():
    """The search neither uses nor moves numpy's global generator."""
    np.random.seed(1)
    first = search(most=3)
    moved = np.random.randint(1 << 30)
    np.random.seed(1)

    assert np.random.randint(1 << 30) == moved
    assert search(most=3) == first


def test_figures_by_hand():
    """Loss and right answers are those of each fold's best epoch; the loss is weighed by the fold's examples."""
    rows, labels = blobs(classes=("a", "b"), per_class=7, spread=0.9)
    (trial,) = search(0.0, examples=(rows, labels), seed=3).trials
    losses, accuracies, right, sizes = [], [], [], []
    for split in folds(labels, 5, 3):
        history, train = History(), [labels[index] for index in split.train]
        held_out = HeldOut(rows[split.held_out], [labels[index] for index in split.held_out])
        head = RECIPE.make(rows[split.train], train, history, held_out=held_out)
        best = min(history.epochs, key=lambda report: report.held_out_loss)
        losses.append(best.held_out_loss)
        accuracies.append(best.held_out_accuracy)
        right += [head.predict(row) == label for row, label in zip(*held_out)]
        sizes.append(len(split.held_out))

    assert len(set(sizes)) > 1
    assert trial.loss == pytest.approx(np.average(losses, weights=sizes))
    assert trial.right == tuple(right)
    assert trial.accuracy == pytest.approx(np.mean(right))
    assert trial.accuracy == pytest.approx(np.average(accuracies, weights=sizes))
    assert 0 < trial.accuracy < 1
    assert {type(one) for one in trial.right} == {bool}


def test_every_example_is_answered_once():
    """Each trial has one answer for each example, so that any two can be compared answer by answer."""
    for trial in search(most=4, examples=blobs(per_class=11, spread=0.9)).trials:
        assert len(trial.right) == 33
        assert trial.accuracy == sum(trial.right) / 33


# Which options come out


@pytest.mark.parametrize(
    ("mine", "theirs", "lead"),
    [
        ("1111", "1111", 0.0),
        ("0000", "0000", 0.0),
        ("1010", "0101", 0.0),
        ("1000", "0000", 1.0),
        ("0000", "1000", -1.0),
        ("1111", "0000", 2.0),
        ("111100000", "000010000", 3 / 5**0.5),
        ("000010000", "111100000", -3 / 5**0.5),
        ("1111111110", "0000000001", 8 / 10**0.5),
        ("", "", 0.0),
    ],
)
def test_lead_by_hand(mine, theirs, lead):
    """What one got right and the other didn't, less the other way round, over the root of both together."""
    one, other = (Trial(OPTIONS, 1.0, 0.5, tuple(answer == "1" for answer in right)) for right in (mine, theirs))

    assert one.lead_over(other) == pytest.approx(lead)
    assert other.lead_over(one) == -one.lead_over(other)


# A hundred examples: how hard it is, 0..0.99 in steps of a hundredth, and 1 for "a" or -1 for "b".
HARDNESS = np.random.RandomState(0).permutation(100) / 100
SIDES = np.tile([1.0, -1.0], 50)
GRADED = (np.stack([HARDNESS, SIDES], axis=1), ["a" if side > 0 else "b" for side in SIDES])


class Graded:
    """Stands for a head that answers right what is less hard than `skill`."""

    classes = ("a", "b")

    def __init__(self, skill):
        self.skill = skill

    def logits(self, rows):
        """(N, 2)."""
        towards_a = rows[:, 1] * np.where(rows[:, 0] < self.skill - 0.005, 1, -1)
        return np.stack([towards_a, -towards_a], axis=1)


def scripted(skills, losses=None):
    """A recipe whose n-th attempt, of five folds each, has the n-th skill and loss; and what each fold was given.

    Trials come first; the check of the best and of the own options on other folds comes last.
    """
    calls = []

    class Scripted(Recipe):
        """What `make` gives doesn't depend on the examples."""

        def make(self, embeddings, labels, on_epoch=None, should_stop=None, held_out=None):
            """As of `Recipe`."""
            attempt = len(calls) // 5
            calls.append((self.softmax, embeddings, list(labels), held_out, should_stop))
            loss = losses[attempt] if losses else 0.5
            on_epoch(EpochReport(1, 1, 1, loss, 0.5, loss, 0.5, 0.001, 1.0, 0.0, 1.0))
            return Graded(skills[attempt])

    return Scripted("softmax", 2, softmax=OPTIONS), calls


NONE_AHEAD, NOT_LONG, TAKEN = "none is ahead", "did not stay ahead", "on other folds than those it was found by"


@pytest.mark.parametrize(
    ("skills", "reason"),
    [
        ((0.5, 0.5), NONE_AHEAD),
        ((0.5, 0.4), NONE_AHEAD),
        ((0.5, 0.56), NONE_AHEAD),  # six more: 6 / sqrt(6) is below 2.5
        ((0.5, 0.57, 0.57, 0.5), TAKEN),  # seven more: 7 / sqrt(7) is above
        ((0.5, 0.57, 0.53, 0.5), TAKEN),  # three more on other folds: 3 / sqrt(3) is above 1.5
        ((0.5, 0.57, 0.52, 0.5), NOT_LONG),  # two more: 2 / sqrt(2) is below
        ((0.5, 0.9, 0.5, 0.5), NOT_LONG),
        ((0.5, 0.9, 0.5, 0.9), NOT_LONG),
        ((0.0, 1.0, 1.0, 0.0), TAKEN),
        ((1.0, 1.0), NONE_AHEAD),
    ],
)
def test_how_far_ahead(skills, reason):
    """Options are taken from seven answers more on these folds, and three more on others; the reason says which."""
    recipe, calls = scripted(skills)
    seen = []
    found = search(recipe=recipe, examples=GRADED, most=2, on_trial=seen.append)

    assert reason in found.reason
    assert found.reason.startswith("2 tried, 100 held-out answers each: ")
    assert found.options == (seen[1].options if reason == TAKEN else OPTIONS)
    assert [trial.accuracy for trial in seen] == list(skills[:2])
    assert sorted(found.trials) == sorted(seen)
    assert len(calls) == 5 * len(skills)


@pytest.mark.parametrize(("again", "reason"), [(0.62, TAKEN), (0.5, NOT_LONG)])
def test_the_reason_has_the_figures(again, reason):
    """After a check on other folds the reason says what both had there, not what the best was found by."""
    found = search(recipe=scripted((0.5, 0.75, again, 0.48))[0], examples=GRADED, most=2)

    assert reason in found.reason
    assert f"{again:.1%} right beside 48.0% with the options given" in found.reason
    assert "75" not in found.reason


def test_only_the_best_is_checked():
    """Of several that are ahead the most accurate one is checked; of as accurate ones that with the lowest loss."""
    skills, losses = (0.5, 0.7, 0.8, 0.8, 0.8, 0.6, 0.8, 0.5), (0.9, 0.1, 0.6, 0.4, 0.5, 0.2, 0.4, 0.9)
    recipe, calls = scripted(skills, losses)
    seen = []
    found = search(recipe=recipe, examples=GRADED, most=6, on_trial=seen.append)

    assert [seen.index(trial) for trial in found.trials] == [3, 4, 2, 1, 5, 0]
    assert found.options == seen[3].options
    assert [calls[5 * attempt][0] for attempt in (6, 7)] == [seen[3].options, OPTIONS]


def test_the_check_is_on_other_folds():
    """The best and the own options are tried again on folds made with the next seed, in the same groups."""
    rows, labels = GRADED
    groups = [index // 4 for index in range(100)]
    recipe, calls = scripted((0.5, 0.9, 0.9, 0.5))
    assert search(recipe=recipe, examples=GRADED, most=2, seed=7, groups=groups).options != OPTIONS

    for attempt, seed in enumerate((7, 7, 8, 8)):
        for call, split in zip(calls[5 * attempt :], folds(labels, 5, seed, groups)):
            _, train, names, held_out, _ = call
            np.testing.assert_array_equal(train, rows[split.train])
            np.testing.assert_array_equal(held_out.embeddings, rows[split.held_out])
            assert names == [labels[index] for index in split.train]
            assert held_out.labels == [labels[index] for index in split.held_out]
    assert folds(labels, 5, 7, groups) != folds(labels, 5, 8, groups)


@pytest.mark.parametrize("skills", [(0.5, 0.9, 0.9, 0.5), (0.5, 0.9, 0.5, 0.5), (0.5, 0.5)])
def test_the_check_does_not_read_the_clock(skills):
    """The check of the best runs though time is over: the clock is read at the start and before each trial only."""
    readings, seen = iter([0.0, 9.0, 11.0]), []
    recipe, calls = scripted(skills)
    found = search(10.0, recipe, GRADED, clock=lambda: next(readings), on_trial=seen.append)

    assert list(readings) == []
    assert len(found.trials) == len(seen) == 2
    assert len(calls) == 5 * len(skills)


def test_the_check_can_be_stopped():
    """The stop check reaches the check of the best: every training gets it, and it ends the search there too."""
    recipe, calls = scripted((0.5, 0.9, 0.9, 0.5))
    seen = []

    def should_stop():
        return len(calls) > 10

    with pytest.raises(TrainingStopped):
        search(recipe=recipe, examples=GRADED, most=2, should_stop=should_stop, on_trial=seen.append)

    assert len(seen) == 2
    assert len(calls) == 15
    assert all(call[-1] is should_stop for call in calls)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("spread", [0.3, 0.6, 0.9])
def test_never_worse_than_good_options(seed, spread):
    """Where the own options are good they come out as they are, however many others look a little better."""
    own = SoftmaxOptions(seed=5, epochs=40)
    recipe, examples = RECIPE._replace(softmax=own), blobs(per_class=12, spread=spread, seed=seed)
    found = search(recipe=recipe, examples=examples, most=12, seed=seed)

    assert found.options == own
    assert found.options.epochs == 40
    assert NONE_AHEAD in found.reason
    assert len(found.trials) == 12


def in_a_streak(per_class, seed=0):
    """Two classes that differ by little, across a direction in which each of them is spread wide."""
    random = np.random.RandomState(seed)
    sides = np.repeat([-1.0, 1.0], per_class)
    rows = random.normal(0, 0.1, (len(sides), SIZE)) + 3
    rows[:, 0] += 0.3 * sides
    rows[:, :2] += random.normal(0, 1.5, (len(sides), 1))
    return rows.astype(np.float32), ["a" if side < 0 else "b" for side in sides]


@pytest.mark.parametrize("initial", ["zeros", "glorot"])
def test_it_finds_something_better(initial):
    """From a rate far too low the search comes to other options, which are better on new examples too."""
    own = OPTIONS._replace(learning_rate=1e-6, epochs=60, initial=initial)
    recipe, examples, seen = RECIPE._replace(softmax=own), in_a_streak(100), []
    found = search(recipe=recipe, examples=examples, most=10, on_trial=seen.append)
    fresh = in_a_streak(200, seed=1)
    accuracy, before = (
        evaluate(recipe._replace(softmax=options).make(*examples), *fresh).accuracy for options in (found.options, own)
    )

    assert found.options == found.trials[0].options != own
    assert TAKEN in found.reason
    assert found.trials[0].lead_over(seen[0]) >= 2.5
    assert found.trials[0].accuracy > seen[0].accuracy + 0.1
    assert accuracy > before + 0.1
    assert found.options._replace(**{name: getattr(own, name) for name in DRAWN}) == own


def test_diverging_trials_come_last():
    """A trial that diverges counts as wrong in all it was asked, with an infinite loss, and the search goes on."""
    seen = []
    found = search(recipe=RECIPE._replace(softmax=DIVERGES), most=3, on_trial=seen.append)

    assert seen[0] == found.trials[-1] == (DIVERGES, math.inf, 0.0, (False,) * 30)
    assert len(found.trials) == 3
    assert math.isfinite(found.trials[0].loss)


def test_diverging_options_are_left():
    """From own options that diverge, others are taken that don't: they are ahead in whatever they get right."""
    recipe, examples = RECIPE._replace(softmax=DIVERGES), blobs(spread=0.6)
    found = search(recipe=recipe, examples=examples, most=3)

    assert TAKEN in found.reason
    assert "beside 0.0% with the options given" in found.reason
    assert found.options != DIVERGES
    assert evaluate(recipe._replace(softmax=found.options).make(*examples), *blobs(seed=1)).accuracy > 0.8


def test_all_diverge():
    """Where nothing but diverging options is tried, the own ones stay."""
    found = search(0.0, RECIPE._replace(softmax=DIVERGES))

    assert found.options == DIVERGES
    assert NONE_AHEAD in found.reason
    assert math.isinf(found.trials[0].loss)


def test_as_dict():
    """What was found goes to JSON and back: options, reason, and the figures of each trial."""
    found = search(most=3)
    again = json.loads(json.dumps(found.as_dict(), allow_nan=False))

    assert again == found.as_dict()
    assert SoftmaxOptions(**again["options"]) == found.options
    assert again["reason"] == found.reason
    assert [(SoftmaxOptions(**one["options"]), one["loss"], one["accuracy"]) for one in again["trials"]] == [
        trial[:3] for trial in found.trials
    ]
    assert isinstance(found, Search)


def test_a_diverging_trial_as_dict():
    """A trial that diverged goes to JSON as well, which has no infinity."""
    found = search(0.0, RECIPE._replace(softmax=DIVERGES))

    json.dumps(found.as_dict(), allow_nan=False)


# Examples, stopping, and what is refused


def test_groups_reach_the_folds():
    """Examples captured together are on one side: a scene learnt by heart is no help with another."""
    random = np.random.RandomState(0)
    rows = random.normal(0, 1, (8, SIZE)).repeat(5, axis=0) + random.normal(0, 0.01, (40, SIZE))
    labels, groups = ["a"] * 20 + ["b"] * 20, [number // 5 for number in range(40)]
    recipe = RECIPE._replace(softmax=SoftmaxOptions(epochs=40, learning_rate=0.02))
    (alone,), (together,) = (search(0.0, recipe, (rows, labels), groups=some).trials for some in (None, groups))

    assert alone.accuracy == 1.0
    assert together.accuracy < 0.9
    assert together.loss > alone.loss


@pytest.mark.parametrize("after", [0, 1, 30])
def test_stops(after):
    """The stop check ends the search at once, in the middle of a trial as well."""
    asked, seen = [], []
    with pytest.raises(TrainingStopped):
        search(should_stop=lambda: len(asked) >= after or asked.append(1), on_trial=seen.append)

    assert len(asked) == after
    assert len(seen) <= 1


@pytest.mark.parametrize(
    "examples",
    [
        (np.zeros((0, SIZE)), []),
        (np.ones((5, SIZE)), ["a"] * 5),
        (np.eye(3, SIZE), ["a", "b", "c"]),
    ],
)
def test_too_few_examples(examples):
    """A search needs two classes, and something to hold out."""
    with pytest.raises(TooFewExamples):
        search(examples=examples)


def test_one_class_with_one_example():
    """A class with a single example is trained on in every fold, and isn't measured."""
    rows, labels = blobs(per_class=6)
    (trial,) = search(0.0, examples=(rows[:13], labels[:13])).trials

    assert math.isfinite(trial.loss)
    assert len(trial.right) == 12


def test_options_refused():
    """Options outside their range are refused before anything is trained."""
    with pytest.raises(OptionError, match="epochs"):
        search(recipe=RECIPE._replace(softmax=OPTIONS._replace(epochs=0)))


def test_other_kinds_have_no_options():
    """A recipe of a kind that isn't trained is refused."""
    with pytest.raises(OptionError):
        search(recipe=Recipe("imprinting", SIZE))
