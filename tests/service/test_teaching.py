"""What was taught: exact in the live model, on the disk and in the journal, whatever was done in whatever order."""

import hashlib
import json
import logging
import shutil
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from coral_learn.extractor import ExtractorInfo
from coral_learn.training import INCREMENTAL
from service.errors import Conflict, NotFound, StoreFull
from service.learning import Answering, Teaching, Versions
from service.learning.checkpoint import Checkpoint
from service.store import Store
from service.store.examples import NewPicture, Origin
from service.store.jobs import StoredJob
from service.store.models import FinishedModel, write_version

KINDS = ["imprinting", "lda", "knn"]
CLASSES = ("a", "b", "c")
SIZE = 64
INFO = ExtractorInfo("tiny", "e" * 64, "cpu", "", False, "none", SIZE, 32, 32)
UPLOAD = Origin("upload")
LAST_BITS = 1.000001
PICTURES = 8
VECTORS = np.random.RandomState(3).uniform(0, 2, (PICTURES, SIZE)).astype(np.float32)
ASKED = np.random.RandomState(4).uniform(0, 2, (5, SIZE)).astype(np.float32)


class SavesAlways(Checkpoint):
    """Saves however few examples there are."""

    def worth_it(self, examples: int, lessons: int) -> bool:
        """Yes."""
        return bool(examples and lessons)


class Learner(NamedTuple):
    """What answers and what teaches, over an open store."""

    store: Store
    answering: Answering
    teaching: Teaching
    versions: Versions

    @property
    def live(self):
        """The live head itself."""
        return self.answering.copy_live().live

    def add(self, name: str, *numbers: int) -> List[str]:
        """Teach made-up pictures in one step; the examples' ids."""
        return [one.example for one in self.teach(name, [(number, 1.0) for number in numbers]).examples]

    def teach(self, name: str, pictures):
        """Teach pairs of a picture's number and a factor on its embedding."""
        new = [picture(number, factor) for number, factor in pictures]
        return self.teaching.add_examples(name, new, [content(number) for number, _ in pictures], UPLOAD)

    def save(self) -> None:
        """Write the live model down."""
        self.versions.save_live(always=True)

    def class_id(self, name: str) -> int:
        """The number of a class."""
        return self.store.classes.get(name).id


def open_learner(folder: Path, kind: str, model: Path, info: ExtractorInfo = INFO, least_free: int = 0) -> Learner:
    """As after a start of the daemon, with the extractor loaded."""
    learner = open_without_extractor(folder, kind, least_free)
    learner.versions.adopt(info, model)
    return learner


def open_without_extractor(folder: Path, kind: str, least_free: int = 0) -> Learner:
    """As after a start of the daemon, with the extractor still to come."""
    store = Store(folder, least_free)
    answering = Answering(kind)
    versions = Versions(store, answering, kind, False)
    versions._checkpoint = SavesAlways(folder)
    return Learner(store, answering, Teaching(store, answering, versions), versions)


def content(number: int) -> bytes:
    """A picture's bytes."""
    return b"picture %d" % number


def sha256_of(number: int) -> str:
    """The digest of a picture's bytes."""
    return hashlib.sha256(content(number)).hexdigest()


