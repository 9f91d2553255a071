"""What is wrong with training a softmax head."""

from typing import Any, List, Sequence

import numpy as np

from coral_learn.errors import TooFewExamples
from coral_learn.training.doctor.finding import ADVICE, ERROR, WARNING, Finding
from coral_learn.training.fit import Batches, EpochReport, fit_softmax, importance, initial_weights, loss_and_gradients
from coral_learn.training.options import SoftmaxOptions
from coral_learn.training.recipe import Recipe

_DOZEN = 12
_MEMORISED = 0.1
_GRADIENT_ERROR = 1e-4
_DROWNING = 1.0
_GAP = 0.15
_STILL_FALLING = 0.02
_RISEN = 1.001
# Steps that have grown so many times since the first half of training run away.
_RUNNING = 10.0


def examine_training(recipe: Recipe, embeddings: np.ndarray, labels: Sequence[Any]) -> List[Finding]:
    """Check softmax training before it starts: first loss, gradients, a dozen examples learnt by heart.

    Raises `TooFewExamples` with fewer than two classes.
    """
    options, classes = recipe.softmax.checked(), sorted(set(labels))
    if len(classes) < 2:
        raise TooFewExamples(f"softmax regression needs examples of at least 2 classes, got {len(classes)}")
    random = np.random.RandomState(options.seed)
    chosen = random.permutation(len(labels))[:200]
    few = [labels[index] for index in chosen]
    pipeline = recipe.softmax_pipeline()
    data = Batches.of(pipeline, np.asarray(embeddings)[chosen], few, classes)
    return [
        *_first_loss(data, len(classes), options),
        *_gradients(data, len(classes), options),
        *_by_heart(recipe, np.asarray(embeddings), labels, random),
    ]


def _first_loss(data: Batches, class_count: int, options: SoftmaxOptions) -> List[Finding]:
    weights, biases = initial_weights(data.inputs.shape[1], class_count, options)
    even = importance(data.targets, class_count, options.balance)
    loss, *_ = loss_and_gradients(weights, biases, data.inputs, data.targets, even, 0.0)
    expected = float(np.log(class_count))
    if abs(loss - expected) <= 0.5 * expected:
        return []
    text = f"the loss at the start is {loss:.2f}; knowing nothing it should be about {expected:.2f}"
    return [Finding("first_loss", WARNING, text, "start from zeros: initial = zeros")]


def _gradients(data: Batches, class_count: int, options: SoftmaxOptions) -> List[Finding]:
    """Compare some gradients with finite differences, in float64."""
    random = np.random.RandomState(options.seed)
    inputs, targets = data.inputs[:_DOZEN].astype(np.float64), data.targets[:_DOZEN]
    weights = random.normal(0, 0.01, (inputs.shape[1], class_count))
    fixed = (np.zeros(class_count), inputs, targets, np.ones(len(targets)), options.l2)
    _, gradient, _, _ = loss_and_gradients(weights, *fixed)
    worst, step = 0.0, 1e-5
    for _ in range(8):
        place = random.randint(inputs.shape[1]), random.randint(class_count)
        shift = np.zeros_like(weights)
        shift[place] = step
        slope = (loss_and_gradients(weights + shift, *fixed)[0] - loss_and_gradients(weights - shift, *fixed)[0]) / (
            2 * step
        )
        worst = max(worst, abs(slope - gradient[place]) / max(abs(slope), abs(gradient[place]), 1e-3))
    if worst <= _GRADIENT_ERROR:
        return []
    text = f"gradients differ from finite differences by {worst:.1e} of their size"
    return [Finding("gradients", ERROR, text, "this is an error of the program: report it with these examples")]


