"""Setting examples aside to measure with."""

from collections import Counter
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from coral_learn.errors import OptionError


class Split(NamedTuple):
    """Indices of the examples to train on and of those held out, sorted."""

    train: List[int]
    held_out: List[int]


def stratified_split(
    labels: Sequence[Any], fraction: float = 0.2, seed: int = 0, groups: Optional[Sequence[Any]] = None
) -> Split:
    """Hold out about `fraction` of each class, at least one example where the class has three or more.

    fraction : 0..0.5
    groups : examples with the same group (frames captured together) stay on one side, whatever
        their classes; None for an example on its own. Where no group is as small as that, the smallest
        one is held out; nothing of a class that is one group, or mostly so.

    Every class keeps at least half of its examples to train on. The same arguments give the same split.
    """
    if not 0 <= fraction <= 0.5:
        raise OptionError(f"the fraction to hold out must be from 0 to 0.5, got {fraction!r}")
    random = np.random.RandomState(seed)
    bundles = bundles_of(len(labels), groups)
    contents = [Counter(labels[index] for index in bundle) for bundle in bundles]
    sizes, taken = Counter(labels), Counter()
    held_out: List[int] = []

    def hold_out(number: int) -> None:
        if all(2 * (taken[other] + count) <= sizes[other] for other, count in contents[number].items()):
            held_out.extend(bundles[number])
            taken.update(contents[number])
            contents[number] = Counter()  # not to be taken twice

    for label in sorted(sizes):
        wanted = max(1, round(fraction * sizes[label])) if fraction and sizes[label] >= 3 else 0
        mine = [number for number, content in enumerate(contents) if label in content]
        mine = [mine[index] for index in random.permutation(len(mine))]
        for number in mine:
            if taken[label] + contents[number][label] <= wanted:
                hold_out(number)
        if wanted and mine and not taken[label]:
            hold_out(min(mine, key=lambda number: contents[number][label]))
    chosen = set(held_out)
    return Split([index for index in range(len(labels)) if index not in chosen], sorted(held_out))


def folds(labels: Sequence[Any], count: int = 5, seed: int = 0, groups: Optional[Sequence[Any]] = None) -> List[Split]:
    """Split `count` times so that each example is held out once, each class spread over the folds.

    groups : as of `stratified_split`. A fold holds out nothing of a class that has no other bundle
        of examples left to train on; such examples are always trained on. Empty folds are left out.
    """
    if not isinstance(count, int) or count < 2:
        raise OptionError(f"there must be at least 2 folds, got {count!r}")
    random = np.random.RandomState(seed)
    bundles = bundles_of(len(labels), groups)
    contents = [Counter(labels[index] for index in bundle) for bundle in bundles]
    places: Dict[int, int] = {}
    for label in sorted(set(labels)):
        mine = [number for number, content in enumerate(contents) if label in content]
        for turn, number in enumerate(mine[index] for index in random.permutation(len(mine))):
            places.setdefault(number, turn % count)
    sizes = Counter(labels)
    splits = []
    for fold in range(count):
        held, taken = [], Counter()
        for number, content in enumerate(contents):
            if places[number] == fold and all(taken[one] + content[one] < sizes[one] for one in content):
                taken.update(content)
                held.extend(bundles[number])
        chosen = set(held)
        if held:
            splits.append(Split([index for index in range(len(labels)) if index not in chosen], sorted(held)))
    return splits


def bundles_of(count: int, groups: Optional[Sequence[Any]]) -> List[List[int]]:
    """Indices 0..count - 1 by group; one whose group is None, or all without groups, on its own."""
    bundles: Dict[Any, List[int]] = {}
    for index in range(count):
        group = None if groups is None else groups[index]
        bundles.setdefault(("alone", index) if group is None else ("group", group), []).append(index)
    return list(bundles.values())
