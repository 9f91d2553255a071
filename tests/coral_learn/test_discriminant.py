"""coral_learn/heads/discriminant.py: the closed form, its steps, exact sums, priors."""

import numpy as np
import pytest

from coral_learn import EmbeddingPipeline, load_head
from coral_learn.errors import EmbeddingMismatch, OptionError
from coral_learn.heads import LinearDiscriminantHead
from coral_learn.heads.discriminant import RIDGE

SIZE = 12


def blobs(counts, size=SIZE, spread=0.5, seed=0):
    """Embeddings around one point a class, with their labels, mixed. counts : {class: examples}."""
    random = np.random.RandomState(seed)
    labels = [label for label, count in counts.items() for _ in range(count)]
    random.shuffle(labels)
    centres = {label: np.random.RandomState(50 + place).uniform(0, 2, size) for place, label in enumerate(counts)}
    rows = np.array([centres[label] for label in labels]) + random.normal(0, spread, (len(labels), size))
    return rows.astype(np.float32), labels


def taught(rows, labels, priors=None):
    """A head that was taught these examples."""
    head = LinearDiscriminantHead(EmbeddingPipeline(np.shape(rows)[1], None, 0.75), priors)
    head.learn_many(rows, labels)
    return head


def rounded(directions):
    """Directions to multiples of 2**-20, as the head keeps them."""
    return np.rint(directions * 2**20) / 2**20


def shrinkage(labels):
    """0.6 times the power of two that is nearest to how uneven the counts are."""
    counts = np.array([labels.count(label) for label in sorted(set(labels))])
    return RIDGE * 2.0 ** np.rint(np.log2(counts.sum() * (1 / counts).mean() / len(counts)))


def closed_form(head, rows, labels, priors=None, ridge=None):
    """Weights (C, D) from the examples themselves: (W + ridge I + M' L^-1 M)^-1 M' L^-1, transposed.

    W is the scatter of all examples around their classes' means, M the means, and L the loading:
    classes / (examples x prior). The same as M P (M P M' + L)^-1 with P the inverse of W + ridge I,
    but solved in the space of embeddings.
    """
    directions, classes = rounded(head.pipeline(rows)), sorted(set(labels))
    places = np.array([classes.index(label) for label in labels])
    means = np.array([directions[places == place].mean(axis=0) for place in range(len(classes))])
    offsets = directions - means[places]
    importance = np.array([len(labels) * (priors or {}).get(label, 1.0) / len(classes) for label in classes])
    shared = offsets.T @ offsets + (shrinkage(labels) if ridge is None else ridge) * np.eye(directions.shape[1])
    return np.linalg.solve(shared + (means.T * importance) @ means, means.T * importance).T


COUNTS = {
    "even": {"a": 6, "b": 6, "c": 6},
    "uneven": {"a": 1, "b": 9, "c": 30},
    "one each": {"a": 1, "b": 1},
    "one class": {"a": 4},
    "more than numbers": {"a": 100, "b": 50},
}


@pytest.mark.parametrize("priors", [None, {"a": 4.0, "c": 0.25}], ids=["even priors", "priors"])
@pytest.mark.parametrize("counts", list(COUNTS.values()), ids=list(COUNTS))
def test_weights_equal_the_closed_form(counts, priors):
    """Weights are the least-squares solution, worked out from the examples by plain numpy."""
    rows, labels = blobs(counts)
    head = taught(rows, labels, priors)
    expected = closed_form(head, rows, labels, priors)

    np.testing.assert_allclose(head.weights, expected, rtol=0, atol=1e-8)
    directions = rounded(head.pipeline(rows))
    np.testing.assert_allclose(head.logits(rows), directions @ expected.T, atol=1e-8)
    np.testing.assert_allclose(head.logits(rows), directions @ head.weights.T + head.biases, atol=1e-12)


def test_logits_estimate_probabilities():
    """Well-separated classes get logits near 1 for the own class, near 0 for others, and near 1 together."""
    rows, labels = blobs({"a": 40, "b": 40, "c": 40}, spread=0.05)
    own = np.array([[label == name for name in "abc"] for label in labels], float)

    logits = taught(rows, labels).logits(rows)

    np.testing.assert_allclose(logits, own, atol=0.25)
    np.testing.assert_allclose(logits.sum(axis=1), 1, atol=0.05)


def test_steps_equal_a_fresh_factorisation():
    """Hundreds of examples learnt and forgotten one by one give the scores of one factorisation, at every turn."""
    rows, labels = blobs({"a": 150, "b": 150, "c": 150}, size=32)
    head = LinearDiscriminantHead(EmbeddingPipeline(32))
    random, learnt = np.random.RandomState(1), []
    for turn in range(700):
        if learnt and (random.rand() < 0.35 or len(learnt) == len(rows)):
            index = learnt.pop(random.randint(len(learnt)))
            head.forget(rows[index], labels[index])
        else:
            index = next(index for index in random.permutation(len(rows)) if index not in learnt)
            learnt.append(index)
            head.learn_one(rows[index], labels[index])
        if learnt:
            logits = head.logits(rows[:5])
        if learnt and turn % 50 == 49:
            fresh = load_head(head.state())
            np.testing.assert_allclose(logits, fresh.logits(rows[:5]), rtol=0, atol=1e-9)

    assert len(learnt) > 100


