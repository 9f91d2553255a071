"""coral_learn/training/: backpropagation of the last layer, splits and figures."""

import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coral_learn import EmbeddingPipeline, ImprintingHead, SoftmaxOptions, evaluate, fit_softmax, stratified_split
from coral_learn.errors import EmbeddingMismatch, OptionError, TooFewExamples, TrainingDiverged, TrainingStopped
from coral_learn.heads import Calibration, LinearDiscriminantHead, NeighboursHead
from coral_learn.training import (
    HeldOut,
    History,
    Sample,
    auroc,
    calibrate,
    calibrate_left_out,
    evaluate_evidence,
    evaluate_left_out,
    examine_examples,
    examine_left_out,
    fit,
)
from coral_learn.training.evaluation import calibration_error
from coral_learn.training.fit import Batches, importance, initial_weights, loss_and_gradients
from coral_learn.training.optimizers import Adam, Sgd
from coral_learn.training.options import OPTIMIZERS, RANGES
from coral_learn.training.split import folds

SIZE = 8
PIPELINE = EmbeddingPipeline(SIZE)
QUICK = SoftmaxOptions(epochs=5, batch_size=4, learning_rate=0.01)


def blobs(per_class=10, classes=("a", "b", "c"), spread=0.3, seed=0):
    """Embeddings around one point a class, with their labels, mixed."""
    random = np.random.RandomState(seed)
    centres = np.random.RandomState(99).uniform(0, 2, (len(classes), SIZE))
    numbers = random.permutation(np.repeat(np.arange(len(classes)), per_class))
    rows = centres[numbers] + random.normal(0, spread, (len(numbers), SIZE))
    return rows.astype(np.float32), [classes[number] for number in numbers]


def frozen(head):
    """A head's state as bytes, to compare."""
    return [(name, array.dtype.str, array.shape, array.tobytes()) for name, array in sorted(head.state().items())]


# Gradients and optimizers


@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_gradients_equal_finite_differences(l2):
    """Each gradient is the slope of the loss, with unequal importance and with the L2 term."""
    random = np.random.RandomState(0)
    weights, biases = random.normal(size=(SIZE, 3)), random.normal(size=3)
    inputs, targets, importance = random.normal(size=(7, SIZE)), random.randint(0, 3, 7), random.uniform(0.2, 3, 7)

    def loss():
        return loss_and_gradients(weights, biases, inputs, targets, importance, l2)[0]

    _, weight_gradient, bias_gradient, _ = loss_and_gradients(weights, biases, inputs, targets, importance, l2)
    for parameter, gradient in ((weights, weight_gradient), (biases, bias_gradient)):
        slopes = np.zeros_like(parameter)
        for place in np.ndindex(*parameter.shape):
            kept = parameter[place]
            parameter[place] = kept + 1e-5
            above = loss()
            parameter[place] = kept - 1e-5
            slopes[place] = (above - loss()) / 2e-5
            parameter[place] = kept
        np.testing.assert_allclose(gradient, slopes, atol=1e-8)


def test_loss_by_hand():
    """Without weights each of C classes is as likely: the loss is log C, and the scores say so."""
    loss, _, bias_gradient, scores = loss_and_gradients(
        np.zeros((2, 4)), np.zeros(4), np.ones((1, 2)), np.array([3]), np.ones(1), 0.0
    )

    assert abs(loss - math.log(4)) < 1e-12
    assert scores.tolist() == [[0.25] * 4]
    assert bias_gradient.tolist() == [0.25, 0.25, 0.25, -0.75]


def test_adam_by_hand():
    """Adam's first step is the learning rate in each direction; with the same gradient the next is as long."""
    parameter = np.array([1.0, 1.0, 1.0])
    adam = Adam([parameter], 0.1)
    adam.step([np.array([5.0, -0.001, 0.0])])
    np.testing.assert_allclose(parameter, [0.9, 1.1, 1.0], atol=1e-4)
    adam.step([np.array([5.0, -0.001, 0.0])])

    np.testing.assert_allclose(parameter, [0.8, 1.2, 1.0], atol=1e-4)


def test_sgd_by_hand():
    """Each step is the gradient times the rate, plus 0.9 of the step before."""
    parameter = np.array([1.0])
    sgd = Sgd([parameter], 0.1)
    sgd.step([np.array([2.0])])
    np.testing.assert_allclose(parameter, [0.8])
    sgd.step([np.array([1.0])])

    np.testing.assert_allclose(parameter, [0.8 - 0.1 - 0.9 * 0.2])


# Training


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_learns(optimizer):
    """Classes that can be told apart are learnt, and examples not seen are answered right."""
    options = SoftmaxOptions(epochs=30, learning_rate=0.01, optimizer=optimizer)
    head = fit_softmax(PIPELINE, *blobs(), options)

    assert head.classes == ["a", "b", "c"]
    assert evaluate(head, *blobs(seed=1)).accuracy > 0.95


def test_same_seed_same_bytes():
    """The same examples and options give the same bytes; another seed shuffles in another order."""
    heads = [frozen(fit_softmax(PIPELINE, *blobs(), QUICK._replace(seed=seed))) for seed in (1, 1, 2)]

    assert heads[0] == heads[1]
    assert heads[0] != heads[2]


