"""The map of the examples: a fair sample, drawn once a revision."""

from typing import NamedTuple

import numpy as np
import pytest

from coral_learn.extractor import ExtractorInfo
from service.learning import Answering, Teaching, Versions
from service.mapping import ExampleMap
from service.store import Store
from service.store.examples import NewPicture, Origin

INFO = ExtractorInfo("tiny", "e" * 64, "cpu", "", False, "none", 64, 32, 32)


class Learner(NamedTuple):
    """What answers and what teaches, over an open store."""

    store: Store
    answering: Answering
    teaching: Teaching

    def add(self, name, *numbers):
        """Teach made-up pictures."""
        vectors = [np.random.RandomState(number).uniform(0, 2, 64).astype(np.float32) for number in numbers]
        new = [NewPicture(f"{n:064x}", "PNG", 64, 48, 1, vector) for n, vector in zip(numbers, vectors)]
        self.teaching.add_examples(name, new, [b"x"] * len(new), Origin("upload"))


@pytest.fixture
def learner(tmp_path, tiny_model):
    """One that was taught nothing."""
    store, answering = Store(tmp_path / "data"), Answering("imprinting")
    versions = Versions(store, answering, "imprinting", False)
    learner = Learner(store, answering, Teaching(store, answering, versions))
    versions.adopt(INFO, tiny_model)
    yield learner
    store.close()


def test_drawn_once_a_revision(learner):
    """Asked again it is the same map; a lesson, a disabled class or another size makes another one."""
    example_map = ExampleMap(learner.store, learner.answering)
    assert example_map.draw(100)[1:] == ([], (0.0, 0.0), 0)
    learner.add("a", 0)
    (alone,) = example_map.draw(100).places
    assert alone[1:] == (learner.store.classes.get("a").id, 0.0, 0.0)
    learner.add("b", 1, 2, 3)
    first = example_map.draw(100)
    assert example_map.draw(100) is first
    assert (len(first.places), first.total, first.key.extractor) == (4, 4, INFO.digest)
    assert 0 < first.explained[1] <= first.explained[0] <= 1
    small = example_map.draw(2)
    assert {place.class_id for place in small.places} == {
        learner.store.classes.get("a").id,
        learner.store.classes.get("b").id,
    }
    assert small.total == 4
    learner.teaching.enable_class("b", False)
    disabled = example_map.draw(100)
    assert disabled.key.revision > first.key.revision
    assert disabled.places == first.places


def test_reads_only_what_it_shows(learner, monkeypatch):
    """However many examples there are, no more embeddings are read than are shown."""
    learner.add("a", *range(40))
    read, rows = [], learner.store.examples.learnt_in_rows
    monkeypatch.setattr(learner.store.examples, "learnt_in_rows", lambda *some: read.extend(some[1]) or rows(*some))
    monkeypatch.setattr(learner.store.examples, "learnt", None)
    drawn = ExampleMap(learner.store, learner.answering).draw(10)
    assert (len(read), len(drawn.places), drawn.total) == (10, 10, 40)