def test_many_sums_are_exact():
    """Ten thousand examples, and all but a few forgotten again, leave the bytes of those few."""
    rows = np.random.RandomState(0).gamma(0.5, 1.0, (10000, 16)).astype(np.float32)
    labels = [["a", "b", "c"][index % 3] for index in range(10000)]
    head = LinearDiscriminantHead(EmbeddingPipeline(16))
    head.learn_many(rows, labels)
    for label in "abc":
        mine = [index for index in range(30, 10000) if labels[index] == label]
        head.forget_many(rows[mine[::-1]], label)
    expected = LinearDiscriminantHead(EmbeddingPipeline(16))
    for row, label in zip(rows[:30], labels[:30]):
        expected.learn_one(row, label)

    for name, array in expected.state().items():
        assert head.state()[name].tobytes() == array.tobytes(), name
    np.testing.assert_allclose(head.scores(rows[:9]), expected.scores(rows[:9]), atol=1e-9)


def test_sums_are_those_of_whole_numbers():
    """Sums and products equal Python's own arithmetic on whole numbers."""
    rows = np.random.RandomState(2).rand(300, 5)
    head = LinearDiscriminantHead(EmbeddingPipeline(5))
    head.learn_many(rows, ["a"] * 300)
    grains = [[int(number) for number in row] for row in np.rint(head.pipeline(rows) * 2**20)]

    assert head.state()["sums"][0].tolist() == [sum(row[d] for row in grains) * 2**20 for d in range(5)]
    products = [[sum(row[i] * row[j] for row in grains) for j in range(5)] for i in range(5)]
    assert head.state()["products"].tolist() == products


def test_forgetting_too_many():
    """More examples than a class has can't be taken back, and nothing is."""
    rows, labels = blobs({"a": 3, "b": 2})
    head = taught(rows, labels)
    before = {name: array.tobytes() for name, array in head.state().items()}
    with pytest.raises(EmbeddingMismatch, match="4 examples to forget of the class 'a', which has 3"):
        head.forget_many(rows[:4], "a")

    assert {name: array.tobytes() for name, array in head.state().items()} == before


def test_priors_shift_decisions():
    """Between two classes as like it, an embedding goes to the one with the larger prior."""
    rows, labels = blobs({"a": 10, "b": 10}, spread=0.8)
    queries = blobs({"a": 200, "b": 200}, spread=0.8, seed=1)[0]
    shares = []
    for weight in (0.1, 1.0, 10.0):
        head = taught(rows, labels, {"a": weight})
        shares.append(np.mean([head.predict(query) == "a" for query in queries]))
        logits = head.logits(queries)
        if weight != 1:
            plain = taught(rows, labels).logits(queries)
            assert ((logits - plain)[:, 0].mean() > (logits - plain)[:, 1].mean()) == (weight > 1)

    assert shares[0] < shares[1] < shares[2]


def test_priors_are_kept():
    """Priors go with the state, follow a renamed class, and outlast the class's last example."""
    rows, labels = blobs({"a": 2, "b": 2})
    head = taught(rows, labels, {"a": 2.0, "z": 3.0})
    again = load_head(head.state())
    assert again.priors == {"a": 2.0, "z": 3.0}
    np.testing.assert_array_equal(again.weights, head.weights)
    head.rename("a", "c")
    assert head.priors == {"c": 2.0, "z": 3.0}
    head.forget_many(rows[[index for index, label in enumerate(labels) if label == "a"]], "c")

    assert head.priors == {"c": 2.0, "z": 3.0}


def test_priors_of_numbers():
    """Classes that are numbers have priors that are."""
    head = taught(*blobs({1: 3, 2: 3}), {1: 2.0})

    assert load_head(head.state()).priors == {1: 2.0}


@pytest.mark.parametrize("weight", [0, -1.0, float("nan"), float("inf")])
def test_priors_out_of_range(weight):
    """A prior is a number above 0."""
    with pytest.raises(OptionError, match="above 0"):
        LinearDiscriminantHead(EmbeddingPipeline(SIZE), {"a": weight})


def test_shrinkage_follows_the_counts():
    """Few examples beside many of others are shrunk more, in steps of two, exactly as in the closed form."""
    assert [shrinkage(["a"] * few + ["b"] * 40) / RIDGE for few in (40, 20, 10, 4, 2, 1)] == [1, 1, 2, 4, 4, 8]
    for few in (10, 4, 1):
        rows, labels = blobs({"a": few, "b": 40})
        head = LinearDiscriminantHead(EmbeddingPipeline(SIZE))
        for row, label in zip(rows, labels):
            head.learn_one(row, label)
            head.logits(row)
        np.testing.assert_allclose(head.weights, closed_form(head, rows, labels), rtol=0, atol=1e-8)


@pytest.mark.parametrize("counts", [{"a": 1, "b": 40}, {"a": 2, "b": 40, "c": 3}, {"a": 3, "b": 4, "c": 5}])
@pytest.mark.parametrize("priors", [None, {"a": 3.0, "b": 0.5}], ids=["even priors", "priors"])
def test_strangers_keep_the_shrinkage(counts, priors):
    """To a head never taught their class, with the shrinkage of all counts, examples are as familiar: exact.

    With the shrinkage of the counts that are left it may differ: up to 0.4 of 1 where one class of
    40 beside one of 1 goes, nothing where the counts are even.
    """
    rows, labels = blobs(counts)
    head = taught(rows, labels, priors)
    strange = head.as_strangers(rows, labels)
    for label in counts:
        mine = np.array([other == label for other in labels])
        others = [other for other in labels if other != label]
        weights = closed_form(head, rows[~mine], others, priors, shrinkage(labels))
        expected = (rounded(head.pipeline(rows[mine])) @ weights.T).max(axis=1)
        np.testing.assert_allclose(strange[mine], expected, rtol=0, atol=1e-7)
