"""coral_learn/training/calibration.py: honest scores, and the answer "none of these"."""

import numpy as np
import pytest

from coral_learn import EmbeddingPipeline, ImprintingHead, SoftmaxHead, evaluate, fit_softmax
from coral_learn.errors import ClassUnknown, OptionError
from coral_learn.heads import Calibration, LinearDiscriminantHead, NeighboursHead
from coral_learn.training import Sample, SoftmaxOptions, calibrate
from coral_learn.training.calibration import _DOUBT, _LOST_TO_KEPT, calibrate_softmax, check_rate

SIZE = 16
HEADS = (ImprintingHead, LinearDiscriminantHead, NeighboursHead)


def blobs(classes, per_class, spread=0.6, size=SIZE, seed=0, world=0):
    """Gaussian blobs around random points: embeddings and labels. world : others of the same kind, elsewhere."""
    centres = np.random.RandomState(1000 + world).normal(size=(classes, size))
    places = np.repeat(np.arange(classes), per_class)
    rows = centres[places] + np.random.RandomState(seed).normal(0, spread, (len(places), size))
    return rows.astype(np.float32), places.tolist()


def taught(kind, rows, labels):
    """A head of a kind that was taught these examples."""
    head = kind.suited(np.shape(rows)[1])
    head.learn_many(rows, labels)
    return head


@pytest.fixture(params=HEADS, ids=lambda kind: kind.kind)
def kind(request):
    """Each kind of head that calibrates by its own examples."""
    return request.param


# None of these


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1, 0.37, 0.999])
def test_rate_is_kept(kind, rate):
    """Of the strangers it was calibrated with the share that was asked for is accepted, and hardly less."""
    rows, labels = blobs(12, 10)
    head = taught(kind, rows, labels)
    found = calibrate(head, rows, labels, rate, 1.0)
    strange = head.as_strangers(rows, labels)
    accepted = np.mean([familiarity >= found.calibration.threshold for familiarity in strange.astype(float)])

    assert rate - 2 / len(labels) <= accepted <= rate + 1 / (len(labels) + 1)
    assert found.accepted == accepted
    assert found.examples == len(labels)
    assert head.calibration == found.calibration


def test_figures_are_those_of_leaving_out(kind):
    """The share refused is that of examples, each left out, that are less familiar than the threshold."""
    rows, labels = blobs(6, 10)
    head = taught(kind, rows, labels)
    found = calibrate(head, rows, labels, 0.1, 1.0)
    familiarity = head.leave_one_out(rows, labels).familiarity

    assert found.refused == np.mean(familiarity < found.calibration.threshold)
    assert 0 <= found.refused < 0.5


def test_threshold_falls_with_the_rate(kind):
    """The more strangers may be accepted, the lower the threshold and the fewer examples are refused."""
    rows, labels = blobs(10, 10)
    head = taught(kind, rows, labels)
    found = [calibrate(head, rows, labels, rate, 1.0) for rate in (0.01, 0.02, 0.05, 0.2, 0.5, 0.9, 1.0)]
    thresholds = [one.calibration.threshold for one in found]

    assert thresholds == sorted(thresholds, reverse=True)
    assert len(set(thresholds)) == len(thresholds)
    assert [one.refused for one in found] == sorted((one.refused for one in found), reverse=True)
    assert [one.accepted for one in found] == sorted(one.accepted for one in found)


def test_rate_of_one_refuses_nothing(kind):
    """With a rate of 1 every embedding is one of the classes."""
    rows, labels = blobs(8, 5)
    head = taught(kind, rows, labels)
    found = calibrate(head, rows, labels, 1)

    assert (found.calibration.threshold, found.refused, found.accepted) == (-np.inf, 0.0, 1.0)
    assert all(head.knows(row) for row in -rows)


@pytest.mark.parametrize("rate", [0, 0.0, -0.1, 1.01, 2, float("nan"), float("inf"), "0.05", None, True, [0.05]])
def test_rates_out_of_range(rate):
    """A rate lies above 0 and not above 1; the head stays as it was."""
    rows, labels = blobs(3, 5)
    head = taught(ImprintingHead, rows, labels)
    before = head.calibration
    with pytest.raises(OptionError, match="false-accept rate must be a number above 0"):
        calibrate(head, rows, labels, rate)

    assert head.calibration == before


@pytest.mark.parametrize("rate", [1, 1.0, 1e-9, 0.5])
def test_rates_in_range(rate):
    """The ends of the range are allowed but for 0."""
    assert check_rate(rate) is None


