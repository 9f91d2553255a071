"""coral_learn/heads/: the rules every head keeps, and what each does."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from coral_learn import EmbeddingPipeline, Head, ImprintingHead, IncrementalHead, SoftmaxHead, load_head
from coral_learn.errors import ClassPretrained, ClassUnknown, EmbeddingMismatch, HeadStateError, NothingLearnt
from coral_learn.heads.imprinting import SCALE

SIZE = 6
MEAN = np.linspace(0, 1, SIZE).astype(np.float32)
LABELS = ["pear", "apple", "fig", "apple", "pear", "apple"]


def embeddings(count=6, seed=0):
    """Embeddings as a network with a ReLU gives them."""
    return np.random.RandomState(seed).uniform(0, 3, (count, SIZE)).astype(np.float32)


def imprinting(mean=None, pretrained=False):
    """An imprinting head that was taught `LABELS`."""
    head = ImprintingHead(EmbeddingPipeline(SIZE, mean))
    if pretrained:
        head.keep(embeddings(3, seed=1), ["ape", "ox", "yak"])
    head.learn_many(embeddings(), LABELS)
    return head


def softmax(mean=None):
    """A softmax head, by its weights."""
    weights = np.random.RandomState(2).normal(size=(3, SIZE)).astype(np.float32)
    return SoftmaxHead(EmbeddingPipeline(SIZE, mean), ["apple", "fig", "pear"], weights, np.array([0.1, 0, -0.1]))


HEADS = {
    "imprinting": imprinting,
    "imprinting, centred": lambda: imprinting(MEAN),
    "imprinting, pre-trained": lambda: imprinting(MEAN, pretrained=True),
    "softmax": softmax,
    "softmax, centred": lambda: softmax(MEAN),
}
EMPTY = {
    "imprinting": lambda: ImprintingHead(EmbeddingPipeline(SIZE)),
    "softmax": lambda: SoftmaxHead(EmbeddingPipeline(SIZE), [], np.zeros((0, SIZE)), np.zeros(0)),
}
INCREMENTAL = {name: make for name, make in HEADS.items() if isinstance(make(), IncrementalHead)}


@pytest.fixture(params=sorted(HEADS))
def head(request):
    """Each head, taught."""
    return HEADS[request.param]()


@pytest.fixture(params=sorted(INCREMENTAL))
def learner(request):
    """Each head that learns one by one, taught `LABELS`."""
    return INCREMENTAL[request.param]()


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


def test_classes_are_sorted(head):
    """Classes come in sorted order, as a list of the caller's own."""
    head.classes.append("not one of them")

    assert head.classes == sorted(head.classes)
    assert "not one of them" not in head.classes


def test_scoring_is_pure(head):
    """Scoring changes neither the head nor the embedding, and gives the same bytes again."""
    before, embedding = frozen(head), embeddings(1)[0]
    embedding.setflags(write=False)
    scores = head.scores(embedding)
    head.scores(embeddings(1, seed=4)[0])

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
    with pytest.raises(NothingLearnt, match="teach"):
        make().scores(embeddings(1)[0])
    assert make().classes == []
    assert frozen(load_head(stored(make()))) == frozen(make())


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
    with pytest.raises(EmbeddingMismatch):
        head.scores(wrong)
    if isinstance(head, IncrementalHead):
        with pytest.raises(EmbeddingMismatch):
            head.learn_one(wrong, "apple")
        with pytest.raises(EmbeddingMismatch):
            head.forget(wrong, "apple")

    assert frozen(head) == before


def test_state_round_trip(head):
    """A state written to a file makes the same head: same kind, same bytes, same scores."""
    again = load_head(stored(head))

    assert type(again) is type(head)
    assert again.classes == head.classes
    assert frozen(again) == frozen(head)
    for embedding in embeddings(5, seed=5):
        assert again.scores(embedding).tobytes() == head.scores(embedding).tobytes()


def overwrite(state, leave=()):
    """Write something else into each array of a state."""
    for name, array in state.items():
        if name not in leave and array.dtype.kind in "fi" and array.ndim:
            array += 1