ALL_OPTIONS = {
    "dropout": {"dropout": 0.3},
    "glorot": {"initial": "glorot"},
    "sgd": {"optimizer": "sgd"},
    "no balance": {"balance": False, "l2": 0.0},
    "all": {"dropout": 0.5, "initial": "glorot", "optimizer": "sgd", "l2": 0.1, "patience": 2, "epochs": 20},
}


@pytest.mark.parametrize("changes", list(ALL_OPTIONS.values()), ids=list(ALL_OPTIONS))
def test_same_seed_same_bytes_with_every_option(changes):
    """Whatever the options, a seed gives the same bytes and reports twice, and options make a difference."""
    options, heads, histories = QUICK._replace(**changes), [], []
    for _ in range(2):
        histories.append(History())
        heads.append(frozen(fit_softmax(PIPELINE, *blobs(), options, histories[-1], None, HeldOut(*blobs(seed=1)))))

    assert heads[0] == heads[1]
    assert histories[0].epochs == histories[1].epochs
    assert heads[0] != frozen(fit_softmax(PIPELINE, *blobs(), QUICK))


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_many_examples_are_not_copied(monkeypatch, dropout):
    """Examples too many to be copied in shuffled order are trained on in the same order: the same bytes."""
    options = QUICK._replace(dropout=dropout)
    copied = frozen(fit_softmax(PIPELINE, *blobs(), options))
    monkeypatch.setattr(fit, "_COPY_BYTES", 0)

    assert frozen(fit_softmax(PIPELINE, *blobs(), options)) == copied


def test_ignores_the_global_random_state():
    """Training neither uses nor moves numpy's global generator."""
    np.random.seed(1)
    first = frozen(fit_softmax(PIPELINE, *blobs(), QUICK))
    moved = np.random.randint(1 << 30)
    np.random.seed(1)

    assert np.random.randint(1 << 30) == moved
    assert frozen(fit_softmax(PIPELINE, *blobs(), QUICK)) == first


def test_inputs_are_not_written_to():
    """Examples and labels stay as they were."""
    rows, labels = blobs()
    kept, names = rows.copy(), list(labels)
    fit_softmax(EmbeddingPipeline(SIZE, np.ones(SIZE)), rows, labels, QUICK)

    assert (rows == kept).all()
    assert labels == names


def test_numbers_as_classes():
    """Classes may be whole numbers."""
    head = fit_softmax(PIPELINE, *blobs(classes=(7, -1, 30)), QUICK._replace(epochs=30))

    assert head.classes == [-1, 7, 30]
    assert evaluate(head, *blobs(classes=(7, -1, 30), seed=1)).accuracy > 0.95


def test_pipeline_goes_with_the_head():
    """The head that comes out treats embeddings as training did."""
    mean = np.full(SIZE, 0.7, np.float32)
    head = fit_softmax(EmbeddingPipeline(SIZE, mean), *blobs(), QUICK)

    assert head.pipeline.mean.tolist() == mean.tolist()


@pytest.mark.parametrize("size", [4, 1000])
def test_deviation_of_inputs(size):
    """Directions come to training with one deviation, however long they are, and the head's weights undo it."""
    rows = np.random.RandomState(0).normal(size=(50, size)).astype(np.float32)
    data = Batches.of(EmbeddingPipeline(size), rows, ["a", "b"] * 25, ["a", "b"])

    assert abs(math.sqrt((data.inputs.astype(float) ** 2).mean()) - fit._DEVIATION) < 1e-5
    np.testing.assert_allclose(data.inputs / data.spread, EmbeddingPipeline(size)(rows), atol=1e-6)


def test_one_example_a_class():
    """One example of each class is enough to start with."""
    rows, labels = blobs(per_class=1)
    head = fit_softmax(PIPELINE, rows, labels, SoftmaxOptions(learning_rate=0.01))

    assert [head.predict(row) for row in rows] == labels


def test_l2_shrinks_the_weights():
    """A larger L2 factor gives smaller weights."""
    sizes = [
        np.linalg.norm(fit_softmax(PIPELINE, *blobs(), QUICK._replace(l2=l2, epochs=40)).state()["weights"])
        for l2 in (0.0, 0.1, 1.0)
    ]

    assert sizes[0] > sizes[1] > sizes[2]


def test_balance():
    """With balance, examples given twice count no more than those of other classes; without, they do."""
    rows, labels = blobs()
    more = [index for index, label in enumerate(labels) for _ in range(3 if label == "a" else 1)]
    options = QUICK._replace(batch_size=1000, l2=0.0)

    def weights(rows, labels, balance):
        return fit_softmax(PIPELINE, rows, labels, options._replace(balance=balance)).state()["weights"]

    for balance, same in ((True, True), (False, False)):
        once, thrice = (
            weights(rows, labels, balance),
            weights(rows[more], [labels[index] for index in more], balance),
        )
        assert np.allclose(once, thrice, atol=1e-3) == same


def test_reports_each_epoch():
    """Every pass is reported, with a falling loss and the accuracy on the examples."""
    reports = []
    fit_softmax(PIPELINE, *blobs(), QUICK._replace(epochs=20), on_epoch=reports.append)

    assert [(report.epoch, report.epochs) for report in reports] == [(n, 20) for n in range(1, 21)]
    assert reports[-1].loss < reports[5].loss < reports[0].loss
    assert all(0 <= report.accuracy <= 1 for report in reports)
    assert reports[-1].accuracy > 0.9