def test_too_few_to_refuse(kind):
    """With fewer strangers than one over the rate, less one, nothing is refused; with as many, something is."""
    for count, known in ((18, False), (19, True)):
        rows, labels = blobs(count, 1)
        found = calibrate(taught(kind, rows, labels), rows, labels, 0.05)
        assert np.isfinite(found.calibration.threshold) == known


def test_no_examples(kind):
    """Without examples a head has its usual scale and refuses nothing."""
    head = kind.suited(SIZE)
    head.calibration = Calibration(3.0, 0.5)
    found = calibrate(head, np.zeros((0, SIZE)), [])

    assert found == (Calibration(kind.scale), 0, None, None)
    assert head.calibration == Calibration(kind.scale)


def test_one_class_alone(kind):
    """With one class there are no strangers, so nothing is refused and nothing is known about scores."""
    rows, labels = blobs(1, 30)
    head = taught(kind, rows, labels)
    found = calibrate(head, rows, labels)

    assert found == (Calibration(kind.scale), 30, 0.0, None)
    assert head.decide(-rows[0]) == 0


def test_one_example_a_class(kind):
    """Classes of one example give strangers, but no answer that was left out: the scale is the usual one."""
    rows, labels = blobs(25, 1)
    found = calibrate(taught(kind, rows, labels), rows, labels)

    assert found.calibration.scale == kind.scale
    assert np.isfinite(found.calibration.threshold)
    assert (found.refused, found.examples) == (None, 25)
    assert found.accepted <= 0.05


def test_unknown_classes():
    """Examples of classes that the head was never taught don't calibrate it."""
    rows, labels = blobs(3, 5)
    head = taught(ImprintingHead, rows, labels)
    with pytest.raises(ClassUnknown):
        calibrate(head, rows[:1], [99])


@pytest.mark.parametrize("rate", [0.02, 0.1])
def test_foreign_classes_are_accepted_at_the_rate(kind, rate):
    """Classes from elsewhere, never seen, are taken for one of the classes as often as set, and own ones kept."""
    accepted, kept = [], []
    for world in (0, 10, 20):
        rows, labels = blobs(40, 12, size=64, world=world)
        head = taught(kind, rows, labels)
        threshold = calibrate(head, rows, labels, rate, 1.0).calibration.threshold
        foreign, fresh = blobs(400, 5, size=64, world=world + 1)[0], blobs(40, 12, size=64, seed=4, world=world)[0]
        accepted.append(np.mean(head.familiarity(foreign) >= threshold))
        kept.append(np.mean(head.familiarity(fresh) >= threshold))

    assert 0.4 * rate < np.mean(accepted) < 2 * rate
    assert np.mean(kept) > 0.95


def test_decides_none_for_strangers(kind):
    """A calibrated head names the classes it was taught, and none for what is far from all."""
    rows, labels = blobs(20, 10, size=64)
    head = taught(kind, rows, labels)
    calibrate(head, rows, labels, 0.05)
    fresh, foreign = blobs(20, 1, size=64, seed=5), blobs(100, 1, size=64, seed=5, world=1)[0]

    assert [head.decide(row) for row in fresh[0]] == fresh[1]
    assert np.mean([head.decide(row) is None for row in foreign]) > 0.8
    assert all(head.predict(row) is not None for row in foreign)


@pytest.mark.parametrize("most_refused", [0.0, 0.1, 0.3])
def test_threshold_gives_way(kind, most_refused):
    """Where classes are as much alike as strangers are, no more of them than allowed are refused."""
    rows, labels = blobs(10, 10, spread=3.0)
    head = taught(kind, rows, labels)
    strict = calibrate(head, rows, labels, 0.05, 1.0)
    lenient = calibrate(head, rows, labels, 0.05, most_refused)

    assert strict.refused > 0.3
    assert lenient.refused <= most_refused
    assert lenient.refused >= most_refused - 0.02
    assert lenient.accepted > strict.accepted
    assert calibrate(head, rows, labels, 1.0, most_refused).calibration.threshold == -np.inf


# Scores


def loss_by_hand(logits, own, scale):
    """Mean cross-entropy with targets 1 - 1 / (N + 2) for the own class, the rest spread over the others."""
    doubt, total = 1 / (len(own) + 2), 0.0
    for row, place in zip(logits, own):
        scores = np.exp(scale * (row - row.max()))
        logs = np.log(scores / scores.sum())
        targets = np.full(len(row), doubt / (len(row) - 1))
        targets[place] = 1 - doubt
        total -= targets @ logs
    return total / len(own)