def test_states_share_nothing_with_the_head(head):
    """Writing into a state, given or taken, doesn't reach the head."""
    before, taken, given_ = frozen(head), head.state(), stored(head)
    again = load_head(given_)
    overwrite(taken, leave=("pipeline_mean",))
    overwrite(given_, leave=("biases",))

    assert frozen(head) == before
    assert frozen(again) == before


def test_taken_mean_is_a_copy():
    """Writing into the mean of a state taken doesn't reach the head."""
    head = imprinting(MEAN)
    before = frozen(head)
    overwrite(head.state())

    assert frozen(head) == before


def test_given_biases_are_copied():
    """Writing into the biases that made a softmax head doesn't reach the head."""
    state = stored(softmax())
    head = load_head(state)
    before = frozen(head)
    overwrite(state)

    assert frozen(head) == before


@pytest.mark.parametrize(
    "change",
    [
        {"kind": np.array("boosting")},
        {"kind": None},
        {"pipeline_size": np.array(SIZE + 1)},
        {"pipeline_size": None},
        {"pipeline_mean": np.zeros(SIZE + 1)},
        {"pipeline_mean": np.full(SIZE, np.nan)},
        {"classes": np.array(["apple"])},
        {"classes": None},
    ],
)
def test_refuses_other_states(head, change):
    """A state with a part missing, or parts that don't fit each other, is refused with the kinds there are."""
    state = {name: array for name, array in dict(head.state(), **change).items() if array is not None}

    with pytest.raises(HeadStateError, match="imprinting, softmax"):
        load_head(state)


@pytest.mark.parametrize(("make", "part"), [(imprinting, "sums"), (imprinting, "counts"), (softmax, "weights")])
def test_refuses_short_states(make, part):
    """Rows must be as many as classes."""
    state = make().state()

    with pytest.raises(HeadStateError):
        load_head(dict(state, **{part: state[part][:-1]}))


# Every head that learns one by one


def test_many_equals_one_by_one(learner):
    """Learning many examples gives the bytes of learning them one by one, in another order."""
    other, rows = load_head(stored(learner)), embeddings(50, seed=6)
    labels = [["apple", "fig", "new", "pear"][i % 4] for i in range(50)]
    learner.learn_many(rows, labels)
    for index in np.random.RandomState(0).permutation(50):
        other.learn_one(rows[index], labels[index])

    assert frozen(other) == frozen(learner)
    assert other.scores(rows[0]).tobytes() == learner.scores(rows[0]).tobytes()


def test_many_in_another_memory_order():
    """How a batch lies in memory doesn't matter."""
    random = np.random.RandomState(0)
    for _ in range(20):
        rows = random.rand(30, 1280).astype(np.float32)
        one, other = ImprintingHead(EmbeddingPipeline(1280)), ImprintingHead(EmbeddingPipeline(1280))
        one.learn_many(rows, ["a"] * 30)
        other.learn_many(np.asfortranarray(rows), ["a"] * 30)
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

    assert frozen(learner) == before


def test_new_classes_any_time(learner):
    """One example makes a class, which then answers for it."""
    embedding = -embeddings(1, seed=8)[0]
    learner.learn_one(embedding, "banana")

    assert learner.predict(embedding) == "banana"
    assert learner.classes == sorted(learner.classes)


def test_forgetting_is_exact(learner):
    """Taking an example back gives the bytes of before, whether its class stays or goes with it."""
    before = frozen(learner)
    for label in ("apple", "new"):
        learner.learn_one(embeddings(1, seed=9)[0], label)
        assert frozen(learner) != before
        learner.forget(embeddings(1, seed=9)[0], label)
        assert frozen(learner) == before


def test_removing_a_class_is_exact(learner):
    """A class that was taught and removed leaves nothing behind."""
    before = frozen(learner)
    learner.learn_many(embeddings(5, seed=10), ["new"] * 5)
    learner.remove_class("new")

    assert frozen(learner) == before


def test_unknown_classes(learner):
    """What was never taught can't be taken back, and the message lists what can."""
    before = frozen(learner)
    for take_back in (lambda: learner.forget(embeddings(1)[0], "kiwi"), lambda: learner.remove_class("kiwi")):
        with pytest.raises(ClassUnknown, match=r"'kiwi'.*'apple'") as caught:
            take_back()
        assert isinstance(caught.value, KeyError)

    assert frozen(learner) == before


