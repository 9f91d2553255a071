"""A linear discriminant that learns one example at a time.

Linear discriminant analysis in its least-squares form. The weights are S^-1 M', M the class means
and S what all examples share: the covariance within classes plus the spread of the means, shrunk
towards the identity. Regressing class indicators on embeddings gives the same discriminant
(Ye: Least Squares Linear Discriminant Analysis, ICML 2007; Hastie, Tibshirani, Friedman: The
Elements of Statistical Learning, exercise 4.2), and each logit estimates a probability. Every class
weighs the same, however many examples it has. Learning in a stream as in Hayes, Kanan: Lifelong
Machine Learning with Deep Streaming Linear Discriminant Analysis, CVPR Workshops 2020
(https://arxiv.org/abs/1909.01520), here with exact sums, so that forgetting is exact too.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from coral_learn.errors import OptionError
from coral_learn.heads.base import (
    Evidence,
    IncrementalHead,
    State,
    check_label,
    check_labels,
    class_array,
    like_input,
    places_of,
)
from coral_learn.heads.fingerprints import Fingerprints
from coral_learn.heads.pipeline import EmbeddingPipeline
from coral_learn.heads.scatter import WithinScatter, rounded
from coral_learn.heads.state import names, numbers
from coral_learn.heads.sums import ClassSums

# How many examples the shrinkage counts for. Chosen together with `power` by accuracy on three sets
# of photographs with two extractors, at 2 to 20 examples a class; flat from 0.3 to 1.
RIDGE = 0.6
# Beyond this many examples at once, learnt or forgotten, a new factorisation is cheaper than one step for each.
_STEPWISE = 32
_LARGEST_PRIOR = 1e12


class _Space(NamedTuple):
    """The class means seen through the inverse scatter P. projected : P M', (D, C); gram : M P M', (C, C)."""

    inverse: np.ndarray
    projected: np.ndarray
    gram: np.ndarray


class LinearDiscriminantHead(IncrementalHead):
    """Incremental like imprinting, and more accurate from two examples a class on.

    priors : {class: weight} of classes more or less likely than others; a class without one has 1
    """

    kind = "lda"
    power = 0.75
    scale = 16.0

    def __init__(self, pipeline: EmbeddingPipeline, priors: Optional[Dict[Any, float]] = None):
        super().__init__(pipeline)
        weights = dict(priors or {})
        for label, weight in weights.items():
            is_number = isinstance(weight, (int, float, np.number)) and not isinstance(weight, bool)
            if not is_number or not 0 < weight <= _LARGEST_PRIOR:
                raise OptionError(f"a prior is a number above 0, {_LARGEST_PRIOR:g} at most; {label!r} has {weight!r}")
        self.priors = dict(zip(check_labels(list(weights)), (float(weight) for weight in weights.values())))
        self._sums, self._learnt = ClassSums(pipeline.size), Fingerprints()
        self._scatter = WithinScatter(pipeline.size)
        self._weights: Optional[np.ndarray] = None

    @property
    def classes(self) -> List[Any]:
        return list(self._sums.classes)

    @property
    def counts(self) -> Dict[Any, int]:
        return dict(zip(self._sums.classes, self._sums.counts.tolist()))

    @property
    def weights(self) -> np.ndarray:
        """The linear layer behind the pipeline: logits = weights @ direction. (C, D) float64."""
        if self._weights is None:
            counts = self._sums.counts
            space = self._space(_ridge(counts))
            loaded = space.gram + np.diag(self._loading(int(counts.sum()), len(counts)))
            self._weights = np.linalg.solve(loaded, space.projected.T)
        return self._weights

    @property
    def biases(self) -> np.ndarray:
        """(C,): there are none."""
        return np.zeros(len(self._sums.classes))

    def learn_many(self, embeddings: np.ndarray, labels: Sequence[Any]) -> None:
        directions, labels = self._checked(embeddings, labels, self._sums.classes[:1])
        directions = rounded(directions)
        self._weights = None
        self._learnt.add(embeddings, labels)
        self._scatter.add(directions)
        if len(labels) > _STEPWISE:
            self._scatter.forget_inverse()
            self._sums.add(directions, labels)
            return
        for direction, label in zip(directions, labels):
            count = self._sums.count(label)
            if count:
                self._scatter.step(direction - self._sums.mean(label), count / (count + 1))
            self._sums.add(direction[None], [label])

    def forget_many(self, embeddings: np.ndarray, label) -> None:
        directions = rounded(self.pipeline(embeddings))
        self._learnt.take(embeddings, self._sums.named(label))
        self._weights = None
        self._scatter.add(directions, -1)
        if len(directions) > _STEPWISE:
            self._scatter.forget_inverse()
        for direction in directions:
            count = self._sums.count(label)
            if count > 1:
                self._scatter.step(direction - self._sums.mean(label), -count / (count - 1))
            self._sums.take(direction[None], label)

    def rename(self, label, new) -> None:
        self._sums.rename(label, new)
        self._learnt.move(label, new)
        if label in self.priors:
            self.priors[check_label(new, self._sums.classes)] = self.priors.pop(label)
        self._weights = None

    def merge(self, label, into) -> None:
        self._sums.merge(label, into)
        self._learnt.move(label, into)
        if label != into:
            self.priors.pop(label, None)
        self._scatter.forget_inverse()
        self._weights = None

    def remove(self, label) -> None:
        """Take a class away. How its examples scattered is part of the shared covariance and stays there."""
        self._scatter.settle(self._sums.mean(label), self._sums.count(label))
        self._learnt.drop(self._sums.named(label))
        self._sums.drop(label)
        self.priors.pop(label, None)
        self._weights = None

    def logits(self, embeddings: np.ndarray) -> np.ndarray:
        self._must_have_learnt()
        return like_input(rounded(self.pipeline(embeddings)) @ self.weights.T, embeddings)

    def leave_one_out(self, embeddings: np.ndarray, labels: Sequence[Any]) -> Evidence:
        self._must_have_learnt()
        directions, labels = self._checked(embeddings, labels, self._sums.classes[:1])
        directions = rounded(directions)
        own = places_of(labels, self._sums.classes)
        counts = self._sums.counts
        logits = np.full((len(own), len(counts)), -np.inf)
        # The shrinkage follows the counts; what is left after taking one away differs by class at most.
        left = np.array([_ridge(_less_one(counts, row)) for row in range(len(counts))])
        for ridge in np.unique(left[own]):
            space = self._space(ridge)
            for alone in (False, True):
                rows = np.flatnonzero((left[own] == ridge) & ((counts[own] == 1) == alone))
                leave = self._leave_class if alone else self._leave_example
                if len(rows) and len(counts) > alone:
                    logits[rows] = leave(space, directions[rows], own[rows])
        return Evidence(logits, logits.max(axis=1, initial=-np.inf))

    def leave_all_out(self, embeddings: np.ndarray, labels: Sequence[Any]) -> Evidence:
        self._must_have_learnt()
        directions, labels = self._checked(embeddings, labels, self._sums.classes[:1])
        directions, counts = rounded(directions), self._sums.counts
        own = places_of(labels, self._sums.classes)
        going = np.bincount(own, minlength=len(counts))
        left = counts - going
        logits = np.full((len(own), len(counts)), -np.inf)
        if left.any():
            stays = left > 0
            logits[:, stays] = self._without(self._space(_ridge(left[stays])), directions, own, going)[:, stays]
        return Evidence(logits, logits.max(axis=1, initial=-np.inf))

    def as_strangers(self, embeddings: np.ndarray, labels: Sequence[Any]) -> np.ndarray:
        self._must_have_learnt()
        directions, labels = self._checked(embeddings, labels, self._sums.classes[:1])
        directions, counts = rounded(directions), self._sums.counts
        own = places_of(labels, self._sums.classes)
        strange = np.full(len(own), -np.inf)
        if len(counts) > 1:
            ridges = {row: _ridge(np.delete(counts, row)) for row in np.unique(own)}
            for ridge in sorted(set(ridges.values())):
                space = self._space(ridge)
                for row in (row for row in ridges if ridges[row] == ridge):
                    mine = own == row
                    strange[mine] = self._without_class(space, directions[mine], row).max(axis=1)
        return strange

    def state(self) -> State:
        state = self._common_state()
        state.update(self._sums.state(), **self._learnt.state(self._sums.classes))
        state.update(
            products=self._scatter.products.copy(),
            prior_classes=class_array(sorted(self.priors)),
            prior_weights=np.array([self.priors[label] for label in sorted(self.priors)], np.float64),
        )
        return state

    @classmethod
    def from_state(cls, state: State) -> "LinearDiscriminantHead":
        pipeline, likelier = EmbeddingPipeline.from_state(state), names(state, "prior_classes")
        weights = numbers(state, "prior_weights", "real", (len(likelier),))
        # Before anything is made in this size: the state may be damaged.
        products = numbers(state, "products", "whole", (pipeline.size, pipeline.size)).astype(np.int64)
        head = cls(pipeline, dict(zip(likelier, weights.tolist())))
        head._sums = ClassSums.load(pipeline.size, state)
        head._learnt = Fingerprints.load(state, head._sums.classes, head._sums.counts)
        head._scatter.products = products
        return head

    def _loading(self, examples: int, classes: int) -> np.ndarray:
        """What is added to the diagonal of the gram matrix: 1 / (examples x share of the class), (C,)."""
        weights = np.array([self.priors.get(label, 1.0) for label in self._sums.classes])
        return classes / (max(examples, 1) * weights)

    def _space(self, ridge: float) -> _Space:
        now = ridge == _ridge(self._sums.counts)  # another one is needed once only
        inverse = (self._scatter.inverse if now else self._scatter.inverse_anew)(self._sums, ridge)
        means = self._sums.means()
        projected = inverse @ means.T
        return _Space(inverse, projected, means @ projected)

    def _leave_class(self, space: _Space, directions: np.ndarray, own: np.ndarray) -> np.ndarray:
        """Logits without the mean of the class `own`, (N, C), minus infinity there."""
        counts, rows = self._sums.counts, np.arange(len(own))
        solved = np.linalg.inv(space.gram + np.diag(self._loading(int(counts.sum()) - 1, len(counts) - 1)))
        along = directions @ space.projected
        along[rows, own] = 0
        logits = along @ solved
        # What is left of an inverse when a row and a column go (Schur complement).
        logits -= solved[own] * (logits[rows, own] / solved[own, own])[:, None]
        logits[rows, own] = -np.inf
        return logits

    def _without_class(self, space: _Space, directions: np.ndarray, row: int) -> np.ndarray:
        """Logits of all (n, D) examples of a class without its mean and its scatter, (n, C - 1)."""
        counts, others = self._sums.counts, np.arange(len(self._sums.counts)) != row
        offsets = directions - directions.mean(axis=0)
        through = offsets @ space.inverse  # (n, D): what the scatter loses, seen through P
        rest = np.eye(len(offsets)) - through @ offsets.T
        seen = offsets @ space.projected[:, others]
        back = np.linalg.solve(rest, seen)
        loading = self._loading(int(counts.sum() - counts[row]), len(counts) - 1)[others]
        gram = space.gram[np.ix_(others, others)] + seen.T @ back + np.diag(loading)
        along = directions @ space.projected[:, others] + (directions @ through.T) @ back
        return np.linalg.solve(gram, along.T).T

    def _without(self, space: _Space, directions: np.ndarray, own: np.ndarray, going: np.ndarray) -> np.ndarray:
        """Logits of (n, D) examples without any of them, (n, C). going : how many each class loses, (C,).

        With o the mean offset of the k that a class of m loses, its mean moves by -k/(m-k) o, and the scatter
        loses the products of their offsets and k k/(m-k) o o'.
        """
        counts, means, projected, lost = self._sums.counts, self._sums.means(), space.projected.copy(), []
        for row in np.flatnonzero(going):
            offsets, left = directions[own == row] - means[row], counts[row] - going[row]
            lost.append(offsets)
            if left:
                offset = offsets.mean(axis=0)
                lost.append(offset[None] * going[row] / np.sqrt(left))
                means[row] -= offset * going[row] / left
                projected[:, row] = space.inverse @ means[row]
        offsets = np.concatenate(lost)
        through = offsets @ space.inverse  # what the scatter loses, seen through P
        seen = offsets @ projected
        back = np.linalg.solve(np.eye(len(offsets)) - through @ offsets.T, seen)
        stays = counts > going
        loading = self._loading(int(counts.sum() - going.sum()), int(stays.sum()))
        gram = means @ projected + seen.T @ back + np.diag(loading)
        along = directions @ projected + (directions @ through.T) @ back
        logits = np.zeros((len(own), len(counts)))
        logits[:, stays] = np.linalg.solve(gram[np.ix_(stays, stays)], along[:, stays].T).T
        return logits

    def _leave_example(self, space: _Space, directions: np.ndarray, own: np.ndarray) -> np.ndarray:
        """Logits without the example itself, (N, C); its class has others.

        With d = x - m of its class, the scatter loses n/(n-1) d d' and the mean moves by -d/(n-1):
        the gram matrix changes by U J U' with U = (M P d, e), a matrix of rank two.
        """
        counts, rows = self._sums.counts, np.arange(len(own))
        count = counts[own].astype(np.float64)
        solved = np.linalg.inv(space.gram + np.diag(self._loading(int(counts.sum()) - 1, len(counts))))
        along = directions @ space.projected  # M P x
        square = np.einsum("nd,nd->n", directions @ space.inverse, directions)  # x P x
        offset = along - space.gram[own]  # M P d
        reach = square - 2 * along[rows, own] + space.gram[own, own]  # d P d
        cross = square - along[rows, own]  # d P x
        factor, move = count / (count - 1), 1 / (count - 1)
        grown = factor / np.maximum(1 - factor * reach, 1e-12)  # P becomes P + grown (P d)(P d)'
        stretch = 1 + grown * reach
        # M'P'x, the example seen through what is left
        seen = along + (grown * cross)[:, None] * offset
        seen[rows, own] -= move * cross * stretch
        change = np.empty((len(own), 2, 2))
        change[:, 0, 0], change[:, 1, 1] = grown, move * move * reach * stretch
        change[:, 0, 1] = change[:, 1, 0] = -move * stretch
        basis = np.stack([offset @ solved, solved[own]], axis=1)  # (N, 2, C): U' R
        inner = np.empty((len(own), 2, 2))  # U' R U
        inner[:, 0, 0] = np.einsum("nc,nc->n", basis[:, 0], offset)
        inner[:, 0, 1] = inner[:, 1, 0] = basis[rows, 0, own]
        inner[:, 1, 1] = solved[own, own]
        amounts = np.einsum("nkc,nc->nk", basis, seen)
        core = np.linalg.solve(np.eye(2) + change @ inner, change @ amounts[:, :, None])[:, :, 0]
        return seen @ solved - np.einsum("nk,nkc->nc", core, basis)


def _ridge(counts: np.ndarray) -> float:
    """The shrinkage for these counts: more where some classes have few examples beside many of others.

    Means of few examples are noisy, and the noise of all is what shrinkage must cover. In steps of
    two, so that most examples leave it where it is.
    """
    if not len(counts) or not counts.all():
        return RIDGE
    unevenness = counts.sum() * (1 / counts).mean() / len(counts)
    return float(RIDGE * 2.0 ** np.rint(np.log2(unevenness)))


def _less_one(counts: np.ndarray, row: int) -> np.ndarray:
    """Counts after one example of a class is gone, and its class with the last one."""
    left = counts.copy()
    left[row] -= 1
    return left[left > 0]
