"""Training requests, whether a new version is to answer, and what it answers when it does."""

import hashlib
from typing import NamedTuple

import pytest
from blobs import blobs

from coral_learn.extractor import ExtractorInfo
from coral_learn.training import KINDS, Recipe, SoftmaxOptions, calibrate
from coral_learn.training.calibration import calibrate_softmax
from service.errors import Invalid
from service.jobs.options import TrainOptions, read_options
from service.jobs.queue import ENOUGH, decide
from service.learning import Answering, Teaching, Versions
from service.store import Store
from service.store.examples import NewPicture, Origin
from service.store.jobs import StoredJob
from service.store.models import FinishedModel, write_version

BASELINE = {"version": "live", "head": "imprinting", "accuracy": 0.9}
CLASSES = ("a", "b", "c")
INFO = ExtractorInfo("tiny", "e" * 64, "cpu", "", False, "none", 64, 32, 32)


class Learner(NamedTuple):
    """The three parts of the learning."""

    answering: Answering
    teaching: Teaching
    versions: Versions


@pytest.fixture
def store(tmp_path):
    """An open store."""
    opened = Store(tmp_path / "data")
    yield opened
    opened.close()


@pytest.fixture
def start_learner(store, tiny_model):
    """start_learner(): what answers and what teaches over the store, as after a start of the daemon."""

    def start():
        answering = Answering("imprinting")
        versions = Versions(store, answering, "imprinting", False)
        learner = Learner(answering, Teaching(store, answering, versions), versions)
        versions.adopt(INFO, tiny_model)
        return learner

    return start


def teach(learner, embeddings, labels, first=0):
    """Teach (N, D) embeddings of N classes as made-up pictures; returns the examples' ids."""
    added = []
    for number, (embedding, label) in enumerate(zip(embeddings, labels), first):
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        new = NewPicture(digest, "PNG", 64, 48, 100, embedding)
        added += learner.teaching.add_examples(label, [new], [str(number).encode()], Origin("upload")).examples
    return [one.example for one in added]


def make_head(kind, embeddings, labels):
    """A calibrated head that refuses a part of the strangers."""
    head = Recipe(kind, 64, None, SoftmaxOptions(epochs=20)).make(embeddings, labels)
    if kind == "softmax":
        calibrate_softmax(head, embeddings, labels, head.logits(embeddings), labels, 0.1)
    else:
        calibrate(head, embeddings, labels, 0.1)
    return head


def activate(store, learner, head, examples):
    """Publish a head as a version that answers; returns its number."""
    folder = store.models.unfinished_folder("job")
    write_version(folder, head, examples, {})
    job = StoredJob("job", "train", "running", {}, 0.5, {}, None, None, 0.0, 0.0, None)
    version = learner.versions.add(
        job, FinishedModel(str(folder), head.kind, INFO.digest, len(head.classes), len(examples), None)
    )
    learner.versions.activate(version)
    return version


def made(accuracy, head="softmax"):
    """What a training job made."""
    return FinishedModel("folder", head, "e" * 64, 3, 30, accuracy)


@pytest.mark.parametrize(
    ("activate", "accuracy", "baseline", "expected"),
    [
        ("always", None, 0.9, True),
        ("never", 1.0, 0.1, False),
        ("if_better", 0.9, 0.9, True),
        ("if_better", 0.89, 0.9, False),
        ("if_better", 0.5, None, True),
    ],
)
def test_decision(activate, accuracy, baseline, expected):
    """Not worse on held-out examples, or the user's word; and a reason in any case."""
    activated, reason = decide(activate, made(accuracy), ENOUGH, dict(BASELINE, accuracy=baseline))
    assert activated is expected
    assert reason


def test_too_little_to_judge_by():
    """A handful of held-out examples replaces nothing on its own."""
    assert decide("if_better", made(1.0), ENOUGH - 1, BASELINE)[0] is False
    assert decide("if_better", made(None), 0, BASELINE)[0] is False
    assert decide("always", made(None), 0, BASELINE)[0] is True


@pytest.mark.parametrize(
    ("head", "activate", "version", "activated"),
    [
        ("imprinting", "if_better", "live", False),
        ("imprinting", "always", "live", True),
        ("softmax", "if_better", "live", True),
        ("imprinting", "if_better", 3, True),
    ],
)
def test_live_model_that_is_as_good_learns_on(head, activate, version, activated):
    """A version of the same kind that is no better would only end its learning."""
    baseline = {"version": version, "head": "imprinting", "accuracy": 0.9}
    found, reason = decide(activate, made(0.9, head), ENOUGH, baseline)
    assert found is activated
    assert activated or "learns on" in reason


def test_options_survive_json():
    """What goes into the table of jobs comes out again."""
    options = read_options({"head": "softmax", "epochs": 5, "activate": "never", "held_out": 0.1})
    assert TrainOptions.from_dict(options.as_dict()) == options
    assert (options.softmax.epochs, options.softmax.batch_size) == (5, 32)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"epochs": 5}, "epochs"),
        ({"head": "imprinting", "learning_rate": 0.1, "activate": "never"}, "learning_rate"),
        ({"head": "lda", "search_seconds": 3}, "search_seconds"),
        ({"head": "knn", "dropout": 0.1}, "dropout"),
    ],
)
def test_options_that_would_do_nothing(body, field):
    """Options of softmax are refused for a head that has no use for them, with the head that has."""
    with pytest.raises(Invalid, match=f"{field} is an option of softmax and does nothing for ") as refused:
        read_options(body)

    assert refused.value.field == field
    assert body.get("head", "imprinting") in str(refused.value)
    assert read_options(dict(body, head="softmax")).head == "softmax"
    assert read_options(dict(body, head="auto")).head == "auto"


