"""coral_learn/heads/neighbours.py: the examples themselves answer."""

from itertools import permutations

import numpy as np
import pytest

from coral_learn import EmbeddingPipeline, load_head
from coral_learn.errors import EmbeddingMismatch, ExampleUnknown, NothingLearnt, OptionError
from coral_learn.heads import NeighboursHead, neighbours
from coral_learn.heads.neighbours import _SHARPNESS


def activations(count, size=64, seed=0):
    """Embeddings as a network with a ReLU gives them: many small numbers, few large ones."""
    return np.random.RandomState(seed).gamma(0.5, 1.0, (count, size)).astype(np.float32)


def taught(rows, labels, neighbours=5):
    """A head that was taught these examples."""
    head = NeighboursHead(EmbeddingPipeline(np.shape(rows)[1]), neighbours)
    head.learn_many(rows, labels)
    return head


def cosines(query, rows):
    """Cosine of a query to each row, in full precision."""
    query, rows = np.asarray(query, np.float64), np.asarray(rows, np.float64)
    return rows @ query / np.linalg.norm(rows, axis=1) / np.linalg.norm(query)


def voted(query, rows, labels, neighbours):
    """Logits by class, from the examples: the log of the summed exp(20 cos) of the nearest, over 20.

    A class without any among them has the cosine of the last of them, less a twentieth.
    """
    similar = cosines(query, rows)
    nearest = np.argsort(-similar)[:neighbours]
    sums = dict.fromkeys(sorted(set(labels)), 0.0)
    for index in nearest:
        sums[labels[index]] += np.exp(_SHARPNESS * similar[index])
    without = similar[nearest[-1]] - 1 / _SHARPNESS
    return [np.log(total) / _SHARPNESS if total else without for total in sums.values()]


# Answers


@pytest.mark.parametrize("neighbours", [1, 2, 5, 29, 30, 1000])
def test_votes_by_hand(neighbours):
    """The nearest vote for their classes by their cosine, one as well as all of them."""
    rows, labels, compared = activations(30), ["a", "b", "c"] * 10, 0
    head = taught(rows, labels, neighbours)
    for query in activations(50, seed=1):
        similar = np.sort(cosines(query, rows))[::-1]
        if neighbours < 30 and similar[neighbours - 1] - similar[neighbours] < 0.015:
            continue  # bytes may swap the two
        np.testing.assert_allclose(head.logits(query), voted(query, rows, labels, neighbours), atol=0.0075)
        compared += 1

    assert compared > 5


