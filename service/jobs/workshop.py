"""Where a training job makes and examines heads."""

import time
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from coral_learn.heads import LinearDiscriminantHead, SoftmaxHead
from coral_learn.training import (
    CalibratedHead,
    Choice,
    History,
    Recipe,
    Search,
    choose_head,
    examine_examples,
    examine_history,
    examine_training,
    expect_from_more,
    make_calibrated,
    search_options,
)
from service.jobs.options import TrainOptions
from service.report import findings_of

# With more examples a forecast by cross-validation takes too long for what it tells.
_MOST_TO_FORECAST = 2000


class Material(NamedTuple):
    """The examples to train on: ids, classes' numbers, embeddings (N, D), capture groups."""

    ids: List[str]
    labels: List[int]
    embeddings: np.ndarray
    groups: List[Optional[str]]

    def pick(self, indices) -> "Material":
        """Some of them."""
        chosen = list(indices)
        return Material(
            [self.ids[i] for i in chosen],
            [self.labels[i] for i in chosen],
            self.embeddings[chosen],
            [self.groups[i] for i in chosen],
        )


class Workshop:
    """Makes heads by one recipe, which choosing and searching may better.

    rates : false-accept rate and most refused, as of `coral_learn.training.calibrate`
    """

    def __init__(self, recipe: Recipe, rates: Tuple[float, float]):
        self.recipe, self._rates = recipe, rates

    def choose(self, material: Material, seed: int, on_progress) -> Choice:
        """Let cross-validation pick the kind of head."""
        choice = choose_head(
            self.recipe, material.embeddings, material.labels, material.groups, seed=seed, on_progress=on_progress
        )
        self.recipe = self.recipe._replace(kind=choice.kind)
        return choice

    def search(self, material: Material, options: TrainOptions, on_progress) -> Search:
        """Take the best options for a softmax head that are found in time."""
        started = time.monotonic()

        def report(_) -> None:
            on_progress(min(1.0, (time.monotonic() - started) / options.search_seconds))

        search = search_options(
            self.recipe,
            material.embeddings,
            material.labels,
            options.search_seconds,
            material.groups,
            options.seed,
            on_trial=report,
        )
        self.recipe = self.recipe._replace(softmax=search.options)
        return search

    def make(self, material: Material, on_epoch=None) -> CalibratedHead:
        """The calibrated head of some examples."""
        return make_calibrated(
            self.recipe, material.embeddings, material.labels, material.groups, *self._rates, on_epoch
        )

    def findings(self, material: Material, made: CalibratedHead, history: History) -> List[Dict[str, Any]]:
        """What is worth knowing about the examples and the training, with ids for the examples concerned."""
        embeddings, labels, found = material.embeddings, material.labels, []
        softmax = self.recipe.kind == SoftmaxHead.kind
        if softmax:
            found += examine_training(self.recipe, embeddings, labels)
            found += examine_history(history.epochs, self.recipe.softmax, len(set(labels)))
            # A softmax head can't leave an example out; the discriminant, about as accurate, can.
            made = make_calibrated(self.recipe._replace(kind=LinearDiscriminantHead.kind), embeddings, labels)
        if labels:
            found += examine_examples(made.head, embeddings, labels)
        more = expect_from_more(self.recipe, embeddings, labels) if len(labels) <= _MOST_TO_FORECAST else None
        found += [more] if more is not None else []
        return findings_of(found, material.ids)
