"""coral_learn/heads/: the rules every head keeps, and what imprinting, softmax and the pipeline do."""

import hashlib
from collections import Counter
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from coral_learn import EmbeddingPipeline, Head, ImprintingHead, IncrementalHead, SoftmaxHead, load_head
from coral_learn.errors import (
    ClassNameInvalid,
    ClassPretrained,
    ClassUnknown,
    EmbeddingMismatch,
    ExampleUnknown,
    HeadStateError,
    NothingLearnt,
    OptionError,
)
from coral_learn.heads import Calibration, LinearDiscriminantHead, NeighboursHead
from coral_learn.training import SoftmaxOptions, fit_softmax

SIZE = 6
MEAN = np.linspace(0, 1, SIZE).astype(np.float32)
LABELS = ["pear", "apple", "fig", "apple", "pear", "apple"]
PRIORS = {"apple": 3.0, "kiwi": 0.5}
KEPT = ["ox", "ape", "yak"]
# What float32 cosines may differ by, depending on the place of an example among others.
PLACE = 1e-6


def embeddings(count=6, seed=0):
    """Embeddings as a network with a ReLU gives them."""
    return np.random.RandomState(seed).uniform(0, 3, (count, SIZE)).astype(np.float32)


def softmax(mean=None, means=None):
    """A softmax head, by its weights."""
    weights = np.random.RandomState(2).normal(size=(3, SIZE)).astype(np.float32)
    classes, biases = ["apple", "fig", "pear"], np.array([0.1, 0, -0.1])
    return SoftmaxHead(EmbeddingPipeline(SIZE, mean), classes, weights, biases, means)


def with_kept():
    """An imprinting head with pre-trained classes, their lead set, and none taught."""
    head = ImprintingHead(EmbeddingPipeline(SIZE, MEAN))
    head.keep(embeddings(3, seed=1), KEPT)
    head.kept_lead = 0.05
    return head


UNTAUGHT = {
    "imprinting": lambda: ImprintingHead(EmbeddingPipeline(SIZE)),
    "imprinting, centred": lambda: ImprintingHead(EmbeddingPipeline(SIZE, MEAN)),
    "imprinting, pre-trained": with_kept,
    "lda": lambda: LinearDiscriminantHead(EmbeddingPipeline(SIZE)),
    "lda, centred": lambda: LinearDiscriminantHead.suited(SIZE, MEAN),
    "lda, priors": lambda: LinearDiscriminantHead(EmbeddingPipeline(SIZE), PRIORS),
    "knn": lambda: NeighboursHead(EmbeddingPipeline(SIZE)),
    "knn, centred": lambda: NeighboursHead.suited(SIZE, MEAN),
    "knn, one neighbour": lambda: NeighboursHead(EmbeddingPipeline(SIZE), 1),
}


def taught(name):
    """An incremental head that was taught `LABELS`."""
    head = UNTAUGHT[name]()
    head.learn_many(embeddings(), LABELS)
    return head


INCREMENTAL = {name: lambda name=name: taught(name) for name in UNTAUGHT}
HEADS = dict(
    INCREMENTAL,
    **{
        "softmax": softmax,
        "softmax, centred": lambda: softmax(MEAN),
        "softmax, means": lambda: softmax(MEAN, embeddings(3, seed=13)),
    },
)
EMPTY = {
    "imprinting": UNTAUGHT["imprinting"],
    "lda": UNTAUGHT["lda"],
    "lda, priors": UNTAUGHT["lda, priors"],
    "knn": UNTAUGHT["knn"],
    "softmax": lambda: SoftmaxHead(EmbeddingPipeline(SIZE), [], np.zeros((0, SIZE)), np.zeros(0)),
}


def imprinting():
    """An imprinting head that was taught `LABELS`."""
    return taught("imprinting")


@pytest.fixture(params=sorted(HEADS))
def head(request):
    """Each head, taught."""
    return HEADS[request.param]()


@pytest.fixture(params=sorted(UNTAUGHT))
def untaught(request):
    """Each head that learns one by one, before it is taught."""
    return UNTAUGHT[request.param]


@pytest.fixture
def learner(untaught):
    """Each head that learns one by one, taught `LABELS`."""
    head = untaught()
    head.learn_many(embeddings(), LABELS)
    return head


def having_learnt(untaught, rows, labels):
    """A new head that was taught these examples."""
    head = untaught()
    head.learn_many(rows, labels)
    return head


def frozen(head):
    """A head's state as bytes, to compare."""
    return [(name, array.dtype.str, array.shape, array.tobytes()) for name, array in sorted(head.state().items())]


def stored(head):
    """A head's state, written to a file and read back."""
    file = BytesIO()
    np.savez(file, **head.state())
    file.seek(0)
    with np.load(file, allow_pickle=False) as state:
        return dict(state)


# Every head


def test_all_heads_are_tested():
    """The contract below runs over every kind of head there is."""
    kinds = {kind for family in (Head, IncrementalHead) for kind in (sub.kind for sub in family.__subclasses__())}

    assert kinds - {""} == {make().kind for make in HEADS.values()} == {make().kind for make in EMPTY.values()}


def test_scores(head):
    """One score a class, 0..1, summing to 1; the best one is the prediction."""
    for embedding in embeddings(20, seed=3):
        scores = head.scores(embedding)
        assert (scores.shape, scores.dtype) == ((len(head.classes),), np.float64)
        assert ((scores >= 0) & (scores <= 1)).all()
        assert abs(scores.sum() - 1) < 1e-12
        assert head.predict(embedding) == head.classes[scores.argmax()]


def test_logits_of_many(head):
    """A batch gets the logits, scores and familiarities of its embeddings one by one."""
    rows = embeddings(20, seed=3)

    for answers in (head.logits, head.scores, head.familiarity):
        many = answers(rows)
        assert len(many) == 20
        np.testing.assert_allclose(many, [answers(row) for row in rows], atol=1e-6)
        assert answers(np.zeros((0, SIZE))).shape == (0, *many.shape[1:])
    assert head.logits(rows).dtype == head.logits(rows[0]).dtype == np.float64


def test_scores_are_softmax_of_scaled_logits(head):
    """Scores are the logits times the calibration's scale, through softmax."""
    head.calibration = Calibration(3.0)
    expected = np.exp(3 * head.logits(embeddings(5)))

    np.testing.assert_allclose(head.scores(embeddings(5)), expected / expected.sum(axis=1, keepdims=True))


def test_classes_are_sorted(head):
    """Pre-trained classes come first in the order given, then taught ones sorted, as a list of the caller's own."""
    head.classes.append("not one of them")
    kept = len(getattr(head, "kept", []))

    assert head.classes[:kept] == KEPT[:kept]
    assert head.classes[kept:] == sorted(head.classes[kept:]) == ["apple", "fig", "pear"]
    assert "not one of them" not in head.classes


def test_scoring_is_pure(head):
    """Asking changes neither the head nor the embedding, and gives the same bytes again."""
    before, embedding = frozen(head), embeddings(1)[0]
    embedding.setflags(write=False)
    scores = head.scores(embedding)
    for ask in (head.scores, head.predict, head.decide, head.knows, head.familiarity):
        ask(embeddings(1, seed=4)[0])

    assert head.scores(embedding).tobytes() == scores.tobytes()
    assert frozen(head) == before


def test_length_of_an_embedding_does_not_matter(head):
    """Only what is left of the mean has a direction: away from it the same way, further out, scores the same."""
    mean = 0 if head.pipeline.mean is None else head.pipeline.mean
    embedding = embeddings(1)[0]

    np.testing.assert_allclose(head.scores(embedding), head.scores((embedding - mean) * 7 + mean), rtol=1e-4)


def test_types_of_embeddings(head):
    """Lists and other number types score as arrays of float32 do."""
    scores = head.scores(np.arange(SIZE, dtype=np.float32))

    for embedding in (list(range(SIZE)), np.arange(SIZE, dtype=np.uint8), np.arange(SIZE, dtype=np.float64)):
        assert head.scores(embedding).tobytes() == scores.tobytes()


@pytest.mark.parametrize("make", list(EMPTY.values()), ids=list(EMPTY))
def test_nothing_learnt(make):
    """A head without a class can't answer, and says what to do."""
    head, embedding = make(), embeddings(1)[0]
    for ask in (head.logits, head.scores, head.predict, head.decide, head.knows, head.familiarity):
        with pytest.raises(NothingLearnt, match="teach"):
            ask(embedding)

    assert head.classes == []
    assert frozen(load_head(stored(head))) == frozen(head)


