"""coral_learn/training/: schedule, history, and the search for a learning rate and a batch size."""

import csv
import importlib
import io
import json
import math

import numpy as np
import pytest

from coral_learn import EmbeddingPipeline, SoftmaxOptions, fit_softmax
from coral_learn.errors import EmbeddingMismatch, OptionError, TooFewExamples, TrainingDiverged
from coral_learn.training import EpochReport, HeldOut, History, find_batch_size, find_learning_rate
from coral_learn.training.schedule import Schedule

SIZE = 8
PIPELINE = EmbeddingPipeline(SIZE)


def blobs(per_class=10, classes=("a", "b", "c"), spread=0.3, seed=0):
    """Embeddings around one point a class, with their labels, mixed."""
    random = np.random.RandomState(seed)
    centres = np.random.RandomState(99).uniform(0, 2, (len(classes), SIZE))
    numbers = random.permutation(np.repeat(np.arange(len(classes)), per_class))
    rows = centres[numbers] + random.normal(0, spread, (len(numbers), SIZE))
    return rows.astype(np.float32), [classes[number] for number in numbers]


# Schedule


def judged(losses, patience=0, learning_rate=1.0):
    """The learning rates after each of these losses, and the schedule."""
    schedule, rates = Schedule(learning_rate, patience), []
    for epoch, loss in enumerate(losses):
        schedule.judge(loss, [np.array([epoch])])
        rates.append(schedule.learning_rate)
    return rates, schedule


def test_falling_loss_keeps_the_rate():
    """While the loss falls, nothing changes, and the last weights are the best."""
    rates, schedule = judged([0.9**epoch for epoch in range(40)], patience=3)

    assert set(rates) == {1.0}
    assert not schedule.finished
    assert schedule.best[0].tolist() == [39]


def test_stall_halves_the_rate():
    """Five epochs without a lower loss halve the rate, and so do each five more."""
    rates, _ = judged([1.0] * 16)

    assert rates == [1.0] * 5 + [0.5] * 5 + [0.25] * 5 + [0.125]


def test_too_small_a_gain_is_a_stall():
    """A loss lower by less than a thousandth is no gain, though its weights are the best so far."""
    rates, schedule = judged([1.0 - 1e-5 * epoch for epoch in range(7)], patience=6)

    assert rates[-1] == 0.5
    assert schedule.finished
    assert schedule.best[0].tolist() == [6]


@pytest.mark.parametrize("share", [3e-4, 6e-4, 9e-4])
def test_a_steady_slow_fall_is_no_stall(share):
    """Epochs that gain less than a thousandth each gain it together: the rate stays, and it isn't finished."""
    rates, schedule = judged([(1 - share) ** epoch for epoch in range(100)], patience=5)

    assert set(rates) == {1.0}
    assert not schedule.finished
    assert schedule.best[0].tolist() == [99]


def test_gain_ends_a_stall():
    """A lower loss just before the fifth epoch starts the count anew."""
    rates, _ = judged([1.0] * 5 + [0.5] * 5)

    assert rates == [1.0] * 10


def test_swing_halves_the_rate():
    """Three rises among six losses halve the rate, though every other loss is the lowest yet."""
    losses = [value for epoch in range(6) for value in (0.5**epoch, 2.0)]
    rates, schedule = judged(losses)

    assert rates == [1.0] * 5 + [0.5] * 6 + [0.25]
    assert schedule.best[0].tolist() == [10]


def test_rate_has_a_floor():
    """The rate never falls below a thousandth of the first."""
    rates, _ = judged([1.0] * 100, learning_rate=0.02)

    assert min(rates) == rates[-1] == 0.02 * 1e-3


@pytest.mark.parametrize("patience", [1, 3, 10])
def test_patience(patience):
    """After so many epochs without a lower loss it is finished, and not one before."""
    for more, finished in ((patience - 1, False), (patience, True)):
        assert judged([2.0, 1.0] + [1.5] * more, patience)[1].finished is finished


def test_patience_of_none():
    """Without patience it is never finished."""
    assert not judged([1.0] * 200)[1].finished


