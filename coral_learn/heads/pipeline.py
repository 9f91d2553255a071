"""What is done to an embedding before a head sees it."""

from typing import Dict, Optional

import numpy as np

from coral_learn.errors import EmbeddingMismatch, OptionError
from coral_learn.heads.state import number, numbers

_TINY = 1e-12
_LARGEST = 1 << 16  # numbers of an embedding


class EmbeddingPipeline:
    """Centre, flatten by a power, then scale to length 1; for learning and for scoring alike. Part of a head's state.

    size : D, the length of an embedding
    mean : (D,), subtracted first; None subtracts nothing. Embeddings behind a ReLU share a large
        common part; without it directions tell classes apart better (+2 points at one example,
        and pre-trained classes stay usable beside taught ones).
    power : exponent of each number's size, its sign kept; below 1 it keeps a few strong features
        from outweighing the many (Perronnin, Sanchez, Mensink: Improving the Fisher Kernel, ECCV 2010)
    """

    def __init__(self, size: int, mean: Optional[np.ndarray] = None, power: float = 1.0):
        if not 0 < power <= 1:
            raise OptionError(f"the power must be above 0 and at most 1, got {power!r}")
        if not 1 <= size <= _LARGEST:
            raise OptionError(f"an embedding has 1 to {_LARGEST} numbers, got {size!r}")
        self.size, self.power = int(size), float(power)
        self.mean = None if mean is None else check_embeddings(mean, self.size)[0].astype(np.float32, copy=True)

    def __call__(self, embeddings: np.ndarray) -> np.ndarray:
        """(D,) or (N, D) of any float type to (N, D) float64 of length 1 each.

        Raises `EmbeddingMismatch` for another length, NaN or infinity.
        """
        rows = check_embeddings(embeddings, self.size).astype(np.float64)
        if self.mean is not None:
            rows -= self.mean
        rows /= np.maximum(np.abs(rows).max(axis=1, keepdims=True), _TINY)  # squares must not overflow
        if self.power != 1:
            rows = np.sign(rows) * np.abs(rows) ** self.power
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _TINY)

    def state(self) -> Dict[str, np.ndarray]:
        """Arrays that `from_state` takes."""
        state = {"pipeline_size": np.array(self.size, np.int64), "pipeline_power": np.array(self.power)}
        if self.mean is not None:
            state["pipeline_mean"] = self.mean.copy()
        return state

    @classmethod
    def from_state(cls, state: Dict[str, np.ndarray]) -> "EmbeddingPipeline":
        """The pipeline with this state."""
        size = int(number(state, "pipeline_size", "whole", 1, _LARGEST))
        mean = numbers(state, "pipeline_mean", "real", (size,)) if "pipeline_mean" in state else None
        return cls(size, mean, number(state, "pipeline_power", "real", 0, 1))


def check_embeddings(embeddings, size: int) -> np.ndarray:
    """Return embeddings as (N, size), or say what is wrong with them."""
    try:
        # Contiguous, so that sums don't depend on how the caller's array lies in memory.
        rows = np.ascontiguousarray(np.atleast_2d(np.asarray(embeddings)))
    except ValueError as error:
        raise EmbeddingMismatch(f"embeddings must all have {size} numbers: {error}") from error
    if rows.ndim != 2 or rows.shape[1] != size or rows.dtype.kind not in "fiu":
        raise EmbeddingMismatch(f"an embedding has {size} numbers here, got shape {rows.shape} and type {rows.dtype}")
    if not np.isfinite(rows).all():
        raise EmbeddingMismatch("an embedding holds finite numbers only, this one has NaN or infinity in it")
    return rows