@pytest.mark.parametrize(
    "wrong",
    [
        [1.0] * (SIZE - 1),
        [1.0] * (SIZE + 1),
        [],
        [1.0] * (SIZE - 1) + [float("nan")],
        [1.0] * (SIZE - 1) + [float("-inf")],
        ["1"] * SIZE,
        [None] * SIZE,
        np.zeros((1, 1, SIZE)),
        1.0,
    ],
)
def test_wrong_embeddings(head, wrong):
    """An embedding of another length or type, or with NaN or infinity, is refused and changes nothing."""
    before = frozen(head)
    for ask in (head.scores, head.familiarity, head.decide):
        with pytest.raises(EmbeddingMismatch):
            ask(wrong)
    if isinstance(head, IncrementalHead):
        with pytest.raises(EmbeddingMismatch):
            head.learn_one(wrong, "apple")
        with pytest.raises(EmbeddingMismatch):
            head.forget(wrong, "apple")

    assert frozen(head) == before


def test_state_round_trip(head):
    """A state written to a file makes the same head: same kind, same bytes, same scores."""
    head.calibration = Calibration(7.5, 0.25)
    again = load_head(stored(head))

    assert type(again) is type(head)
    assert (again.classes, again.calibration) == (head.classes, head.calibration)
    assert frozen(again) == frozen(head)
    for embedding in embeddings(5, seed=5):
        scores, expected = again.scores(embedding), head.scores(embedding)
        # Taught one by one, lda keeps an inverse that was brought up step by step; a loaded head makes it anew.
        assert scores.tobytes() == expected.tobytes() or head.kind == "lda"
        np.testing.assert_allclose(scores, expected, atol=1e-9)


@pytest.mark.parametrize("names", [["\u00e9", "Z", "a b", "", "\u6f22\u5b57", "\U0001f99c", " "], [3, -1, 2**40, 0]])
def test_names_survive_a_state(untaught, names):
    """Names in any script, and numbers, come back as they were, in sorted order, as plain str and int."""
    if untaught().classes:
        names = [name for name in names if isinstance(name, str)] or ["a"]
    head = having_learnt(untaught, embeddings(len(names)), names)
    taught_names = load_head(stored(head)).classes[len(untaught().classes) :]

    assert taught_names == sorted(names)
    assert {type(name) for name in taught_names} == {type(names[0])}
    assert load_head(stored(head)).counts == head.counts == dict.fromkeys(names, 1)


def overwrite(state):
    """Write something else into each array of a state."""
    for array in state.values():
        if array.dtype.kind in "fi" and array.ndim:
            array += 1


def test_states_share_nothing_with_the_head(head):
    """Writing into a state, given or taken, doesn't reach the head."""
    before, taken, given_ = frozen(head), head.state(), stored(head)
    again = load_head(given_)
    overwrite(taken)
    overwrite(given_)

    assert frozen(head) == before
    assert frozen(again) == before


@pytest.mark.parametrize(
    "change",
    [
        {"kind": np.array("boosting")},
        {"kind": np.array(["lda", "knn"])},
        {"pipeline_size": np.array(SIZE + 1)},
        {"pipeline_size": np.array(-SIZE)},
        {"pipeline_size": np.array("six")},
        {"pipeline_power": np.array(0.0)},
        {"pipeline_power": np.array(np.nan)},
        {"pipeline_mean": np.zeros(SIZE + 1)},
        {"pipeline_mean": np.full(SIZE, np.nan)},
        {"pipeline_mean": np.array(["x"] * SIZE)},
        {"calibration": np.zeros(3)},
        {"calibration": np.array(1.0)},
        {"calibration": np.array(["a", "b"])},
        {"classes": np.array(["apple"])},
        {"classes": np.array(["pear", "fig", "apple"])},
        {"classes": np.array(["apple", "fig", "pear", "quince"])},
        {"classes": np.array("apple")},
    ],
    ids=str,
)
def test_refuses_other_states(head, change):
    """A state whose parts don't fit each other is refused with the kinds there are."""
    with pytest.raises(HeadStateError, match="imprinting, knn, lda, softmax"):
        load_head(dict(head.state(), **change))


OPTIONAL = {"pipeline_mean", "means"}


def test_refuses_states_with_a_part_missing(head):
    """Every array of a state is needed, but for the means."""
    for name in set(head.state()) - OPTIONAL:
        with pytest.raises(HeadStateError):
            load_head({other: array for other, array in stored(head).items() if other != name})


def damaged(head, change):
    """States of a head, each with one of its arrays changed."""
    state = stored(head)
    for name, array in state.items():
        other = change(array) if array.size else None
        if other is not None:
            yield dict(state, **{name: other})


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda array: array[None], id="an axis more"),
        pytest.param(lambda array: array[0] if array.ndim else None, id="an axis less"),
        pytest.param(lambda array: array.ravel() if array.ndim == 2 else None, id="flat"),
        pytest.param(lambda array: array[:, :-1] if array.ndim == 2 else None, id="a column less"),
        pytest.param(lambda array: np.concatenate([array, array[-1:]]) if array.ndim else None, id="a row more"),
        pytest.param(lambda array: array[:-1] if array.ndim else None, id="a row less"),
        pytest.param(
            lambda array: np.full(array.shape, "word") if array.dtype.kind != "U" else None, id="words for numbers"
        ),
        pytest.param(
            lambda array: np.full(array.shape, np.nan) if array.dtype.kind == "f" else None, id="not a number"
        ),
        pytest.param(
            lambda array: np.full(array.shape, np.inf) if array.dtype.kind in "iu" else None,
            id="infinity for a whole number",
        ),
        pytest.param(lambda array: np.full(array.shape, 1j) if array.dtype.kind != "U" else None, id="complex numbers"),
        pytest.param(
            lambda array: np.arange(array.size) + 0.5 if array.dtype.kind == "U" and array.ndim else None,
            id="fractions for names",
        ),
    ],
)
def test_refuses_damaged_states(change):
    """An array of another shape or type, or with numbers that can't be, gives `HeadStateError` and nothing else."""
    for make in HEADS.values():
        for state in damaged(make(), change):
            with pytest.raises(HeadStateError):
                load_head(state)


def test_refuses_states_of_a_huge_size():
    """A size that fits no memory is refused like any other that doesn't fit."""
    for size in (10**9, 2**16 + 1):
        with pytest.raises(HeadStateError):
            load_head(dict(taught("lda").state(), pipeline_size=np.array(size)))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("imprinting", {"counts": np.array([3, 0, 2])}),
        ("lda", {"counts": np.array([3, -1, 2])}),
        ("lda, priors", {"prior_weights": np.array([0.0, 1.0])}),
        ("lda, priors", {"prior_weights": np.array([np.nan, 1.0])}),
        ("knn", {"numbers": np.array([0, 0, 0, 1, 2, 3])}),
        ("knn", {"numbers": np.array([0, 0, 0, 2, 2, 2])}),
        ("knn", {"neighbours": np.array(0)}),
    ],
)
def test_refuses_numbers_out_of_range(name, change):
    """Classes without examples, examples without a class, and weights that are none, are refused."""
    with pytest.raises(HeadStateError):
        load_head(dict(taught(name).state(), **change))


# Calibration: scores that are honest, and "none of these"


def test_decides_by_familiarity(head):
    """An embedding less familiar than the threshold is none of the classes; the best class is named all the same."""
    row = embeddings(1, seed=14)[0]
    familiarity = float(head.familiarity(row))
    assert head.decide(row) == head.predict(row)
    for threshold, known in ((familiarity - 0.01, True), (familiarity + 0.01, False)):
        if np.isfinite(threshold):
            head.calibration = Calibration(head.scale, threshold)
            assert head.knows(row) is known
            assert head.decide(row) == (head.predict(row) if known else None)
            assert load_head(stored(head)).knows(row) is known


def test_scale_sharpens_scores(head):
    """A larger scale makes scores surer and changes no answer."""
    row, best = embeddings(1, seed=14)[0], []
    for scale in (0.5, 5.0, 50.0):
        head.calibration = Calibration(scale)
        best.append(head.scores(row).max())
        assert head.predict(row) == head.classes[int(head.logits(row).argmax())]

    assert best[0] < best[1] < best[2]


def test_head_starts_uncalibrated(head):
    """Before calibration a head has its own usual scale and refuses nothing."""
    assert head.calibration == Calibration(head.scale, -np.inf)