def picture(number: int, factor: float = 1.0) -> NewPicture:
    """A made-up picture with its embedding."""
    embedding = VECTORS[number % PICTURES] * np.float32(factor) + np.float32(number // PICTURES)
    return NewPicture(sha256_of(number), "PNG", 64, 48, len(content(number)), embedding)


def state_of(head) -> Dict[str, Tuple]:
    """A head's state, to be compared to the byte."""
    return {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in head.state().items()}


def taught_anew(kind: str, lessons, mean: Optional[np.ndarray] = None):
    """A head that has learnt pairs of a class's number and an embedding, and nothing else ever."""
    head = INCREMENTAL[kind].suited(SIZE, mean)
    if lessons:
        head.learn_many(np.stack([embedding for _, embedding in lessons]), [number for number, _ in lessons])
    return head


def built_anew(learner: Learner):
    """A head taught all that the store holds."""
    kind = learner.answering.live_facts["head"]
    return taught_anew(kind, [(one.class_id, one.embedding) for one in learner.store.examples.learnt(INFO.digest)])


def is_exact(learner: Learner) -> bool:
    """Whether the live head is one taught all that the store holds, to the byte."""
    return state_of(learner.live) == state_of(built_anew(learner))


def publish(learner: Learner, head, name: str = "job") -> int:
    """Make a head a version; returns its number."""
    folder = learner.store.models.unfinished_folder(name)
    examples = [example for example, _ in learner.store.examples.labels()]
    write_version(folder, head, examples, {})
    job = StoredJob(name, "train", "running", {}, 0.5, {}, None, None, 0.0, 0.0, None)
    facts = FinishedModel(str(folder), head.kind, INFO.digest, len(head.classes), len(examples), None)
    return learner.versions.add(job, facts)


def labels(learner: Learner) -> set:
    """The classes in an answer."""
    return {one.label for one in learner.answering.classify(ASKED[0], 1000).predictions}


NAMES = st.sampled_from(["a", "b", "c", "d", "e"])
WHICH = st.integers(0, 100)
SOME_PICTURES = st.tuples(st.integers(0, PICTURES - 1), st.sampled_from([1.0, LAST_BITS]))


class TeachingMachine(RuleBasedStateMachine):
    """Teaching over a store, beside a model of it in memory.

    classes : names by number; disabled : numbers of those that are; examples : class and picture by id;
    trash : the same of what the last step removed; first : the embedding of each stored picture, as it
    came first; past : each step's number, action, and what was before it
    back : classes, disabled ones and examples before the last step, None where it can't be undone
    """

    def __init__(self, kind: str, model: Path):
        super().__init__()
        self.model, self.kind, self.usual = model, kind, kind
        self.folder = Path(tempfile.mkdtemp())
        self.classes: Dict[int, str] = {}
        self.disabled: frozenset = frozenset()
        self.examples: Dict[str, Tuple[int, int]] = {}
        self.trash: Dict[str, Tuple[int, int]] = {}
        self.first: Dict[int, np.ndarray] = {}
        self.back: Optional[Tuple[Dict, frozenset, Dict]] = None
        self.past: List[Tuple[int, str, Tuple[Dict, frozenset, Dict]]] = []
        self.last = 0
        self.actions: List[str] = []
        self.lines: List = []
        self.revision, self.highest, self.versions = 0, 0, 0
        self.version: Optional[int] = None
        self.version_knows: set = set()
        self.learner = open_learner(self.folder, kind, model)

    def teardown(self):
        self.learner.store.close()
        shutil.rmtree(str(self.folder))

    # -- the model of the store -------------------------------------------------------------

    def number(self, name: str) -> Optional[int]:
        """The number of a class by its name."""
        return next((number for number, other in self.classes.items() if other == name), None)

    def numbered(self, name: str) -> Tuple[int, Dict[int, str]]:
        """The number of a class, made when missing, and the classes then. Numbers are never used again."""
        number = self.number(name)
        if number is not None:
            return number, self.classes
        number = self.learner.class_id(name)
        assert number > self.highest
        self.highest = number
        return number, {**self.classes, number: name}

    @staticmethod
    def one_of(entries: Dict, which: int) -> Tuple:
        """A key with its value; by the order they came, as ids of examples are never the same again."""
        return list(entries.items())[which % len(entries)]

    def pictures(self, number: int) -> set:
        """The pictures in a class."""
        return {shown for class_id, shown in self.examples.values() if class_id == number}

    def taught(self) -> List[Tuple[int, np.ndarray]]:
        """What the live model has learnt: examples of classes that are not disabled."""
        examples = [facts for facts in self.examples.values() if facts[0] not in self.disabled]
        return [(number, self.first[shown]) for number, shown in examples]

    def done(self, action, classes, examples, step, for_good=False, disabled=None) -> None:
        """A step was made: after it there are these classes and examples, and these classes are disabled."""
        disabled = frozenset(self.disabled if disabled is None else disabled) & set(classes)
        gone = {example: facts for example, facts in self.examples.items() if example not in examples}
        self.trash = {} if for_good else gone
        moved = {k: v[0] for k, v in self.examples.items()} != {k: v[0] for k, v in examples.items()}
        turned = (self.disabled ^ disabled) & set(self.classes)
        self.revision += moved or any(number in turned for number, _ in examples.values())
        before = self.classes, self.disabled, self.examples
        self.back = None if for_good or action == "undo" else before
        self.classes, self.disabled, self.examples = classes, disabled, examples
        self.actions.append(action)
        self.last = self.learner.store.journal.page(0, 1)[0][0].id
        assert step in (None, self.last)
        self.past.append((self.last, action, before))
        kept = {shown for _, shown in [*self.examples.values(), *self.trash.values()]}
        self.first = {shown: embedding for shown, embedding in self.first.items() if shown in kept}

    # -- what can be done -------------------------------------------------------------------

    @precondition(lambda self: len(self.classes) < 5)
    @rule(name=NAMES)
    def create(self, name):
        """A class without examples; a name that is taken is refused."""
        if self.number(name) is not None:
            with pytest.raises(Conflict):
                self.learner.teaching.create_class(name)
            return
        created = self.learner.teaching.create_class(name)
        number, classes = self.numbered(name)
        assert (created.now.id, created.now.name, created.now.examples) == (number, name, 0)
        self.done("add_class", classes, self.examples, created.step)

    @precondition(lambda self: self.classes)
    @rule(which=WHICH, new=NAMES)
    def rename(self, which, new):
        """Another name for a class; the same one is no step, and one that is taken is refused."""
        number, name = self.one_of(self.classes, which)
        if self.number(new) not in (None, number):
            with pytest.raises(Conflict):
                self.learner.teaching.rename_class(name, new)
            return
        renamed = self.learner.teaching.rename_class(name, new)
        assert (renamed.now.id, renamed.now.name) == (number, new)
        if name == new:
            assert renamed.step is None
        else:
            self.done("rename_class", {**self.classes, number: new}, self.examples, renamed.step)

    @precondition(lambda self: self.classes)
    @rule(which=WHICH)
    def disable_or_enable(self, which):
        """A class is left out of teaching and answers, or taken in again; as it is already is no step."""
        number, name = self.one_of(self.classes, which)
        enabled = number in self.disabled
        assert self.learner.teaching.enable_class(name, not enabled).step is None
        changed = self.learner.teaching.enable_class(name, enabled)
        assert changed.now == self.learner.store.classes.get(name)
        assert changed.now.enabled == enabled
        action = "enable_class" if enabled else "disable_class"
        self.done(action, self.classes, self.examples, changed.step, disabled=self.disabled ^ {number})

    @precondition(lambda self: len(self.classes) > 1)
    @rule(which=WHICH, other=WHICH)
    def merge(self, which, other):
        """The examples of a class go over into another; a picture in both stays once."""
        source, name = self.one_of(self.classes, which)
        target, into = self.one_of(self.classes, other)
        if source == target:
            with pytest.raises(Conflict):
                self.learner.teaching.merge_classes(name, into)
            return
        merged = self.learner.teaching.merge_classes(name, into)
        classes, there = {k: v for k, v in self.classes.items() if k != source}, self.pictures(target)
        examples = {
            example: (target if number == source else number, shown)
            for example, (number, shown) in self.examples.items()
            if number != source or shown not in there
        }
        self.done("merge_classes", classes, examples, merged.step)
        assert (merged.now.name, merged.now.examples) == (into, len(self.pictures(target)))

    @precondition(lambda self: self.classes)
    @rule(which=WHICH, for_good=st.booleans())
    def delete_class(self, which, for_good):
        """A class with its examples."""
        number, name = self.one_of(self.classes, which)
        deleted = self.learner.teaching.delete_class(name, for_good)
        assert deleted.examples == len(self.pictures(number))
        classes = {k: v for k, v in self.classes.items() if k != number}
        examples = {k: v for k, v in self.examples.items() if v[0] != number}
        self.done("delete_class", classes, examples, deleted.step, for_good)
        with pytest.raises(NotFound):
            self.learner.teaching.delete_class(name, for_good)

    @rule(name=NAMES, one=SOME_PICTURES)
    def add_one(self, name, one):
        """One picture, which may be there already."""
        self._add(name, [one])

    @rule(name=NAMES, pictures=st.lists(SOME_PICTURES, min_size=2, max_size=5))
    def add_several(self, name, pictures):
        """Several pictures at once, some of them twice, there already, or in another class as well."""
        self._add(name, pictures)

    def _add(self, name, pictures):
        taught = self.learner.teach(name, pictures)
        made = self.number(name) is None
        number, classes = self.numbered(name)
        there = {shown: example for example, (class_id, shown) in self.examples.items() if class_id == number}
        examples = dict(self.examples)
        assert len(taught.examples) == len(pictures)
        for (shown, factor), one in zip(pictures, taught.examples):
            assert one.new == (shown not in there)
            assert one.example == there.setdefault(shown, one.example)
            examples[one.example] = number, shown
            self.first.setdefault(shown, picture(shown, factor).embedding)
        if made or len(examples) > len(self.examples):
            self.done("add_examples", classes, examples, taught.step)
        else:
            assert taught.step is None

    @precondition(lambda self: self.examples)
    @rule(which=WHICH, name=NAMES)
    def move(self, which, name):
        """An example goes to another class, which may have to be made; not where its picture is already."""
        example, (before, shown) = self.one_of(self.examples, which)
        if self.number(name) not in (None, before) and shown in self.pictures(self.number(name)):
            with pytest.raises(Conflict):
                self.learner.teaching.move_example(example, name)
            return
        moved = self.learner.teaching.move_example(example, name)
        assert (moved.now.id, moved.now.class_name) == (example, name)
        number, classes = self.numbered(name)
        if number == before:
            assert moved.step is None
        else:
            self.done("move_example", classes, {**self.examples, example: (number, shown)}, moved.step)

    @precondition(lambda self: self.examples)
    @rule(which=WHICH, for_good=st.booleans())
    def delete_example(self, which, for_good):
        """One example, and nothing of another."""
        example, _ = self.one_of(self.examples, which)
        assert self.learner.teaching.delete_example(example, for_good).examples == 1
        examples = {k: v for k, v in self.examples.items() if k != example}
        self.done("delete_example", self.classes, examples, None, for_good)
        with pytest.raises(NotFound):
            self.learner.teaching.delete_example(example)

    @precondition(lambda self: self.examples)
    @rule(several=st.lists(WHICH, min_size=1, max_size=4), missing=st.booleans(), for_good=st.booleans())
    def delete_examples(self, several, missing, for_good):
        """Several, of any classes, some named twice; none where one is not there."""
        chosen = [self.one_of(self.examples, which)[0] for which in several]
        if missing:
            with pytest.raises(NotFound):
                self.learner.teaching.delete_examples([*chosen, "missing"], for_good)
            return
        deleted = self.learner.teaching.delete_examples(chosen, for_good)
        assert deleted.examples == len(set(chosen))
        examples = {k: v for k, v in self.examples.items() if k not in chosen}
        self.done("delete_examples", self.classes, examples, deleted.step, for_good)

    @precondition(lambda self: self.back)
    @rule(named=st.booleans())
    def undo(self, named):
        """The last step is taken back."""
        last, (classes, disabled, examples) = self.last, self.back
        assert self.learner.teaching.undo(last if named else None).id == last
        self.done("undo", classes, examples, None, disabled=disabled)

    @precondition(lambda self: len(self.past) > 1)
    @rule(count=st.integers(2, 4), rotated=st.integers(0, 3))
    def undo_together(self, count, rotated):
        """The last steps are taken back at once where each only added or renamed; else all of them stay."""
        steps = self.past[-count:]
        numbers = [number for number, _, _ in steps]
        numbers = numbers[rotated:] + numbers[:rotated]
        if not {action for _, action, _ in steps} <= {"add_class", "rename_class", "add_examples"}:
            with pytest.raises(Conflict) as refused:
                self.learner.teaching.undo_together(numbers)
            assert refused.value.code == "nothing_to_undo"
            return
        undone = self.learner.teaching.undo_together(numbers)
        assert [(one.id, one.action) for one in undone] == [(number, action) for number, action, _ in steps[::-1]]
        classes, disabled, examples = steps[0][2]
        self.done("undo", classes, examples, None, disabled=disabled)

    @precondition(lambda self: len(self.past) > 2)
    @rule(which=WHICH)
    def undo_together_refused(self, which):
        """Nothing is taken back where a step came between, or after."""
        numbers = [number for number, _, _ in self.past[-4:]]
        numbers.pop(1 + which % (len(numbers) - 1))
        with pytest.raises(Conflict):
            self.learner.teaching.undo_together(numbers)

    @rule(others=st.sampled_from([-1, 1]))
    def undo_refused(self, others):
        """No other step than the last is taken back, and not one that can't be."""
        expected = "step_passed" if self.back else "nothing_to_undo"
        for step in (self.last + others, *([] if self.back else [None, self.last])):
            with pytest.raises(Conflict) as refused:
                self.learner.teaching.undo(step)
            assert refused.value.code == expected

    @rule()
    def restart(self):
        """All is closed and opened again, the live model perhaps saved some steps before; no leftovers are swept."""
        self.learner.store.close()
        self.learner = open_without_extractor(self.folder, self.usual)
        assert tuple(self.learner.store.sweep()) == (0, 0, 0)
        self.learner.versions.adopt(INFO, self.model)

    @rule()
    def save(self):
        """The live model is written down, for a restart at once or after some steps more."""
        self.learner.save()

    @precondition(lambda self: self.examples)
    @rule()
    def activate_version(self):
        """A copy of the live model answers as a version."""
        self.versions += 1
        self.version = publish(self.learner, self.learner.answering.copy_live().copy, f"job{self.versions}")
        self.version_knows = {number for number, _ in self.taught()}
        self.learner.versions.activate(self.version)
        self.actions.append("activate")

    @rule(head=st.sampled_from([None, *KINDS]))
    def activate_live(self, head):
        """The live model answers, perhaps with another head."""
        self.learner.versions.activate_live(head)
        self.version, self.kind = None, head or self.kind
        self.actions.append("activate")

    # -- what holds -------------------------------------------------------------------------

    @invariant()
    def store_is_the_model(self):
        """Classes, examples and embeddings are those of the model."""
        store = self.learner.store
        known = [
            (number, name, len(self.pictures(number)), number not in self.disabled)
            for number, name in sorted(self.classes.items())
        ]
        assert [tuple(one) for one in store.classes.all()] == known
        found, total = store.examples.page(None, 0, 1000)
        facts = {one.id: (one.class_id, one.class_name, one.sha256) for one in found}
        assert facts == {
            example: (number, self.classes[number], sha256_of(shown))
            for example, (number, shown) in self.examples.items()
        }
        assert total == len(found) == len(self.examples)
        for shown, embedding in self.first.items():
            assert store.examples.embedding(sha256_of(shown), INFO.digest).tobytes() == embedding.tobytes()

    @invariant()
    def disk_holds_what_is_used(self):
        """Pictures of examples and of the last step's trash, and no others."""
        used = {sha256_of(shown) for _, shown in [*self.examples.values(), *self.trash.values()]}
        assert self.learner.store.images.stored() == used == self.learner.store.examples.pictures()
        for shown in self.first:
            assert self.learner.store.images.read(sha256_of(shown)) == content(shown)

    @invariant()
    def live_model_is_exact(self):
        """It is what a head would be that was only ever taught the examples that are there and enabled."""
        lessons = self.taught()
        live, fresh = self.learner.live, taught_anew(self.kind, lessons)
        assert live.kind == self.kind
        assert state_of(live) == state_of(fresh)
        if lessons:
            np.testing.assert_allclose(live.logits(ASKED), fresh.logits(ASKED), rtol=0, atol=1e-6)

    @invariant()
    def answers_are_of_classes_that_are_there(self):
        """The live model answers each enabled class with an example; a version no class that is gone or disabled."""
        answer = self.learner.answering.classify(ASKED[0], 1000)
        found = {one.label for one in answer.predictions}
        if self.version is None:
            assert found == {self.classes[number] for number, _ in self.taught()}
            assert answer.model == {"version": "live", "revision": self.revision, "head": self.kind}
        else:
            enabled = {name for number, name in self.classes.items() if number not in self.disabled}
            assert found == {self.classes[number] for number in self.version_knows if number in self.classes} & enabled
            assert answer.model["version"] == self.version

    @invariant()
    def revision_counts_changes_of_examples(self):
        """One more for each step that changed what the live model learns from, and not otherwise."""
        assert self.learner.answering.revision == self.revision

    @invariant()
    def journal_only_grows(self):
        """One line a step, in order, and lines that were there stay as they were."""
        found, total = self.learner.store.journal.page(0, 1000)
        lines = found[::-1]
        assert [one.action for one in lines] == self.actions
        assert total == len(lines)
        assert lines[: len(self.lines)] == self.lines
        assert all(one.id < other.id for one, other in zip(lines, lines[1:]))
        self.lines = lines


@pytest.mark.parametrize(
    ("held", "at_once", "examples"),
    [(20000, 1000, 8)] + [pytest.param(*bounds, 15, marks=pytest.mark.slow) for bounds in ((2, 1), (20000, 1))],
)
@pytest.mark.parametrize("kind", KINDS)
def test_any_steps_in_any_order(kind, tiny_model, held, at_once, examples, monkeypatch):
    """Whatever is taught, moved, deleted, undone, restarted: store, live model, revision and journal agree.

    Also where lessons are too many to be learnt at once, or to be held in memory.
    """
    monkeypatch.setattr("service.learning.step._MOST_LESSONS", held)
    monkeypatch.setattr("service.learning.answering._LESSONS_AT_ONCE", at_once)
    bounds = settings(max_examples=examples, stateful_step_count=40)
    run_state_machine_as_test(lambda: TeachingMachine(kind, tiny_model), settings=bounds)


# A start with the live model as it was saved, or without


@pytest.fixture
def start(tmp_path, tiny_model):
    """start(kind="imprinting", extractor=True, **options): opens the same folder again, as a restart does."""
    opened: List[Learner] = []

    def begin(kind="imprinting", extractor=True, model=tiny_model, info=INFO, least_free=0):
        if opened:
            opened[-1].store.close()
        learner = open_without_extractor(tmp_path / "data", kind, least_free)
        opened.append(learner)
        if extractor:
            learner.versions.adopt(info, model)
        return learner

    yield begin
    opened[-1].store.close()


@pytest.fixture(params=KINDS)
def kind(request):
    """Each kind of live head."""
    return request.param


@pytest.fixture
def started(start, kind):
    """A learner that was taught three pictures of each of three classes, 0 to 8."""
    learner = start(kind)
    for first, name in zip((0, 3, 6), CLASSES):
        learner.add(name, first, first + 1, first + 2)
    return learner


def mark(learner: Learner) -> None:
    """Leave a trace in the live model that only a saved one keeps: a threshold."""
    copy = learner.answering.copy_live()
    copy.copy.calibration = copy.copy.calibration._replace(threshold=MARK)
    learner.answering.take_measured(copy, {})


def is_marked(learner: Learner) -> bool:
    """Whether the live model is one that was marked and saved."""
    return learner.live.calibration.threshold == MARK


def unmark(learner: Learner) -> None:
    """Take the trace away, to compare the rest."""
    learner.live.calibration = learner.live.calibration._replace(threshold=-np.inf)


MARK = -1000.0  # refuses nothing


def example_of(learner: Learner, number: int) -> str:
    """The only example of a picture."""
    (found,) = learner.store.examples.of_picture(sha256_of(number))
    return found.id


def change_nothing(_: Learner) -> None:
    """No change."""


def change_by_adding(learner: Learner) -> None:
    """To a class that was there, and to a new one."""
    learner.add("a", 20, 21)
    learner.add("new", 22, 1)


def change_by_moving(learner: Learner) -> None:
    """Between classes that were there, and into a new one."""
    learner.teaching.move_example(example_of(learner, 0), "b")
    learner.teaching.move_example(example_of(learner, 3), "new")


def change_by_deleting(learner: Learner) -> None:
    """An example, and a whole class."""
    learner.teaching.delete_example(example_of(learner, 1))
    learner.teaching.delete_class("c")


def change_by_deleting_all(learner: Learner) -> None:
    """Every class."""
    for name in CLASSES:
        learner.teaching.delete_class(name)


def change_by_merging(learner: Learner) -> None:
    """With a picture that is in both."""
    learner.add("a", 4)
    learner.teaching.merge_classes("b", "a")


def change_by_undoing(learner: Learner) -> None:
    """What was deleted is back, under its own id."""
    learner.teaching.delete_class("b")
    learner.teaching.undo()


def change_by_replacing(learner: Learner) -> None:
    """The same picture again, as another example."""
    learner.teaching.delete_example(example_of(learner, 0), True)
    learner.add("a", 0)


CHANGES = [
    change_nothing,
    change_by_adding,
    change_by_moving,
    change_by_deleting,
    change_by_deleting_all,
    change_by_merging,
    change_by_undoing,
    change_by_replacing,
]


@pytest.mark.parametrize("change", CHANGES)
def test_start_from_a_saved_model(start, started, kind, change):
    """A saved live model and what changed since give the head that building anew does, to the byte."""
    mark(started)
    started.save()
    change(started)
    again = start(kind)
    # A discriminant can't drop a class without a trace of its examples: there all is learnt again.
    gone = change in (change_by_moving, change_by_deleting, change_by_deleting_all, change_by_merging)
    assert is_marked(again) == (kind != "lda" or not (gone or change is change_by_replacing))
    unmark(again)
    assert is_exact(again)
    for example, _ in again.store.examples.labels():
        again.teaching.delete_example(example)
    assert is_exact(again)
    assert again.live.classes == []


def test_saved_again_after_a_start(start, started, kind):
    """What is taught after a start from a saved model is saved with the rest, and nothing is saved twice over."""
    started.save()
    path = started.store.folder / "live.npz"
    first = path.read_bytes()
    again = start(kind)
    again.save()
    assert path.read_bytes() == first
    again.add("a", 30)
    mark(again)
    again.save()
    assert path.read_bytes() != first
    third = start(kind)
    assert is_marked(third)
    unmark(third)
    assert is_exact(third)


def test_head_chosen_after_a_save_is_saved_as_well(start, started, kind):
    """After the live model was given another head, stopping writes that one down: it is what the next start needs."""
    started.save()
    other = next(one for one in KINDS if one != kind)
    started.versions.activate_live(other)
    mark(started)
    started.save()
    assert is_marked(start(kind))


def test_few_examples_are_not_saved(started):
    """Building from a handful is as fast as reading, so the card is spared."""
    assert not Checkpoint(started.store.folder).worth_it(9, 9)
    started.versions._checkpoint = Checkpoint(started.store.folder)
    started.save()
    assert not (started.store.folder / "live.npz").exists()


def damage_nothing_left(data: bytes) -> bytes:
    """An empty file."""
    return data[:0]


def damage_cut_in_half(data: bytes) -> bytes:
    """As after a power cut on a bad card."""
    return data[: len(data) // 2]


def damage_last_byte(data: bytes) -> bytes:
    """One byte short."""
    return data[:-1]


def damage_number(data: bytes) -> bytes:
    """One bit of an array."""
    return _flipped(data, data.index(np.float64(MARK).tobytes()), 1)


def damage_flags(data: bytes) -> bytes:
    """One bit of the archive's directory: the entry is said to be encrypted."""
    return _flipped(data, data.index(b"PK\x01\x02") + 8, 1)


def damage_method(data: bytes) -> bytes:
    """One bit of the archive's directory: the entry is said to be compressed in a way nobody knows."""
    return _flipped(data, data.index(b"PK\x01\x02") + 10, 64)


def damage_foreign_text(_: bytes) -> bytes:
    """No archive at all."""
    return b"no archive"


def damage_foreign_array(_: bytes) -> bytes:
    """One array, not an archive of them."""
    file = BytesIO()
    np.save(file, np.arange(3))
    return file.getvalue()


def damage_foreign_archive(_: bytes) -> bytes:
    """Other arrays."""
    file = BytesIO()
    np.savez(file, x=np.arange(3))
    return file.getvalue()


def _flipped(data: bytes, place: int, bit: int) -> bytes:
    return data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :]


DAMAGES = [
    damage_nothing_left,
    damage_cut_in_half,
    damage_last_byte,
    damage_number,
    damage_flags,
    damage_method,
    damage_foreign_text,
    damage_foreign_array,
    damage_foreign_archive,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_saved_model_is_ignored(start, started, kind, caplog, damage):
    """A saved live model that can't be read costs a warning and the time to build it anew."""
    mark(started)
    started.save()
    path = started.store.folder / "live.npz"
    path.write_bytes(damage(path.read_bytes()))
    again = start(kind)
    assert not is_marked(again)
    assert is_exact(again)
    (warning,) = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert "saved live model can't be read" in warning.getMessage()


def test_saved_model_of_another_head(start, started, kind):
    """A live model of another head is not answered with, whatever was saved."""
    mark(started)
    started.save()
    other = next(one for one in KINDS if one != kind)
    again = start(other)
    assert again.live.kind == other
    assert not is_marked(again)
    assert is_exact(again)


def test_saved_model_of_another_extractor(start, started, kind):
    """Embeddings of another extractor mean something else: nothing is known then."""
    mark(started)
    started.save()
    again = start(kind, info=INFO._replace(digest="f" * 64))
    assert not is_marked(again)
    assert again.live.classes == []
    assert is_marked(start(kind))


def test_saved_model_of_another_mean(start, started, kind, tiny_model, tmp_path):
    """A manifest with another mean embedding makes other directions of the same embeddings: all is learnt again."""
    mark(started)
    started.save()
    mean = np.full(SIZE, 0.5, np.float32)
    np.savez(str(tmp_path / "tiny.npz"), mean=mean)
    facts = dict(json.loads(tiny_model.with_suffix(".json").read_text()), mean_embedding="tiny.npz:mean")
    (tmp_path / "tiny.json").write_text(json.dumps(facts))
    shutil.copy(str(tiny_model), str(tmp_path / "tiny.tflite"))
    again = start(kind, model=tmp_path / "tiny.tflite")
    assert not is_marked(again)
    lessons = [(one.class_id, one.embedding) for one in again.store.examples.learnt(INFO.digest)]
    assert state_of(again.live) == state_of(taught_anew(kind, lessons, mean))
    assert state_of(again.live) != state_of(taught_anew(kind, lessons))


# When the live model does not fit the store


def damage_class(learner: Learner) -> None:
    """The live model has lost a class."""
    learner.live.remove(learner.class_id("a"))


def damage_example(learner: Learner) -> None:
    """The live model has lost an example."""
    learner.live.forget(picture(0).embedding, learner.class_id("a"))


@pytest.mark.parametrize("damage", [damage_class, damage_example])
def test_live_model_that_does_not_fit_is_built_anew(started, caplog, damage):
    """A change it can't follow is made nonetheless, is said in the log, and later answers and lessons are right."""
    damage(started)
    before = started.answering.revision
    assert started.teaching.delete_example(example_of(started, 0)).examples == 1
    assert "built anew" in caplog.text
    assert is_exact(started)
    assert started.answering.revision > before
    assert labels(started) == set(CLASSES)
    started.add("d", 40)
    started.teaching.delete_class("a")
    assert is_exact(started)
    assert labels(started) == {"b", "c", "d"}


@pytest.mark.parametrize("at_once", [1, 1000])
def test_class_that_comes_back_to_a_model_that_does_not_fit(started, caplog, at_once, monkeypatch):
    """The model is built anew with the class, and its name is known."""
    monkeypatch.setattr("service.learning.answering._LESSONS_AT_ONCE", at_once)
    started.teaching.merge_classes("c", "a")
    started.live.remove(started.class_id("a"))
    started.teaching.undo()
    assert "built anew" in caplog.text
    assert labels(started) == set(CLASSES)
    assert is_exact(started)


@pytest.mark.parametrize("step", ["delete", "disable"])
def test_answers_while_a_large_class_goes_and_comes(started, step, monkeypatch):
    """Every answer in between names classes that are or were there, also of a version."""
    monkeypatch.setattr("service.learning.step._MOST_LESSONS", 1)
    version = publish(started, started.answering.copy_live().copy)
    seen, models, take_live = [], [], started.answering.take_live

    def take(*arguments):
        seen.append(labels(started))
        take_live(*arguments)
        seen.append(labels(started))
        models.append(started.answering.model["version"])

    monkeypatch.setattr(started.answering, "take_live", take)
    for active in (None, version):
        if active:
            started.versions.activate(active)
        if step == "delete":
            started.teaching.delete_class("b")
            started.teaching.undo()
        else:
            started.teaching.enable_class("b", False)
            started.teaching.enable_class("b", True)
        assert labels(started) == set(CLASSES)
    assert len(seen) == 8
    assert models == ["live", "live", version, version]
    assert all({"a", "c"} <= one <= set(CLASSES) for one in seen)
    assert is_exact(started)


def test_version_answers_on_when_the_live_model_is_built_anew(started):
    """What answers stays the version that was activated."""
    version = publish(started, started.answering.copy_live().copy)
    started.versions.activate(version)
    damage_class(started)
    started.teaching.delete_example(example_of(started, 0))
    assert started.answering.model["version"] == version
    assert labels(started) == set(CLASSES)
    assert is_exact(started)


def test_saved_model_goes_when_the_live_model_is_built_anew(start, started, kind):
    """What was saved may hold the same fault, so it is not started from."""
    damage_class(started)
    mark(started)
    started.save()
    started.teaching.delete_example(example_of(started, 0))
    again = start(kind)
    assert not is_marked(again)
    assert is_exact(again)


def test_revision_after_the_live_model_was_built_anew(start, started, kind):
    """A revision names one state of the live model, after a restart as well."""
    damage_class(started)
    started.teaching.delete_example(example_of(started, 0))
    before = started.answering.revision
    again = start(kind)
    assert again.answering.revision == before
    again.add("a", 50)
    assert again.answering.revision == before + 1


# The same picture again


def test_picture_that_is_embedded_otherwise_the_second_time(started, caplog):
    """The embedding that came first stays, for every class with the picture, so that deleting stays exact."""
    first, before = picture(0).embedding, state_of(started.live)
    again = started.teach("a", [(0, LAST_BITS)])
    assert (again.examples[0].new, again.step) == (False, None)
    assert picture(0, LAST_BITS).embedding.tobytes() != first.tobytes()
    assert started.store.examples.embedding(sha256_of(0), INFO.digest).tobytes() == first.tobytes()
    assert state_of(started.live) == before

    (other,) = started.teach("b", [(0, LAST_BITS)]).examples
    assert other.new
    assert started.store.examples.embedding(sha256_of(0), INFO.digest).tobytes() == first.tobytes()
    assert is_exact(started)
    started.teaching.delete_example(other.example)
    assert state_of(started.live) == before
    started.teaching.delete_example(example_of(started, 0))
    assert is_exact(started)
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


def test_picture_in_the_trash_that_is_embedded_otherwise(started):
    """A picture of the last step's trash is known still; its first embedding counts, and undoing stays exact."""
    started.teaching.delete_example(example_of(started, 0))
    started.teach("b", [(0, LAST_BITS)])
    first = picture(0).embedding
    assert started.store.examples.embedding(sha256_of(0), INFO.digest).tobytes() == first.tobytes()
    started.teaching.undo()
    assert is_exact(started)


def test_picture_twice_in_one_call_embedded_otherwise(started):
    """It counts once, as it came first."""
    taught = started.teach("a", [(60, 1.0), (60, LAST_BITS), (61, LAST_BITS), (60, 1.0)])
    assert [one.new for one in taught.examples] == [True, False, True, False]
    assert len({one.example for one in taught.examples}) == 2
    first = picture(60).embedding
    assert started.store.examples.embedding(sha256_of(60), INFO.digest).tobytes() == first.tobytes()
    assert is_exact(started)


# Going back


def step_add_class(learner: Learner) -> None:
    """A class."""
    learner.teaching.create_class("new")


def step_rename_class(learner: Learner) -> None:
    """A name."""
    learner.teaching.rename_class("a", "new")


def step_merge_classes(learner: Learner) -> None:
    """Two classes with a picture in common."""
    learner.teaching.merge_classes("c", "a")


def step_delete_class(learner: Learner) -> None:
    """A class."""
    learner.teaching.delete_class("c")


def step_disable_class(learner: Learner) -> None:
    """A class."""
    learner.teaching.enable_class("c", False)


def step_add_examples(learner: Learner) -> None:
    """Pictures, to a class that is there."""
    learner.add("a", 70, 3, 70)


def step_add_examples_of_a_new_class(learner: Learner) -> None:
    """Pictures, to a class that is made for them."""
    learner.add("new", 70, 0)


def step_move_example(learner: Learner) -> None:
    """To a class that is there."""
    learner.teaching.move_example(example_of(learner, 1), "b")


def step_move_example_to_a_new_class(learner: Learner) -> None:
    """To a class that is made for it."""
    learner.teaching.move_example(example_of(learner, 1), "new")


def step_delete_example(learner: Learner) -> None:
    """One."""
    learner.teaching.delete_example(example_of(learner, 1))


def step_delete_examples(learner: Learner) -> None:
    """Several, one of them named twice."""
    learner.teaching.delete_examples([example_of(learner, number) for number in (1, 2, 4, 2)])


STEPS = [
    step_add_class,
    step_rename_class,
    step_merge_classes,
    step_delete_class,
    step_disable_class,
    step_add_examples,
    step_add_examples_of_a_new_class,
    step_move_example,
    step_move_example_to_a_new_class,
    step_delete_example,
    step_delete_examples,
]


def facts(learner: Learner):
    """Classes and examples, with all that is known of them, in whatever order."""
    return learner.store.classes.all(), sorted(learner.store.examples.page(None, 0, 1000)[0])


@pytest.mark.parametrize("how", ["at once", "after a restart", "after a restart with a saved model", "while waiting"])
@pytest.mark.parametrize("step", STEPS)
def test_undo(start, started, kind, step, how):
    """Every kind of step is taken back whole, by its number: at once, after a restart, before the extractor is there.

    The journal keeps both lines, and what was undone can't be undone again.
    """
    started.add("c", 0)
    before, live, lines = facts(started), state_of(started.live), started.store.journal.page(0, 100)[0]
    step(started)
    assert facts(started) != before
    learner = started
    if how == "after a restart with a saved model":
        started.save()
    if how != "at once":
        learner = start(kind, extractor=how != "while waiting")
    last = learner.store.journal.last()
    assert learner.teaching.undo(last.id) == last
    if how == "while waiting":
        learner = start(kind)
    assert facts(learner) == before
    assert state_of(learner.live) == live
    assert learner.store.images.stored() == {one.sha256 for one in before[1]} | (
        {sha256_of(70)} if "add_examples" in step.__name__ else set()
    )
    newest, line, *older = learner.store.journal.page(0, 100)[0]
    assert (newest.action, line, older) == ("undo", last, lines)
    assert (newest.details["undone"], newest.details["action"]) == (last.id, last.action)
    with pytest.raises(Conflict, match="can't be undone") as refused:
        learner.teaching.undo()
    assert refused.value.code == "nothing_to_undo"
    assert is_exact(learner)


def test_undo_before_anything_was_done(start):
    """There is nothing to undo, and it is said so."""
    with pytest.raises(Conflict, match="nothing was taught yet") as refused:
        start().teaching.undo()
    assert refused.value.code == "nothing_to_undo"


def test_undo_of_another_step_than_the_last(started):
    """A step that was passed by another is refused, and the last one is named."""
    last = started.store.journal.last().id
    before = facts(started)
    with pytest.raises(Conflict, match=f"only the last step can be undone, which is {last}, not {last - 1}") as refused:
        started.teaching.undo(last - 1)
    assert refused.value.code == "step_passed"
    assert facts(started) == before
    started.versions.activate_live("knn")
    assert started.teaching.undo(last).id == last


def step_of(learner: Learner, name: str, number: int) -> int:
    """Teach one picture; the step's number."""
    return learner.teach(name, [(number, 1.0)]).step


@pytest.mark.parametrize("restart", [False, True])
def test_undo_of_one_gesture(start, started, kind, restart):
    """Many uploads into a new class and an old one are taken back by one step, as if they had never been."""
    before, live, revision = facts(started), state_of(started.live), started.answering.revision
    steps = [started.teaching.create_class("mug").step, *(step_of(started, "mug", number) for number in (40, 41, 42))]
    steps += [step_of(started, "a", 43), started.teaching.rename_class("mug", "cup").step]
    learner = start(kind) if restart else started
    undone = learner.teaching.undo_together(steps)
    assert [one.id for one in undone] == steps[::-1]
    assert (facts(learner), state_of(learner.live)) == (before, live)
    assert learner.answering.revision == revision + len(steps) - 1
    line = learner.store.journal.last()
    assert (line.action, line.details["steps"], line.details["undone"]) == ("undo", steps[::-1], steps[-1])
    learner.add("a", 44)
    assert learner.store.images.stored() == {sha256_of(number) for number in (*range(9), 44)}


def test_undo_together_is_refused(started):
    """Where another step came between or after, one needs the trash, or there are not so many: nothing changes."""
    first, deleted = step_of(started, "a", 40), started.teaching.delete_example(example_of(started, 0)).step
    last = step_of(started, "a", 41)
    before = facts(started), started.store.journal.page(0, 100)
    for steps, code in (
        ([first, last], "step_passed"),
        ([first, deleted], "step_passed"),
        ([deleted, last], "nothing_to_undo"),
        ([last, last + 1], "step_passed"),
        (range(last - 50, last + 1), "nothing_to_undo"),
        ([deleted], "step_passed"),
    ):
        with pytest.raises(Conflict) as refused:
            started.teaching.undo_together(steps)
        assert refused.value.code == code
    assert (facts(started), started.store.journal.page(0, 100)) == before
    assert started.teaching.undo_together([last])[0].id == last


def bring_in(learner: Learner, job: str = "j1") -> None:
    """An import in five steps: into an old class, a new and a disabled one, also of pictures that are known."""
    learner.teaching.import_class(job, "quiet", False)
    for name, *numbers in (("a", 70, 3, 71), ("new", 70, 72), ("quiet", 73), ("a", 74)):
        data = [content(number) for number in numbers]
        origins = [UPLOAD] * len(numbers)
        learner.teaching.import_examples(job, name, [picture(number) for number in numbers], data, origins)


@pytest.mark.parametrize("how", ["at once", "after a restart", "after a restart with a saved model", "while waiting"])
def test_undo_of_an_import(start, started, kind, how):
    """All its steps are taken back as one, for good: examples, pictures, embeddings, classes, and what was learnt."""
    started.teaching.delete_example(example_of(started, 5))
    before, live, stored = facts(started), state_of(started.live), started.store.images.stored()
    if how == "after a restart with a saved model":
        started.save()
    bring_in(started)
    assert len(facts(started)[1]) == len(before[1]) + 7
    learner = started if how == "at once" else start(kind, extractor=how != "while waiting")
    last, revision = learner.store.journal.last(), learner.answering.revision
    assert learner.teaching.undo(last.id) == last
    assert learner.answering.revision == revision + 1
    if how == "while waiting":
        learner = start(kind)
    assert facts(learner) == before
    assert state_of(learner.live) == live
    assert learner.answering.disabled == frozenset()
    assert learner.store.images.stored() == stored - {sha256_of(5)}  # which the import's steps emptied from the trash
    assert [learner.store.examples.embedding(sha256_of(number), INFO.digest) for number in range(70, 75)] == [None] * 5
    line = learner.store.journal.last()
    assert (line.action, line.details) == (
        "undo",
        {"undone": last.id, "action": "import", "step": line.id, "job": "j1", "count": 7},
    )
    with pytest.raises(Conflict, match="can't be undone"):
        learner.teaching.undo()
    assert is_exact(learner)


def test_undo_of_an_import_while_a_version_answers(started):
    """The version goes on answering."""
    version = publish(started, started.answering.copy_live().copy)
    started.versions.activate(version)
    bring_in(started)
    started.teaching.undo()
    assert started.answering.model["version"] == version
    assert labels(started) == set(CLASSES)


def test_import_that_can_not_be_undone(started):
    """One under way, one beside which something else was changed, and one of an older daemon: nothing is changed."""

    def refused_as():
        before = facts(started), state_of(started.live), started.store.journal.page(0, 100)
        with pytest.raises(Conflict) as refused:
            started.teaching.undo()
        assert (facts(started), state_of(started.live), started.store.journal.page(0, 100)) == before
        return refused.value.code

    job = started.store.jobs.add("import", {})
    bring_in(started, job.id)
    assert refused_as() == "import_under_way"
    started.store.jobs.update(job._replace(state="succeeded"))
    started.add("b", 80)
    started.teaching.import_class(job.id, "late", True)
    assert refused_as() == "step_passed"
    with started.store.database.write() as connection:
        step = started.store.journal.open(connection, "import")
        started.store.journal.close(connection, step, {"number": 1, "name": "a", "examples": [], "made": False})
    assert refused_as() == "nothing_to_undo"


def test_undo_of_one_import_of_two(started):
    """The one before stays, whatever its classes are called."""
    bring_in(started)
    before = facts(started)
    started.teaching.import_class("j2", '"job": "j1"', True)
    pictures = [picture(number) for number in (90, 91)]
    started.teaching.import_examples("j2", "a", pictures, [content(90), content(91)], [UPLOAD] * 2)
    started.versions.activate_live("knn")  # a line in the journal, but changes nothing that is taught
    started.teaching.undo()
    assert facts(started) == before
    assert is_exact(started)


@pytest.mark.parametrize("step", [step_delete_class, step_merge_classes, step_disable_class])
@pytest.mark.parametrize("restart", [False, True])
def test_version_knows_a_class_again_that_is_back(start, started, kind, step, restart):
    """Undoing the deletion or the merging of a class gives it back to the version that answers, scores and all."""
    version = publish(started, started.answering.copy_live().copy)
    started.versions.activate(version)
    before = [started.answering.classify(one, 5) for one in ASKED]
    step(started)
    assert labels(started) == {"a", "b"}
    started.teaching.undo()
    learner = start(kind) if restart else started
    assert learner.answering.model["version"] == version
    assert [learner.answering.classify(one, 5) for one in ASKED] == before
    assert learner.versions.unseen() == {"examples": 0, "classes": []}


# Disabled classes


def test_disabled_class(start, started, kind):
    """It keeps its examples, also after a restart, and the model is one that was never taught it."""
    before = state_of(started.live)
    started.save()
    disabled = started.teaching.enable_class("b", False)
    assert (disabled.now.enabled, disabled.now.examples) == (False, 3)
    for restarted in (False, True):
        learner = start(kind) if restarted else started
        assert labels(learner) == {"a", "c"}
        others = [one for one in learner.store.examples.page(None, 0, 100)[0] if one.class_name != "b"]
        lessons = [(one.class_id, learner.store.examples.embedding(one.sha256, INFO.digest)) for one in others]
        assert state_of(learner.live) == state_of(taught_anew(kind, lessons))
    learner.teaching.enable_class("b", True)
    assert state_of(learner.live) == before


def test_examples_of_a_disabled_class(started):
    """What is added, moved or merged into it leaves the model or never comes in; what leaves it is learnt."""
    started.teaching.enable_class("b", False)
    counts, numbers = dict(started.live.counts), {name: started.class_id(name) for name in CLASSES}
    started.add("b", 30, 31)
    assert started.live.counts == counts
    started.teaching.move_example(example_of(started, 0), "b")
    assert started.live.counts[numbers["a"]] == 2
    started.teaching.move_example(example_of(started, 30), "a")
    assert started.live.counts[numbers["a"]] == 3
    started.teaching.merge_classes("c", "b")
    assert labels(started) == {"a"}
    started.teaching.undo()
    assert labels(started) == {"a", "c"}
    started.teaching.merge_classes("b", "c")
    assert started.live.counts[numbers["c"]] == 3 + 3 + 2
    started.teaching.undo()
    assert not started.store.classes.get("b").enabled
    assert is_exact(started)


def test_version_without_a_disabled_class(started):
    """A version answers without it at once, and what it was not taught of it is not missed."""
    version = publish(started, started.answering.copy_live().copy)
    started.teaching.enable_class("b", False)
    started.add("b", 30)
    started.versions.activate(version)
    assert labels(started) == {"a", "c"}
    assert started.versions.unseen() == {"examples": 0, "classes": []}
    assert started.versions.load(version).classes == [started.class_id("a"), started.class_id("c")]
    started.teaching.enable_class("b", True)
    assert labels(started) == set(CLASSES)
    assert started.versions.unseen()["examples"] == 1


def test_every_class_disabled(started):
    """Nothing is answered then, as before anything was taught."""
    for name in CLASSES:
        started.teaching.enable_class(name, False)
    assert labels(started) == set()
    assert started.answering.classify(ASKED[0], 5).label is None


def test_examples_keep_their_order_when_they_are_put_back(started):
    """The list is by age; what was deleted and is back again is as old as before."""
    before = [one.id for one in started.store.examples.page(None, 0, 100)[0]]
    started.teaching.delete_example(before[0])
    started.teaching.undo()
    assert [one.id for one in started.store.examples.page(None, 0, 100)[0]] == before


# For good, and without room


def test_deleted_for_good(start, started, kind):
    """Picture and embedding are gone at once, those of the trash before as well, and nothing brings them back."""
    store = started.store
    started.teaching.delete_example(example_of(started, 0))
    assert sha256_of(0) in store.images.stored()
    started.teaching.delete_example(example_of(started, 1), True)
    assert not {sha256_of(0), sha256_of(1)} & store.images.stored()
    assert store.examples.embedding(sha256_of(1), INFO.digest) is None
    started.add("b", 6)
    started.teaching.delete_class("c", True)
    assert store.images.stored() == {sha256_of(number) for number in range(2, 7)}
    with pytest.raises(Conflict, match=r"\(for good, delete_class\), can't be undone"):
        started.teaching.undo()
    again = start(kind)
    with pytest.raises(Conflict, match="for good"):
        again.teaching.undo()
    assert is_exact(again)


def test_disk_without_room(start, started, kind):
    """Adding is refused with nothing changed; deleting, moving, merging and undoing go on, as they make room."""
    before = facts(started), started.store.images.stored(), started.store.journal.page(0, 100)
    learner = start(kind, least_free=2**62)
    for pictures in ([(80, 1.0)], [(0, 1.0)]):
        with pytest.raises(StoreFull, match="must stay free"):
            learner.teach("a", pictures)
    assert (facts(learner), learner.store.images.stored(), learner.store.journal.page(0, 100)) == before
    learner.teaching.delete_example(example_of(learner, 0), True)
    learner.teaching.move_example(example_of(learner, 1), "b")
    learner.teaching.merge_classes("c", "b")
    learner.teaching.undo()
    learner.teaching.delete_class("c")
    assert is_exact(learner)
    assert sha256_of(0) not in learner.store.images.stored()


def test_room_for_the_pictures_themselves(start, started, kind):
    """What is to be written counts too, not only what is free before."""
    learner = start(kind, least_free=started.store.free_bytes // 2)
    huge = picture(90)._replace(bytes=learner.store.free_bytes)
    with pytest.raises(StoreFull):
        learner.teaching.add_examples("a", [huge], [content(90)], UPLOAD)
    assert learner.add("a", 91)


# Before the extractor is there


def test_changes_before_the_extractor_is_there(start, started, kind, tiny_model):
    """Classes and examples can be renamed, moved and deleted at once; the model that comes then knows of it."""
    started.save()
    learner = change_early(start, kind)
    learner.versions.adopt(INFO, tiny_model)
    assert is_exact(learner)
    assert labels(learner) == {"first", "b", "c"}


def test_revision_after_changes_before_the_extractor_is_there(start, started, kind, tiny_model):
    """The model that comes then has another revision than the one before, as it is another model."""
    before = started.answering.revision
    learner = change_early(start, kind)
    learner.versions.adopt(INFO, tiny_model)
    assert learner.answering.revision > before


def change_early(start, kind) -> Learner:
    """Start, and rename, delete and move before the extractor is there."""
    learner = start(kind, extractor=False)
    learner.teaching.rename_class("a", "first")
    learner.teaching.delete_example(example_of(learner, 0))
    learner.teaching.move_example(example_of(learner, 3), "c")
    return learner
