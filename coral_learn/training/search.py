"""Searching for the options of a softmax head within a time budget."""

import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from coral_learn.errors import OptionError, TooFewExamples, TrainingDiverged, TrainingStopped
from coral_learn.heads import SoftmaxHead
from coral_learn.training.fit import HeldOut
from coral_learn.training.history import History
from coral_learn.training.options import SoftmaxOptions
from coral_learn.training.recipe import Recipe
from coral_learn.training.split import Split, folds

_FOLDS = 5
# What is tried: drawn between these, evenly on a logarithmic scale.
_LEARNING_RATES = (1e-4, 1e-2)
_L2 = (1e-5, 1e-1)
_DROPOUTS = (0.0, 0.0, 0.2, 0.5)
_BATCH_SIZES = (16, 32, 64)
# The best of many trials looks better than it is. So it must be ahead by more standard errors than
# chance gives the best of some dozens, and stay ahead on folds that had no part in picking it.
_AHEAD, _STILL_AHEAD = 2.5, 1.5


class Trial(NamedTuple):
    """Options that were tried: mean held-out loss, accuracy, and which held-out examples were answered right.

    right : N truths over the held-out examples of all folds, the same examples in every trial
    """

    options: SoftmaxOptions
    loss: float
    accuracy: float
    right: Tuple[bool, ...]

    def lead_over(self, other: "Trial") -> float:
        """Standard errors this is ahead by: McNemar's statistic over the examples one of the two got right."""
        won = sum(mine and not theirs for mine, theirs in zip(self.right, other.right))
        lost = sum(theirs and not mine for mine, theirs in zip(self.right, other.right))
        return (won - lost) / max(won + lost, 1) ** 0.5


class Search(NamedTuple):
    """What a search found.

    options : to train with, the recipe's own unless others are ahead by more than chance
    trials : by falling accuracy, then rising loss; reason : in words
    """

    options: SoftmaxOptions
    trials: List[Trial]
    reason: str

    def as_dict(self) -> Dict[str, Any]:
        """For JSON."""
        tried = [
            {
                "options": dict(one.options._asdict()),
                "loss": one.loss if np.isfinite(one.loss) else None,
                "accuracy": one.accuracy,
            }
            for one in self.trials
        ]
        return {"options": dict(self.options._asdict()), "reason": self.reason, "trials": tried}


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
) -> Search:
    """Try options at random over (N, D) embeddings, the recipe's own first.

    Random search after Bergstra, Bengio: Random Search for Hyper-Parameter Optimization, JMLR 2012.
    Others than the recipe's own are taken only when they answer clearly more held-out examples
    right, here and again on other folds.

    seconds : no trial starts later, but the first one and the check of the best always run
    most : no more trials than this; the same seed tries the same, only the clock decides how many
    Raises `TooFewExamples`, `TrainingStopped`.
    """
    if recipe.kind != SoftmaxHead.kind:
        raise OptionError(f"only a softmax head has options to search for, got a recipe for {recipe.kind!r}")
    splits = folds(labels, _FOLDS, seed, groups)
    if not splits or len(set(labels)) < 2:
        raise TooFewExamples("a search needs two classes, and a class with two examples to hold one out")
    embeddings, random, ends = np.asarray(embeddings), np.random.RandomState(seed), clock() + seconds

    def attempt(options: SoftmaxOptions, splits: Sequence[Split]) -> Trial:
        return _try(recipe._replace(softmax=options), embeddings, labels, splits, should_stop)

    own, trials = recipe.softmax.checked(), []
    while not trials or (clock() < ends and len(trials) < most):
        trials.append(attempt(_draw(recipe.softmax, random) if trials else own, splits))
        if on_trial is not None:
            on_trial(trials[-1])
    first, ranked = trials[0], sorted(trials, key=lambda trial: (-trial.accuracy, trial.loss))
    best = ranked[0]
    tried = f"{len(trials)} tried, {len(first.right)} held-out answers each"
    if best.lead_over(first) < _AHEAD:
        return Search(own, ranked, f"{tried}: none is ahead of the options given by more than chance would explain")
    others = folds(labels, _FOLDS, seed + 1, groups)
    again, before = attempt(best.options, others), attempt(own, others)
    figures = f"{again.accuracy:.1%} right beside {before.accuracy:.1%} with the options given"
    if again.lead_over(before) < _STILL_AHEAD:
        return Search(own, ranked, f"{tried}: the best did not stay ahead on other folds, {figures}")
    return Search(best.options, ranked, f"{tried}: on other folds than those it was found by, the best has {figures}")


def _draw(own: SoftmaxOptions, random) -> SoftmaxOptions:
    return own._replace(
        learning_rate=_between(random, *_LEARNING_RATES),
        l2=_between(random, *_L2),
        dropout=float(random.choice(_DROPOUTS)),
        batch_size=int(random.choice(_BATCH_SIZES)),
    )


def _between(random, low: float, high: float) -> float:
    return float(np.exp(random.uniform(np.log(low), np.log(high))))


def _try(recipe: Recipe, embeddings: np.ndarray, labels: Sequence[Any], splits, should_stop) -> Trial:
    losses, right, sizes = [], [], [len(split.held_out) for split in splits]
    for split in splits:
        history, train = History(), [labels[index] for index in split.train]
        held_out = HeldOut(embeddings[split.held_out], [labels[index] for index in split.held_out])
        try:
            head = recipe.make(embeddings[split.train], train, history, should_stop, held_out)
        except TrainingDiverged:
            losses.append(float("inf"))
            right += [False] * len(split.held_out)
            continue
        losses.append(history.best.held_out_loss)
        given = head.logits(held_out.embeddings).argmax(axis=1)
        right += [head.classes[place] == label for place, label in zip(given, held_out.labels)]
    if should_stop is not None and should_stop():
        raise TrainingStopped("the search for options was stopped")
    return Trial(recipe.softmax, float(np.average(losses, weights=sizes)), sum(right) / len(right), tuple(right))