# Every head that learns one by one


def test_many_equals_one_by_one(learner):
    """Learning many examples gives the bytes of learning them one by one, in another order."""
    other, rows = load_head(stored(learner)), embeddings(50, seed=6)
    labels = [["apple", "fig", "new", "pear"][i % 4] for i in range(50)]
    learner.learn_many(rows, labels)
    for index in np.random.RandomState(0).permutation(50):
        other.learn_one(rows[index], labels[index])

    assert frozen(other) == frozen(learner)
    np.testing.assert_allclose(other.scores(rows), learner.scores(rows), atol=1e-9)


def test_batches_of_any_size(untaught, monkeypatch):
    """However examples are cut into batches, the state is the same."""
    rows, labels = embeddings(100, seed=6), ["b", "a", "c", "a"] * 25
    states = []
    for size in (1, 7, 33, 100):
        head, other = untaught(), untaught()
        for start in range(0, 100, size):
            head.learn_many(rows[start : start + size], labels[start : start + size])
        monkeypatch.setattr("coral_learn.heads.base._ROWS_AT_ONCE", size)
        other.learn_all(rows, labels)
        states += [frozen(head), frozen(other)]

    assert states == states[:1] * 8


@pytest.mark.parametrize("name", sorted(UNTAUGHT))
def test_many_in_another_memory_order(name):
    """How a batch lies in memory doesn't matter."""
    rows = np.random.RandomState(0).rand(40, SIZE).astype(np.float32)
    one, other = taught(name), taught(name)
    one.learn_many(rows, ["a"] * 40)
    other.learn_many(np.asfortranarray(rows), ["a"] * 40)

    assert frozen(one) == frozen(other)


def test_learning_copies(learner):
    """What is learnt doesn't follow later changes of the caller's arrays, nor is it written to."""
    rows, labels = embeddings(3, seed=7), ["apple", "fig", "new"]
    kept = rows.copy()
    learner.learn_many(rows, labels)
    assert (rows == kept).all()
    before = frozen(learner)
    rows[:] = 0
    labels[:] = ["x"] * 3

    assert frozen(learner) == before


def test_learning_nothing(learner):
    """No example changes nothing."""
    before = frozen(learner)
    learner.learn_many(np.zeros((0, SIZE)), [])
    learner.forget_many(np.zeros((0, SIZE)), "apple")

    assert frozen(learner) == before


def test_counts(learner):
    """Examples of each taught class, sorted by name, as a dictionary of the caller's own."""
    assert list(learner.counts.items()) == [("apple", 3), ("fig", 1), ("pear", 2)]
    learner.counts["apple"] = 99
    learner.learn_one(embeddings(1)[0], "apple")

    assert learner.counts["apple"] == 4
    assert all(type(count) is int for count in learner.counts.values())


def test_new_classes_any_time(learner):
    """One example makes a class, which then answers for it."""
    embedding = -embeddings(1, seed=8)[0]
    learner.learn_one(embedding, "banana")

    assert learner.predict(embedding) == "banana"


# Forgetting


def test_forgetting_is_exact(learner):
    """Taking an example back gives the bytes of before, whether its class stays or goes with it."""
    before, scores = frozen(learner), learner.scores(embeddings(4, seed=3))
    for label in ("apple", "new"):
        learner.learn_one(embeddings(1, seed=9)[0], label)
        assert frozen(learner) != before
        learner.forget(embeddings(1, seed=9)[0], label)
        assert frozen(learner) == before
        np.testing.assert_allclose(learner.scores(embeddings(4, seed=3)), scores, atol=PLACE)


def test_forgetting_many_is_exact(learner):
    """Some examples of a class taken back at once, then all the others: the bytes of before each."""
    rows, before = embeddings(40, seed=10), frozen(learner)
    learner.learn_many(rows[:10], ["new"] * 10)
    halfway = frozen(learner)
    learner.learn_many(rows[10:], ["new"] * 30)
    learner.forget_many(rows[10:], "new")
    assert frozen(learner) == halfway
    learner.forget_many(rows[9::-1], "new")

    assert frozen(learner) == before
    assert "new" not in learner.classes


def test_forgetting_down_to_nothing(untaught):
    """Forgetting in any order ends at a head as good as new, which can be taught again."""
    head, rows = untaught(), embeddings()
    head.learn_many(rows, LABELS)
    left = dict(head.counts)
    for index in np.random.RandomState(1).permutation(len(LABELS)):
        head.forget(rows[index], LABELS[index])
        left[LABELS[index]] -= 1
        assert head.counts == {label: count for label, count in left.items() if count}
    assert frozen(head) == frozen(untaught())
    head.learn_many(rows, LABELS)

    assert frozen(head) == frozen(having_learnt(untaught, rows, LABELS))


def must_not_forget(head, rows, label):
    """Check that a head refuses to forget these examples as unknown, and is as it was, to the byte."""
    before, scores = frozen(head), head.scores(embeddings(4, seed=3))
    with pytest.raises(ExampleUnknown, match=f"this example of the class {label!r} was never learnt") as caught:
        head.forget_many(rows, label)
    assert isinstance(caught.value, (KeyError, ValueError))
    assert str(caught.value).startswith("this example")
    assert frozen(head) == before
    assert head.scores(embeddings(4, seed=3)).tobytes() == scores.tobytes()


# Places of examples to forget: 0..5 of those taught, 6 and 7 never learnt.
NOT_LEARNT = {
    "never learnt": ([6], "apple"),
    "never learnt, in a class of one": ([6], "fig"),
    "of another class": ([0], "apple"),
    "of another class, as many as it has": ([1, 3, 0], "apple"),
    "one in a batch": ([1, 6, 3], "apple"),
    "the last in a batch": ([1, 3, 5, 6], "apple"),
    "all but one": ([6, 7, 1], "apple"),
    "twice in a batch": ([1, 1], "apple"),
    "more than there are, all learnt once": ([1, 3, 5, 5], "apple"),
    "more than there are, some learnt elsewhere": ([0, 1, 2, 3], "apple"),
    "twice in a class of one": ([2, 2], "fig"),
}


@pytest.mark.parametrize(("places", "label"), list(NOT_LEARNT.values()), ids=list(NOT_LEARNT))
def test_forgetting_what_was_never_learnt(learner, places, label):
    """Only what was learnt in this class can be taken back, a batch all or none; nothing changes otherwise."""
    rows = np.concatenate([embeddings(), embeddings(2, seed=9)])

    must_not_forget(learner, rows[places], label)


def test_forgetting_again(learner):
    """An example that is forgotten already can't be taken back again, nor one whose whole class is gone."""
    rows = embeddings()
    learner.forget(rows[1], "apple")
    must_not_forget(learner, rows[[1]], "apple")
    must_not_forget(learner, rows[[3, 1]], "apple")
    learner.forget(rows[2], "fig")
    before = frozen(learner)
    with pytest.raises(ClassUnknown, match="'fig'"):
        learner.forget(rows[2], "fig")
    assert frozen(learner) == before
    learner.learn_one(rows[1], "apple")
    learner.forget(rows[1], "apple")

    assert frozen(learner) == before


@pytest.mark.parametrize("at_once", [True, False])
def test_learnt_twice(learner, at_once):
    """The same example learnt twice can be forgotten twice, together or one by one, and not thrice."""
    row, before = embeddings(1, seed=9), frozen(learner)
    learner.learn_many(np.repeat(row, 2, axis=0), ["apple"] * 2)
    must_not_forget(learner, np.repeat(row, 3, axis=0), "apple")
    for count in (2,) if at_once else (1, 1):
        learner.forget_many(np.repeat(row, count, axis=0), "apple")
    assert frozen(learner) == before

    must_not_forget(learner, row, "apple")


def test_learnt_in_two_classes(learner):
    """The same example learnt in two classes can be forgotten once in each."""
    row, before = embeddings(1, seed=9), frozen(learner)
    learner.learn_many(np.repeat(row, 2, axis=0), ["apple", "pear"])
    learner.forget_many(row, "pear")
    must_not_forget(learner, row, "pear")
    learner.forget_many(row, "apple")
    must_not_forget(learner, row, "apple")

    assert frozen(learner) == before