def test_labels_must_be_as_many(learner):
    """Embeddings and labels must be as many; nothing is learnt otherwise."""
    before = frozen(learner)
    for count in (1, 3):
        with pytest.raises(EmbeddingMismatch, match=f"2 embeddings with {count} labels"):
            learner.learn_many(embeddings(2), ["new"] * count)

    assert frozen(learner) == before


def test_numbers_as_classes():
    """A class may be a whole number as well, and keeps its type through a state."""
    head = ImprintingHead(EmbeddingPipeline(SIZE))
    head.learn_many(embeddings(3), [10, 9, -1])
    again = load_head(stored(head))

    assert again.classes == [-1, 9, 10]
    assert all(type(name) is int for name in again.classes)


ROWS = st.lists(
    st.tuples(arrays(np.float32, SIZE, elements=st.floats(-100, 100, width=32)), st.sampled_from("abc")),
    min_size=1,
    max_size=12,
)


@given(ROWS, st.randoms(use_true_random=False), st.booleans())
def test_order_never_matters(rows, random, centred):
    """Any examples in any order, at once or one by one, with others learnt and forgotten between: the same bytes."""
    pipeline = EmbeddingPipeline(SIZE, MEAN if centred else None)
    head, other = ImprintingHead(pipeline), ImprintingHead(pipeline)
    head.learn_many(np.array([embedding for embedding, _ in rows]), [label for _, label in rows])
    shuffled = list(rows)
    random.shuffle(shuffled)
    other.learn_one(rows[0][0], "other")
    other.learn_one(rows[-1][0], rows[0][1])
    for embedding, label in shuffled:
        other.learn_one(embedding, label)
    other.forget(rows[-1][0], rows[0][1])
    other.remove_class("other")

    assert frozen(other) == frozen(head)
    assert sum(head.counts) == len(rows)


@given(ROWS)
def test_forgetting_everything(rows):
    """What forgets all it learnt is as good as new."""
    head = ImprintingHead(EmbeddingPipeline(SIZE))
    for embedding, label in rows:
        head.learn_one(embedding, label)
    for embedding, label in reversed(rows):
        head.forget(embedding, label)

    assert frozen(head) == frozen(ImprintingHead(EmbeddingPipeline(SIZE)))


@given(ROWS, arrays(np.float32, SIZE, elements=st.floats(-1e6, 1e6, width=32)))
def test_scores_always_sum_to_one(rows, embedding):
    """Any finite embedding, zero as well, has scores that sum to 1, from any examples."""
    head = ImprintingHead(EmbeddingPipeline(SIZE))
    head.learn_many(np.array([row for row, _ in rows]), [label for _, label in rows])
    scores = head.scores(embedding)

    assert (scores >= 0).all()
    assert abs(scores.sum() - 1) < 1e-12
    assert (np.abs(head.similarities(embedding)) <= 1 + 1e-6).all()


# Imprinting


def test_imprinting_is_the_papers():
    """A class's weight is the L2-normalised mean of its L2-normalised embeddings (Qi et al., 2018)."""
    rows, query = embeddings(), embeddings(1, seed=11)[0]
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    means = np.array([unit[[other == label for other in LABELS]].mean(axis=0) for label in ("apple", "fig", "pear")])
    cosines = means @ query / np.linalg.norm(means, axis=1) / np.linalg.norm(query)
    head = imprinting()

    np.testing.assert_allclose(head.similarities(query), cosines, atol=1e-6)
    logits = np.exp(SCALE * cosines)
    np.testing.assert_allclose(head.scores(query), logits / logits.sum(), rtol=1e-4)
    assert head.counts == [3, 1, 2]


def test_pretrained_classes_answer_beside_taught_ones():
    """Pre-trained rows are compared by direction, without what they share; taught classes come beside them."""
    names, layer, query = ["d", "a", "c", "b"], np.random.RandomState(12).normal(size=(4, SIZE)), embeddings(1)[0]
    rows = layer - layer.mean(axis=0)
    cosines = rows @ query / np.linalg.norm(rows, axis=1) / np.linalg.norm(query)
    head = ImprintingHead(EmbeddingPipeline(SIZE))
    head.keep(layer + 5, names)

    assert (head.classes, head.counts) == (sorted(names), [None] * 4)
    np.testing.assert_allclose(head.similarities(query), cosines[np.argsort(names)], atol=1e-5)
    head.learn_one(query, "taught")
    assert head.predict(query) == "taught"
    assert head.counts == [None] * 4 + [1]


