"""Some of many examples, to measure by: of every class, and as many as make figures steady."""

from collections import Counter, defaultdict
from typing import Any, Dict, FrozenSet, List, NamedTuple, Optional, Sequence, Tuple

from coral_learn.training.split import bundles_of

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

        def turn(index: int) -> Tuple[int, int]:
            return keys[index] * _GOLDEN % _MODULUS, index

        bundles: Dict[Any, List[List[int]]] = defaultdict(list)
        for bundle in sorted(bundles_of(len(labels), groups), key=lambda one: min(map(turn, one))):
            bundles[labels[bundle[0]]].append(bundle)
        shares = _shares(labels, most)
        chosen = [index for label, share in shares.items() for index in _taken(bundles[label], share)]
        shown, torn = {labels[index] for index in chosen}, set()
        for label, share in shares.items():
            if share and label not in shown:
                some = sorted((index for index, one in enumerate(labels) if one == label), key=turn)[:share]
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


def _taken(bundles: List[List[int]], share: int) -> List[int]:
    taken: List[int] = []
    for bundle in bundles:
        if len(taken) >= share:
            break
        if len(bundle) <= share:
            taken += bundle
    return taken
