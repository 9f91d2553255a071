"""coral_learn/training/doctor/: for each finding something that has it, and something that hasn't."""

import contextlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from blobs import blobs

from coral_learn import EmbeddingPipeline, Recipe, SoftmaxOptions, make_calibrated
from coral_learn.errors import TooFewExamples, TrainingDiverged
from coral_learn.training import (
    INCREMENTAL,
    KINDS,
    EpochReport,
    HeldOut,
    History,
    Sample,
    doctor,
    examine_examples,
    examine_history,
    examine_l2,
    examine_training,
    expect_from_more,
)

SIZE = 64
SEVERITIES = {
    "few_examples": "advice",
    "uneven_classes": "warning",
    "classes_overlap": "warning",
    "wrong_label": "warning",
    "same_picture_two_classes": "warning",
    "near_duplicates": "advice",
    "more_examples": "advice",
    "first_loss": "warning",
    "gradients": "error",
    "not_by_heart": "warning",
    "not_finite": "error",
    "no_movement": "error",
    "loss_rises": "warning",
    "loss_stays": "warning",
    "still_falling": "advice",
    "l2_drowns": "warning",
    "over_fitting": "warning",
    "exploding": "warning",
    "l2_without_effect": "error",
}
SOFTMAX = Recipe("softmax", SIZE)


def checked(findings):
    """Findings by their codes, after a look at what each of them must be."""
    for finding in findings:
        assert finding.severity == SEVERITIES[finding.code]
        for text in (finding.text, finding.remedy):
            assert re.match(r"[a-z0-9]", text)
            assert len(text.split()) >= 2 or text == "lower l2"
            assert not re.search(r"Traceback|Error|\n|0x|array|nan", text)
        written = json.loads(json.dumps(finding.as_dict()))
        assert set(written) == {"code", "severity", "text", "remedy", "classes", "examples"}
        assert written["examples"] == list(finding.examples)
    return {finding.code: finding for finding in findings}


def examples(per_class=12, classes=("a", "b", "c"), spread=0.8, seed=0):
    """Examples of classes that differ, with nothing wrong about them."""
    return blobs(classes, per_class, SIZE, spread, seed)


def look(rows, labels, kind="imprinting"):
    """What the doctor says of examples, with a calibrated head that has learnt them."""
    head = make_calibrated(Recipe(kind, rows.shape[1]), rows, labels).head
    return checked(examine_examples(head, rows, labels))


@pytest.fixture(params=sorted(INCREMENTAL))
def kind(request):
    """Each kind of head that can leave examples out."""
    return request.param


def test_every_code_is_tested():
    """The codes here are those in the source, no more and no fewer."""
    folder = Path(doctor.__file__).parent
    source = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py")))

    assert set(re.findall(r'Finding\(\s*"(\w+)"', source)) == set(SEVERITIES)


# Examples


def test_nothing_wrong(kind):
    """Of enough different examples of different classes nothing is said."""
    assert look(*examples(), kind) == {}


def test_few_examples(kind):
    """Classes with fewer than five examples are named."""
    rows, labels = examples()
    found = look(rows[8:], labels[8:], kind)

    assert set(found) == {"few_examples"}
    assert found["few_examples"].text == "1 of 3 classes have fewer than 5 examples"
    assert list(found["few_examples"].classes) == ["a"]
    assert look(rows[7:], labels[7:], kind) == {}


def test_uneven_classes():
    """A class with ten times the examples of another one is told, with both numbers."""
    rows, labels = examples(60, ("a", "b"))
    found = look(rows[:66], labels[:66])

    assert set(found) == {"uneven_classes"}
    assert found["uneven_classes"].text == "the classes are uneven: 60 examples of 'a', 6 of 'b'"
    assert found["uneven_classes"].classes == ("b", "a")
    assert look(rows[1:66], labels[1:66]) == {}


def test_classes_overlap(kind):
    """Two names for one thing are told as a pair; a third class isn't drawn in."""
    rows, labels = examples(20)
    labels = ["a" if number % 2 else "x" for number in range(20)] + labels[20:]
    found = look(rows, labels, kind)

    assert "classes_overlap" in found
    assert found["classes_overlap"].classes == ("a", "x")
    mistaken, both = re.match(r"(\d+) of (\d+) examples of 'a' and 'x'", found["classes_overlap"].text).groups()
    assert int(both) == 20
    assert 4 <= int(mistaken) <= 20


