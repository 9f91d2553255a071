"""How examples scatter around the means of their classes, kept exactly, and the inverse of it."""

from typing import List, Optional

import numpy as np

from coral_learn.heads.sums import ClassSums

# Directions are rounded to whole multiples of 2**-20. A product of two is a whole number up to
# 2**40, and sums of up to 2**13 products are exact in float64: BLAS adds them up without rounding.
_GRAIN = 2.0**-20
_EXACT_ROWS = 4096
# Each step adds a little rounding to the inverse; after so many it is made anew.
_STEPS_BEFORE_REFRESH = 512
_NEARLY_SINGULAR = 1e-6
_WAITING = 64
_NO_SCATTER = 1e-9


class WithinScatter:
    """W = sum over all examples of (x - m)(x - m)', m the mean of its class; (D, D)."""

    def __init__(self, size: int):
        self._products = np.zeros((size, size), np.int64)
        self._waiting: List[np.ndarray] = []  # rows whose products are not in it yet
        self._inverse: Optional[np.ndarray] = None  # of W + ridge I
        self._ridge = 0.0
        self._steps = 0

    def add(self, directions: np.ndarray, sign: int = 1) -> None:
        """Add the products of (N, D) rounded directions, or take them away with sign -1."""
        if sign > 0 and len(self._waiting) + len(directions) <= _WAITING:
            self._waiting.extend(directions)  # together they cost little more than one
            return
        self._work_in(directions, sign)

    @property
    def products(self) -> np.ndarray:
        """The exact sum of x x', (D, D) int64 in steps of 2**-40; its difference from those of the class sums is W."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._work_in(np.stack(waiting), 1)
        return self._products

    @products.setter
    def products(self, products: np.ndarray) -> None:
        self._products, self._waiting, self._inverse = products, [], None

    def _work_in(self, directions: np.ndarray, sign: int) -> None:
        for start in range(0, len(directions), _EXACT_ROWS):
            grains = directions[start : start + _EXACT_ROWS] / _GRAIN
            self._products += sign * (grains.T @ grains).astype(np.int64)

    def step(self, offset: np.ndarray, factor: float) -> None:
        """Bring the inverse from W to W + factor d d' (Sherman, Morrison 1950). offset : d, (D,)."""
        if self._inverse is None:
            return
        along = self._inverse @ offset
        share = 1 + factor * float(offset @ along)
        self._steps += 1
        if share < _NEARLY_SINGULAR or self._steps > _STEPS_BEFORE_REFRESH:
            self._inverse = None
            return
        self._inverse -= np.multiply.outer(along * (factor / share), along)

    def settle(self, mean: np.ndarray, count: int) -> None:
        """Keep W as it is when the mean of a class is about to go from the sums. mean : (D,) of `count` examples."""
        between = np.multiply.outer(mean * count, mean) / _GRAIN**2
        self._products = self.products - np.rint(between).astype(np.int64)

    def forget_inverse(self) -> None:
        """Let the inverse be made anew when it is next asked for."""
        self._inverse = None

    def inverse(self, sums: ClassSums, ridge: float) -> np.ndarray:
        """(W + ridge I)^-1, (D, D) float64. Not to be written to. The one for this ridge is kept."""
        if self._inverse is None or self._ridge != ridge:
            self._inverse, self._ridge, self._steps = self.inverse_anew(sums, ridge), ridge, 0
        return self._inverse

    def inverse_anew(self, sums: ClassSums, ridge: float) -> np.ndarray:
        """The same by one factorisation."""
        identity = np.eye(sums.size)
        directions = sums.means() * np.sqrt(sums.counts)[:, None]
        trace = np.trace(self.products) * _GRAIN**2 - np.vdot(directions, directions)
        if trace < _NO_SCATTER:  # single examples don't scatter
            return identity / ridge
        within = self.products * _GRAIN**2 - directions.T @ directions
        return np.linalg.inv(within + ridge * identity)


def rounded(directions: np.ndarray) -> np.ndarray:
    """Directions to the grain that sums exactly."""
    return np.rint(directions / _GRAIN) * _GRAIN
