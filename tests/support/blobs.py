"""Embeddings made on the spot: clouds of points around one centre a class."""

import numpy as np


def blobs(classes=("a", "b", "c"), per_class=10, size=8, spread=0.3, seed=0):
    """Embeddings (N, D) float32 and their labels, class by class; the centres are the same for every seed."""
    centres = np.random.RandomState(99).uniform(0, 2, (len(classes), size))
    numbers = np.repeat(np.arange(len(classes)), per_class)
    rows = centres[numbers] + np.random.RandomState(seed).normal(0, spread, (len(numbers), size))
    return rows.astype(np.float32), [classes[number] for number in numbers]