def test_no_voter_is_less_than_any():
    """A class without a voter among the nearest is behind each that has one, a twentieth below the last of them."""
    rows, labels = activations(30), [index // 3 for index in range(30)]
    head = taught(rows, labels, 4)
    for query in activations(20, seed=1):
        logits, voters = head.logits(query), head.nearest(query, 4)
        others = [label for label in head.classes if label not in {one.label for one in voters}]
        assert len(others) >= 6
        assert {logits[label] for label in others} == {voters[-1].similarity - 1 / _SHARPNESS}
        assert min(logits[one.label] for one in voters) >= voters[-1].similarity - 1e-12


def test_one_neighbour_answers_for_its_class():
    """With one neighbour, each example's own class is the answer to it."""
    rows, labels = activations(20), [f"class {index % 4}" for index in range(20)]
    head = taught(rows, labels, 1)

    assert [head.predict(row) for row in rows] == labels
    for row in rows:
        own = head.classes.index(head.predict(row))
        np.testing.assert_allclose(head.logits(row)[own], 1.0, atol=1e-6)
        np.testing.assert_allclose(np.delete(head.logits(row), own), 1 - 1 / _SHARPNESS, atol=1e-6)


def test_many_neighbours_outvote_a_nearer_one():
    """Three close examples of a class weigh more than one of another that is a little closer."""
    rows = np.array([[1.0, 0.0, 0.10], [1.0, 0.12, 0.0], [1.0, -0.12, 0.0], [1.0, 0.0, -0.12]])

    assert taught(rows, ["one", "many", "many", "many"], 1).predict([1, 0, 0]) == "one"
    assert taught(rows, ["one", "many", "many", "many"], 4).predict([1, 0, 0]) == "many"


def test_nearest():
    """The nearest come first, with their classes and their cosines, as many as asked for and there are."""
    rows, labels = activations(12), list("abcdefghijkl")
    head, query = taught(rows, labels), activations(1, seed=2)[0]
    expected, nearest = dict(zip(labels, cosines(query, rows))), head.nearest(query, 12)

    assert [one.similarity for one in nearest] == sorted((one.similarity for one in nearest), reverse=True)
    assert sorted(one.label for one in nearest) == labels
    assert all(abs(one.similarity - expected[one.label]) < 0.01 for one in nearest)
    assert head.nearest(query, 3) == nearest[:3]
    assert head.nearest(query, 100) == nearest
    assert head.nearest(query, 0) == []
    assert head.nearest(rows[4], 1)[0].label == "e"


def test_nearest_of_nothing():
    """A head without examples has none to show, and can't answer."""
    head = NeighboursHead(EmbeddingPipeline(3))

    assert head.nearest([1, 0, 0], 5) == []
    with pytest.raises(NothingLearnt):
        head.logits([1, 0, 0])


def test_familiarity_is_that_of_the_nearest():
    """Familiarity is the cosine to the nearest example of all."""
    rows, query = activations(12), activations(1, seed=2)[0]
    head = taught(rows, ["a", "b"] * 6, 1)

    assert abs(head.familiarity(query) - head.nearest(query, 1)[0].similarity) < 1e-6
    assert abs(head.familiarity(rows[3]) - 1) < 0.001


def test_ties_do_not_depend_on_the_order_of_teaching():
    """One picture taught as two classes gets the same answer in whichever order, and after loading."""
    row, answers = activations(1)[0], set()
    for labels in ("ab", "ba"):
        head = NeighboursHead(EmbeddingPipeline(64), 1)
        for label in labels:
            head.learn_one(row, label)
        answers |= {head.predict(row), load_head(head.state()).predict(row)}

    assert answers == {"a"}


def test_ties_are_settled_by_class_then_content():
    """Of different examples as like a query, those of the first class are taken, however they were taught."""
    rows = [([1, 0, 0, 0], "b"), ([0, 1, 0, 0], "b"), ([0, 0, 1, 0], "a"), ([0, 0, 0, 1], "a"), ([0, 0, 0, 1], "c")]
    query, nearest, left_out, logits = [1.0, 1.0, 1.0, 1.0], set(), set(), set()
    for order in permutations(rows):
        head = NeighboursHead(EmbeddingPipeline(4), 3)
        for row, label in order:
            head.learn_one(np.array(row, np.float32), label)
        nearest.add(tuple(one.label for one in head.nearest(query, 5)))
        logits.add(head.logits(query).tobytes())
        left_out.add(
            head.leave_one_out(np.array([row for row, _ in rows]), [name for _, name in rows]).logits.tobytes()
        )

    assert nearest == {("a", "a", "b", "b", "c")}
    assert (len(logits), len(left_out)) == (1, 1)


@pytest.mark.parametrize("size", [6, 1280])
def test_equal_examples_are_equally_near(size):
    """Copies of an example have one cosine, to the bit, wherever they lie: cosines are of whole numbers."""
    head = taught(np.repeat(activations(1, size), 4200, axis=0), list(range(4200)), 3)
    for query in activations(3, size, seed=1):
        nearest = head.nearest(query, 4200)
        assert len({one.similarity for one in nearest}) == 1
        assert [one.label for one in nearest] == list(range(4200))


# Bytes


@pytest.mark.parametrize("size", [256, 1024, 1280])
def test_bytes_are_near_enough(size):
    """With a byte a number on both sides cosines are within 0.01 of the true ones (0.005 at 1280, 0.006 at 256)."""
    rows, queries = activations(50, size), activations(40, size, seed=1)
    head = taught(rows, list(range(50)))
    for query in queries:
        similar = {one.label: one.similarity for one in head.nearest(query, 50)}
        np.testing.assert_allclose([similar[index] for index in range(50)], cosines(query, rows), rtol=0, atol=0.01)


def test_state_is_small():
    """An example takes its numbers in bytes and little more."""
    state = taught(activations(100, 1280), ["a", "b"] * 50).state()

    assert state["rows"].dtype == np.int8
    assert sum(array.nbytes for array in state.values()) < 100 * 1300


def test_growing():
    """Examples taught one by one are all kept, and none of the room to spare is seen."""
    rows, head = activations(100), NeighboursHead(EmbeddingPipeline(64), 1)
    for index, row in enumerate(rows):
        head.learn_one(row, index)
        assert len(head.classes) == index + 1

    assert [head.predict(row) for row in rows] == list(range(100))
    assert head.state()["rows"].shape == (100, 64)


def test_more_than_a_block_of_examples():
    """Thousands of examples are compared in blocks, with the answers of one."""
    rows = activations(9000, 8)
    head = taught(rows, [index % 7 for index in range(9000)], 1)
    query = activations(1, 8, seed=1)[0]

    assert abs(head.nearest(query, 1)[0].similarity - cosines(query, rows).max()) < 0.02
    assert [head.predict(rows[index]) for index in (0, 4095, 4096, 8999)] == [0, 0, 1, 4]


# Forgetting


@pytest.mark.parametrize("cosines", [1, 7, 60, 10**6])
def test_left_out_some_at_a_time(monkeypatch, cosines):
    """However many are compared at once, what is found is the same."""
    rows = np.random.RandomState(0).uniform(0, 1, (20, 8)).astype(np.float32)
    labels = [index % 3 for index in range(20)]
    head = NeighboursHead(EmbeddingPipeline(8))
    head.learn_many(rows, labels)
    ways = (head.leave_one_out, head.leave_all_out, head.as_strangers)
    before = [np.concatenate([np.ravel(part) for part in way(rows[:13], labels[:13])]) for way in ways[:2]]
    strange = head.as_strangers(rows[:13], labels[:13])
    monkeypatch.setattr(neighbours, "_COSINES_AT_ONCE", cosines)
    for way, found in zip(ways, before):
        np.testing.assert_array_equal(np.concatenate([np.ravel(part) for part in way(rows[:13], labels[:13])]), found)
    np.testing.assert_array_equal(head.as_strangers(rows[:13], labels[:13]), strange)
    assert [len(part) for way in ways[:2] for part in way(rows[:0], [])] == [0] * 4


def test_forgets_the_very_example():
    """The example itself goes, and not another of its class."""
    rows, labels = activations(6), ["a", "a", "a", "b", "b", "b"]
    head = taught(rows, labels)
    head.forget(rows[1], "a")

    assert head.familiarity(rows[1]) < 0.99
    assert all(head.familiarity(row) > 0.99 for row in rows[[0, 2, 3, 4, 5]])


@pytest.mark.parametrize("label", ["a", "b"])
def test_forgetting_what_was_never_learnt(label):
    """An example that the class was never taught is refused, as is one taught to another class."""
    rows = activations(4)
    head = taught(rows, ["a", "a", "b", "b"])
    before = {name: array.tobytes() for name, array in head.state().items()}
    other = {"a": rows[2], "b": rows[0]}[label]
    for unknown in (activations(1, seed=9)[0], other):
        with pytest.raises(ExampleUnknown, match=f"'{label}' was never learnt") as caught:
            head.forget(unknown, label)
        assert isinstance(caught.value, KeyError)

    assert {name: array.tobytes() for name, array in head.state().items()} == before


def test_forgetting_some_that_were_never_learnt():
    """Of a batch with one unknown example nothing is forgotten; nor of one that names an example too often."""
    rows = activations(4)
    head = taught(rows, ["a"] * 4)
    for batch in (np.concatenate([rows[:2], activations(1, seed=9)]), rows[[0, 0]]):
        with pytest.raises(ExampleUnknown):
            head.forget_many(batch, "a")

    assert head.counts == {"a": 4}


def test_examples_learnt_twice():
    """An example learnt twice has to be forgotten twice."""
    row = activations(1)[0]
    head = taught(np.array([row, row]), ["a", "a"])
    head.forget(row, "a")
    assert head.counts == {"a": 1}
    head.forget(row, "a")

    assert head.counts == {}


def test_leaving_out_among_near_duplicates():
    """Leaving out an example beside some that are nearly the same answers as without it."""
    pairs = np.repeat(activations(8, 256), 3, axis=0)
    rows = pairs * (1 + np.random.RandomState(1).normal(0, 0.002, pairs.shape)).astype(np.float32)
    labels = [index // 6 for index in range(24)]
    head = taught(rows, labels)
    left_out = head.leave_one_out(rows, labels)
    for row, label, logits, familiarity in zip(rows, labels, *left_out):
        other = load_head(head.state())
        other.forget(row, label)
        np.testing.assert_allclose(logits, other.logits(row), atol=1e-4)
        assert abs(familiarity - other.familiarity(row)) < 1e-4


# Options


@pytest.mark.parametrize("neighbours", [0, -1, 1.5, "3", None])
def test_neighbours_out_of_range(neighbours):
    """At least one neighbour votes."""
    with pytest.raises(OptionError, match="neighbours must be a whole number from 1"):
        NeighboursHead(EmbeddingPipeline(3), neighbours)


def test_neighbours_are_kept():
    """How many vote goes with the state."""
    assert load_head(taught(activations(4), list("abcd"), 3).state()).neighbours == 3


def test_nearest_refuses_other_embeddings():
    """Examples are compared with embeddings of their size only."""
    with pytest.raises(EmbeddingMismatch):
        taught(activations(2), ["a", "b"]).nearest(np.ones(63), 1)