def test_pretrained_classes_are_fixed():
    """A pre-trained class can't be taught, taken back or removed, and nothing else is learnt with it."""
    head = imprinting(pretrained=True)
    before = frozen(head)
    for change in (
        lambda: head.learn_one(embeddings(1)[0], "ox"),
        lambda: head.learn_many(embeddings(2), ["new", "ox"]),
        lambda: head.forget(embeddings(1)[0], "ox"),
        lambda: head.remove_class("ox"),
    ):
        with pytest.raises(ClassPretrained, match="'ox'"):
            change()

    assert frozen(head) == before
    with pytest.raises(ClassPretrained):
        load_head(stored(head)).remove_class("ox")


def test_keep_refuses_other_sizes():
    """Pre-trained weights must be as long as an embedding."""
    with pytest.raises(EmbeddingMismatch):
        ImprintingHead(EmbeddingPipeline(SIZE)).keep(np.ones((2, SIZE + 1)), ["a", "b"])


# Softmax


def test_softmax_formula():
    """Scores are softmax of weights @ direction + biases."""
    head, query = softmax(), embeddings(1)[0]
    state = head.state()
    logits = np.exp(state["weights"] @ (query / np.linalg.norm(query)) + state["biases"])

    np.testing.assert_allclose(head.scores(query), logits / logits.sum(), rtol=1e-5)


def test_softmax_does_not_overflow():
    """Logits far apart give 0 and 1."""
    head = SoftmaxHead(EmbeddingPipeline(2), ["a", "b"], np.array([[1e6, 0], [-1e6, 0]]), np.zeros(2))

    assert head.scores([1, 0]).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("classes", "weights", "biases"),
    [
        (["a", "b"], np.zeros((3, SIZE)), np.zeros(2)),
        (["a", "b"], np.zeros((2, SIZE)), np.zeros(3)),
        (["b", "a"], np.zeros((2, SIZE)), np.zeros(2)),
    ],
)
def test_softmax_parts_must_fit(classes, weights, biases):
    """Classes, weights and biases must be as many, classes sorted."""
    with pytest.raises(HeadStateError):
        SoftmaxHead(EmbeddingPipeline(SIZE), classes, weights, biases)


def test_softmax_refuses_nan_biases():
    """A stored layer with NaN in it is refused."""
    with pytest.raises((HeadStateError, EmbeddingMismatch)):
        SoftmaxHead(EmbeddingPipeline(SIZE), ["a", "b"], np.zeros((2, SIZE)), np.array([np.nan, 0]))


# The pipeline


@given(arrays(np.float32, (3, SIZE), elements=st.floats(-1e6, 1e6, width=32)))
def test_pipeline_gives_length_one(rows):
    """Embeddings come out with length 1; what lies on the mean has no direction and comes out as zero."""
    lengths = np.linalg.norm(EmbeddingPipeline(SIZE, MEAN)(rows), axis=1)

    for length, row in zip(lengths, rows):
        assert abs(length - 1) < 1e-9 or (length == 0 and (row == MEAN).all())


def test_pipeline_centres():
    """The mean is subtracted first; without one nothing is."""
    assert EmbeddingPipeline(2, [1, 1])([4, 5]).tolist() == [[0.6, 0.8]]
    assert EmbeddingPipeline(2)([3, 4]).tolist() == [[0.6, 0.8]]
    assert EmbeddingPipeline(2, [1, 1])([1, 1]).tolist() == [[0, 0]]


@pytest.mark.parametrize("mean", [[1.0], [1.0] * (SIZE + 1), [float("nan")] * SIZE])
def test_pipeline_refuses_other_means(mean):
    """A mean must be a finite embedding itself."""
    with pytest.raises(EmbeddingMismatch):
        EmbeddingPipeline(SIZE, mean)
