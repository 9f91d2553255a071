"""Setting examples aside to measure with."""

from typing import Any, List, NamedTuple, Optional, Sequence

import numpy as np


class Split(NamedTuple):
    """Indices of the examples to train on and of those held out, sorted."""

    train: List[int]
    held_out: List[int]


def stratified_split(
    labels: Sequence[Any], fraction: float = 0.2, seed: int = 0, groups: Optional[Sequence[Any]] = None
) -> Split:
    """Hold out about `fraction` of each class, at least one example where the class has three or more.

    groups : examples with the same group (frames captured together) stay on one side; None for
        an example on its own. The same arguments give the same split.
    """
    random = np.random.RandomState(seed)
    held_out: List[int] = []
    for label in sorted(set(labels)):
        mine = [index for index, other in enumerate(labels) if other == label]
        bundles = _bundles(mine, groups)
        wanted = max(1, round(fraction * len(mine))) if len(mine) >= 3 else 0
        for bundle in (bundles[index] for index in random.permutation(len(bundles))):
            if len(bundle) <= wanted:
                held_out.extend(bundle)
                wanted -= len(bundle)
    chosen = set(held_out)
    return Split([index for index in range(len(labels)) if index not in chosen], sorted(held_out))


def _bundles(indices: List[int], groups: Optional[Sequence[Any]]) -> List[List[int]]:
    bundles: dict = {}
    for index in indices:
        group = None if groups is None else groups[index]
        bundles.setdefault(("alone", index) if group is None else ("group", group), []).append(index)
    return list(bundles.values())