def _by_heart(recipe: Recipe, embeddings: np.ndarray, labels: Sequence[Any], random) -> List[Finding]:
    """A dozen examples can be learnt by heart, unless two that look the same have different labels."""
    order = list(random.permutation(len(labels)))
    first = [next(index for index in order if labels[index] == label) for label in sorted(set(labels))[:_DOZEN]]
    chosen = (first + [index for index in order if index not in first])[: max(_DOZEN, 2)]
    reports: List[EpochReport] = []
    options = SoftmaxOptions(epochs=100, learning_rate=0.01, l2=0.0, batch_size=_DOZEN)
    fit_softmax(
        recipe.softmax_pipeline(), embeddings[chosen], [labels[index] for index in chosen], options, reports.append
    )
    if reports[-1].loss <= _MEMORISED:
        return []
    text = f"a dozen examples can't be learnt by heart: the loss stays at {reports[-1].loss:.2f}"
    remedy = "look for the same picture under two classes, and for pictures that are empty"
    return [Finding("not_by_heart", WARNING, text, remedy, (), tuple(int(index) for index in chosen))]


def examine_history(epochs: Sequence[EpochReport], options: SoftmaxOptions, class_count: int) -> List[Finding]:
    """Look at what softmax training reported."""
    if not epochs:
        return []
    first, last, findings = epochs[0], epochs[-1], []
    if not np.isfinite([last.loss, last.weight_norm]).all():
        return [Finding("not_finite", ERROR, "loss or weights are not finite numbers", "lower the learning rate")]
    if all(report.update_norm == 0 for report in epochs):
        findings.append(Finding("no_movement", ERROR, "the weights never moved", "raise the learning rate"))
    if last.loss > first.loss * _RISEN and len(epochs) > 1:
        text = f"the loss rose from {first.loss:.3f} to {last.loss:.3f}"
        findings.append(Finding("loss_rises", WARNING, text, "lower the learning rate"))
    elif last.loss > 0.9 * np.log(class_count) and len(epochs) > 1:
        text = f"the loss is {last.loss:.3f}, hardly below the {np.log(class_count):.3f} of knowing nothing"
        remedy = "raise the learning rate or the epochs, lower l2, or look for wrong labels"
        findings.append(Finding("loss_stays", WARNING, text, remedy))
    elif len(epochs) >= 10 and epochs[-6].loss - last.loss > _STILL_FALLING * first.loss and last.epoch == last.epochs:
        findings.append(Finding("still_falling", ADVICE, "the loss was still falling at the end", "train more epochs"))
    penalty = 0.5 * options.l2 * last.weight_norm**2
    data_loss = max(last.loss - penalty, 0.0)
    # The loss is the mean over the epoch, the weights are those of its end: it may be below their penalty.
    if penalty > _DROWNING * data_loss and penalty > 0.1 * np.log(class_count):
        text = f"the l2 term ({penalty:.3f}) is larger than the loss of the answers ({data_loss:.3f})"
        findings.append(Finding("l2_drowns", WARNING, text, "lower l2"))
    if last.held_out_accuracy is not None and last.accuracy - last.held_out_accuracy > _GAP:
        text = f"{last.accuracy:.1%} right on trained examples, {last.held_out_accuracy:.1%} on held-out ones"
        findings.append(
            Finding("over_fitting", WARNING, text, "teach more and more varied pictures, or raise l2 or dropout")
        )
    if last.update_norm > _RUNNING * max(report.update_norm for report in epochs[: len(epochs) // 2 + 1]):
        text = "the weights move faster and faster"
        findings.append(Finding("exploding", WARNING, text, "lower the learning rate"))
    return findings


def examine_l2(recipe: Recipe, embeddings: np.ndarray, labels: Sequence[Any]) -> List[Finding]:
    """Check that a stronger regularisation gives smaller weights."""
    options, norms = (
        recipe.softmax.checked()._replace(epochs=20, optimizer="adam", initial="zeros", learning_rate=0.003),
        [],
    )
    for l2 in (0.0, 0.01, 1.0):
        reports: List[EpochReport] = []
        recipe._replace(softmax=options._replace(l2=l2)).make(embeddings, labels, reports.append)
        norms.append(reports[-1].weight_norm)
    if norms[0] >= norms[1] >= norms[2]:
        return []
    text = "weights don't shrink with l2: lengths {:.3g}, {:.3g}, {:.3g} at 0, 0.01, 1".format(*norms)
    return [Finding("l2_without_effect", ERROR, text, "this is an error of the program: report it with these examples")]