def test_reports_by_hand():
    """The first report of one full batch is that of a layer of zeros, and of what one step made of it."""
    rows, labels = blobs()
    held_rows, held_labels = blobs(seed=1)
    history = History()
    options = QUICK._replace(batch_size=1000, epochs=1, optimizer="sgd", learning_rate=0.5)
    fit_softmax(PIPELINE, rows, labels, options, history, held_out=HeldOut(held_rows, held_labels))
    spread, targets = fit._DEVIATION * math.sqrt(SIZE), np.array(["abc".index(label) for label in labels])
    inputs = PIPELINE(rows) * spread
    errors = np.full((30, 3), 1 / 3)
    errors[np.arange(30), targets] -= 1
    weights, biases = -0.5 * inputs.T @ errors / 30, -0.5 * errors.mean(axis=0)
    logits = PIPELINE(held_rows) * spread @ weights + biases
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    own = np.array(["abc".index(label) for label in held_labels])
    [report] = history.epochs

    assert (report.epoch, report.epochs, report.step, report.learning_rate) == (1, 1, 1, 0.5)
    np.testing.assert_allclose(report.loss, math.log(3), rtol=1e-6)
    np.testing.assert_allclose(report.accuracy, 1 / 3, rtol=1e-6)
    np.testing.assert_allclose(report.held_out_loss, -np.log(scores[np.arange(30), own]).mean(), rtol=1e-5)
    np.testing.assert_allclose(report.held_out_accuracy, (scores.argmax(axis=1) == own).mean(), rtol=1e-6)
    np.testing.assert_allclose([report.weight_norm, report.update_norm], np.linalg.norm(weights), rtol=1e-5)
    np.testing.assert_allclose(report.bias_norm, np.linalg.norm(biases), atol=1e-6)


def test_reported_steps_and_loss():
    """Steps are counted through; the loss is the mean over examples, a smaller last batch weighing less."""
    history = History()
    fit_softmax(PIPELINE, *blobs(), QUICK._replace(batch_size=20, epochs=3, learning_rate=1e-6), history)

    assert [one.step for one in history.epochs] == [2, 4, 6]
    assert [(one.held_out_loss, one.held_out_accuracy) for one in history.epochs] == [(None, None)] * 3
    # Batches of 20 and 10 with importance 1 each, at weights that hardly move
    assert all(abs(one.loss - math.log(3)) < 1e-3 for one in history.epochs)


def test_loss_has_the_l2_term():
    """What is reported of the training examples has half the squared weights in it, times the factor."""
    losses = []
    for l2 in (0.0, 1.0):
        history = History()
        options = QUICK._replace(batch_size=1000, epochs=1, learning_rate=1e-6, initial="glorot", l2=l2)
        fit_softmax(PIPELINE, *blobs(), options, history)
        losses.append(history.epochs[0].loss)
    weights, _ = initial_weights(SIZE, 3, options)

    assert abs(losses[1] - losses[0] - 0.5 * (weights.astype(float) ** 2).sum()) < 1e-4


def test_means_of_the_classes():
    """The head has the mean direction of each class, to know what is none of them."""
    rows, labels = blobs()
    head = fit_softmax(EmbeddingPipeline(SIZE, np.full(SIZE, 0.5)), rows, labels, QUICK)
    directions = head.pipeline(rows)
    for place, label in enumerate("abc"):
        mean = directions[[other == label for other in labels]].mean(axis=0)
        np.testing.assert_allclose(head.state()["means"][place], mean / np.linalg.norm(mean), atol=1e-6)


# Held-out examples


def test_best_epoch_is_kept():
    """The weights that come out are those of the epoch with the lowest held-out loss, not the last."""
    rows, labels = blobs(spread=1.5)
    options = QUICK._replace(epochs=60, learning_rate=0.1, patience=5, l2=0.0)
    history = History()
    head = fit_softmax(PIPELINE, rows, labels, options, history, held_out=HeldOut(*blobs(spread=1.5, seed=1)))
    best = history.best
    assert len(history.epochs) > best.epoch
    shorter = options._replace(epochs=best.epoch)
    until = fit_softmax(PIPELINE, rows, labels, shorter, held_out=HeldOut(*blobs(spread=1.5, seed=1)))

    assert frozen(head) == frozen(until)
    held = Batches.of(PIPELINE, *blobs(spread=1.5, seed=1), ["a", "b", "c"])
    scores = head.scores(blobs(spread=1.5, seed=1)[0])
    loss = -np.log(scores[np.arange(len(held.targets)), held.targets]).mean()
    np.testing.assert_allclose(loss, best.held_out_loss, rtol=1e-4)


def test_stops_early():
    """Training ends when so many epochs have not lowered the held-out loss; it runs on without patience."""
    data, lengths = HeldOut(*blobs(spread=1.5, seed=1)), []
    for patience in (3, 8, 0):
        history = History()
        options = QUICK._replace(epochs=60, learning_rate=0.1, patience=patience)
        fit_softmax(PIPELINE, *blobs(spread=1.5), options, history, held_out=data)
        lengths.append(len(history.epochs))
        if patience:
            assert history.best.epoch <= len(history.epochs) - 1

    assert lengths[0] < lengths[1] < lengths[2] == 60


