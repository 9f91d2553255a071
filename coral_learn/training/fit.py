"""Softmax regression by backpropagation of the last layer."""

from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from coral_learn.errors import TooFewExamples, TrainingDiverged, TrainingStopped
from coral_learn.heads.base import check_labels, places_of, softmax
from coral_learn.heads.pipeline import EmbeddingPipeline
from coral_learn.heads.softmax import SoftmaxHead
from coral_learn.training.options import OPTIMIZERS, SoftmaxOptions
from coral_learn.training.schedule import Schedule

# The deviation inputs are brought to. At two the default learning rate is through in half the steps that
# it takes at one, and as accurate.
_DEVIATION = 2.0
# Up to this size a shuffled copy is made each epoch, so that batches are slices; beyond it memory counts more.
_COPY_BYTES = 64 * 1024 * 1024
_ROWS_AT_ONCE = 4096
# A loss so many times that of knowing nothing is on its way to infinity.
_RUNAWAY = 1e6


class HeldOut(NamedTuple):
    """Examples that are measured and never trained on. embeddings : (M, D); labels : M of the trained classes."""

    embeddings: np.ndarray
    labels: Sequence[Any]


class EpochReport(NamedTuple):
    """What one pass over the examples gave.

    step : steps so far; loss : mean, with the L2 term; accuracy : 0..1; both during the pass
    held_out_loss, held_out_accuracy : after it, without the L2 term; None without held-out examples
    weight_norm, bias_norm : lengths of weights and biases; update_norm : how far the weights moved
    """

    epoch: int
    epochs: int
    step: int
    loss: float
    accuracy: float
    held_out_loss: Optional[float]
    held_out_accuracy: Optional[float]
    learning_rate: float
    weight_norm: float
    bias_norm: float
    update_norm: float


def fit_softmax(
    pipeline: EmbeddingPipeline,
    embeddings: np.ndarray,
    labels: Sequence[Any],
    options: SoftmaxOptions = SoftmaxOptions(),
    on_epoch: Optional[Callable[[EpochReport], None]] = None,
    should_stop: Optional[Callable[[], bool]] = None,
    held_out: Optional[HeldOut] = None,
) -> SoftmaxHead:
    """Train a fully-connected layer with cross-entropy.

    embeddings : (N, D); labels : N classes, at least two different ones
    on_epoch : called after each pass; should_stop : asked before each step
    held_out : decides when to stop and which epoch's weights are kept; without any the last ones are

    The same examples, options and seed give the same bytes. Raises `TooFewExamples`,
    `OptionError`, `EmbeddingMismatch`, `TrainingDiverged`, or `TrainingStopped` when told to stop.
    """
    options, labels = options.checked(), check_labels(labels)
    classes = sorted(set(labels))
    if len(classes) < 2:
        raise TooFewExamples(f"softmax regression needs examples of at least 2 classes, got {len(classes)}")
    data = Batches.of(pipeline, embeddings, labels, classes)
    check = None
    if held_out is not None and len(held_out.labels):
        check = Batches.of(pipeline, held_out.embeddings, held_out.labels, classes)
    loop = _Loop(data, len(classes), options)
    with np.errstate(over="ignore", invalid="ignore"):  # judged by the loss
        weights, biases = loop.run(check, on_epoch, should_stop)
    return SoftmaxHead(pipeline, classes, weights.T * data.spread, biases, data.class_means(len(classes)))


class Batches(NamedTuple):
    """Examples as training takes them.

    inputs : (N, D) float32 directions times `spread`, so that the usual learning rates fit whatever D is
    targets : (N,) place of each example's class
    """

    inputs: np.ndarray
    targets: np.ndarray
    spread: np.float32

    @classmethod
    def of(cls, pipeline: EmbeddingPipeline, embeddings: np.ndarray, labels: Sequence[Any], classes: List[Any]):
        """Embeddings (N, D) and N labels, all of them among the classes. Raises `TooFewExamples`."""
        strangers = sorted(set(labels) - set(classes))
        if strangers:
            raise TooFewExamples(f"no examples to train on of the held-out class {strangers[0]!r}")
        if len(embeddings) != len(labels):
            raise TooFewExamples(f"{len(embeddings)} embeddings with {len(labels)} labels")
        spread = np.float32(_DEVIATION * np.sqrt(pipeline.size))
        inputs = np.empty((len(labels), pipeline.size), np.float32)
        for start in range(0, len(labels), _ROWS_AT_ONCE):
            inputs[start : start + _ROWS_AT_ONCE] = pipeline(embeddings[start : start + _ROWS_AT_ONCE])
        inputs *= spread
        return cls(inputs, places_of(labels, classes), spread)

    def class_means(self, classes: int) -> np.ndarray:
        """(C, D) mean direction of each class, of length 1."""
        means = np.zeros((classes, self.inputs.shape[1]), np.float64)
        for place in range(classes):
            means[place] = self.inputs[self.targets == place].mean(axis=0)
        return means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)


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
    loss = float(losses @ importance / total + 0.5 * l2 * float(np.vdot(weights, weights)))
    errors = scores.copy()
    errors[rows, targets] -= 1
    errors *= (importance / total)[:, None]
    gradient = inputs.T @ errors
    if l2:
        gradient += l2 * weights
    return loss, gradient, errors.sum(axis=0), scores


