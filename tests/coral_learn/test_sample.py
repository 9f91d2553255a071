"""Some of many examples to measure by: of every class, and groups whole."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coral_learn.training import Sample

LABELS = st.lists(st.integers(0, 4), max_size=60)


@given(LABELS, st.integers(1, 70))
def test_every_class_has_its_share(labels, most):
    """As many as are wanted; a class with fewer than another has all of its examples there, but for one by rounding."""
    chosen = Sample.of(labels, most=most).chosen
    assert len(chosen) == min(most, len(labels))
    assert chosen == sorted(set(chosen))
    shown, every = Counter(labels[index] for index in chosen), Counter(labels)
    largest = max(shown.values(), default=0)
    assert all(shown[label] >= min(every[label], largest - 1) for label in every)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), min_size=1, max_size=60), st.integers(1, 40))
def test_groups_stay_together(pairs, most):
    """A group is among them whole or not at all, or said to be torn; there are never twice as many as wanted."""
    labels, groups = [label for label, _ in pairs], [group or None for _, group in pairs]
    chosen, torn = Sample.of(labels, groups, most=most)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == len(labels) <= most or len(chosen) < 2 * most
    taken, every = Counter(groups[index] for index in chosen), Counter(groups)
    for group in set(taken) - {None}:
        assert taken[group] == every[group] or group in torn
    assert torn <= set(taken) - {None}


def test_a_class_of_one_large_group_is_torn():
    """Where a class has nothing but a group that is too large, a part of that is taken."""
    labels = ["long"] * 50 + ["short"] * 50
    chosen, torn = Sample.of(labels, ["film"] * 50 + [None] * 50, most=20)
    assert Counter(labels[index] for index in chosen) == {"long": 10, "short": 10}
    assert torn == {"film"}


def test_a_class_within_the_group_of_another():
    """Frames that were given another class afterwards stand for that, though their group is passed over."""
    labels = ["cup"] * 90 + ["lid"] * 60 + ["cup"] * 50
    groups = ["film"] * 150 + [None] * 50
    chosen, torn = Sample.of(labels, groups, most=40)
    assert Counter(labels[index] for index in chosen) == {"cup": 20, "lid": 20}
    assert torn == {"film"}


def test_a_large_group_is_passed_over():
    """Where its class has others, they are taken instead."""
    groups = ["film"] * 50 + [None] * 5
    assert Sample.of(["one"] * 55, groups, most=10) == ([50, 51, 52, 53, 54], frozenset())


@pytest.mark.parametrize("gone", [0, 1, 50, 99])
def test_what_keeps_its_key_stays_chosen(gone):
    """One example less makes room for one other."""
    keys = list(range(100, 200))
    before = {keys[index] for index in Sample.of([0] * 100, keys=keys, most=20).chosen}
    removed = keys.pop(gone)
    after = {keys[index] for index in Sample.of([0] * 99, keys=keys, most=20).chosen}
    assert before - {removed} <= after


def test_examples_of_all_ages_are_taken():
    """Not only the oldest ones of a class: none of its tenths is left out, none has twice its share."""
    tenths = Counter(index // 100 for index in Sample.of([0] * 1000, most=100).chosen)
    assert set(tenths) == set(range(10))
    assert max(tenths.values()) < 20


def test_more_classes_than_wanted():
    """There are still no more examples than that."""
    assert len(Sample.of(list(range(50)), most=20).chosen) == 20