def test_wrong_label(kind):
    """An example under a wrong name is found by its index, with the name it has and the one it looks like."""
    rows, labels = examples()
    for wrong in (5, 30):
        named = [*labels[:wrong], "b", *labels[wrong + 1 :]]
        found = look(rows, named, kind)
        assert set(found) == {"wrong_label"}
        assert found["wrong_label"].classes == ("b", labels[wrong])
        assert found["wrong_label"].examples == (wrong,)
        assert f"an example of 'b' looks like '{labels[wrong]}' (score " in found["wrong_label"].text


def test_the_only_example_of_a_class_has_no_wrong_label(kind):
    """Without its only example there is no such class, so nothing can be said of its name."""
    rows, labels = examples()

    assert set(look(rows[:25], [*labels[:24], "alone"], kind)) == {"few_examples", "uneven_classes"}


def test_same_picture_in_two_classes(kind):
    """A picture under two names is found, with both indices."""
    rows, labels = examples()
    rows[20] = rows[3] * 1.001
    found = look(rows, labels, kind)

    assert {"same_picture_two_classes"} <= set(found) <= {"same_picture_two_classes", "wrong_label"}
    assert found["same_picture_two_classes"].classes == ("a", "b")
    assert found["same_picture_two_classes"].examples == (3, 20)


def test_near_duplicates(kind):
    """Of pictures that are nearly the same, all but the first are named, each once."""
    rows, labels = examples()
    rows[[7, 9]] = rows[3] * [[1.001], [0.5]]
    found = look(rows, labels, kind)

    assert set(found) == {"near_duplicates"}
    assert found["near_duplicates"].examples == (7, 9)
    assert found["near_duplicates"].text.startswith("2 examples are nearly the same")


def test_among_many_examples():
    """Of more than some thousand examples a sample is looked at, and indices are still those of all examples."""
    rows, labels = examples(900)
    chosen = set(Sample.of(labels).chosen)
    pairs = [index for index in range(20, 2700, 7) if {index, index - 1} <= chosen]
    twins, strangers = set(pairs[::90]), set(sorted(chosen - set(pairs))[::400])
    for twin in twins:
        rows[twin] = rows[twin - 1]
    unseen = sorted(set(range(2700)) - chosen)
    for stranger in strangers:
        other = next(other for other in unseen if labels[other] != labels[stranger])
        unseen.remove(other)
        rows[stranger] = rows[other]
    findings = examine_examples(Recipe("imprinting", SIZE).make(rows, labels), rows, labels)
    (same,) = [finding.examples for finding in findings if finding.code == "near_duplicates"]
    wrong = {finding.examples[0] for finding in findings if finding.code == "wrong_label"}

    assert len(twins) > 1
    assert set(same) == twins
    assert wrong <= strangers
    assert len(wrong) > 3


def test_blocks_of_many_examples():
    """The same picture is found however far apart the two lie, and found once."""
    rows, labels = examples(400, ("a", "b", "c"))
    pairs = [(0, 399), (100, 1100), (499, 500), (650, 1199)]
    for one, other in pairs:
        rows[other] = rows[one]
    head = Recipe("imprinting", SIZE).make(rows, labels)
    findings = examine_examples(head, rows, labels)

    same = [finding.examples for finding in findings if finding.code == "same_picture_two_classes"]
    assert sorted(same) == [(100, 1100), (650, 1199)]
    assert [finding.examples for finding in findings if finding.code == "near_duplicates"] == [(399, 500)]


def test_one_picture_in_two_classes_many_times():
    """As many findings as examples to look at, not one for every pair of them."""
    rows, labels = examples(10, ("a", "b"))
    rows[:] = rows[0]
    findings = examine_examples(Recipe("imprinting", SIZE).make(rows, labels), rows, labels)
    same = [finding.examples for finding in findings if finding.code == "same_picture_two_classes"]

    assert 10 <= len(same) == len({other for _, other in same}) < 20


@pytest.mark.parametrize(
    "labels",
    [
        list(range(3)),
        pytest.param(
            np.arange(3),
        ),
    ],
    ids=["plain", "numpy"],
)
def test_numbers_as_classes(labels):
    """Classes may be whole numbers, numpy's as well, and findings can be written as JSON."""
    rows = np.random.RandomState(0).uniform(0, 1, (3, SIZE))
    found = look(rows, list(labels))

    assert json.loads(json.dumps(found["few_examples"].as_dict()))["classes"] == [0, 1, 2]