@pytest.mark.parametrize("head", ["imprinting", "lda", "knn"])
def test_options_of_every_head(head):
    """A seed decides what is held out, and no search is no option that does nothing."""
    options = read_options({"head": head, "seed": 3, "search_seconds": 0, "held_out": 0.1, "activate": "never"})
    assert (options.head, options.seed, options.search_seconds) == (head, 3, 0)


def test_options_for_a_head_that_is_to_be_chosen():
    """What is only a softmax head's may be said for auto, which may choose it, and of course for softmax."""
    options = read_options({"head": "auto", "epochs": 5, "search_seconds": 2})
    assert (options.head, options.softmax.epochs, options.search_seconds) == ("auto", 5, 2)
    assert read_options({"head": "softmax", "search_seconds": 1}).search_seconds == 1


@pytest.mark.parametrize("body", [[], {"head": []}, {"epochs": 1.5}, {"epochs": True}, {"l2": float("nan")}, {"x": 1}])
def test_options_that_are_refused(body):
    """Invalid, never another error."""
    with pytest.raises(Invalid):
        read_options(body)


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_deleted_since_a_version_was_trained(store, start_learner, kind):
    """A version goes on without a deleted class, as if it had been removed from its head, after a restart as well."""
    learner = start_learner()
    embeddings, labels = blobs(CLASSES, size=64)
    examples = teach(learner, embeddings, labels)
    numbers = {one.name: one.id for one in store.classes.all()}
    head = make_head(kind, embeddings, [numbers[label] for label in labels])
    version = activate(store, learner, head, examples)
    asked, truths = blobs(CLASSES, size=64, seed=1)
    assert [learner.answering.classify(one, 5).label for one in asked[10:20]].count("b") >= 8

    assert learner.teaching.delete_class("b").examples == 10
    head.remove(numbers["b"])
    assert sorted(head.classes) == sorted([numbers["a"], numbers["c"]])
    names, answers = {numbers["a"]: "a", numbers["c"]: "c"}, [learner.answering.classify(one, 5) for one in asked]
    for one, answer in zip(asked, answers):
        logits, familiarity = head.weigh(one)
        scores = dict(zip((names[number] for number in head.classes), head.calibration.scores(logits)))
        assert {given.label for given in answer.predictions} == {"a", "c"}
        assert {given.label: given.score for given in answer.predictions} == pytest.approx(scores, abs=2e-6)
        assert sum(given.score for given in answer.predictions) == pytest.approx(1, abs=1e-5)
        assert (answer.label is not None) == bool(head.calibration.accepts(familiarity))
        assert answer.model == {"version": version, "head": kind}
    strangers = [answer.label for answer, truth in zip(answers, truths) if truth == "b"]
    assert strangers.count(None) >= 8, "nothing of what is left is like it"

    again = start_learner()
    assert [again.answering.classify(one, 5) for one in asked] == answers
    again.versions.activate_live()
    again.versions.activate(version)
    assert [again.answering.classify(one, 5) for one in asked] == answers


@pytest.mark.parametrize("kind", ["imprinting", "softmax"])
def test_a_version_whose_classes_are_all_deleted(store, start_learner, kind):
    """There is no answer then, and no failure."""
    learner = start_learner()
    embeddings, labels = blobs(CLASSES, size=64)
    examples = teach(learner, embeddings, labels)
    numbers = {one.name: one.id for one in store.classes.all()}
    version = activate(store, learner, make_head(kind, embeddings, [numbers[label] for label in labels]), examples)
    for name in CLASSES:
        learner.teaching.delete_class(name)
    for one in (learner, start_learner()):
        answer = one.answering.classify(embeddings[0], 5)
        assert (answer.label, answer.score, answer.predictions) == (None, 0.0, [])
        assert answer.model == {"version": version, "head": kind}


def test_a_class_made_again_is_another_one(store, start_learner):
    """A version does not know a new class by the name of one that it was trained with."""
    learner = start_learner()
    embeddings, labels = blobs(CLASSES, size=64)
    examples = teach(learner, embeddings, labels)
    numbers = {one.name: one.id for one in store.classes.all()}
    activate(store, learner, make_head("softmax", embeddings, [numbers[label] for label in labels]), examples)
    learner.teaching.delete_class("c")
    teach(learner, embeddings[-1:], ["c"])

    for one in (learner, start_learner()):
        assert {given.label for given in one.answering.classify(embeddings[-1], 5).predictions} == {"a", "b"}
        assert one.versions.unseen() == {"examples": 1, "classes": ["c"]}


def test_what_a_version_has_seen(store, start_learner):
    """A version has seen the examples it was trained on, the live model all."""
    learner = start_learner()
    embeddings, labels = blobs(CLASSES, size=64)
    examples = teach(learner, embeddings, labels)
    numbers = {one.name: one.id for one in store.classes.all()}
    head = make_head("imprinting", embeddings[5:], [numbers[label] for label in labels[5:]])
    activate(store, learner, head, examples[5:])
    (new,) = teach(learner, embeddings[:1] + 0.01, ["a"], 100)
    asked = [*examples[4:6], new]

    assert [learner.answering.has_seen(example) for example in asked] == [False, True, False]
    assert [start_learner().answering.has_seen(example) for example in asked] == [False, True, False]
    learner.versions.activate_live()
    assert all(learner.answering.has_seen(example) for example in asked)
