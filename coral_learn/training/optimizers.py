"""Rules for turning gradients into steps. Each keeps its own state for a list of arrays."""

from typing import List

import numpy as np


class Adam:
    """Kingma, Ba: Adam: A Method for Stochastic Optimization, 2015 (https://arxiv.org/abs/1412.6980)."""

    def __init__(self, parameters: List[np.ndarray], learning_rate: float, beta1=0.9, beta2=0.999, epsilon=1e-8):
        self._parameters, self.learning_rate = parameters, learning_rate
        self._beta1, self._beta2, self._epsilon = beta1, beta2, epsilon
        self._means = [np.zeros_like(array) for array in parameters]
        self._squares = [np.zeros_like(array) for array in parameters]
        self._work = [np.empty_like(array) for array in parameters]  # a step allocates nothing
        self._steps = 0

    def step(self, gradients: List[np.ndarray]) -> None:
        """Change the parameters in place by one step down these gradients, which it may overwrite."""
        self._steps += 1
        bias1, bias2 = 1 - self._beta1**self._steps, 1 - self._beta2**self._steps
        rate = float(self.learning_rate * np.sqrt(bias2) / bias1)
        for parameter, gradient, mean, square, work in zip(
            self._parameters, gradients, self._means, self._squares, self._work
        ):
            np.multiply(gradient, 1 - self._beta1, out=work)
            mean *= self._beta1
            mean += work
            np.multiply(gradient, gradient, out=gradient)
            gradient *= 1 - self._beta2
            square *= self._beta2
            square += gradient
            np.sqrt(square, out=work)
            work += self._epsilon
            np.divide(mean, work, out=work)
            work *= rate
            parameter -= work


class Sgd:
    """Gradient descent with momentum (Sutskever et al., ICML 2013)."""

    def __init__(self, parameters: List[np.ndarray], learning_rate: float, momentum: float = 0.9):
        self._parameters, self.learning_rate, self._momentum = parameters, learning_rate, momentum
        self._velocities = [np.zeros_like(array) for array in parameters]

    def step(self, gradients: List[np.ndarray]) -> None:
        """Change the parameters in place by one step down these gradients, which it may overwrite."""
        for parameter, gradient, velocity in zip(self._parameters, gradients, self._velocities):
            gradient *= self.learning_rate
            velocity *= self._momentum
            velocity -= gradient
            parameter += velocity