def test_no_examples():
    """Without examples, or with one class, there is nothing to say but that they are few."""
    empty = Recipe("imprinting", SIZE).make(np.zeros((0, SIZE)), [])
    assert examine_examples(empty, np.zeros((0, SIZE)), []) == []
    rows, labels = examples()

    assert look(rows[:12], labels[:12]) == {}
    assert set(look(rows[:1], labels[:1])) == {"few_examples"}


def test_examples_stay_as_they_are(kind):
    """Looking changes neither examples nor head."""
    rows, labels = examples()
    head = make_calibrated(Recipe(kind, SIZE), rows, labels).head
    before = {name: array.tobytes() for name, array in head.state().items()}
    kept = rows.copy()
    examine_examples(head, rows, labels)

    assert (rows == kept).all()
    assert {name: array.tobytes() for name, array in head.state().items()} == before


# What more examples would bring


@pytest.mark.parametrize("name", KINDS)
def test_more_examples_help(name):
    """Where errors fall with examples, more are said to bring more, and in the end about that."""
    recipe = Recipe(name, SIZE, softmax=SoftmaxOptions(epochs=30, learning_rate=0.01))
    found = checked([expect_from_more(recipe, *examples(8, "abcdef", spread=1.8))])["more_examples"]
    now, later = (float(figure) for figure in re.findall(r"(\d+\.\d)%", found.text))

    assert found.text.startswith("about ")
    assert "10 more examples a class" in found.text
    assert 17 < now < later <= 100
    assert found.remedy == "teach more"


def test_more_examples_bring_little():
    """Where classes can't be told apart, more of the same are no remedy."""
    rows = np.random.RandomState(1).normal(0, 1, (80, SIZE))
    findings = [expect_from_more(Recipe("imprinting", SIZE), rows, [str(n % 4) for n in range(80)], more=0)]
    found = checked(findings)["more_examples"]

    assert "0 more examples" in found.text
    assert "better pictures or a better extractor" in found.remedy


def test_nothing_wrong_to_learn_from():
    """Where every answer was right, it is said how many answers that were."""
    found = checked([expect_from_more(Recipe("imprinting", SIZE), *examples())])["more_examples"]

    assert "every one of 36 held-out answers was right" in found.text


@pytest.mark.parametrize(("per_class", "classes"), [(3, "abc"), (12, "a"), (0, "ab")])
def test_too_little_to_say(per_class, classes):
    """With one class, or a class of fewer than four, nothing is promised."""
    assert expect_from_more(Recipe("imprinting", SIZE), *examples(per_class, classes)) is None


# Before softmax training


def test_training_with_nothing_wrong():
    """First loss, gradients and a dozen examples by heart are in order, with few or many examples and classes."""
    for per_class, classes in ((1, "ab"), (12, "abc"), (100, "abc"), (2, [f"class {n:02}" for n in range(30)])):
        assert examine_training(SOFTMAX, *examples(per_class, classes)) == []


def test_first_loss():
    """Random weights at the start make some answers sure before anything is known; zeros don't."""
    rows, labels = examples(12, "ab")
    options = SoftmaxOptions(initial="glorot", seed=1)
    found = checked(examine_training(SOFTMAX._replace(softmax=options), rows, labels))

    assert set(found) == {"first_loss"}
    assert re.match(
        r"the loss at the start is \d\.\d\d; knowing nothing it should be about 0\.69$", found["first_loss"].text
    )
    assert examine_training(SOFTMAX._replace(softmax=options._replace(initial="zeros")), rows, labels) == []


class Deafening(EmbeddingPipeline):
    """A pipeline with a fault: directions of a million instead of 1, for which no loss can be measured."""

    def __call__(self, embeddings):
        return 1e6 * super().__call__(embeddings)


class DeafeningRecipe(Recipe):
    """A recipe with this fault."""

    def softmax_pipeline(self):
        return Deafening(self.size)


def test_gradients():
    """Where slopes and gradients differ, it is an error of the program."""
    found = checked(examine_training(DeafeningRecipe("softmax", SIZE), *examples()))

    assert "gradients" in found
    assert re.search(r"differ from finite differences by \d\.\de[+-]\d\d of", found["gradients"].text)
    assert "report it" in found["gradients"].remedy