def test_patience_without_held_out_examples():
    """Without held-out examples every epoch is run, and the last weights come out."""
    history = History()
    options = QUICK._replace(epochs=40, learning_rate=0.1, patience=1)
    head = fit_softmax(PIPELINE, *blobs(spread=1.5), options, history)

    assert len(history.epochs) == 40
    norm = np.linalg.norm(head.weights) / (fit._DEVIATION * math.sqrt(SIZE))
    np.testing.assert_allclose(norm, history.epochs[-1].weight_norm, rtol=1e-5)


def test_held_out_examples_are_not_trained_on():
    """Other held-out examples change what is reported, and no step of training."""
    options, norms, losses = QUICK._replace(patience=0), [], []
    for seed in (1, 2):
        history = History()
        fit_softmax(PIPELINE, *blobs(), options, history, held_out=HeldOut(*blobs(seed=seed)))
        norms.append([one.weight_norm for one in history.epochs[:3]])
        losses.append([one.held_out_loss for one in history.epochs[:3]])

    assert norms[0] == norms[1]
    assert losses[0] != losses[1]


def test_held_out_examples_of_some_classes():
    """Held-out examples need not be of every class, and each class among them weighs the same."""
    rows, labels = blobs(seed=1)
    some = [index for index, label in enumerate(labels) if label == "a"][:9]
    some += [index for index, label in enumerate(labels) if label == "b"][:1]
    history, names = History(), [labels[index] for index in some]
    options = QUICK._replace(epochs=1)
    head = fit_softmax(PIPELINE, *blobs(), options, history, held_out=HeldOut(rows[some], names))
    logs = -np.log(head.scores(rows[some])[np.arange(10), ["abc".index(name) for name in names]])

    np.testing.assert_allclose(history.epochs[0].held_out_loss, (logs[:9].mean() + logs[9]) / 2, rtol=1e-5)


def test_held_out_classes_must_be_trained():
    """A held-out class without examples to train on is told, and so are labels that are too few."""
    rows = np.ones((2, SIZE))
    with pytest.raises(TooFewExamples, match="held-out class 'z'"):
        fit_softmax(PIPELINE, *blobs(), QUICK, held_out=HeldOut(rows, ["a", "z"]))
    with pytest.raises(TooFewExamples, match="2 embeddings with 1 labels"):
        fit_softmax(PIPELINE, *blobs(), QUICK, held_out=HeldOut(rows, ["a"]))


def test_no_held_out_examples():
    """Held-out examples that are none at all are as good as not given: every epoch is run."""
    history, options = History(), QUICK._replace(epochs=12, patience=3)
    head = fit_softmax(PIPELINE, *blobs(), options, history, held_out=HeldOut(np.zeros((0, SIZE)), []))

    assert len(history.epochs) == 12
    assert {(one.held_out_loss, one.held_out_accuracy) for one in history.epochs} == {(None, None)}
    assert frozen(head) == frozen(fit_softmax(PIPELINE, *blobs(), options))


# Dropout and initial weights


def test_dropout():
    """Left-out numbers change the weights, are drawn by the seed, and leave what is learnt good."""
    with_, without = (
        fit_softmax(PIPELINE, *blobs(), QUICK._replace(dropout=dropout, epochs=30)) for dropout in (0.5, 0)
    )

    assert frozen(with_) != frozen(without)
    assert evaluate(with_, *blobs(seed=1)).accuracy > 0.95
    seeds = [frozen(fit_softmax(PIPELINE, *blobs(), QUICK._replace(dropout=0.5, seed=seed))) for seed in (1, 2)]
    assert seeds[0] != seeds[1]


def test_dropout_leaves_out_its_share():
    """Of an embedding's numbers the share is zero in a step, the rest made larger to match: gradients keep their mean.

    The weights after one small step of plain descent are the gradient, so its zeros show what was left out.
    """
    rows = np.ones((2, 1000), np.float32)
    options = SoftmaxOptions(epochs=1, batch_size=2, l2=0.0, optimizer="sgd", learning_rate=0.01, dropout=0.4)
    head = fit_softmax(EmbeddingPipeline(1000), rows, ["a", "b"], options)
    kept = head.weights[0] - head.weights[1]
    # Both examples are alike, so a number's gradient is zero where both or neither were kept.
    assert abs((kept == 0).mean() - (0.4**2 + 0.6**2)) < 0.06
    sizes = np.abs(head.weights[0][kept != 0])
    np.testing.assert_allclose(sizes, 0.01 * 0.25 / 0.6 * fit._DEVIATION**2 * math.sqrt(1000), rtol=2e-3)


def test_glorot_weights():
    """Initial weights are normal with variance 2 / (D + C), by the seed; biases are zero."""
    options = SoftmaxOptions(initial="glorot", seed=3)
    weights, biases = initial_weights(1000, 20, options)

    assert (weights.shape, weights.dtype, biases.dtype) == ((1000, 20), np.float32, np.float32)
    assert abs(weights.var() / (2 / 1020) - 1) < 0.05
    assert abs(weights.mean()) < 0.001
    assert not biases.any()
    assert weights.tobytes() == initial_weights(1000, 20, options)[0].tobytes()
    assert weights.tobytes() != initial_weights(1000, 20, options._replace(seed=4))[0].tobytes()
    assert not initial_weights(1000, 20, SoftmaxOptions())[0].any()