def initial_weights(size: int, classes: int, options: SoftmaxOptions) -> Tuple[np.ndarray, np.ndarray]:
    """Weights (D, C) and biases (C,) float32 to start from: zeros, or Glorot-normal weights with zero biases.

    Glorot, Bengio: Understanding the difficulty of training deep feedforward neural networks, AISTATS 2010.
    """
    weights = np.zeros((size, classes), np.float32)
    if options.initial == "glorot":
        deviation = np.sqrt(2.0 / (size + classes))
        weights += np.random.RandomState(options.seed).normal(0, deviation, weights.shape).astype(np.float32)
    return weights, np.zeros(classes, np.float32)


class _Loop:
    """One training: epochs of steps over shuffled examples."""

    def __init__(self, data: Batches, class_count: int, options: SoftmaxOptions):
        self._data, self._options = data, options
        self._random = np.random.RandomState(options.seed)
        self._weights, self._biases = initial_weights(data.inputs.shape[1], class_count, options)
        self._optimizer = OPTIMIZERS[options.optimizer]([self._weights, self._biases], options.learning_rate)
        self._importance = importance(data.targets, class_count, options.balance)
        self._shuffled = np.empty_like(data.inputs) if data.inputs.nbytes <= _COPY_BYTES else None
        self._steps = 0

    def run(self, check: Optional[Batches], on_epoch, should_stop) -> Tuple[np.ndarray, np.ndarray]:
        options, parameters = self._options, [self._weights, self._biases]
        schedule = Schedule(options.learning_rate, options.patience if check is not None else 0)
        for epoch in range(1, options.epochs + 1):
            before = self._weights.copy()
            loss, accuracy = self._epoch(epoch, should_stop)
            held_out = (None, None) if check is None else self._measure(check)
            report = EpochReport(
                epoch,
                options.epochs,
                self._steps,
                loss,
                accuracy,
                *held_out,
                self._optimizer.learning_rate,
                float(np.linalg.norm(self._weights)),
                float(np.linalg.norm(self._biases)),
                float(np.linalg.norm(self._weights - before)),
            )
            if on_epoch is not None:
                on_epoch(report)
            if not loss < _RUNAWAY * np.log(len(self._biases)):
                raise TrainingDiverged(
                    f"training diverged, the loss is {loss:g} in epoch {epoch}; "
                    f"try a learning rate below {options.learning_rate:g}"
                )
            schedule.judge(loss if check is None else held_out[0], parameters)
            self._optimizer.learning_rate = schedule.learning_rate
            if schedule.finished:
                break
        return tuple(schedule.best if check is not None and schedule.best else parameters)

    def _epoch(self, epoch: int, should_stop) -> Tuple[float, float]:
        """Mean loss and accuracy over one pass."""
        options, count = self._options, len(self._data.targets)
        order, loss_sum, right = self._random.permutation(count), 0.0, 0
        if self._shuffled is not None:
            np.take(self._data.inputs, order, axis=0, out=self._shuffled)
        targets, weights_of_examples = self._data.targets[order], self._importance[order]
        for start in range(0, count, options.batch_size):
            if should_stop is not None and should_stop():
                raise TrainingStopped(f"training was stopped in epoch {epoch} of {options.epochs}")
            batch = slice(start, start + options.batch_size)
            rows = self._data.inputs[order[batch]] if self._shuffled is None else self._shuffled[batch]
            if options.dropout:
                kept = self._random.random_sample(rows.shape) >= options.dropout
                rows = rows * (kept / np.float32(1 - options.dropout)).astype(np.float32)
            loss, weight_gradient, bias_gradient, scores = loss_and_gradients(
                self._weights, self._biases, rows, targets[batch], weights_of_examples[batch], options.l2
            )
            self._optimizer.step([weight_gradient, bias_gradient])
            self._steps += 1
            loss_sum += loss * len(rows)
            right += int(np.count_nonzero(scores.argmax(axis=1) == targets[batch]))
        return loss_sum / count, right / count

    def _measure(self, check: Batches) -> Tuple[float, float]:
        """Cross-entropy, every class weighing the same, and accuracy on held-out examples."""
        weights = importance(check.targets, len(self._biases), self._options.balance)
        loss, _, _, scores = loss_and_gradients(self._weights, self._biases, *check[:2], weights, 0.0)
        return loss, float((scores.argmax(axis=1) == check.targets).mean())


def importance(targets: np.ndarray, class_count: int, balance: bool) -> np.ndarray:
    """Weight of each example in the loss, (N,) float32, mean 1; balanced: the same sum for every class met."""
    if not balance:
        return np.ones(len(targets), np.float32)
    counts = np.bincount(targets, minlength=class_count)
    return (len(targets) / (np.count_nonzero(counts) * counts[targets])).astype(np.float32)