def test_best_is_the_first_of_equals():
    """Of weights with the same loss the first ones are kept."""
    assert judged([2.0, 1.0, 1.0, 3.0], 9)[1].best[0].tolist() == [1]


def test_best_is_a_copy():
    """The weights at the lowest loss stay as they were then."""
    schedule, weights = Schedule(1.0, 5), np.zeros(2)
    for loss, value in ((2.0, 1), (1.0, 2), (3.0, 3)):
        weights[:] = value
        schedule.judge(loss, [weights])

    assert schedule.best[0].tolist() == [2, 2]


def test_loss_that_is_no_number():
    """A loss that is no number is no gain and no best."""
    schedule = judged([float("nan")] * 3, patience=3)[1]

    assert schedule.best is None
    assert schedule.finished


# History


def report(epoch, held_out_loss=None):
    """What an epoch may have given."""
    accuracy = None if held_out_loss is None else 0.5
    return EpochReport(epoch, 9, 10 * epoch, 1 / epoch, 0.25, held_out_loss, accuracy, 0.001, 2.0, 0.125, 1e-17 / 3)


def recorded(*reports):
    """A history of these epochs."""
    history = History()
    for one in reports:
        history(one)
    return history


def test_history_collects():
    """A history as `on_epoch` has a report of each epoch, and changes nothing."""
    history, options = History(), SoftmaxOptions(epochs=4)
    head = fit_softmax(PIPELINE, *blobs(), options, history, held_out=HeldOut(*blobs(seed=1)))
    silent = fit_softmax(PIPELINE, *blobs(), options, held_out=HeldOut(*blobs(seed=1)))

    assert [one.epoch for one in history.epochs] == [1, 2, 3, 4]
    assert head.weights.tobytes() == silent.weights.tobytes()


def test_best_epoch():
    """The best epoch has the lowest held-out loss, the first of equals; without any it is the last."""
    assert History().best is None
    assert recorded(report(1), report(2), report(3)).best.epoch == 3
    assert recorded(report(1, 0.5), report(2, 0.2), report(3, 0.2), report(4, 0.9)).best.epoch == 2


def test_history_as_rows():
    """Rows are for JSON: every figure by its name."""
    rows = recorded(report(1), report(2, 0.2)).as_rows()

    assert json.loads(json.dumps(rows)) == rows == [report(1)._asdict(), report(2, 0.2)._asdict()]


def test_csv_round_trip():
    """The table read back has every figure to the last digit, and nothing where one is missing."""
    history = recorded(report(1), report(2, 1 / 3))
    text = history.as_csv()
    rows = list(csv.DictReader(io.StringIO(text)))

    assert text.splitlines()[0] == ",".join(EpochReport._fields)
    for row, one in zip(rows, history.epochs):
        assert {name: float(value) if value else None for name, value in row.items()} == one._asdict()
    assert len(rows) == 2
    assert History().as_csv() == ",".join(EpochReport._fields) + "\n"


def has_writer():
    """Whether a package that writes TensorBoard events is installed."""
    for name in ("tensorboardX", "torch.utils.tensorboard"):
        try:
            return bool(importlib.import_module(name).SummaryWriter)
        except ImportError:
            continue
    return False


def test_tensorboard(tmp_path):
    """Events are written where a package for it is installed; elsewhere it is said which there are."""
    history = recorded(report(1), report(2, 0.5))
    if not has_writer():
        with pytest.raises(OptionError, match="tensorboardX"):
            history.write_tensorboard(tmp_path / "events")
        return
    history.write_tensorboard(tmp_path / "events")
    written = b"".join(path.read_bytes() for path in (tmp_path / "events").iterdir())
    for name in ("loss", "held_out_loss", "learning_rate", "update_norm"):
        assert name.encode() in written
    assert b"epochs" not in written


