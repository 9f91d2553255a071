"""coral_learn/training/: backpropagation of the last layer, splits and figures."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coral_learn import EmbeddingPipeline, ImprintingHead, SoftmaxOptions, evaluate, fit_softmax, stratified_split
from coral_learn.errors import EmbeddingMismatch, OptionError, TooFewExamples, TrainingDiverged, TrainingStopped
from coral_learn.training.fit import loss_and_gradients
from coral_learn.training.options import OPTIMIZERS, RANGES
from coral_learn.training.optimizers import Adam, Sgd

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
    """The first report of one full batch is that of a layer of zeros."""
    reports = []
    fit_softmax(PIPELINE, *blobs(), QUICK._replace(batch_size=1000, epochs=1), on_epoch=reports.append)

    assert abs(reports[0].loss - math.log(3)) < 1e-6
    assert abs(reports[0].accuracy - 1 / 3) < 1e-6


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


def out_of_range():
    """Each option with values it must not have."""
    for name, (lowest, highest) in sorted(RANGES.items()):
        beyond = [lowest - 1, highest * 2 + 1, float("nan"), float("inf"), -float("inf")]
        for value in [*beyond, "1", None, True, [1]]:
            yield name, value
    for name in ("epochs", "batch_size", "seed"):
        yield name, 1.5
    for name, values in (("optimizer", ["Adam", "", None, 1]), ("balance", [1, 0, "true", None])):
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


@pytest.mark.parametrize("name", ["epochs", "batch_size", "seed"])
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
    """Examples of one class and group are on one side; never more are held out than asked for."""
    groups = data.draw(st.lists(st.none() | st.integers(0, 9), min_size=len(labels), max_size=len(labels)))
    split = stratified_split(labels, fraction, seed, groups)

    assert sorted(split.train + split.held_out) == list(range(len(labels)))
    sides = [{(labels[index], groups[index]) for index in side if groups[index] is not None} for side in split]
    assert not sides[0] & sides[1]
    for label in set(labels):
        held = sum(labels[index] == label for index in split.held_out)
        assert held <= max(1, round(fraction * labels.count(label)))


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


def test_seed_of_the_split():
    """Another seed holds out other examples."""
    assert len({tuple(stratified_split(["a"] * 20, 0.3, seed).held_out) for seed in range(5)}) > 1


def test_split_of_nothing():
    """No example gives two empty sides."""
    assert stratified_split([]) == ([], [])


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
    assert json.loads(json.dumps(figures.as_dict())) == figures._asdict()


def test_evaluation_without_examples():
    """Without examples there are no figures, and no head is asked."""
    figures = evaluate(ImprintingHead(EmbeddingPipeline(3)), np.zeros((0, 3)), [])

    assert figures == (0, None, None, None, None, [], [], [])


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