def test_not_by_heart():
    """The same pictures under two names can't be learnt by heart; those that were tried are named."""
    rows = np.random.RandomState(0).normal(0, 1, (6, SIZE)).repeat(2, axis=0)
    found = checked(examine_training(SOFTMAX, rows, ["a", "b"] * 6))

    assert set(found) == {"not_by_heart"}
    assert "the loss stays at 0.69" in found["not_by_heart"].text
    assert sorted(found["not_by_heart"].examples) == list(range(12))


def test_a_dozen_of_all_examples():
    """What is tried by heart are a dozen examples of as many classes as there are, by their indices."""
    rows, labels = examples(20, "abc")
    rows[:] = 1
    found = checked(examine_training(SOFTMAX, rows, labels))["not_by_heart"]

    assert len(set(found.examples)) == 12
    assert {labels[index] for index in found.examples} == {"a", "b", "c"}


def test_training_of_one_class():
    """One class can't be trained, which is told as by training itself."""
    with pytest.raises(TooFewExamples):
        examine_training(SOFTMAX, *examples(12, "a"))


def test_training_of_nothing():
    """So is no class at all."""
    with pytest.raises(TooFewExamples):
        examine_training(SOFTMAX, np.zeros((0, SIZE)), [])


# After softmax training


def trained(rows=None, labels=None, held_out=None, **options):
    """What the doctor says of a training, which may diverge."""
    if rows is None:
        rows, labels = blobs()
    history, options = History(), SoftmaxOptions(**options)
    with contextlib.suppress(TrainingDiverged):
        Recipe("softmax", rows.shape[1], softmax=options).make(rows, labels, history, held_out=held_out)
    return checked(examine_history(history.epochs, options, len(set(labels))))


def reports(losses, **fields):
    """Epochs with these losses, and for the rest what healthy training reports."""
    healthy = EpochReport(0, len(losses), 0, 0.0, 0.9, None, None, 0.01, 1.0, 0.1, 0.1)._replace(**fields)
    return [healthy._replace(epoch=number, loss=loss) for number, loss in enumerate(losses, 1)]


def said(losses, l2=0.0005, class_count=3, **fields):
    """The codes found in such epochs."""
    return set(checked(examine_history(reports(losses, **fields), SoftmaxOptions(l2=l2), class_count)))


FALLING = [1.1, 0.6, 0.4, 0.35, 0.32, 0.31, 0.305, 0.302, 0.301, 0.3, 0.3, 0.3]


def test_healthy_training():
    """Of training that learns, nothing is said; nor of none at all."""
    assert trained(learning_rate=0.01, epochs=100) == {}
    assert trained(epochs=60) == {}
    assert said(FALLING) == set()
    assert examine_history([], SoftmaxOptions(), 3) == []


def test_not_finite():
    """Numbers that are none are an error, and nothing else is said of them."""
    assert set(trained(learning_rate=10.0, optimizer="sgd", l2=10.0, batch_size=1)) == {"not_finite"}
    for fields in ({"weight_norm": float("inf")}, {"weight_norm": float("nan")}):
        assert said(FALLING, **fields) == {"not_finite"}
    assert said([1.1, float("nan")]) == {"not_finite"}


def test_no_movement():
    """Pictures that are all the same leave the weights where they were."""
    assert "no_movement" in trained(np.ones((4, 8)), list("abab"))
    assert said(FALLING, update_norm=0.0) == {"no_movement"}
    assert said(FALLING, update_norm=1e-12) == set()


def test_loss_rises():
    """A rate too high makes the loss rise, and both losses are told."""
    found = trained(learning_rate=1.0, optimizer="sgd", l2=1.0, epochs=5)["loss_rises"]

    assert re.match(r"the loss rose from 1\.099 to \d+\.\d{3}$", found.text)
    assert found.remedy == "lower the learning rate"
    assert said([0.5, 0.4, 0.51]) == {"loss_rises"}
    assert said([0.5]) == set()


def test_a_loss_that_rounding_raised():
    """A loss that is the same to six digits has not risen."""
    assert "loss_rises" not in trained(np.ones((30, 8)), ["a", "b", "c"] * 10, batch_size=30)


