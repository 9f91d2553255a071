"""A head that has learnt examples and knows how sure it may be."""

from typing import Any, Callable, NamedTuple, Optional, Sequence

import numpy as np

from coral_learn.heads import SoftmaxHead
from coral_learn.heads.base import Head
from coral_learn.training.calibration import FALSE_ACCEPT_RATE, MOST_REFUSED, Calibrated, calibrate, calibrate_softmax
from coral_learn.training.fit import EpochReport, HeldOut
from coral_learn.training.history import History
from coral_learn.training.recipe import Recipe
from coral_learn.training.split import stratified_split

_HELD_OUT = 0.2
# With fewer held-out examples chance would decide when to stop and how sure to be.
_ENOUGH = 10


class CalibratedHead(NamedTuple):
    """A head with its calibration in it, what the calibration was found to do, and how training went."""

    head: Head
    calibrated: Calibrated
    history: History


def make_calibrated(
    recipe: Recipe,
    embeddings: np.ndarray,
    labels: Sequence[Any],
    groups: Optional[Sequence[Any]] = None,
    false_accept_rate: float = FALSE_ACCEPT_RATE,
    most_refused: float = MOST_REFUSED,
    on_epoch: Optional[Callable[[EpochReport], None]] = None,
    should_stop: Optional[Callable[[], bool]] = None,
) -> CalibratedHead:
    """Make a head from (N, D) embeddings of N classes and calibrate it by the same examples.

    A softmax head is trained twice where there are enough examples: first without a held-out fifth,
    which says after how many epochs to stop and how sure scores may be; then on everything.

    groups : as of `stratified_split`; the rates as of `calibrate`; the rest as of `fit_softmax`
    """
    embeddings, history = np.asarray(embeddings), History()
    rates = (false_accept_rate, most_refused)
    if recipe.kind != SoftmaxHead.kind:
        head = recipe.make(embeddings, labels)
        return CalibratedHead(head, calibrate(head, embeddings, labels, *rates, groups), history)

    def report(epoch: EpochReport) -> None:
        history(epoch)
        if on_epoch is not None:
            on_epoch(epoch)

    split = stratified_split(labels, _HELD_OUT, recipe.softmax.seed, groups)
    logits, held_out = np.zeros((0, 0)), []
    if len(split.held_out) >= _ENOUGH and recipe.softmax.patience:
        held_out = [labels[index] for index in split.held_out]
        check = HeldOut(embeddings[split.held_out], held_out)
        train = [labels[index] for index in split.train]
        first = recipe.make(embeddings[split.train], train, report, should_stop, check)
        logits = first.logits(check.embeddings)
        recipe = recipe._replace(softmax=recipe.softmax._replace(epochs=history.best.epoch))
    head = recipe.make(embeddings, labels, report if not held_out else None, should_stop)
    found = calibrate_softmax(head, embeddings, labels, logits, held_out, *rates, groups)
    return CalibratedHead(head, found, history)