def test_scale_is_the_best_one(kind):
    """No scale on a fine grid has a lower loss on examples left out."""
    rows, labels = blobs(6, 10, spread=1.0)
    head = taught(kind, rows, labels)
    logits = head.leave_one_out(rows, labels).logits
    found = calibrate(head, rows, labels).calibration.scale
    grid = kind.scale * np.geomspace(1 / 20, 20, 120)

    assert kind.scale / 20 < found < kind.scale * 20
    assert loss_by_hand(logits, labels, found) <= min(loss_by_hand(logits, labels, scale) for scale in grid) + 1e-9


def softmax_head(classes):
    """A softmax head over this many classes, and two examples of each."""
    rows, labels = blobs(classes, 2)
    return SoftmaxHead(EmbeddingPipeline(SIZE), list(range(classes)), rows[::2], np.zeros(classes)), rows, labels


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_scale_that_made_the_answers_is_found(scale):
    """Classes drawn with the chances that a scale gives: calibration finds that scale."""
    head, rows, labels = softmax_head(4)
    random = np.random.RandomState(0)
    logits = random.normal(0, 2, (4000, 4))
    chances = np.exp(scale * logits)
    chances /= chances.sum(axis=1, keepdims=True)
    drawn = (random.rand(4000, 1) > chances.cumsum(axis=1)).sum(axis=1)
    calibrate_softmax(head, rows, labels, logits, drawn.tolist())

    assert abs(head.calibration.scale / scale - 1) < 0.1


@pytest.mark.parametrize(("right", "end"), [(True, 20.0), (False, 1 / 20)])
def test_scale_has_ends(right, end):
    """Answers that are always right, or always wrong, bring the scale to its end, and no further."""
    head, rows, labels = softmax_head(2)
    logits = np.tile([[0.01, -0.01]], (500, 1))
    calibrate_softmax(head, rows, labels, logits, [0 if right else 1] * 500)

    assert abs(head.calibration.scale / (head.scale * end) - 1) < 0.01


@pytest.mark.parametrize("kind", [ImprintingHead, LinearDiscriminantHead], ids=lambda kind: kind.kind)
@pytest.mark.parametrize("chance", [0.6, 0.8])
def test_scores_are_honest(kind, chance):
    """Where four of five labels are the right ones, best scores are near 0.8, and right as often."""
    rows, places = blobs(3, 400, spread=0.3)
    random = np.random.RandomState(1)
    wrong = random.rand(len(places)) > chance
    labels = [(place + random.randint(1, 3)) % 3 if one else place for place, one in zip(places, wrong)]
    head = taught(kind, rows[::2], labels[::2])
    calibrate(head, rows[::2], labels[::2])
    best, figures = head.scores(rows[1::2]).max(axis=1), evaluate(head, rows[1::2], labels[1::2])

    assert abs(best.mean() - chance) < 0.06
    assert abs(figures.accuracy - chance) < 0.06
    assert figures.calibration_error < 0.08


def test_calibration_makes_scores_more_honest(kind):
    """The error of scores on examples never seen is small, and larger with a scale five times off."""
    rows, labels = blobs(8, 25, spread=1.6)
    fresh, names = blobs(8, 100, spread=1.6, seed=1)
    head = taught(kind, rows, labels)
    calibrate(head, rows, labels)
    error, found = evaluate(head, fresh, names).calibration_error, head.calibration.scale
    for scale in (found / 5, found * 5):
        head.calibration = Calibration(scale)
        assert evaluate(head, fresh, names).calibration_error > error

    assert error < 0.08


# Softmax


def test_softmax_threshold_is_on_the_means():
    """A softmax head refuses by the likeness to its classes' means, as imprinting on the same examples does."""
    rows, labels = blobs(20, 10)
    head = fit_softmax(EmbeddingPipeline(SIZE), rows, labels, SoftmaxOptions(epochs=3))
    found = calibrate_softmax(head, rows, labels, head.logits(rows), labels, 0.05)
    means = ImprintingHead(EmbeddingPipeline(SIZE))
    means.learn_many(rows, labels)
    expected = calibrate(means, rows, labels, 0.05)

    assert head.calibration == found.calibration
    assert found.calibration.threshold == expected.calibration.threshold
    assert found[1:] == expected[1:]
    np.testing.assert_allclose(head.familiarity(rows), means.familiarity(rows), atol=1e-5)
    assert np.mean([head.decide(row) is None for row in blobs(100, 1, world=1)[0]]) > 0.8


