"""Softmax regression by backpropagation of the last layer."""

from typing import Any, Callable, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from coral_learn.errors import OptionError, TooFewExamples, TrainingDiverged, TrainingStopped
from coral_learn.heads.base import softmax
from coral_learn.heads.pipeline import EmbeddingPipeline
from coral_learn.heads.softmax import SoftmaxHead
from coral_learn.training.optimizers import Adam, Sgd

OPTIMIZERS = {"adam": Adam, "sgd": Sgd}
# option: lowest, highest allowed value
RANGES = {
    "epochs": (1, 10000),
    "learning_rate": (1e-6, 10.0),
    "batch_size": (1, 100000),
    "l2": (0.0, 10.0),
    "seed": (0, 2**32 - 1),
}


class SoftmaxOptions(NamedTuple):
    """How to train.

    epochs : passes over the examples; batch_size : examples a step; learning_rate : of the
    optimizer; l2 : factor of half the squared weights in the loss; balance : give every class the
    same weight in the loss, however many examples it has; seed : of the shuffling
    """

    epochs: int = 60
    learning_rate: float = 0.001
    batch_size: int = 32
    l2: float = 0.0005
    optimizer: str = "adam"
    balance: bool = True
    seed: int = 0

    def checked(self) -> "SoftmaxOptions":
        """Return these options with exact types, or raise `OptionError` for the first wrong one."""
        exact = {}
        for name, (lowest, highest) in RANGES.items():
            value, whole = getattr(self, name), isinstance(self._field_defaults[name], int)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not lowest <= value <= highest or (whole and value != int(value)):
                kind = "whole number" if whole else "number"
                raise OptionError(f"{name} must be a {kind} from {lowest:g} to {highest:g}, got {value!r}")
            exact[name] = int(value) if whole else float(value)
        if not isinstance(self.optimizer, str) or self.optimizer not in OPTIMIZERS:
            raise OptionError("optimizer must be one of {}, got {!r}".format(", ".join(OPTIMIZERS), self.optimizer))
        if not isinstance(self.balance, bool):
            raise OptionError(f"balance must be true or false, got {self.balance!r}")
        return self._replace(**exact)


class EpochReport(NamedTuple):
    """What one pass over the examples gave: mean loss (with the L2 term) and accuracy, 0..1, on them."""

    epoch: int
    epochs: int
    loss: float
    accuracy: float


def fit_softmax(
    pipeline: EmbeddingPipeline,
    embeddings: np.ndarray,
    labels: Sequence[Any],
    options: SoftmaxOptions = SoftmaxOptions(),
    on_epoch: Optional[Callable[[EpochReport], None]] = None,
    should_stop: Optional[Callable[[], bool]] = None,
) -> SoftmaxHead:
    """Train a fully-connected layer with cross-entropy.

    embeddings : (N, D); labels : N classes, at least two different ones
    on_epoch : called after each pass; should_stop : asked before each step

    The same examples, options and seed give the same bytes. Raises `TooFewExamples`,
    `OptionError`, `EmbeddingMismatch`, `TrainingDiverged`, or `TrainingStopped` when told to stop.
    """
    options = options.checked()
    classes = sorted(set(labels))
    if len(classes) < 2:
        raise TooFewExamples(f"softmax regression needs examples of at least 2 classes, got {len(classes)}")
    directions = pipeline(embeddings)
    if len(directions) != len(labels):
        raise TooFewExamples(f"{len(directions)} embeddings with {len(labels)} labels")
    # Unit variance a dimension, so that the usual learning rates fit whatever D is.
    spread = np.sqrt(pipeline.size)
    inputs = (directions * spread).astype(np.float32)
    targets = np.searchsorted(classes, list(labels))
    with np.errstate(over="ignore", invalid="ignore"):  # judged below
        weights, biases = _train(inputs, targets, len(classes), options, on_epoch, should_stop)
        weights = weights.T * np.float32(spread)
    if not (np.isfinite(weights).all() and np.isfinite(biases).all()):
        raise TrainingDiverged(f"training diverged; try a learning rate below {options.learning_rate:g}")
    return SoftmaxHead(pipeline, classes, weights, biases)


def loss_and_gradients(
    weights: np.ndarray,
    biases: np.ndarray,
    inputs: np.ndarray,
    targets: np.ndarray,
    importance: np.ndarray,
    l2: float,
) -> Tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Cross-entropy of a batch with its gradients.

    weights : (D, C); biases : (C,); inputs : (N, D); targets : (N,) class numbers;
    importance : (N,) weight of each example. Returns the loss, the gradients of weights and
    biases, and the class scores, (N, C).
    """
    scores = softmax(inputs @ weights + biases)
    rows, total = np.arange(len(targets)), importance.sum()
    losses = -np.log(np.maximum(scores[rows, targets], 1e-12))
    loss = float((losses * importance).sum() / total + 0.5 * l2 * float((weights * weights).sum()))
    errors = scores.copy()
    errors[rows, targets] -= 1
    errors *= (importance / total)[:, None]
    return loss, inputs.T @ errors + l2 * weights, errors.sum(axis=0), scores


def _train(inputs, targets, class_count, options, on_epoch, should_stop):
    random = np.random.RandomState(options.seed)
    # From zero, not at random: the problem is convex, and what random weights add in directions the
    # few examples don't span is never unlearnt (1 example a class: 89 % right instead of 75 %).
    weights = np.zeros((inputs.shape[1], class_count), np.float32)
    biases = np.zeros(class_count, np.float32)
    optimizer = OPTIMIZERS[options.optimizer]([weights, biases], options.learning_rate)
    importance = _importance(targets, class_count, options.balance)
    for epoch in range(1, options.epochs + 1):
        order, loss_sum, right = random.permutation(len(targets)), 0.0, 0
        for start in range(0, len(order), options.batch_size):
            if should_stop is not None and should_stop():
                raise TrainingStopped(f"training was stopped in epoch {epoch} of {options.epochs}")
            batch = order[start : start + options.batch_size]
            loss, weight_gradient, bias_gradient, scores = loss_and_gradients(
                weights, biases, inputs[batch], targets[batch], importance[batch], options.l2
            )
            optimizer.step([weight_gradient, bias_gradient])
            loss_sum += loss * len(batch)
            right += int((scores.argmax(axis=1) == targets[batch]).sum())
        if on_epoch is not None:
            on_epoch(EpochReport(epoch, options.epochs, loss_sum / len(order), right / len(order)))
    return weights, biases


def _importance(targets: np.ndarray, class_count: int, balance: bool) -> np.ndarray:
    if not balance:
        return np.ones(len(targets), np.float32)
    counts = np.bincount(targets, minlength=class_count)
    return (len(targets) / (class_count * counts[targets])).astype(np.float32)
