"""When to take smaller steps, when to stop, and which weights were best."""

from typing import List, Optional

import numpy as np

# A loss counts as lower when it is lower by this share.
_LEAST_GAIN = 1e-3
# After so many epochs without a lower loss the learning rate is halved.
_STALLED = 5
# So many rises among the last epochs are swinging.
_WINDOW, _RISES = 6, 3
_SMALLEST_SHARE = 1e-3


class Schedule:
    """Judges the loss after each epoch.

    learning_rate : for the next epoch; best : copies of the parameters at the lowest loss
    patience : epochs without a lower loss before `finished`; 0 never
    """

    def __init__(self, learning_rate: float, patience: int):
        self.learning_rate, self._first, self._patience = learning_rate, learning_rate, patience
        self.best: Optional[List[np.ndarray]] = None
        self._lowest = self._bar = np.inf
        self._since_lower = self._since_change = 0
        self._losses: List[float] = []

    @property
    def finished(self) -> bool:
        """Whether more epochs are not worth their time."""
        return 0 < self._patience <= self._since_lower

    def judge(self, loss: float, parameters: List[np.ndarray]) -> None:
        """Take the loss after an epoch, and the parameters that gave it."""
        self._losses = [*self._losses[1 - _WINDOW :], loss]
        self._since_change += 1
        if loss < self._bar * (1 - _LEAST_GAIN):
            self._bar, self._since_lower = loss, 0
        else:
            self._since_lower += 1
        if loss < self._lowest:
            self._lowest = loss
            self.best = [array.copy() for array in parameters]
        swinging = sum(np.diff(self._losses) > 0) >= _RISES
        if min(self._since_change, self._since_lower) >= _STALLED or (swinging and self._since_change >= _WINDOW):
            self.learning_rate = max(self.learning_rate / 2, self._first * _SMALLEST_SHARE)
            self._since_change = 0