def test_softmax_without_held_out_examples():
    """Without held-out examples the scores keep their scale; the threshold is found all the same."""
    head, rows, labels = softmax_head(30)
    found = calibrate_softmax(head, rows, labels, np.zeros((0, 30)), [])

    assert found.calibration.scale == head.scale
    assert np.isfinite(found.calibration.threshold)


def test_softmax_without_examples():
    """Without examples nothing is refused."""
    head, _, _ = softmax_head(3)

    assert calibrate_softmax(head, np.zeros((0, SIZE)), [], np.zeros((0, 3)), []) == (Calibration(1.0), 0, None, None)


# Pre-trained classes


def with_kept(rows, labels, kept):
    """An imprinting head that was taught examples beside pre-trained classes with these weights."""
    head = ImprintingHead(EmbeddingPipeline(SIZE))
    head.keep(kept, [f"kept {place}" for place in range(len(kept))])
    head.learn_many(rows, [f"taught {label}" for label in labels])
    return head


def lost_to_kept(head, rows, labels, lead):
    """How many examples, each left out, are more like a pre-trained class with this lead than like a taught one."""
    head.kept_lead = lead
    logits, kept = head.leave_one_out(rows, labels).logits, len(head.kept)
    return int((logits[:, :kept].max(axis=1) > logits[:, kept:].max(axis=1)).sum())


@pytest.mark.parametrize(("per_class", "allowed"), [(2, 1), (3, 1), (5, 1), (60, 1), (80, 2), (130, 3)])
def test_lead_of_pretrained_classes(per_class, allowed):
    """Pre-trained classes get the lead that takes a small share from taught ones, the less sure the fewer they are.

    The widest lead that loses no more than allowed; of fewer than two hundred examples the widest that loses none,
    less a fifth over the root of how many there are.
    """
    rows, places = blobs(5, per_class, spread=0.3)
    labels = [f"taught {place}" for place in places]
    head = with_kept(rows, places, blobs(20, 1, world=2)[0])
    head.kept_lead = 0.7
    calibrate(head, rows, labels)
    lead = head.kept_lead
    widest = lead + (_DOUBT / len(rows) ** 0.5 if len(rows) < 199 else 0)

    assert (_LOST_TO_KEPT, _DOUBT) == (0.005, 0.2)
    assert allowed == max(1, int(0.005 * (len(rows) + 1)))
    assert 0 < lead < 1
    assert lost_to_kept(head, rows, labels, widest - 1e-6) == allowed - 1
    assert lost_to_kept(head, rows, labels, widest + 1e-6) == allowed
    assert head.calibration.scale > 0


def test_lead_by_forgetting():
    """The lead is that found by really forgetting each example: the narrowest gap to a kept class, less doubt."""
    rows, places = blobs(5, 4, spread=0.3)
    labels = [f"taught {place}" for place in places]
    head = with_kept(rows, places, blobs(20, 1, world=2)[0])
    gaps = []
    for row, label in zip(rows, labels):
        head.forget(row, label)
        logits = head.logits(row)
        gaps.append(logits[20:].max() - logits[:20].max())
        head.learn_one(row, label)
    calibrate(head, rows, labels)

    assert head.kept_lead == pytest.approx(min(gaps) - _DOUBT / 20**0.5, abs=1e-6)
    assert head.kept_lead > 0.1


def test_lead_is_in_what_is_calibrated():
    """Scale and threshold are found with the lead in place, and calibrating again finds the same of everything."""
    rows, places = blobs(5, 5, spread=0.3)
    labels = [f"taught {place}" for place in places]
    head = with_kept(rows, places, blobs(20, 1, world=2)[0])
    found, lead = calibrate(head, rows, labels), head.kept_lead
    logits, own = head.leave_one_out(rows, labels).logits, [20 + place for place in places]
    scales = [found.calibration.scale * factor for factor in (1 / 1.2, 1, 1.2)]
    losses = [loss_by_hand(logits, own, scale) for scale in scales]

    assert lead > 0
    assert losses[1] == min(losses)
    assert calibrate(head, rows, labels) == found
    assert head.kept_lead == lead