def test_forgetting_after_a_rename(untaught, learner):
    """An example goes with its class's new name, and is not to be found under the old one, which another may have."""
    rows = embeddings()
    learner.rename("apple", "quince")
    with pytest.raises(ClassUnknown, match="'apple'"):
        learner.forget(rows[1], "apple")
    learner.rename("pear", "apple")
    must_not_forget(learner, rows[[1]], "apple")
    learner.forget(rows[1], "quince")
    must_not_forget(learner, rows[[1]], "quince")
    learner.rename("quince", "quince")
    learner.forget_many(rows[[3, 5]], "quince")

    if not getattr(learner, "priors", {}):
        left = [0, 2, 4]
        assert frozen(learner) == frozen(having_learnt(untaught, rows[left], ["apple", "fig", "apple"]))
    assert learner.counts == {"apple": 2, "fig": 1}


def test_forgetting_after_a_merge(learner):
    """Merged examples can be forgotten in the class they went to, beside its own, and not in that they came from."""
    rows = embeddings()
    learner.merge("apple", "pear")
    with pytest.raises(ClassUnknown, match="'apple'"):
        learner.forget(rows[1], "apple")
    learner.forget_many(rows[[1, 0]], "pear")
    must_not_forget(learner, rows[[1]], "pear")
    learner.merge("pear", "pear")
    learner.learn_one(rows[1], "apple")
    must_not_forget(learner, rows[[3]], "apple")
    learner.forget_many(rows[[3, 5, 4]], "pear")

    assert learner.counts == {"apple": 1, "fig": 1}


def test_merging_the_same_example(learner):
    """An example that both of two merged classes have learnt is there twice."""
    row = embeddings(1, seed=9)
    learner.learn_many(np.repeat(row, 2, axis=0), ["apple", "pear"])
    learner.merge("apple", "pear")
    learner.forget_many(np.repeat(row, 2, axis=0), "pear")

    must_not_forget(learner, row, "pear")


def test_forgetting_after_a_state(learner):
    """A head from a stored state forgets what the one before learnt, and nothing else, as that one does."""
    again, rows = load_head(stored(learner)), embeddings()
    must_not_forget(again, embeddings(1, seed=9), "apple")
    must_not_forget(again, rows[[0]], "apple")
    for index in (3, 2, 1, 0):
        again.forget(rows[index], LABELS[index])
        learner.forget(rows[index], LABELS[index])
        assert frozen(again) == frozen(learner)
    must_not_forget(again, rows[[3]], "apple")
    again = load_head(stored(again))
    again.forget(rows[5], "apple")

    assert again.counts == {"pear": 1}


def test_number_types_of_an_example(learner):
    """An example is known again whatever number type holds it, in any memory order, and zero whatever its sign."""
    row = np.round(embeddings(1, seed=9))
    row[0, :2] = 0.0
    others = (
        row.astype(np.float64),
        row.astype(np.uint8),
        row.astype(">i4"),
        np.asfortranarray(np.repeat(row, 2, axis=0))[:1],
        np.where(row == 0, np.float32(-0.0), row),
        row.tolist(),
    )
    before = frozen(learner)
    for other in others:
        for one, two in ((row, other), (other, row)):
            learner.learn_many(one, ["apple"])
            assert frozen(learner) != before
            learner.forget_many(two, "apple")
            assert frozen(learner) == before


SUMMING = [name for name in sorted(UNTAUGHT) if not name.startswith("knn")]


@pytest.mark.parametrize("name", SUMMING)
def test_fingerprints_by_hand(name):
    """A state has eight bytes an example, class by class and in order: the hash of its numbers, zeros unsigned."""
    head, rows = UNTAUGHT[name](), embeddings()
    rows[0, 0] = -0.0
    head.learn_many(rows, LABELS)
    expected = []
    for label in ("apple", "fig", "pear"):
        mine = [row.astype("<f8") + 0.0 for row, other in zip(rows, LABELS) if other == label]
        digests = [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in mine]
        expected.extend(sorted(int.from_bytes(digest, "little") for digest in digests))
    prints = head.state()["fingerprints"]

    assert prints.dtype == np.uint64
    assert prints.tolist() == expected
    assert UNTAUGHT[name]().state()["fingerprints"].dtype == np.uint64
    assert UNTAUGHT[name]().state()["fingerprints"].shape == (0,)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda _: None, id="missing"),
        pytest.param(lambda prints: prints[:-1], id="one too few"),
        pytest.param(lambda prints: prints[:0], id="none"),
        pytest.param(lambda prints: np.append(prints, prints[:1]), id="one too many"),
        pytest.param(lambda prints: prints[:, None], id="a column"),
        pytest.param(lambda prints: prints[0], id="a number"),
        pytest.param(lambda prints: prints.astype(np.int64), id="signed"),
        pytest.param(lambda prints: prints.astype(np.uint32), id="four bytes"),
        pytest.param(lambda prints: prints.astype(np.float64), id="floats"),
        pytest.param(lambda prints: prints.astype(np.str_), id="text"),
        pytest.param(lambda prints: prints.view("S8"), id="bytes"),
    ],
)
@pytest.mark.parametrize("name", SUMMING)
def test_refuses_damaged_fingerprints(name, change):
    """A state whose fingerprints are missing, of another type, or not as many as examples, is refused."""
    state = stored(taught(name))
    prints = change(state.pop("fingerprints"))
    with pytest.raises(HeadStateError, match="fingerprints"):
        load_head(state if prints is None else dict(state, fingerprints=prints))


@pytest.mark.parametrize(
    "counts",
    [
        [3, 1, 2**62],
        [2**62, 2**62, 2**62],
        pytest.param(
            [2**63 - 1, 2**63 - 1, 8],
            id="6 in 64 bits",
        ),
    ],
)
@pytest.mark.parametrize("name", SUMMING)
def test_counts_that_fit_no_fingerprints(name, counts):
    """Counts beyond all memory, or that add up to more than 64 bits, are refused like others that don't fit."""
    with pytest.raises(HeadStateError):
        load_head(dict(taught(name).state(), counts=np.array(counts, np.int64)))


def test_unknown_classes(learner):
    """What was never taught can't be changed, and the message lists what can."""
    before, row = frozen(learner), embeddings(1)
    for change in (
        lambda: learner.forget(row[0], "kiwi"),
        lambda: learner.forget_many(row, "kiwi"),
        lambda: learner.rename("kiwi", "new"),
        lambda: learner.merge("kiwi", "apple"),
        lambda: learner.merge("apple", "kiwi"),
        lambda: learner.remove("kiwi"),
    ):
        with pytest.raises(ClassUnknown, match=r"'kiwi'.*'apple'") as caught:
            change()
        assert isinstance(caught.value, KeyError)

    assert frozen(learner) == before


def test_unknown_classes_left_out(learner):
    """Examples of a class that was never taught can't be left out."""
    for leave_out in (learner.leave_one_out, learner.leave_all_out, learner.as_strangers):
        with pytest.raises(ClassUnknown, match="'kiwi'"):
            leave_out(embeddings(1), ["kiwi"])


def test_labels_must_be_as_many(learner):
    """Embeddings and labels must be as many; nothing is learnt otherwise."""
    before = frozen(learner)
    for count in (0, 1, 3):
        for take in (
            learner.learn_many,
            learner.learn_all,
            learner.leave_one_out,
            learner.leave_all_out,
            learner.as_strangers,
        ):
            with pytest.raises(EmbeddingMismatch, match=f"2 embeddings with {count} labels"):
                take(embeddings(2), ["apple"] * count)

    assert frozen(learner) == before


# Names


def relabelled(old, new):
    """`LABELS` with one name in place of another."""
    return [new if label == old else label for label in LABELS]


@pytest.mark.parametrize("new", ["zebra", "aardvark", "applf", "apple"])
def test_rename(untaught, learner, new):
    """A renamed class is as if it had been taught under that name, wherever that stands in the order."""
    learner.scores(embeddings(1))  # what was worked out before must not be used after
    learner.rename("apple", new)
    expected = having_learnt(untaught, embeddings(), relabelled("apple", new))
    if "apple" in getattr(learner, "priors", {}) or new in getattr(learner, "priors", {}):
        expected.priors[new] = expected.priors.pop("apple")

    assert frozen(learner) == frozen(expected)
    np.testing.assert_allclose(learner.scores(embeddings(5)), expected.scores(embeddings(5)), atol=PLACE)


def test_rename_there_and_back(learner):
    """A class renamed and renamed back leaves no trace."""
    before = frozen(learner)
    learner.rename("apple", "zebra")
    learner.rename("zebra", "apple")

    assert frozen(learner) == before


