"""Some of many examples, to measure by: of every class, and as many as make figures steady."""

from collections import Counter, defaultdict
from typing import Any, Dict, FrozenSet, List, NamedTuple, Optional, Sequence

# More examples than this don't make a factor, a threshold or a share better.
ENOUGH = 2000
# Multiples of it modulo 2**32 are spread evenly (Knuth: The Art of Computer Programming, volume 3, 6.4).
_GOLDEN, _MODULUS = 0x9E3779B1, 1 << 32


class Sample(NamedTuple):
    """Which of many examples are looked at.

    chosen : their indices, ascending
    torn : groups of which only a part is among them: what is left of such a group is too much like that part
    """

    chosen: List[int]
    torn: FrozenSet[Any] = frozenset()

    @classmethod
    def of(
        cls,
        labels: Sequence[Any],
        groups: Optional[Sequence[Any]] = None,
        keys: Optional[Sequence[int]] = None,
        most: int = ENOUGH,
    ) -> "Sample":
        """Up to `most` examples; with groups, which are taken whole, less than twice as many.

        No class has more than another one that was left some, but for what its groups make of it. A group larger
        than its class's share is passed over; where that leaves a class without any, a part of it is taken.

        groups : N; examples with the same one stay together; None for an example on its own
        keys : N whole numbers that the order within a class follows from; where examples keep theirs, they stay
            chosen when others come and go. The indices without.
        """
        keys = range(len(labels)) if keys is None else keys
        if len(labels) <= most:
            return cls(list(range(len(labels))))
        order = sorted(range(len(labels)), key=lambda one: (keys[one] * _GOLDEN % _MODULUS, one))
        shares, bundles = _shares(labels, most), _bundles_by_class(order, labels, groups)
        chosen = [index for label, share in shares.items() for index in _taken(bundles[label], share)]
        shown, torn = {labels[index] for index in chosen}, set()
        for label, share in shares.items():
            if share and label not in shown:
                some = [index for index in order if labels[index] == label][:share]
                chosen += some
                torn.update(groups[index] for index in some)
        return cls(sorted(chosen), frozenset(torn))


def _shares(labels: Sequence[Any], most: int) -> Dict[Any, int]:
    """How many of each class, `most` in all."""
    shares, left = {}, most
    # The smallest first: what they don't use of their share is for the others.
    ordered = sorted(Counter(labels).items(), key=lambda pair: pair[1])
    for place, (label, count) in enumerate(ordered):
        shares[label] = min(count, -(-left // (len(ordered) - place)))
        left -= shares[label]
    return shares


def _bundles_by_class(
    order: Sequence[int], labels: Sequence[Any], groups: Optional[Sequence[Any]]
) -> Dict[Any, List[List[int]]]:
    """What is taken together, in this order, by the class of its first example."""
    together: Dict[Any, List[int]] = {}
    by_class: Dict[Any, List[List[int]]] = defaultdict(list)
    for index in order:
        group = None if groups is None else groups[index]
        if group is not None and group in together:
            together[group].append(index)
            continue
        bundle = [index]
        by_class[labels[index]].append(bundle)
        if group is not None:
            together[group] = bundle
    return by_class


def _taken(bundles: List[List[int]], share: int) -> List[int]:
    taken: List[int] = []
    for bundle in bundles:
        if len(taken) >= share:
            break
        if len(bundle) <= share:
            taken += bundle
    return taken
