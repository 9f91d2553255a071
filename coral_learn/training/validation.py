"""Cross-validation: every example answered by a head that was not trained on it."""

from typing import Any, Callable, Optional, Sequence

import numpy as np

from coral_learn.errors import TrainingStopped
from coral_learn.training.evaluation import Answers, Evaluation, judge
from coral_learn.training.recipe import Recipe
from coral_learn.training.split import Split


def cross_validate(
    recipe: Recipe,
    embeddings: np.ndarray,
    labels: Sequence[Any],
    splits: Sequence[Split],
    should_stop: Optional[Callable[[], bool]] = None,
    on_fold: Optional[Callable[[], None]] = None,
) -> Evaluation:
    """Figures over the held-out examples of all splits together, so that small folds don't weigh more.

    embeddings : (N, D); labels : N; splits : as `folds` makes them. Raises `TrainingStopped`.
    """
    embeddings, answers, held_out = np.asarray(embeddings), [], []
    for split in splits:
        if should_stop is not None and should_stop():
            raise TrainingStopped("cross-validation was stopped")
        head = recipe.make(embeddings[split.train], [labels[index] for index in split.train])
        answers.append(Answers.to(head, embeddings[split.held_out]))
        held_out += [labels[index] for index in split.held_out]
        if on_fold is not None:
            on_fold()
    return judge(answers, held_out)