def test_loss_stays():
    """Names dealt by chance, or a rate too low, leave the loss at that of knowing nothing."""
    random = np.random.RandomState(0)
    noise = random.normal(size=(300, 8)), [str(number) for number in random.randint(3, size=300)]

    assert set(trained(*noise)) == {"loss_stays"}
    assert set(trained(learning_rate=1e-5)) == {"loss_stays"}
    assert said([1.098, 1.05, 1.0]) == {"loss_stays"}
    assert said([1.098, 1.05, 0.98]) == set()


def test_still_falling():
    """Too few epochs end while the loss falls; where patience ended it, nothing is said."""
    assert set(trained(learning_rate=2e-3, epochs=15)) == {"still_falling"}
    falling = [1.1 * 0.9**epoch for epoch in range(12)]
    assert said(falling) == {"still_falling"}
    assert said(falling, epochs=60) == set()
    assert said(falling[:9]) == set()


def test_l2_drowns():
    """An l2 that outweighs the answers is told with both parts of the loss."""
    found = trained(l2=0.1, learning_rate=0.05, epochs=200)
    assert set(found) == {"l2_drowns"}
    term, loss = (float(figure) for figure in re.findall(r"\((\d\.\d{3})\)", found["l2_drowns"].text))

    assert term > loss > 0
    assert trained(l2=0.01, learning_rate=0.05, epochs=200) == {}
    assert said([1.0, 0.5], l2=0.5, weight_norm=1.1) == {"l2_drowns"}
    assert said([1.0, 0.5], l2=0.5, weight_norm=0.9) == set()


def test_over_fitting():
    """Names dealt by chance to many numbers are learnt by heart, and fail on held-out examples."""
    random = np.random.RandomState(0)
    rows, labels = random.normal(size=(20, SIZE)), ["a", "b"] * 10
    held_out = HeldOut(random.normal(size=(20, SIZE)), labels)
    found = trained(rows, labels, held_out, learning_rate=0.01, patience=0)["over_fitting"]

    assert found.text.startswith("100.0% right on trained examples, ")
    assert said(FALLING, held_out_accuracy=0.74, held_out_loss=1.0) == {"over_fitting"}
    assert said(FALLING, held_out_accuracy=0.76, held_out_loss=1.0) == set()


def test_exploding():
    """Steps that grow tenfold since the first half of training are told."""
    epochs = [report._replace(update_norm=1.0) for report in reports(FALLING)]
    assert examine_history(epochs, SoftmaxOptions(l2=0.0), 3) == []

    epochs[-1] = epochs[-1]._replace(update_norm=10.5)
    assert set(checked(examine_history(epochs, SoftmaxOptions(l2=0.0), 3))) == {"exploding"}


def test_long_training_does_not_explode():
    """With the usual rate and twice the usual epochs the loss falls, and nothing explodes."""
    assert "exploding" not in trained(epochs=120)


# Regularisation


def test_l2_works():
    """A stronger regularisation gives smaller weights: nothing is said, whatever the usual options."""
    for options in (SoftmaxOptions(), SoftmaxOptions(learning_rate=0.01), SoftmaxOptions(optimizer="sgd")):
        assert examine_l2(SOFTMAX._replace(softmax=options), *examples()) == []


class UpsideDownRecipe(Recipe):
    """A recipe with a fault: the stronger the l2, the weaker its effect."""

    def make(self, embeddings, labels, *rest):
        turned = self.softmax._replace(l2=1.0 - self.softmax.l2)
        return Recipe("softmax", self.size, softmax=turned).make(embeddings, labels, *rest)


def test_l2_without_effect():
    """Weights that grow with l2 are an error of the program, and told with their lengths."""
    options = SoftmaxOptions(learning_rate=0.05)
    found = checked(examine_l2(UpsideDownRecipe("softmax", SIZE, softmax=options), *examples()))

    assert set(found) == {"l2_without_effect"}
    assert re.search(r"lengths [\d.e-]+, [\d.e-]+, [\d.e-]+ at 0, 0\.01, 1$", found["l2_without_effect"].text)


def test_l2_of_usual_options_is_no_error_of_the_program():
    """Options that are allowed aren't called an error of the program: small sets, random weights at the start."""
    found = set()
    for seed in range(10):
        for rate in (0.001, 0.01):
            options = SoftmaxOptions(initial="glorot", seed=seed, learning_rate=rate)
            found |= set(checked(examine_l2(Recipe("softmax", 8, softmax=options), *blobs("ab", 4, spread=0.5))))

    assert found == set()
