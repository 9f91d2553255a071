"""Some of many examples, to measure by: of every class, and as many as make figures steady."""

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
        than its class's share is passed over, unless its class has nothing else: then it is torn.

        groups : N; examples with the same one stay together; None for an example on its own
        keys : N whole numbers that the order within a class follows from; where examples keep theirs, they stay
            chosen when others come and go. The indices without.
        """
        keys = range(len(labels)) if keys is None else keys
        if len(labels) <= most:
            return cls(list(range(len(labels))))
        chosen: List[int] = []
        torn = set()
        by_class = _bundles_by_class(labels, groups, keys)
        left = most
        # The smallest first: what they don't use of their share is for the others.
        ordered = sorted(by_class.values(), key=lambda bundles: sum(map(len, bundles)))
        for place, bundles in enumerate(ordered):
            share = min(sum(map(len, bundles)), -(-left // (len(ordered) - place)))
            left -= share
            taken = _taken(bundles, share)
            if share and not taken:
                taken = bundles[0][:share]
                torn.add(groups[taken[0]])
            chosen += taken
        return cls(sorted(chosen), frozenset(torn))


def _bundles_by_class(
    labels: Sequence[Any], groups: Optional[Sequence[Any]], keys: Sequence[int]
) -> Dict[Any, List[List[int]]]:
    """What is taken together, by the class of its first example, in the order it is taken in."""
    together: Dict[Any, List[int]] = {}
    by_class: Dict[Any, List[List[int]]] = {}
    for index in sorted(range(len(labels)), key=lambda one: (keys[one] * _GOLDEN % _MODULUS, one)):
        group = None if groups is None else groups[index]
        if group is not None and group in together:
            together[group].append(index)
            continue
        bundle = [index]
        by_class.setdefault(labels[index], []).append(bundle)
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