def test_rename_to_a_name_that_is_taken(learner):
    """A name that another class has is refused, and nothing is changed."""
    before = frozen(learner)
    with pytest.raises(ClassNameInvalid, match="'pear' already; merge"):
        learner.rename("apple", "pear")

    assert frozen(learner) == before


@pytest.mark.parametrize("name", [1, 1.5, None, True, "a\0b", b"a", ["a"]])
def test_invalid_names(learner, name):
    """A class is named by text without NUL where others are; a refused name changes nothing."""
    before, rows = frozen(learner), embeddings(2)
    for change in (
        lambda: learner.learn_one(rows[0], name),
        lambda: learner.learn_many(rows, ["apple", name]),
        lambda: learner.rename("apple", name),
    ):
        with pytest.raises(ClassNameInvalid, match="named"):
            change()

    assert frozen(learner) == before


def test_numbers_as_classes(untaught):
    """A class may be a whole number as well, numpy's too; words beside numbers are refused."""
    if untaught().classes:
        pytest.skip("its pre-trained classes are words")
    head = having_learnt(untaught, embeddings(3), [np.int32(10), 9, np.int64(-1)])
    again = load_head(stored(head))

    assert again.classes == head.classes == [-1, 9, 10]
    assert all(type(name) is int for name in again.classes + head.classes)
    head.forget(embeddings(3)[1], np.uint8(9))
    head.rename(np.int64(10), -5)
    assert head.counts == {-5: 1, -1: 1}
    with pytest.raises(ClassNameInvalid):
        head.learn_one(embeddings(1)[0], "ten")


@pytest.mark.parametrize("name", [2**63, -(2**63) - 1, 10**30, np.uint64(2**63)])
def test_numbers_of_more_than_64_bits(untaught, name):
    """A number that a state can't hold is refused as a name, first or later; the largest that it can is kept."""
    head = untaught()
    before = frozen(head)
    with pytest.raises(ClassNameInvalid, match="64 bits"):
        head.learn_one(embeddings(1)[0], name)
    assert frozen(head) == before
    if head.classes:
        return  # its pre-trained classes are words
    head.learn_many(embeddings(2), [2**63 - 1, -(2**63)])
    with pytest.raises(ClassNameInvalid, match="64 bits"):
        head.rename(2**63 - 1, name)

    assert load_head(stored(head)).classes == [-(2**63), 2**63 - 1]


def test_words_of_numpy(untaught):
    """Names from an array of text become plain str, and name the same classes in every call."""
    head = untaught()
    head.learn_many(embeddings(), np.array(LABELS))
    assert frozen(head) == frozen(having_learnt(untaught, embeddings(), LABELS))
    left_out, strange = (ask(embeddings(), np.array(LABELS)) for ask in (head.leave_one_out, head.as_strangers))
    np.testing.assert_array_equal(left_out.logits, head.leave_one_out(embeddings(), LABELS).logits)
    np.testing.assert_array_equal(strange, head.as_strangers(embeddings(), LABELS))
    head.rename(np.str_("apple"), np.str_("quince"))
    head.merge(np.str_("quince"), np.str_("pear"))
    head.forget(embeddings()[2], np.str_("fig"))

    assert head.counts == {"pear": 5}
    assert all(type(name) is str for name in head.classes)


@pytest.mark.parametrize(("label", "into"), [("apple", "pear"), ("pear", "apple"), ("fig", "apple"), ("fig", "fig")])
def test_merge(untaught, learner, label, into):
    """Merged classes are as if all their examples had been taught as one; the prior of the one that goes is gone."""
    learner.scores(embeddings(1))  # what was worked out before must not be used after
    learner.merge(label, into)
    expected = untaught()
    if label != into and label in getattr(expected, "priors", {}):
        priors = {name: weight for name, weight in PRIORS.items() if name != label}
        expected = LinearDiscriminantHead(expected.pipeline, priors)
    expected.learn_many(embeddings(), relabelled(label, into))

    assert frozen(learner) == frozen(expected)
    np.testing.assert_allclose(learner.scores(embeddings(5)), expected.scores(embeddings(5)), atol=1e-6)


# Removing a class


@pytest.mark.parametrize("label", ["apple", "fig", "pear"])
def test_remove(head, label):
    """A removed class is in no list and is never answered; the others, and what is pre-trained, stay in order."""
    before, kept = head.classes, getattr(head, "kept", [])
    head.scores(embeddings(1))  # what was worked out before must not be used after
    head.remove(label)

    assert head.classes == [name for name in before if name != label]
    assert getattr(head, "kept", []) == kept
    if isinstance(head, IncrementalHead):
        assert head.counts == {name: LABELS.count(name) for name in ("apple", "fig", "pear") if name != label}
    queries = np.concatenate([embeddings(), embeddings(40, seed=3), -embeddings(10, seed=8)])
    assert head.logits(queries).shape == (len(queries), len(before) - 1)
    assert np.isfinite(head.logits(queries)).all()
    assert not np.isnan(head.familiarity(queries)).any()
    np.testing.assert_allclose(head.scores(queries).sum(axis=1), 1)
    assert {head.predict(row) for row in queries} <= set(head.classes)
    assert {head.decide(row) for row in queries} <= set(head.classes)
    again = load_head(stored(head))
    assert (again.classes, again.calibration) == (head.classes, head.calibration)
    assert frozen(again) == frozen(head)
    np.testing.assert_allclose(again.logits(queries), head.logits(queries), atol=1e-9)


def test_remove_unknown_classes(head):
    """A class that isn't there, or is removed already, can't be removed; nothing changes."""
    head.remove("fig")
    before = frozen(head)
    for label in ("kiwi", "fig"):
        with pytest.raises(ClassUnknown, match=rf"no class '{label}' here.*'apple'.*'pear'") as caught:
            head.remove(label)
        assert isinstance(caught.value, KeyError)

    assert frozen(head) == before


@pytest.mark.parametrize("make", list(EMPTY.values()), ids=list(EMPTY))
def test_remove_from_nothing(make):
    """A head without classes has none to remove."""
    head = make()
    before = frozen(head)
    with pytest.raises(ClassUnknown, match="none"):
        head.remove("apple")

    assert frozen(head) == before


@pytest.mark.parametrize("order", [("apple", "fig", "pear"), ("pear", "apple", "fig")])
def test_remove_all(head, order):
    """Without any class left a head can't answer, is still a state, and says so after it as well."""
    for label in order:
        head.remove(label)
    kept = getattr(head, "kept", [])
    assert head.classes == kept
    assert getattr(head, "counts", {}) == {}
    again = load_head(stored(head))
    assert again.classes == kept
    assert frozen(again) == frozen(head)
    for one in (head, again) if not kept else ():
        for ask in (one.logits, one.scores, one.predict, one.decide, one.knows, one.familiarity):
            with pytest.raises(NothingLearnt, match="teach"):
                ask(embeddings(1)[0])


def test_remove_all_and_teach_again(learner):
    """A head that all was removed from learns, answers and forgets again."""
    kept, rows = len(getattr(learner, "kept", [])), embeddings(4, seed=8)
    for label in ("apple", "fig", "pear"):
        learner.remove(label)
    learner.learn_many(rows, ["new", "old", "new", "old"])
    assert learner.classes[kept:] == ["new", "old"]
    assert np.isfinite(learner.logits(rows)).all()
    learner.forget_many(rows[[0, 2]], "new")
    learner.forget_many(rows[[1, 3]], "old")

    assert learner.classes[kept:] == []


@pytest.mark.parametrize("label", ["apple", "fig"])
def test_remove_and_teach_again(learner, label):
    """A removed class can be taught again, from its new examples alone; its old ones can't be forgotten any more."""
    rows, fresh = embeddings(), -embeddings(3, seed=8)
    learner.remove(label)
    with pytest.raises(ClassUnknown):
        learner.forget(rows[LABELS.index(label)], label)
    learner.learn_many(fresh, [label] * 3)
    assert learner.counts == dict({name: LABELS.count(name) for name in LABELS}, **{label: 3})
    assert [learner.predict(row) for row in fresh] == [label] * 3
    must_not_forget(learner, rows[[LABELS.index(label)]], label)
    learner.forget_many(fresh, label)

    assert label not in learner.classes


