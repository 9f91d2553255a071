"""Embeddings on a plane: principal components, to be looked at."""

from typing import NamedTuple

import numpy as np

from coral_learn.errors import EmbeddingMismatch, OptionError

# More directions than asked for are followed, so that the last of those asked for is found as well as the first.
_SPARE = 8
_ROUNDS = 12
_NOTHING = 1e-12


class Projection(NamedTuple):
    """Where embeddings are along their principal components.

    points : (N, K) float64, the components' means are 0; explained : (K,), the share of the variance that each shows
    """

    points: np.ndarray
    explained: np.ndarray


def principal_components(embeddings: np.ndarray, count: int = 2) -> Projection:
    """The first `count` principal components of (N, D) embeddings; 0 along those that there are not.

    The same embeddings give the same points, and of the two signs of a component that one with which its
    largest number is positive. Raises `EmbeddingMismatch`, `OptionError`.

    By subspace iteration from a fixed start (Halko, Martinsson, Tropp: Finding structure with randomness,
    SIAM Review 53, 2011, algorithm 4.4): N x D x (count + 8) multiplications a round, and no D x D matrix.
    """
    rows = np.array(embeddings, np.float32)  # a copy, to be centred
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise EmbeddingMismatch(f"embeddings are finite numbers of the shape (N, D), got the shape {rows.shape}")
    if count < 1:
        raise OptionError(f"one component at least is needed, got {count!r}")
    points, explained = np.zeros((len(rows), count)), np.zeros(count)
    if not rows.size:
        return Projection(points, explained)
    rows -= rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    variance = float(np.einsum("nd,nd->", rows, rows, dtype=np.float64))
    if variance <= _NOTHING * len(rows):
        return Projection(points, explained)
    basis = _leading_space(rows, min(count + _SPARE, *rows.shape))
    _, values, directions = np.linalg.svd((rows @ basis).astype(np.float64), full_matrices=False)
    found = min(count, len(values))
    axes = (directions[:found] @ basis.T).astype(np.float64)
    axes *= np.where(axes[np.arange(found), np.abs(axes).argmax(axis=1)] < 0, -1, 1)[:, None]
    points[:, :found], explained[:found] = rows @ axes.T, values[:found] ** 2 / variance
    return Projection(points, np.minimum(explained, 1.0))


def _leading_space(rows: np.ndarray, size: int) -> np.ndarray:
    """An orthonormal basis, (D, size), of the directions in which centred rows vary most."""
    start = np.random.RandomState(0).standard_normal((rows.shape[1], size)).astype(np.float32)
    basis = np.linalg.qr(start)[0]
    for _ in range(_ROUNDS):
        basis = np.linalg.qr(rows.T @ (rows @ basis))[0]
    return basis