# Finding a learning rate


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_finds_a_learning_rate(optimizer):
    """The rate found is one of those going down from the highest by thirds; training with it learns."""
    options, history = SoftmaxOptions(optimizer=optimizer, epochs=10), History()
    rate = find_learning_rate(PIPELINE, *blobs(), options)
    thirds = math.log(10.0 / rate) / math.log(3)
    fit_softmax(PIPELINE, *blobs(), options._replace(learning_rate=rate), history)

    assert isinstance(rate, float)
    assert abs(thirds - round(thirds)) < 1e-6
    assert history.epochs[-1].loss < math.log(3)
    assert history.epochs[-1].accuracy > 0.9


def test_first_rate_that_falls():
    """From any of the rates above it the same rate is found, and from it itself; from below, that below."""
    options = SoftmaxOptions(optimizer="sgd", l2=1.0)
    found, rate = find_learning_rate(PIPELINE, *blobs(), options), 10.0
    assert found < 5
    while rate > found * 1.01:
        assert abs(find_learning_rate(PIPELINE, *blobs(), options, rate) / found - 1) < 1e-9
        rate /= 3

    assert find_learning_rate(PIPELINE, *blobs(), options, found) == found
    assert find_learning_rate(PIPELINE, *blobs(), options, found / 2) == found / 2


def test_search_for_a_rate_repeats():
    """The same examples and options find the same rate, and numpy's global generator isn't used."""
    np.random.seed(1)
    first = find_learning_rate(PIPELINE, *blobs())
    np.random.seed(2)

    assert find_learning_rate(PIPELINE, *blobs()) == first


def test_no_rate_at_all():
    """Where the loss falls at no rate that may be set, it is told."""
    with pytest.raises(TrainingDiverged, match="falls at no learning rate from 1e-07"):
        find_learning_rate(PIPELINE, *blobs(), highest=1e-7)


def test_search_for_a_rate_needs_classes():
    """A rate needs examples of two classes, usable embeddings and options in their ranges."""
    with pytest.raises(TooFewExamples, match="at least 2 classes, got 1"):
        find_learning_rate(PIPELINE, np.ones((3, SIZE)), ["a"] * 3)
    with pytest.raises(EmbeddingMismatch):
        find_learning_rate(PIPELINE, np.ones((2, SIZE + 1)), ["a", "b"])
    with pytest.raises(OptionError, match="epochs"):
        find_learning_rate(PIPELINE, *blobs(), SoftmaxOptions(epochs=0))


# Finding a batch size


def machine(seconds):
    """A clock by which a step of the n-th size tried takes seconds(n); it is read before and after each step."""
    now, readings = [0.0], [0]

    def clock():
        if readings[0] % 2:
            now[0] += seconds((16, 32, 64, 128, 256, 512)[readings[0] // 12])
        readings[0] += 1
        return now[0]

    return clock


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        pytest.param(lambda size: 0.001 * size, 16, id="a time for each example"),
        pytest.param(lambda _: 1.0, 512, id="a time for each step"),
        pytest.param(lambda size: 1.0 if size <= 64 else size / 64, 64, id="free up to 64"),
        pytest.param(lambda size: size * (0.8 if size == 512 else 1.0), 16, id="not worth it"),
        pytest.param(lambda size: size**1.5, 16, id="ever slower"),
    ],
)
def test_finds_a_batch_size(seconds, expected):
    """A bigger batch is chosen where it saves three tenths of the time an example."""
    assert find_batch_size(PIPELINE, *blobs(per_class=200), clock=machine(seconds)) == expected


@pytest.mark.parametrize(("per_class", "largest"), [(1, 16), (10, 16), (11, 32), (50, 128)])
def test_batches_are_not_larger_than_the_examples(per_class, largest):
    """No batch is larger than the examples are many, but for the smallest."""
    assert find_batch_size(PIPELINE, *blobs(per_class), clock=machine(lambda _: 1.0)) == largest


def test_batch_size_by_the_real_clock():
    """On this machine one of the sizes is found, which is an option in its range."""
    size = find_batch_size(PIPELINE, *blobs(per_class=40))

    assert size in (16, 32, 64)
    assert SoftmaxOptions(batch_size=size).checked().batch_size == size


def test_batch_size_needs_examples():
    """Without examples there is nothing to time."""
    with pytest.raises(TooFewExamples):
        find_batch_size(PIPELINE, np.zeros((0, SIZE)), [])