@pytest.mark.parametrize("label", ["apple", "fig", "pear"])
def test_others_after_a_removal(learner, label):
    """What was learnt of the other classes can be forgotten, renamed and merged as before."""
    learner.remove(label)
    left = [index for index, other in enumerate(LABELS) if other != label]
    one, other = sorted({LABELS[index] for index in left})
    again = load_head(stored(learner))
    learner.merge(one, other)
    learner.rename(other, "both")
    learner.forget_many(embeddings()[left], "both")
    assert learner.counts == {}
    for index in left:
        again.forget(embeddings()[index], LABELS[index])

    assert again.counts == {}


@pytest.mark.parametrize("name", [name for name in sorted(UNTAUGHT) if not name.startswith("lda")])
@pytest.mark.parametrize("label", ["apple", "fig", "pear"])
def test_removed_leaves_no_trace(name, label):
    """Of a removed class nothing is left: the bytes of a head that was never taught it, before and after more."""
    rows, head = embeddings(), taught(name)
    head.remove(label)
    left = [index for index, other in enumerate(LABELS) if other != label]
    expected = having_learnt(UNTAUGHT[name], rows[left], [LABELS[index] for index in left])
    assert frozen(head) == frozen(expected)
    np.testing.assert_allclose(head.logits(rows), expected.logits(rows), atol=PLACE)
    for one in (head, expected):
        one.learn_many(embeddings(3, seed=9), ["new", label, "pear"])

    assert frozen(head) == frozen(expected)


def test_forgetting_one_by_one_equals_removal():
    """Where the examples are at hand, forgetting all of them is a removal; with one alone, for lda too."""
    for name in UNTAUGHT:
        for label in ("fig",) if name.startswith("lda") else ("apple", "fig", "pear"):
            one, other = taught(name), taught(name)
            one.remove(label)
            other.forget_many(embeddings()[[place for place, mine in enumerate(LABELS) if mine == label]], label)
            assert frozen(one) == frozen(other), (name, label)


def test_remove_forgets_the_prior():
    """The prior of a removed class goes with it; others stay."""
    head = taught("lda, priors")
    head.remove("apple")
    assert head.priors == {"kiwi": 0.5}
    head.learn_one(embeddings(1)[0], "apple")

    assert head.priors == {"kiwi": 0.5}
    assert load_head(stored(head)).priors == {"kiwi": 0.5}


def test_remove_keeps_the_calibration(head):
    """Scale and threshold stay as they were calibrated, and so does the lead of pre-trained classes."""
    head.calibration, lead = Calibration(7.5, 0.25), getattr(head, "kept_lead", None)
    head.remove("apple")

    assert head.calibration == Calibration(7.5, 0.25)
    assert getattr(head, "kept_lead", None) == lead


def test_remove_names_of_numpy(untaught):
    """A class is removed by a name of numpy's own types as by Python's."""
    head = untaught()
    head.learn_many(embeddings(), LABELS)
    head.remove(np.str_("apple"))
    assert list(head.counts) == ["fig", "pear"]
    if not getattr(head, "kept", []):
        head = having_learnt(untaught, embeddings(3), [3, 1, 2])
        head.remove(np.int64(3))
        assert head.classes == [1, 2]


@pytest.mark.parametrize("label", ["apple", "fig", "pear"])
@pytest.mark.parametrize("means", [None, embeddings(3, seed=13)], ids=["no means", "means"])
def test_softmax_removes_in_step(means, label):
    """A softmax head's weights, biases and means go together: the state is that of a head made without the class."""
    head, names = softmax(MEAN, means), ["apple", "fig", "pear"]
    left = [place for place, name in enumerate(names) if name != label]
    before, familiarity = head.logits(embeddings(5)), head.familiarity(embeddings(5))
    means = None if means is None else means[left]
    expected = SoftmaxHead(
        EmbeddingPipeline(SIZE, MEAN), [names[place] for place in left], head.weights[left], head.biases[left], means
    )
    head.remove(label)

    assert frozen(head) == frozen(expected)
    np.testing.assert_allclose(head.logits(embeddings(5)), before[:, left], atol=PLACE)
    np.testing.assert_allclose(head.familiarity(embeddings(5)), expected.familiarity(embeddings(5)), atol=PLACE)
    assert (head.familiarity(embeddings(5)) <= familiarity + PLACE).all()


# Leaving out


COUNTS = {
    "even": {"a": 4, "b": 4, "c": 4},
    "uneven": {"a": 1, "b": 2, "c": 7, "d": 3},
    "one each": {"a": 1, "b": 1, "c": 1},
    "one alone": {"a": 1},
    "one class": {"a": 5},
    "one beside many": {"a": 1, "b": 40},
    "two beside many": {"a": 2, "b": 40, "c": 38},
    "beside one": {"a": 3, "b": 1},
}


@pytest.fixture(params=sorted(COUNTS))
def examples(request):
    """Embeddings of classes that overlap a little, and their labels, mixed, for each of `COUNTS`."""
    counts = COUNTS[request.param]
    labels = [label for label, count in counts.items() for _ in range(count)]
    random = np.random.RandomState(3)
    random.shuffle(labels)
    centres = {label: random.uniform(0, 3, SIZE) for label in sorted(counts)}
    rows = np.array([centres[label] for label in labels]) + random.normal(0, 0.7, (len(labels), SIZE))
    return np.maximum(rows, 0).astype(np.float32), labels


def test_leave_one_out(untaught, examples):
    """Each example is answered as by a head that has really forgotten it, to the rounding of a cosine."""
    rows, labels = examples
    head = having_learnt(untaught, rows, labels)
    before, left_out = frozen(head), head.leave_one_out(rows, labels)
    assert frozen(head) == before
    assert (left_out.logits.dtype, left_out.logits.shape) == (np.float64, (len(labels), len(head.classes)))
    tolerance = 1e-9 if head.kind == "lda" else 2e-6
    for row, label, logits, familiarity in zip(rows, labels, *left_out):
        other = load_head(stored(head))
        other.forget(row, label)
        expected = dict(zip(other.classes, other.logits(row))) if other.classes else {}
        assert [np.isfinite(logit) for logit in logits] == [name in expected for name in head.classes]
        np.testing.assert_allclose(
            logits, [expected.get(name, -np.inf) for name in head.classes], rtol=0, atol=tolerance
        )
        np.testing.assert_allclose(familiarity, other.familiarity(row) if expected else -np.inf, atol=tolerance)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
def test_leave_all_out(untaught, examples, share):
    """Examples left out together are answered as by a head that has really forgotten all of them."""
    rows, labels = examples
    head, count = having_learnt(untaught, rows, labels), max(1, int(share * len(labels)))
    some = np.random.RandomState(count).permutation(len(labels))[:count].tolist()
    before, left_out = frozen(head), head.leave_all_out(rows[some], [labels[index] for index in some])
    assert frozen(head) == before
    other = load_head(stored(head))
    for index in some:
        other.forget(rows[index], labels[index])
    tolerance = 1e-8 if head.kind == "lda" else 2e-6
    for index, logits, familiarity in zip(some, *left_out):
        expected = dict(zip(other.classes, other.logits(rows[index]))) if other.classes else {}
        assert [np.isfinite(logit) for logit in logits] == [name in expected for name in head.classes]
        np.testing.assert_allclose(
            logits, [expected.get(name, -np.inf) for name in head.classes], rtol=0, atol=tolerance
        )
        np.testing.assert_allclose(familiarity, other.familiarity(rows[index]) if expected else -np.inf, atol=tolerance)


def test_leave_one_out_of_a_part(learner):
    """Any part of what was learnt, in any order, gives the answers it gives among all."""
    part = [4, 0, 2]
    every = learner.leave_one_out(embeddings(), LABELS)
    some = learner.leave_one_out(embeddings()[part], [LABELS[index] for index in part])

    np.testing.assert_allclose(some.logits, every.logits[part], atol=1e-6)
    np.testing.assert_allclose(some.familiarity, every.familiarity[part], atol=1e-6)
    assert learner.leave_one_out(np.zeros((0, SIZE)), []).logits.shape == (0, len(learner.classes))


def strangers_by_hand(untaught, rows, labels, label):
    """Familiarity of a class's examples to a head that is taught all others only."""
    mine = np.array([other == label for other in labels])
    head = untaught()
    if not mine.all():
        head.learn_many(rows[~mine], [other for other in labels if other != label])
    return np.atleast_1d(head.familiarity(rows[mine])) if head.classes else np.full(mine.sum(), -np.inf)