@pytest.mark.parametrize("initial", ["zeros", "glorot"])
def test_learns_from_either_start(initial):
    """Both kinds of initial weights lead to a head that answers right."""
    head = fit_softmax(PIPELINE, *blobs(), SoftmaxOptions(initial=initial, learning_rate=0.01))

    assert evaluate(head, *blobs(seed=1)).accuracy > 0.95


def test_importance_by_hand():
    """Balanced, every class met has the same sum and the mean is 1; otherwise each example weighs 1."""
    targets = np.array([0, 0, 0, 2])

    np.testing.assert_allclose(importance(targets, 5, True), [2 / 3, 2 / 3, 2 / 3, 2])
    assert importance(targets, 5, False).tolist() == [1.0] * 4


# Being told to stop, and refusals


def test_stop_is_asked_before_each_step():
    """Training asks before each step, never stops on its own, and watching changes nothing."""
    asked = []
    head = fit_softmax(PIPELINE, *blobs(), QUICK, should_stop=lambda: asked.append(1))

    assert len(asked) == 5 * math.ceil(30 / 4)
    assert frozen(head) == frozen(fit_softmax(PIPELINE, *blobs(), QUICK))


@pytest.mark.parametrize(("step", "epochs_done"), [(1, 0), (8, 0), (9, 1), (20, 2)])
def test_stops_when_told(step, epochs_done):
    """Told to stop, training ends before the next step, not at the end of the pass."""
    asked, reports = [], []

    def should_stop():
        asked.append(1)
        return len(asked) == step

    with pytest.raises(TrainingStopped, match=f"epoch {epochs_done + 1} of 5"):
        fit_softmax(PIPELINE, *blobs(), QUICK, on_epoch=reports.append, should_stop=should_stop)
    assert (len(asked), len(reports)) == (step, epochs_done)


@pytest.mark.parametrize("classes", [(), ("a",)])
def test_too_few_classes(classes):
    """One class alone, or none, can't be trained."""
    with pytest.raises(TooFewExamples, match=f"at least 2 classes, got {len(classes)}"):
        fit_softmax(PIPELINE, np.ones((4 * len(classes), SIZE)), list(classes) * 4)


def test_labels_must_be_as_many():
    """Embeddings and labels must be as many."""
    with pytest.raises(TooFewExamples, match="3 embeddings with 2 labels"):
        fit_softmax(PIPELINE, np.ones((3, SIZE)), ["a", "b"])


@pytest.mark.parametrize("wrong", [np.ones((2, SIZE + 1)), np.full((2, SIZE), np.nan), np.full((2, SIZE), np.inf)])
def test_wrong_embeddings(wrong):
    """Embeddings of another length, or with NaN or infinity, are refused."""
    with pytest.raises(EmbeddingMismatch):
        fit_softmax(PIPELINE, wrong, ["a", "b"])


# Options


WHOLE = ("epochs", "batch_size", "patience", "seed")


def out_of_range():
    """Each option with values it must not have."""
    for name, (lowest, highest) in sorted(RANGES.items()):
        beyond = [lowest - 1, highest * 2 + 1, float("nan"), float("inf"), -float("inf")]
        for value in [*beyond, "1", None, True, [1]]:
            yield name, value
    for name in WHOLE:
        yield name, 1.5
    wrong = {
        "optimizer": ["Adam", "", None, 1],
        "initial": ["normal", "Zeros", None, 0],
        "balance": [1, 0, "true", None],
    }
    for name, values in wrong.items():
        for value in values:
            yield name, value


@pytest.mark.parametrize(("name", "value"), list(out_of_range()))
def test_options_out_of_range(name, value):
    """A value outside its range, or of another type, is named before training starts."""
    with pytest.raises(OptionError, match=f"^{name} must be"):
        fit_softmax(PIPELINE, *blobs(), SoftmaxOptions(**{name: value}))


@pytest.mark.parametrize("name", sorted(RANGES))
def test_ends_of_ranges(name):
    """Both ends of each range are allowed, and the default lies between."""
    for value in (*RANGES[name], SoftmaxOptions._field_defaults[name]):
        assert getattr(SoftmaxOptions(**{name: value}).checked(), name) == value


@pytest.mark.parametrize("name", WHOLE)
def test_whole_numbers_as_floats(name):
    """A whole number written as 3.0, as JSON may have it, is that whole number."""
    options = QUICK._replace(**{name: 3.0})

    assert frozen(fit_softmax(PIPELINE, *blobs(), options)) == frozen(
        fit_softmax(PIPELINE, *blobs(), QUICK._replace(**{name: 3}))
    )


def test_optimizer_of_another_type():
    """A list in place of the optimizer's name is refused like any other value."""
    with pytest.raises(OptionError):
        SoftmaxOptions(optimizer=["adam"]).checked()


def test_diverging_training_is_told():
    """Options within their ranges that make the weights grow without end are told, with what to change."""
    options = QUICK._replace(optimizer="sgd", learning_rate=10.0, l2=10.0, epochs=60)

    with pytest.raises(TrainingDiverged, match="learning rate below 10"):
        fit_softmax(PIPELINE, *blobs(), options)


# Setting examples aside


LABELS = st.lists(st.sampled_from("abcd"), max_size=60)
FRACTIONS, SEEDS = st.floats(0.01, 0.5), st.integers(0, 2**32 - 1)


