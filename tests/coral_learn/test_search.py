"""coral_learn/training/search.py: a search for options within a time budget."""

import math

import numpy as np
import pytest
from blobs import blobs

from coral_learn import Recipe, SoftmaxOptions, evaluate
from coral_learn.errors import OptionError, TooFewExamples, TrainingStopped
from coral_learn.training import HeldOut, History, folds, search_options

SIZE = 8
OPTIONS = SoftmaxOptions(epochs=6, learning_rate=0.003, seed=5)
RECIPE = Recipe("softmax", SIZE, softmax=OPTIONS)
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
    """However little time there is, the recipe's own options are tried."""
    (trial,) = search(seconds)

    assert trial.options == OPTIONS._replace(epochs=trial.options.epochs)
    assert 0 < trial.loss < 2
    assert 0 <= trial.accuracy <= 1


@pytest.mark.parametrize("seconds", [1.5, 4.5, 9.5])
def test_the_budget_ends_it(seconds):
    """No trial starts after the time is over: by a clock of a second a trial there are as many as seconds begun."""
    assert len(search(seconds)) == math.ceil(seconds)


def test_time_that_stands_still():
    """A clock that doesn't move is no endless search: `most` ends it."""
    assert len(search(1.0, clock=lambda: 0.0, most=3)) == 3
    assert len(search(1.0, clock=lambda: 0.0, most=0)) == 1


def test_the_clock_is_read_between_trials():
    """A trial that takes longer than the budget is the last one, and is counted."""
    readings = iter([0.0, 3.0, 11.0])

    assert len(search(10.0, clock=lambda: next(readings))) == 2


def test_best_first():
    """The trial with the lowest held-out loss comes first, and is as good as the recipe's own at least."""
    seen = []
    trials = search(most=12, on_trial=seen.append)

    assert [trial.loss for trial in trials] == sorted(trial.loss for trial in trials)
    assert sorted(seen) == sorted(trials)
    assert seen[0].options._replace(epochs=6) == OPTIONS
    assert trials[0].loss <= seen[0].loss
    assert len({trial.loss for trial in trials}) == 12


def test_what_is_tried():
    """Rates, l2, dropout and batch sizes are drawn from their ranges; the rest stays the recipe's."""
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
        drawn = {name: getattr(OPTIONS, name) for name in ("learning_rate", "l2", "dropout", "batch_size", "epochs")}
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
    """Loss, accuracy and epochs are those of each fold's best epoch, weighed by the fold's examples."""
    rows, labels = blobs(classes=("a", "b"), per_class=7, spread=0.9)
    (trial,) = search(0.0, examples=(rows, labels), seed=3)
    best, sizes = [], []
    for split in folds(labels, 3, 3):
        history, train = History(), [labels[index] for index in split.train]
        held_out = HeldOut(rows[split.held_out], [labels[index] for index in split.held_out])
        RECIPE.make(rows[split.train], train, history, held_out=held_out)
        best.append(min(history.epochs, key=lambda report: report.held_out_loss))
        sizes.append(len(split.held_out))

    assert len(set(sizes)) > 1
    assert trial.loss == pytest.approx(np.average([report.held_out_loss for report in best], weights=sizes))
    assert trial.accuracy == pytest.approx(np.average([report.held_out_accuracy for report in best], weights=sizes))
    assert trial.options.epochs == round(np.average([report.epoch for report in best], weights=sizes))


def test_it_finds_something_better():
    """From a rate far too low, the search comes to options of a much lower loss, on new examples too."""
    recipe = RECIPE._replace(softmax=OPTIONS._replace(learning_rate=1e-6, epochs=20))
    examples, seen = blobs(per_class=15, spread=0.5), []
    best = search(recipe=recipe, examples=examples, most=10, on_trial=seen.append)[0]
    held_out = blobs(per_class=50, spread=0.5, seed=1)
    heads = [recipe._replace(softmax=trial.options).make(*examples) for trial in (best, seen[0])]
    scores = [np.mean([head.scores(row)[head.classes.index(label)] for row, label in zip(*held_out)]) for head in heads]

    assert best.loss < 0.7 * seen[0].loss
    assert scores[0] > 0.6 > scores[1]
    assert evaluate(heads[0], *held_out).accuracy > 0.9


def test_diverging_trials_come_last():
    """A trial that diverges is counted with an infinite loss, and the search goes on."""
    seen = []
    trials = search(recipe=RECIPE._replace(softmax=DIVERGES), most=3, on_trial=seen.append)

    assert seen[0] == trials[-1] == (DIVERGES, math.inf, 0.0)
    assert all(math.isinf(trial.loss) for trial in seen[1:]) or math.isfinite(trials[0].loss)
    assert len(trials) == 3


def test_groups_reach_the_folds():
    """Examples captured together are on one side: a scene learnt by heart is no help with another."""
    random = np.random.RandomState(0)
    rows = random.normal(0, 1, (8, SIZE)).repeat(5, axis=0) + random.normal(0, 0.01, (40, SIZE))
    labels, groups = ["a"] * 20 + ["b"] * 20, [number // 5 for number in range(40)]
    recipe = RECIPE._replace(softmax=SoftmaxOptions(epochs=40, learning_rate=0.02))
    (alone,), (together,) = (search(0.0, recipe, (rows, labels), groups=some) for some in (None, groups))

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
    trials = search(0.0, examples=(rows[:13], labels[:13]))

    assert math.isfinite(trials[0].loss)


def test_options_refused():
    """Options outside their range are refused before anything is trained."""
    with pytest.raises(OptionError, match="epochs"):
        search(recipe=RECIPE._replace(softmax=OPTIONS._replace(epochs=0)))


def test_other_kinds_have_no_options():
    """A recipe of a kind that isn't trained is refused."""
    with pytest.raises(OptionError):
        search(recipe=Recipe("imprinting", SIZE))