def test_as_strangers(untaught, examples):
    """A class's examples are as familiar as to a head that was never taught the class."""
    rows, labels = examples
    head = having_learnt(untaught, rows, labels)
    before, strange = frozen(head), head.as_strangers(rows, labels)
    assert strange.shape == (len(labels),)
    assert frozen(head) == before
    for label in set(labels):
        mine = [index for index, other in enumerate(labels) if other == label]
        expected = strangers_by_hand(untaught, rows, labels, label)
        np.testing.assert_allclose(strange[mine], expected, rtol=0, atol=1e-8 if head.kind == "lda" else 1e-6)


def test_as_strangers_of_a_part(learner):
    """The classes may be some of those taught."""
    part = [index for index, label in enumerate(LABELS) if label != "apple"]
    every = learner.as_strangers(embeddings(), LABELS)

    np.testing.assert_allclose(
        learner.as_strangers(embeddings()[part], [LABELS[index] for index in part]), every[part], atol=1e-6
    )
    assert learner.as_strangers(np.zeros((0, SIZE)), []).shape == (0,)


# Any examples


ROWS = st.lists(
    st.tuples(arrays(np.float32, SIZE, elements=st.floats(-100, 100, width=32)), st.sampled_from("abc")),
    min_size=1,
    max_size=12,
)
KINDS = st.sampled_from(sorted(UNTAUGHT))


@given(KINDS, ROWS, st.randoms(use_true_random=False))
def test_order_never_matters(name, rows, random):
    """Any examples in any order, at once or one by one, with others learnt and forgotten between: the same bytes."""
    head, other = UNTAUGHT[name](), UNTAUGHT[name]()
    head.learn_many(np.array([embedding for embedding, _ in rows]), [label for _, label in rows])
    shuffled = list(rows)
    random.shuffle(shuffled)
    other.learn_one(rows[0][0], "other")
    other.learn_one(rows[-1][0], rows[0][1])
    for embedding, label in shuffled:
        other.learn_one(embedding, label)
    other.forget(rows[-1][0], rows[0][1])
    other.forget(rows[0][0], "other")

    assert frozen(other) == frozen(head)
    assert sum(head.counts.values()) == len(rows)


@given(KINDS, ROWS)
def test_forgetting_everything(name, rows):
    """What forgets all it learnt is as good as new."""
    head = UNTAUGHT[name]()
    for embedding, label in rows:
        head.learn_one(embedding, label)
    for embedding, label in reversed(rows):
        head.forget(embedding, label)

    assert frozen(head) == frozen(UNTAUGHT[name]())


@given(st.sampled_from(SUMMING), ROWS, st.lists(st.tuples(st.integers(0, 11), st.sampled_from("abc")), max_size=20))
def test_forgets_what_was_learnt_only(name, rows, tries):
    """Any examples in any classes: those learnt there, as often as learnt, are forgotten, all others refused."""
    head = having_learnt(UNTAUGHT[name], np.array([row for row, _ in rows]), [label for _, label in rows])
    left = Counter(((row + 0.0).tobytes(), label) for row, label in rows)
    for place, label in tries:
        row = rows[place % len(rows)][0]
        key, before = ((row + 0.0).tobytes(), label), frozen(head)
        try:
            head.forget(row, label)
        except (ExampleUnknown, ClassUnknown) as error:
            assert not left[key]
            assert isinstance(error, ClassUnknown) == (label not in head.classes)
            assert frozen(head) == before
        else:
            left[key] -= 1
            assert left[key] >= 0
    again = having_learnt(
        UNTAUGHT[name],
        np.array([np.frombuffer(row, np.float32) for row, _ in left.elements()]).reshape(-1, SIZE),
        [label for _, label in left.elements()],
    )

    assert frozen(head) == frozen(again)


@given(KINDS, ROWS, arrays(np.float32, SIZE, elements=st.floats(-1e6, 1e6, width=32)))
def test_scores_always_sum_to_one(name, rows, embedding):
    """Any finite embedding, zero as well, has scores that sum to 1, from any examples."""
    head = UNTAUGHT[name]()
    head.learn_many(np.array([row for row, _ in rows]), [label for _, label in rows])
    scores = head.scores(embedding)

    assert (scores >= 0).all()
    assert abs(scores.sum() - 1) < 1e-12
    assert np.isfinite(head.logits(embedding)).all()


# Imprinting


def test_imprinting_is_the_papers():
    """A class's weight is the L2-normalised mean of its L2-normalised embeddings (Qi et al., 2018)."""
    rows, query = embeddings(), embeddings(1, seed=11)[0]
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    means = np.array([unit[[other == label for other in LABELS]].mean(axis=0) for label in ("apple", "fig", "pear")])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    cosines = means @ query / np.linalg.norm(query)
    head = imprinting()

    np.testing.assert_allclose(head.weights, means, atol=1e-6)
    assert (head.weights.dtype, head.biases.tolist()) == (np.float32, [0, 0, 0])
    np.testing.assert_allclose(head.logits(query), cosines, atol=1e-6)
    expected = np.exp(head.scale * cosines)
    np.testing.assert_allclose(head.scores(query), expected / expected.sum(), rtol=1e-4)


def test_pretrained_classes_answer_beside_taught_ones():
    """Pre-trained rows lose what they share and are scaled alike, to a mean length of 1; taught ones come after."""
    names, layer, query = ["d", "a", "c", "b"], np.random.RandomState(12).normal(size=(4, SIZE)), embeddings(1)[0]
    rows = layer - layer.mean(axis=0)
    rows /= np.linalg.norm(rows, axis=1).mean()
    head = ImprintingHead(EmbeddingPipeline(SIZE))
    head.keep(layer + 5, names)

    assert (head.classes, head.kept, head.counts) == (names, names, {})
    np.testing.assert_allclose(head.logits(query), rows @ query / np.linalg.norm(query), atol=1e-5)
    head.learn_one(query, "bb")
    assert head.classes == [*names, "bb"]
    assert head.predict(query) == "bb"
    assert head.counts == {"bb": 1}


def test_lead_of_pretrained_classes():
    """The lead is added to the logits of pre-trained classes alone, and is a bias of the linear layer."""
    head, row = taught("imprinting, pre-trained"), embeddings(1, seed=15)[0]
    head.kept_lead = 0.0
    before = head.logits(row)
    head.kept_lead = 0.25

    np.testing.assert_allclose(head.logits(row) - before, [0.25] * 3 + [0.0] * 3, atol=1e-6)
    assert load_head(stored(head)).biases.tolist() == head.biases.tolist() == [0.25] * 3 + [0.0] * 3
    linear = head.weights @ head.pipeline(row)[0] + head.biases
    np.testing.assert_allclose(linear, head.logits(row), atol=1e-6)


def test_pretrained_classes_are_fixed():
    """A pre-trained class can't be taught, taken back, removed, renamed or merged; nothing else is learnt with it."""
    head, rows = taught("imprinting, pre-trained"), embeddings(2)
    before = frozen(head)
    for change in (
        lambda: head.learn_one(rows[0], "ox"),
        lambda: head.learn_many(rows, ["new", "ox"]),
        lambda: head.forget(rows[0], "ox"),
        lambda: head.rename("ox", "new"),
        lambda: head.rename("apple", "ox"),
        lambda: head.merge("ox", "apple"),
        lambda: head.merge("apple", "ox"),
        lambda: head.remove("ox"),
    ):
        with pytest.raises(ClassPretrained, match="'ox' is pre-trained"):
            change()

    assert frozen(head) == before
    with pytest.raises(ClassPretrained):
        load_head(stored(head)).forget(rows[0], "ox")


@pytest.mark.parametrize("labels", [["new", "ox"], ["new", "apple"], ["new", "new"]])
def test_keep_refuses_duplicates(labels):
    """A class to keep can't be one that is there, pre-trained or taught, nor be given twice; nothing is kept then."""
    head = taught("imprinting, pre-trained")
    before = frozen(head)
    with pytest.raises(ClassPretrained, match="each class to keep needs a name of its own, that no class has yet"):
        head.keep(embeddings(2), labels)

    assert frozen(head) == before


@pytest.mark.parametrize("name", ["imprinting", "imprinting, pre-trained"])
def test_keeping_nothing(name):
    """Without classes to keep nothing happens, whether the head is taught or not."""
    for head in (UNTAUGHT[name](), taught(name)):
        before = frozen(head)
        head.keep(np.zeros((0, SIZE)), [])
        assert frozen(head) == before


