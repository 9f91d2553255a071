"""Searching for the options of a softmax head within a time budget."""

import time
from typing import Any, Callable, List, NamedTuple, Optional, Sequence

import numpy as np

from coral_learn.errors import OptionError, TooFewExamples, TrainingDiverged, TrainingStopped
from coral_learn.heads import SoftmaxHead
from coral_learn.training.fit import HeldOut
from coral_learn.training.history import History
from coral_learn.training.options import SoftmaxOptions
from coral_learn.training.recipe import Recipe
from coral_learn.training.split import folds

_FOLDS = 3
# What is tried: drawn between these, evenly on a logarithmic scale.
_LEARNING_RATES = (1e-4, 1e-2)
_L2 = (1e-5, 1e-1)
_DROPOUTS = (0.0, 0.0, 0.2, 0.5)
_BATCH_SIZES = (16, 32, 64)


class Trial(NamedTuple):
    """Options that were tried, and their held-out loss and accuracy, the mean over the folds."""

    options: SoftmaxOptions
    loss: float
    accuracy: float


def search_options(
    recipe: Recipe,
    embeddings: np.ndarray,
    labels: Sequence[Any],
    seconds: float,
    groups: Optional[Sequence[Any]] = None,
    seed: int = 0,
    most: int = 1000,
    should_stop: Optional[Callable[[], bool]] = None,
    on_trial: Optional[Callable[[Trial], None]] = None,
    clock: Callable[[], float] = time.monotonic,
) -> List[Trial]:
    """Try options at random over (N, D) embeddings, the recipe's own first; best first in the result.

    Random search after Bergstra, Bengio: Random Search for Hyper-Parameter Optimization, JMLR 2012.
    The epochs of a trial's options are as many as its best held-out loss took, so that they need
    no held-out part when training on everything.

    seconds : no trial starts later; the first one always runs. most : no more trials than this; the
    same seed tries the same, only the clock decides how many. Raises `TooFewExamples`, `TrainingStopped`.
    """
    if recipe.kind != SoftmaxHead.kind:
        raise OptionError(f"only a softmax head has options to search for, got a recipe for {recipe.kind!r}")
    splits = folds(labels, _FOLDS, seed, groups)
    if not splits or len(set(labels)) < 2:
        raise TooFewExamples("a search needs two classes, and a class with two examples to hold one out")
    random, ends, trials = np.random.RandomState(seed), clock() + seconds, []
    options = recipe.softmax.checked()
    while not trials or (clock() < ends and len(trials) < most):
        trial = _try(recipe._replace(softmax=options), np.asarray(embeddings), labels, splits, should_stop)
        trials.append(trial)
        if on_trial is not None:
            on_trial(trial)
        options = recipe.softmax._replace(
            learning_rate=_between(random, *_LEARNING_RATES),
            l2=_between(random, *_L2),
            dropout=float(random.choice(_DROPOUTS)),
            batch_size=int(random.choice(_BATCH_SIZES)),
        )
    return sorted(trials, key=lambda trial: trial.loss)


def _between(random, low: float, high: float) -> float:
    return float(np.exp(random.uniform(np.log(low), np.log(high))))


def _try(recipe: Recipe, embeddings: np.ndarray, labels: Sequence[Any], splits, should_stop) -> Trial:
    figures, sizes = [], []
    for split in splits:
        history, train = History(), [labels[index] for index in split.train]
        held_out = HeldOut(embeddings[split.held_out], [labels[index] for index in split.held_out])
        try:
            recipe.make(embeddings[split.train], train, history, should_stop, held_out)
        except TrainingDiverged:
            return Trial(recipe.softmax, float("inf"), 0.0)
        best = history.best
        figures.append((best.held_out_loss, best.held_out_accuracy, best.epoch))
        sizes.append(len(split.held_out))
    if should_stop is not None and should_stop():
        raise TrainingStopped("the search for options was stopped")
    loss, accuracy, epochs = (float(mean) for mean in np.average(figures, axis=0, weights=sizes))
    return Trial(recipe.softmax._replace(epochs=max(1, round(epochs))), loss, accuracy)