def test_lead_is_hardly_below_zero():
    """A narrowest gap within the doubt of so few examples gives no lead, but a lag of a hundredth at most."""
    rows, places = blobs(5, 2, spread=0.3)
    labels = [f"taught {place}" for place in places]
    head = with_kept(rows, places, blobs(20, 1, world=2)[0])
    calibrate(head, rows, labels)
    widest = head.kept_lead + _DOUBT / 10**0.5
    for gap, lead in ((0.02, -0.01), (-0.02, -0.01), (0.08, 0.08 - _DOUBT / 10**0.5)):
        other = with_kept(rows, places, blobs(20, 1, world=2)[0])
        other._kept_biases = other._kept_biases + (widest - gap)  # so much narrower is the narrowest gap
        calibrate(other, rows, labels)
        assert other.kept_lead == pytest.approx(lead, abs=1e-6)


# What all pictures share, and twelve classes beside it, ten of them pre-trained.
COMMON = np.random.RandomState(5).uniform(2, 5, 64)
APART = np.random.RandomState(6).normal(0, 1, (12, 64))
APART -= np.outer(APART @ COMMON, COMMON) / (COMMON @ COMMON)


def pictures(classes, per_class, seed):
    """Embeddings (N, 64) that share a large common part, as behind a ReLU, and the numbers of their classes."""
    numbers = np.repeat(classes, per_class)
    rows = COMMON + APART[numbers] + np.random.RandomState(seed).normal(0, 0.35, (len(numbers), 64))
    return np.maximum(rows, 0).astype(np.float32), numbers.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_pretrained_classes_answer_after_few_examples(seed):
    """Over uncentred embeddings, pictures of pre-trained classes are answered after two classes of five examples.

    The common part makes every picture much like a taught mean, and says nothing to a pre-trained layer:
    without a lead hardly one of the pre-trained classes would be answered any more.
    """
    head = ImprintingHead(EmbeddingPipeline(64))
    head.keep(APART[:10], list(range(10)))
    rows, labels = pictures([10, 11], 5, seed)
    kept, fresh = pictures(range(10), 30, 100 + seed), pictures([10, 11], 100, 200 + seed)
    untaught = evaluate(head, *kept).accuracy
    head.learn_many(rows, labels)
    without = evaluate(head, *kept).accuracy
    calibrate(head, rows, labels)

    assert untaught > 0.97
    assert without < 0.1
    assert evaluate(head, *kept).accuracy > 0.9
    assert evaluate(head, *fresh).accuracy > 0.9


def test_no_lead_where_classes_are_alike():
    """Pre-trained classes that win against taught ones already get no lead, and are held back a hundredth at most."""
    rows, places = blobs(5, 10, spread=1.5)
    labels = [f"taught {place}" for place in places]
    head = with_kept(rows, places, blobs(30, 1, spread=0, world=0)[0])
    calibrate(head, rows, labels)

    assert head.kept_lead == -0.01
    assert lost_to_kept(head, rows, labels, 0.0) > 0


def test_no_lead_from_single_examples():
    """Classes of one example say nothing of how well they keep against pre-trained ones."""
    rows, places = blobs(5, 1)
    head = with_kept(rows, places, blobs(4, 1, world=2)[0])
    head.kept_lead = 0.7
    calibrate(head, rows, [f"taught {place}" for place in places])

    assert head.kept_lead == 0.0


def test_lead_beside_single_examples():
    """Beside a class of one example the lead comes from the others alone: the single one is no gap, and no doubt."""
    rows, places = blobs(5, 6, spread=0.3)
    rows, places = rows[:25], places[:25]  # of the last class one is left
    kept = blobs(20, 1, world=2)[0]
    head = with_kept(rows, places, kept)
    calibrate(head, rows, [f"taught {place}" for place in places])
    widest = head.kept_lead + _DOUBT / 24**0.5

    assert head.kept_lead > 0
    labels = [f"taught {place}" for place in places[:24]]
    assert lost_to_kept(head, rows[:24], labels, widest - 1e-6) == 0
    assert lost_to_kept(head, rows[:24], labels, widest + 1e-6) == 1


# Many examples


def test_calibrating_with_many_examples():
    """A head of many examples is calibrated by a sample of them, as by those alone."""
    rows, labels = blobs(25, 100, size=4)
    head = taught(ImprintingHead, rows, labels)
    found, chosen = calibrate(head, rows, labels), Sample.of(labels).chosen

    assert found.examples == len(chosen) == 2000
    assert found == calibrate(head, rows[chosen], [labels[index] for index in chosen])