@pytest.mark.parametrize(
    ("rows", "labels"), [(np.ones((2, SIZE + 1)), ["a", "b"]), (np.ones((2, SIZE)), ["a"]), (np.ones(SIZE), ["a", "b"])]
)
def test_keep_refuses_other_sizes(rows, labels):
    """Pre-trained weights must be as long as an embedding, and as many as their names."""
    with pytest.raises(EmbeddingMismatch):
        ImprintingHead(EmbeddingPipeline(SIZE)).keep(rows, labels)


# Softmax


def test_softmax_formula():
    """Scores are softmax of weights @ direction + biases."""
    head, query = softmax(), embeddings(1)[0]
    logits = np.exp(head.weights @ (query / np.linalg.norm(query)) + head.biases)

    np.testing.assert_allclose(head.scores(query), logits / logits.sum(), rtol=1e-5)


def test_softmax_does_not_overflow():
    """Logits far apart give 0 and 1."""
    head = SoftmaxHead(EmbeddingPipeline(2), ["a", "b"], np.array([[1e6, 0], [-1e6, 0]]), np.zeros(2))

    assert head.scores([1, 0]).tolist() == [1, 0]


def test_softmax_familiarity():
    """Familiarity is the highest cosine to a class's mean, whatever its length; without means all is familiar."""
    means, query = embeddings(3, seed=13), embeddings(1)[0]
    cosines = means @ query / np.linalg.norm(means, axis=1) / np.linalg.norm(query)

    assert abs(softmax(means=means * 7).familiarity(query) - cosines.max()) < 1e-6
    assert softmax().familiarity(query) == np.inf
    assert softmax().familiarity([query, query]).tolist() == [np.inf] * 2


def test_softmax_copies():
    """Weights, biases and means are the head's own, given and taken."""
    weights, biases, means = embeddings(2), np.zeros(2, np.float32), embeddings(2, seed=1)
    head = SoftmaxHead(EmbeddingPipeline(SIZE), ["a", "b"], weights, biases, means)
    before = frozen(head)
    for array in (weights, biases, means, head.weights, head.biases):
        array += 1

    assert frozen(head) == before


@pytest.mark.parametrize(
    ("classes", "weights", "biases", "means"),
    [
        (["a", "b"], np.zeros((3, SIZE)), np.zeros(2), None),
        (["a", "b"], np.zeros((2, SIZE)), np.zeros(3), None),
        (["b", "a"], np.zeros((2, SIZE)), np.zeros(2), None),
        (["a", "b"], np.zeros((2, SIZE)), np.zeros(2), np.ones((3, SIZE))),
        (["a", "b"], np.zeros((2, SIZE)), np.zeros(2), np.ones((2, SIZE - 1))),
        (["a", "b"], np.zeros((2, SIZE)), np.zeros(2), np.full((2, SIZE), np.nan)),
        (["a", "b"], np.zeros((2, SIZE)), np.array([np.nan, 0]), None),
        (["a", "b"], np.full((2, SIZE), np.inf), np.zeros(2), None),
    ],
)
def test_softmax_parts_must_fit(classes, weights, biases, means):
    """Classes, weights, biases and means must be as many, finite, classes sorted."""
    with pytest.raises((HeadStateError, EmbeddingMismatch)):
        SoftmaxHead(EmbeddingPipeline(SIZE), classes, weights, biases, means)


# The pipeline


@given(arrays(np.float32, (3, SIZE), elements=st.floats(-1e6, 1e6, width=32)), st.sampled_from([1.0, 0.75, 0.5]))
def test_pipeline_gives_length_one(rows, power):
    """Embeddings come out with length 1; what lies on the mean has no direction and comes out as zero."""
    lengths = np.linalg.norm(EmbeddingPipeline(SIZE, MEAN, power)(rows), axis=1)

    for length, row in zip(lengths, rows):
        assert abs(length - 1) < 1e-9 or (length == 0 and (row == MEAN).all())


def test_pipeline_centres():
    """The mean is subtracted first; without one nothing is."""
    assert EmbeddingPipeline(2, [1, 1])([4, 5]).tolist() == [[0.6, 0.8]]
    assert EmbeddingPipeline(2)([3, 4]).tolist() == [[0.6, 0.8]]
    assert EmbeddingPipeline(2, [1, 1])([1, 1]).tolist() == [[0, 0]]


def test_pipeline_flattens():
    """After the mean each number is brought to the power, its sign kept, then the length to 1."""
    np.testing.assert_allclose(EmbeddingPipeline(2, [1, 1], 0.5)([10, -15]), [[0.6, -0.8]])
    assert LinearDiscriminantHead.suited(SIZE).pipeline.power == LinearDiscriminantHead.power == 0.75
    assert ImprintingHead.suited(SIZE, MEAN).pipeline.mean.tolist() == MEAN.tolist()


@pytest.mark.parametrize("mean", [[1.0], [1.0] * (SIZE + 1), [float("nan")] * SIZE])
def test_pipeline_refuses_other_means(mean):
    """A mean must be a finite embedding itself."""
    with pytest.raises(EmbeddingMismatch):
        EmbeddingPipeline(SIZE, mean)


@pytest.mark.parametrize("power", [0, -1, 1.01, float("nan"), float("inf")])
def test_pipeline_refuses_other_powers(power):
    """The power lies above 0 and not above 1."""
    with pytest.raises(OptionError, match="power"):
        EmbeddingPipeline(SIZE, None, power)


@pytest.mark.parametrize("make", list(EMPTY.values()), ids=list(EMPTY))
def test_numpy_labels_become_plain_ones(make):
    """Whole numbers and text of numpy's own types are taken, and kept as Python's."""
    for labels, sort in ((np.array([3, 1, 3]), int), (np.array(["b", "a", "b"]), str)):
        head = make()
        if isinstance(head, IncrementalHead):
            head.learn_many(embeddings(3), labels)
        else:
            head = fit_softmax(head.pipeline, embeddings(3), labels, SoftmaxOptions(epochs=1))
        assert [type(label) for label in head.classes] == [sort, sort]


def test_numpy_names_of_kept_classes_and_priors():
    """So it is for pre-trained classes and for priors."""
    head = ImprintingHead(EmbeddingPipeline(SIZE))
    head.keep(embeddings(2), [np.int64(1), np.int64(2)])
    priors = LinearDiscriminantHead(EmbeddingPipeline(SIZE), {np.str_("a"): np.int64(2)}).priors

    assert [type(label) for label in head.kept] == [int, int]
    assert [(type(label), type(weight)) for label, weight in priors.items()] == [(str, float)]
    for wrong in ({"a": True}, {"a": 10**400}, {"a": float("nan")}):
        with pytest.raises(OptionError, match="above 0"):
            LinearDiscriminantHead(EmbeddingPipeline(SIZE), wrong)


@pytest.mark.parametrize(
    "labels", [["a", 1, "a", 1], [True, False] * 2, [0.5, 1.5] * 2, ["a\0", "b"] * 2, [2**70, 1] * 2]
)
def test_names_that_are_none(labels):
    """A trained head asks the same of its names as a taught one."""
    with pytest.raises(ClassNameInvalid):
        fit_softmax(EmbeddingPipeline(SIZE), embeddings(4), labels)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("weights", lambda array: array.astype(np.float64) + 1e300),
        ("means", lambda array: array * 0 + 1e35),
        ("rows", lambda array: array.astype(np.int64) + 300),
        ("lengths", lambda array: -array),
        ("sums", lambda array: array.astype(np.uint64) + np.uint64(2**63)),
    ],
)
def test_numbers_that_would_not_fit(name, change):
    """Numbers that a narrower type would bend into others are refused."""
    states = [make().state() for make in HEADS.values()]
    met = [dict(state, **{name: change(np.abs(state[name]))}) for state in states if name in state]
    assert met
    for state in met:
        with pytest.raises(HeadStateError):
            load_head(state)


def test_kept_biases():
    """With its biases and a radius the kept layer ranks whole embeddings of that length as it did before."""
    random = np.random.RandomState(0)
    weights, biases = random.normal(size=(5, SIZE)), random.normal(size=5)
    head = ImprintingHead(EmbeddingPipeline(SIZE, MEAN))
    head.keep(weights, list("abcde"), biases, radius=2.0)

    directions = random.normal(size=(50, SIZE))
    rows = MEAN + 2.0 * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    expected, given = rows @ weights.T + biases, head.logits(rows)
    np.testing.assert_array_equal(np.argsort(given), np.argsort(expected))
    np.testing.assert_allclose(head.pipeline(rows) @ head.weights.T + head.biases, given, atol=1e-5)
