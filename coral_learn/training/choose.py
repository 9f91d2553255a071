"""Which kind of head suits these examples."""

from collections import Counter
from itertools import count
from typing import Any, Callable, Dict, NamedTuple, Optional, Sequence

import numpy as np

from coral_learn.errors import OptionError, TooFewExamples
from coral_learn.heads import ImprintingHead, LinearDiscriminantHead, NeighboursHead, SoftmaxHead
from coral_learn.training.evaluation import Evaluation
from coral_learn.training.recipe import KINDS, Recipe
from coral_learn.training.split import folds
from coral_learn.training.validation import cross_validate

_FOLDS = 5
# Heads this close to the best, in standard errors, are as good; the one that keeps learning is chosen.
_AS_GOOD = 1.0
_PREFERENCE = (LinearDiscriminantHead.kind, ImprintingHead.kind, NeighboursHead.kind, SoftmaxHead.kind)
_FEW = 5


class Choice(NamedTuple):
    """The kind of head that was chosen, and why.

    accuracy : {kind: cross-validated accuracy, every class weighing the same}, 0..1
    examples : how many answers stand behind each figure; reason : in words
    """

    kind: str
    accuracy: Dict[str, float]
    examples: int
    reason: str

    def as_dict(self) -> Dict[str, Any]:
        """For JSON."""
        return dict(self._asdict())


def choose_head(
    recipe: Recipe,
    embeddings: np.ndarray,
    labels: Sequence[Any],
    groups: Optional[Sequence[Any]] = None,
    kinds: Sequence[str] = KINDS,
    seed: int = 0,
    should_stop: Optional[Callable[[], bool]] = None,
    on_progress: Optional[Callable[[float], None]] = None,
) -> Choice:
    """Cross-validate the kinds of heads on (N, D) embeddings of N classes and pick one.

    recipe : of any kind, for the rest; groups : as of `stratified_split`; on_progress : gets 0..1
    Raises `TooFewExamples` without examples, `TrainingStopped`.
    """
    counts = Counter(labels)
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise OptionError("the kinds to choose from are {}, got {!r}".format(", ".join(KINDS), list(kinds)))
    if not counts:
        raise TooFewExamples("there are no examples to choose a head by")
    splits = folds(labels, _FOLDS, seed, groups)
    kinds = [kind for kind in kinds if len(counts) >= recipe._replace(kind=kind).least_classes]
    if not splits or len(counts) < 2:
        what = "only one class" if len(counts) < 2 else "no class with two examples that were not taken together"
        chosen = next((kind for kind in _PREFERENCE if kind in kinds), _PREFERENCE[0])
        return Choice(chosen, {}, 0, f"there is {what}, so nothing could be measured; {_rule(chosen)}")
    tried: Dict[str, Evaluation] = {}
    done = count(1)

    def count_fold() -> None:
        if on_progress is not None:
            on_progress(next(done) / (len(kinds) * len(splits)))

    for kind in kinds:
        recipe = recipe._replace(kind=kind)
        tried[kind] = cross_validate(recipe, embeddings, labels, splits, should_stop, count_fold)
    answers = max(evaluation.examples for evaluation in tried.values())
    return _pick({kind: tried[kind].mean_class_accuracy for kind in tried}, answers, counts)


def _pick(tried: Dict[str, float], answers: int, counts: Counter) -> Choice:
    best = max(tried, key=lambda kind: (tried[kind], -_PREFERENCE.index(kind)))
    error = np.sqrt(max(tried[best] * (1 - tried[best]), 1 / answers) / answers)
    good = [kind for kind in _PREFERENCE if kind in tried and tried[kind] >= tried[best] - _AS_GOOD * error]
    chosen = good[0]
    figures = ", ".join(f"{kind} {tried[kind]:.1%}" for kind in sorted(tried, key=lambda kind: -tried[kind]))
    reason = f"cross-validated on {answers} examples of {len(counts)} classes: {figures}. "
    if chosen == best:
        reason += f"{chosen} answered best; {_rule(chosen)}."
    else:
        reason += f"{best} is ahead by no more than chance would explain ({error:.1%}), and {_rule(chosen)}."
    few = [label for label, count in counts.items() if count < _FEW]
    if few:
        reason += f" {len(few)} of the classes have fewer than {_FEW} examples: the choice may change with more."
    return Choice(chosen, tried, answers, reason)


def _rule(kind: str) -> str:
    return {
        "imprinting": "imprinting suits few images with little variation within a class, and learns at once",
        "lda": "lda learns from one image more at once, as imprinting does, and uses what many images tell",
        "knn": "nearest neighbours suit classes that look like several different things",
        "softmax": "softmax suits many images and much variation, but a new class means training again",
    }[kind]
