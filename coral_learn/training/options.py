"""How to train a softmax head."""

from typing import NamedTuple

from coral_learn.errors import OptionError
from coral_learn.training.optimizers import Adam, Sgd

OPTIMIZERS = {"adam": Adam, "sgd": Sgd}
INITIAL = ("zeros", "glorot")
CHOICES = {"optimizer": tuple(OPTIMIZERS), "initial": INITIAL}
# option: lowest, highest allowed value
RANGES = {
    "epochs": (1, 10000),
    "learning_rate": (1e-6, 10.0),
    "batch_size": (1, 100000),
    "l2": (0.0, 10.0),
    "dropout": (0.0, 0.9),
    "patience": (0, 10000),
    "seed": (0, 2**32 - 1),
}


class SoftmaxOptions(NamedTuple):
    """How to train.

    epochs : passes over the examples; batch_size : examples a step; learning_rate : of the
    optimizer at the start, lowered when the loss stalls or swings; l2 : factor of half the squared
    weights in the loss; dropout : share of each embedding's numbers left out of a step; patience :
    epochs without a lower loss on held-out examples before training ends, 0 never; balance : give
    every class the same weight in the loss, however many examples it has; initial : weights at the
    start; seed : of shuffling, dropout and initial weights
    """

    epochs: int = 60
    learning_rate: float = 0.001
    batch_size: int = 32
    l2: float = 0.0005
    dropout: float = 0.0
    patience: int = 10
    optimizer: str = "adam"
    # The problem is convex, and what random weights add in directions the few examples don't span is
    # never unlearnt: 1 example a class gives 89 % right from zeros, 75 % from Glorot's.
    initial: str = "zeros"
    balance: bool = True
    seed: int = 0

    def checked(self) -> "SoftmaxOptions":
        """Return these options with exact types, or raise `OptionError` for the first wrong one."""
        exact = {}
        for name, (lowest, highest) in RANGES.items():
            value, whole = getattr(self, name), isinstance(self._field_defaults[name], int)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not lowest <= value <= highest or (whole and value != int(value)):
                kind = "whole number" if whole else "number"
                raise OptionError(f"{name} must be a {kind} from {lowest:g} to {highest:g}, got {value!r}")
            exact[name] = int(value) if whole else float(value)
        for name, allowed in CHOICES.items():
            value = getattr(self, name)
            if not isinstance(value, str) or value not in allowed:
                raise OptionError("{} must be one of {}, got {!r}".format(name, ", ".join(allowed), value))
        if not isinstance(self.balance, bool):
            raise OptionError(f"balance must be true or false, got {self.balance!r}")
        return self._replace(**exact)