@given(LABELS, FRACTIONS, SEEDS)
def test_split_is_stratified(labels, fraction, seed):
    """Every example is on one side; of each class the share asked for is held out, of three on at least one."""
    split = stratified_split(labels, fraction, seed)

    assert sorted(split.train + split.held_out) == list(range(len(labels)))
    assert (split.train, split.held_out) == (sorted(split.train), sorted(split.held_out))
    assert split == stratified_split(labels, fraction, seed)
    for label in set(labels):
        held, count = sum(labels[index] == label for index in split.held_out), labels.count(label)
        assert held == (min(max(1, round(fraction * count)), count // 2) if fraction and count >= 3 else 0)
        assert held < count


@given(LABELS, FRACTIONS, SEEDS, st.data())
def test_groups_stay_together(labels, fraction, seed, data):
    """Examples of one class and group are on one side; more than asked for only where no group is that small."""
    groups = data.draw(st.lists(st.none() | st.integers(0, 9), min_size=len(labels), max_size=len(labels)))
    split = stratified_split(labels, fraction, seed, groups)

    assert sorted(split.train + split.held_out) == list(range(len(labels)))
    sides = [{(labels[index], groups[index]) for index in side if groups[index] is not None} for side in split]
    assert not sides[0] & sides[1]
    for label in set(labels):
        held = sum(labels[index] == label for index in split.held_out)
        wanted = max(1, round(fraction * labels.count(label)))
        sizes = Counter((groups[place], place if groups[place] is None else 0) for place in range(len(labels)))
        assert 2 * held <= labels.count(label)
        assert held <= wanted or max(sizes.values()) > 1


def test_groups_of_two_classes_stay_together():
    """Frames captured together stay on one side even when they show two classes."""
    groups = [1, 2, 3, 4] * 5
    for seed in range(20):
        split = stratified_split(["a"] * 4 + ["b"] * 4 + ["c"] * 12, 0.5, seed, groups)
        assert not {groups[index] for index in split.train} & {groups[index] for index in split.held_out}


def test_groups_are_held_out_whole():
    """With groups of four frames, one whole group of five is held out."""
    labels, groups = ["a"] * 20, [index // 4 for index in range(20)]
    split = stratified_split(labels, 0.2, 0, groups)

    assert len(split.held_out) == 4
    assert len({groups[index] for index in split.held_out}) == 1


@pytest.mark.parametrize(("frames", "held_out"), [((7, 7, 7), 7), ((7, 7), 7), ((9, 4), 4), ((7,), 0), ((2, 1), 1)])
def test_few_groups_give_one_whole(frames, held_out):
    """Where no group is as small as the share, the smallest is held out; never more than half of a class."""
    groups = [number for number, count in enumerate(frames) for _ in range(count)]
    split = stratified_split(["a"] * len(groups), 0.2, 0, groups)
    assert len(split.held_out) == held_out
    assert not {groups[index] for index in split.train} & {groups[index] for index in split.held_out}


def test_what_was_taken_together_is_left_out_together():
    """Frames that are nearly the same don't answer for each other; a class of one capture can't be measured."""
    random = np.random.RandomState(0)
    views = random.uniform(0, 1, (4, 8)).astype(np.float32)
    rows = np.repeat(views, 3, axis=0) + random.uniform(0, 0.001, (12, 8)).astype(np.float32)
    labels, groups = ["a"] * 6 + ["b"] * 3 + ["c"] * 3, [0] * 3 + [1] * 3 + [2] * 3 + [None] * 3
    head = ImprintingHead(EmbeddingPipeline(8))
    head.learn_many(rows, labels)
    alone = calibrate_left_out(head, rows, labels)[1]
    together = calibrate_left_out(head, rows, labels, groups=groups)[1]
    assert alone.fair.all()
    assert together.fair.tolist() == [True] * 6 + [False] * 3 + [True] * 3
    assert together.only_fair().chosen == [0, 1, 2, 3, 4, 5, 9, 10, 11]
    np.testing.assert_array_equal(together.evidence.logits[9:], alone.evidence.logits[9:])
    assert (together.evidence.logits[:6, 0] < alone.evidence.logits[:6, 0]).all()


def test_part_of_a_group_is_no_fair_question():
    """What is left of a capture would answer for the part of it that is asked about; as strangers both are the same."""
    rows = np.random.RandomState(0).uniform(0, 1, (9, 8)).astype(np.float32)
    labels, groups = ["a"] * 6 + ["b"] * 3, ["film"] * 4 + [None] * 5
    head = ImprintingHead(EmbeddingPipeline(8))
    head.learn_many(rows, labels)
    sample = Sample([0, 1, 4, 5, 6, 7, 8], frozenset(["film"]))
    _, left_out = calibrate_left_out(head, rows, labels, groups=groups, sample=sample)
    assert left_out.fair.tolist() == [False, False] + [True] * 5
    np.testing.assert_array_equal(
        head.as_strangers(rows[sample.chosen], left_out.labels), head.as_strangers(rows, labels)[sample.chosen]
    )


def test_seed_of_the_split():
    """Another seed holds out other examples."""
    assert len({tuple(stratified_split(["a"] * 20, 0.3, seed).held_out) for seed in range(5)}) > 1


def test_split_of_nothing():
    """No example gives two empty sides."""
    assert stratified_split([]) == ([], [])


@given(LABELS, st.integers(2, 6), SEEDS)
def test_folds(labels, count, seed):
    """Each example is held out once where its class has another left to train on, and never more often."""
    splits = folds(labels, count, seed)
    held = [index for split in splits for index in split.held_out]

    assert len(held) == len(set(held))
    assert splits == folds(labels, count, seed)
    for split in splits:
        assert sorted(split.train + split.held_out) == list(range(len(labels)))
        assert {labels[index] for index in split.held_out} <= {labels[index] for index in split.train}
    for label in set(labels):
        mine = [index for index in held if labels[index] == label]
        assert len(mine) == (labels.count(label) if labels.count(label) > 1 else 0)


@given(LABELS, st.integers(2, 5), SEEDS, st.data())
def test_folds_of_groups(labels, count, seed, data):
    """Examples of a group are held out together, or never."""
    groups = data.draw(st.lists(st.none() | st.integers(0, 9), min_size=len(labels), max_size=len(labels)))
    splits = folds(labels, count, seed, groups)
    held = [index for split in splits for index in split.held_out]

    assert len(held) == len(set(held))
    for split in splits:
        sides = [{groups[index] for index in side if groups[index] is not None} for side in split]
        assert not sides[0] & sides[1]
        assert {labels[index] for index in split.held_out} <= {labels[index] for index in split.train}


@pytest.mark.parametrize("count", [1, 0, -1, 2.5, "5", None])
def test_folds_out_of_range(count):
    """There are two folds or more."""
    with pytest.raises(OptionError, match="at least 2 folds"):
        folds(["a"] * 4, count)


@pytest.mark.parametrize("fraction", [-0.1, 0.51, 1, float("nan")])
def test_fraction_out_of_range(fraction):
    """Up to half of the examples are held out."""
    with pytest.raises(OptionError, match="fraction"):
        stratified_split(["a"] * 4, fraction)


# Figures


def answering_head():
    """A head that answers the class an embedding names: [1, 0, 0] is "a", [0, 1, 0] "b", [0, 0, 1] "c"."""
    head = ImprintingHead(EmbeddingPipeline(3))
    head.learn_many(np.eye(3), ["a", "b", "c"])
    return head


def test_evaluation_by_hand():
    """Accuracy, its mean over classes and the confusion are those worked out by hand."""
    answers, labels = "aacbbca", ["a", "a", "a", "b", "b", "b", "z"]
    figures = evaluate(answering_head(), np.eye(3)[["abc".index(answer) for answer in answers]], labels)

    assert figures.examples == 7
    assert figures.accuracy == 4 / 7
    assert abs(figures.mean_class_accuracy - (2 / 3 + 2 / 3 + 0) / 3) < 1e-12
    assert figures.classes == ["a", "b", "z"]
    assert figures.answers == ["a", "b", "c", "z"]
    assert figures.confusion == [[2, 0, 1, 0], [0, 2, 1, 0], [1, 0, 0, 0]]
    assert figures.given == list(answers)
    assert json.loads(json.dumps(figures.as_dict())) == dict(list(figures._asdict().items())[:-1])


def test_evaluation_without_examples():
    """Without examples there are no figures, and no head is asked."""
    figures = evaluate(ImprintingHead(EmbeddingPipeline(3)), np.zeros((0, 3)), [])

    assert figures == (0, None, None, None, None, [], [], [], ())


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abcd")), min_size=1, max_size=30))
def test_confusion_adds_up(pairs):
    """Every example is in the confusion once, in the row of its class."""
    labels = [label for _, label in pairs]
    figures = evaluate(answering_head(), np.eye(3)[["abc".index(answer) for answer, _ in pairs]], labels)

    assert [sum(row) for row in figures.confusion] == [labels.count(name) for name in figures.classes]
    assert figures.accuracy == sum(answer == label for answer, label in pairs) / len(pairs)


@pytest.mark.parametrize(("rows", "labels"), [(2, "abc"), (3, "ab")])
def test_evaluation_needs_as_many_labels(rows, labels):
    """Embeddings and labels must be as many."""
    with pytest.raises(ValueError, match="labels"):
        evaluate(answering_head(), np.eye(3)[:rows], list(labels))


def test_refused_examples():
    """Examples less familiar than the threshold are counted as refused, and their best class all the same."""
    head, rows = answering_head(), np.array([[1, 0, 0], [1, 1, 1], [0, 1, 0], [-1, -1, -1]])
    assert evaluate(head, rows, list("abba")).refused == 0
    head.calibration = Calibration(20.0, 0.9)
    figures = evaluate(head, rows, list("aabb"))

    assert figures.refused == 0.5
    assert figures.examples == 4
    assert sum(map(sum, figures.confusion)) == 4


def test_class_accuracy():
    """The share answered right of each class met."""
    figures = evaluate(answering_head(), np.eye(3)[[0, 1, 1, 2]], list("aabz"))

    assert figures.class_accuracy() == {"a": 0.5, "b": 1.0, "z": 0.0}


def test_calibration_error_by_hand():
    """In each tenth of scores, the gap between their mean and the share right, weighed by how many there are."""
    scores, right = np.array([0.92, 0.98, 0.55, 0.51, 1.0]), np.array([True, False, True, True, True])
    gaps = 3 * abs((0.92 + 0.98 + 1.0) / 3 - 2 / 3) + 2 * abs((0.55 + 0.51) / 2 - 1)

    assert abs(calibration_error(scores, right) - gaps / 5) < 1e-12
    assert calibration_error(np.array([1.0, 1.0]), np.array([True, True])) == 0
    assert calibration_error(np.array([1.0, 0.0]), np.array([False, True])) == 1


def test_calibration_error_of_honest_scores():
    """Answers that are right as often as their scores say have hardly any error; surer ones have."""
    random = np.random.RandomState(0)
    scores = random.rand(20000)
    right = random.rand(20000) < scores

    assert calibration_error(scores, right) < 0.015
    assert calibration_error(np.sqrt(scores), right) > 0.1


SOME = st.lists(st.integers(-3, 3), min_size=1, max_size=12)


@given(SOME, SOME)
def test_auroc_counts_pairs(familiar, strange):
    """It is the share of pairs in which the known one is more familiar; ties count half."""
    pairs = [(one > other) + 0.5 * (one == other) for one in familiar for other in strange]

    assert abs(auroc(np.array(familiar, float), np.array(strange, float)) - sum(pairs) / len(pairs)) < 1e-12


@pytest.mark.parametrize(("familiar", "strange"), [(0, 2), (2, 0), (0, 0)])
def test_auroc_needs_both_sides(familiar, strange):
    """Without known ones or without strangers there are no pairs."""
    with pytest.raises(TooFewExamples, match=f"got {familiar} and {strange}"):
        auroc(np.ones(familiar), np.ones(strange))


def test_auroc_takes_infinity():
    """Minus infinity is less familiar than any number."""
    assert auroc(np.array([1.0, 2.0]), np.array([-np.inf, -np.inf])) == 1
    assert auroc(np.array([-np.inf]), np.array([-np.inf])) == 0.5


@pytest.mark.parametrize("kind", [ImprintingHead, LinearDiscriminantHead, NeighboursHead], ids=lambda kind: kind.kind)
def test_evaluating_what_was_learnt(kind):
    """Figures on learnt examples are those of forgetting each in turn; the only one of a class counts as wrong."""
    rows, labels = blobs(per_class=8, spread=0.8)
    labels[0] = "only one"
    head = kind.suited(SIZE)
    head.learn_many(rows, labels)
    figures, right, refused = evaluate_left_out(head, rows, labels), 0, 0
    head.calibration = Calibration(head.scale, float(np.median(head.leave_one_out(rows, labels).familiarity)))
    calibrated = evaluate_left_out(head, rows, labels)
    for row, label in zip(rows, labels):
        head.forget(row, label)
        right += head.predict(row) == label
        refused += not head.knows(row)
        head.learn_one(row, label)

    assert figures.examples == len(labels)
    assert figures.accuracy == right / len(labels)
    assert figures.class_accuracy()["only one"] == 0
    assert abs(calibrated.refused - refused / len(labels)) <= 1 / len(labels)
    assert figures.refused == 0


def test_evaluating_the_only_example():
    """The only example of all has no answer once it is left out."""
    head = ImprintingHead(PIPELINE)
    head.learn_one(blobs()[0][0], "a")
    figures = evaluate_left_out(head, blobs()[0][:1], ["a"])

    assert (figures.examples, figures.accuracy, figures.confusion) == (1, 0.0, [[0, 1]])
    assert figures.answers == ["a", None]
    assert figures.given == [None]


def test_evaluating_in_parts():
    """Thousands of examples are answered in parts, with the figures of all."""
    rows, labels = blobs(per_class=900, spread=0.9)
    head = ImprintingHead(PIPELINE)
    head.learn_many(rows, labels)
    figures = evaluate(head, rows, labels)

    assert figures.examples == 2700
    assert figures.accuracy == np.mean([head.predict(row) == label for row, label in zip(rows, labels)])
    assert abs(evaluate_left_out(head, rows, labels).accuracy - figures.accuracy) < 0.01


def test_evaluating_nothing_learnt():
    """No example was learnt, so there is nothing to leave out."""
    assert evaluate_left_out(ImprintingHead(PIPELINE), np.zeros((0, SIZE)), []).examples == 0


@pytest.mark.parametrize("kind", [ImprintingHead, LinearDiscriminantHead, NeighboursHead], ids=lambda kind: kind.kind)
def test_one_look_serves_all(kind, monkeypatch):
    """Calibrating, judging and examining by the same left-out evidence is as each by its own, for the work of one."""
    rows, labels = blobs(per_class=8, spread=0.9)
    rows[3], labels[9] = rows[4], "a"
    expected = kind.suited(SIZE)
    expected.learn_many(rows, labels)
    head = kind.suited(SIZE)
    head.learn_many(rows, labels)
    asked, leave = [], kind.leave_one_out
    monkeypatch.setattr(kind, "leave_one_out", lambda *given: asked.append(given) or leave(*given))
    calibrated, left_out = calibrate_left_out(head, rows, labels)
    figures, found = evaluate_evidence(head, left_out.evidence, left_out.labels), examine_left_out(head, left_out)

    assert len(asked) == 1
    assert (left_out.chosen, left_out.labels) == (list(range(len(labels))), labels)
    assert calibrated == calibrate(expected, rows, labels)
    assert figures == evaluate_left_out(expected, rows, labels)
    assert found == examine_examples(expected, rows, labels)
    assert {"same_picture_two_classes", "classes_overlap"} <= {one.code for one in found}
