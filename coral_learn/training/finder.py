"""Finding a learning rate and a batch size by trying."""

import time
from typing import Any, Callable, Sequence

import numpy as np

from coral_learn.errors import TooFewExamples, TrainingDiverged
from coral_learn.heads.pipeline import EmbeddingPipeline
from coral_learn.training.fit import Batches, importance, initial_weights, loss_and_gradients
from coral_learn.training.options import OPTIMIZERS, RANGES, SoftmaxOptions

_STEPS = 30
_DIVIDE_BY = 3.0
_BATCH_SIZES = (16, 32, 64, 128, 256, 512)
_TIMED_STEPS = 6
# Small batches learn more from the same examples: a bigger one must save this share of the time.
_WORTH_IT = 0.7


def find_learning_rate(
    pipeline: EmbeddingPipeline,
    embeddings: np.ndarray,
    labels: Sequence[Any],
    options: SoftmaxOptions = SoftmaxOptions(),
    highest: float = RANGES["learning_rate"][1],
) -> float:
    """The first learning rate, going down from `highest` by thirds, at which the loss falls.

    Tried for 30 steps each, from the same start on the same batches. Raises `TooFewExamples`, and
    `TrainingDiverged` where the loss falls at no rate.
    """
    options, classes = options.checked(), sorted(set(labels))
    if len(classes) < 2:
        raise TooFewExamples(f"a learning rate needs examples of at least 2 classes, got {len(classes)}")
    data, rate = Batches.of(pipeline, embeddings, labels, classes), float(highest)
    while rate >= RANGES["learning_rate"][0]:
        if _falls(data, len(classes), options, rate):
            return rate
        rate /= _DIVIDE_BY
    raise TrainingDiverged(f"the loss falls at no learning rate from {highest:g} down to {rate:g}")


def find_batch_size(
    pipeline: EmbeddingPipeline,
    embeddings: np.ndarray,
    labels: Sequence[Any],
    options: SoftmaxOptions = SoftmaxOptions(),
    clock: Callable[[], float] = time.perf_counter,
) -> int:
    """The smallest batch size whose time an example is near the best on this machine.

    clock : gives seconds. Another run may find another size: set it in the options to repeat a training.
    Raises `TooFewExamples` without examples.
    """
    classes = sorted(set(labels))
    if not classes:
        raise TooFewExamples("a batch size needs examples to try it with, got none")
    data = Batches.of(pipeline, embeddings, labels, classes)
    chosen, best = _BATCH_SIZES[0], np.inf
    for size in _BATCH_SIZES:
        if size > max(len(labels), _BATCH_SIZES[0]):
            break
        seconds = _seconds_an_example(data, len(classes), options, min(size, len(labels)), clock)
        if seconds < best * _WORTH_IT:
            chosen, best = size, seconds
    return chosen


def _falls(data: Batches, class_count: int, options: SoftmaxOptions, rate: float) -> bool:
    """Whether the loss over all examples is lower after some steps, and did not swing above its start."""
    random = np.random.RandomState(options.seed)
    weights, biases = initial_weights(data.inputs.shape[1], class_count, options)
    optimizer = OPTIMIZERS[options.optimizer]([weights, biases], rate)
    weight_of_examples = importance(data.targets, class_count, options.balance)
    losses = []
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(_STEPS):
            batch = random.randint(len(data.targets), size=min(options.batch_size, len(data.targets)))
            loss, *gradients, _ = loss_and_gradients(
                weights, biases, data.inputs[batch], data.targets[batch], weight_of_examples[batch], options.l2
            )
            if not np.isfinite(loss):
                return False
            losses.append(loss)
            optimizer.step(gradients)
    return float(np.mean(losses[-5:])) < losses[0] and max(losses[1:]) <= 1.5 * losses[0]


def _seconds_an_example(data: Batches, class_count: int, options: SoftmaxOptions, size: int, clock) -> float:
    weights, biases = initial_weights(data.inputs.shape[1], class_count, options)
    optimizer = OPTIMIZERS[options.optimizer]([weights, biases], options.learning_rate)
    times = []
    for _ in range(_TIMED_STEPS):
        started = clock()
        _, *gradients, _ = loss_and_gradients(
            weights, biases, data.inputs[:size], data.targets[:size], np.ones(size, np.float32), options.l2
        )
        optimizer.step(gradients)
        times.append(clock() - started)
    return min(times) / size
