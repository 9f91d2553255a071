"""What a head finds in its own examples, each left out in turn: worked out once, for all who ask."""

from typing import Any, List, NamedTuple, Optional, Sequence

import numpy as np

from coral_learn.heads.base import Evidence, IncrementalHead, places_of
from coral_learn.training.split import bundles_of


class LeftOut(NamedTuple):
    """Examples that a head has learnt, and what it finds in each as if it had not been, nor others of its group.

    chosen : their indices among those that were given; embeddings : (N, D); labels : N
    evidence : as of `IncrementalHead.leave_one_out`
    fair : (N,) bool, whether anything of its class is left then: otherwise no answer could be right
    """

    chosen: List[int]
    embeddings: np.ndarray
    labels: List[Any]
    evidence: Evidence
    fair: np.ndarray

    @classmethod
    def of(
        cls,
        head: IncrementalHead,
        embeddings: np.ndarray,
        labels: Sequence[Any],
        chosen: Sequence[int],
        groups: Optional[Sequence[Any]] = None,
    ) -> "LeftOut":
        """Of some of the examples given, by their indices; of none without asking the head.

        groups : of all that are given; examples with the same one, other than None, are left out together
        """
        embeddings, labels = np.asarray(embeddings)[list(chosen)], [labels[index] for index in chosen]
        if not labels:
            nothing = Evidence(np.zeros((0, len(head.classes))), np.zeros(0))
            return cls([], embeddings, labels, nothing, np.zeros(0, bool))
        bundles = bundles_of(len(labels), None if groups is None else [groups[index] for index in chosen])
        parts = [(rows, head.leave_all_out) for rows in bundles if len(rows) > 1]
        alone = [rows[0] for rows in bundles if len(rows) == 1]
        if alone:
            parts.append((alone, head.leave_one_out))
        evidence = Evidence(np.empty((len(labels), len(head.classes))), np.empty(len(labels)))
        for rows, leave_out in parts:
            found = leave_out(embeddings[rows], [labels[row] for row in rows])
            evidence.logits[rows], evidence.familiarity[rows] = found
        own = evidence.logits[np.arange(len(labels)), places_of(labels, head.classes)]
        return cls(list(chosen), embeddings, labels, evidence, np.isfinite(own))

    def last(self, most: int) -> "LeftOut":
        """The last `most` of them."""
        return self._only(np.arange(max(0, len(self.labels) - most), len(self.labels)))

    def only_fair(self) -> "LeftOut":
        """Those that could have been answered right."""
        return self._only(np.flatnonzero(self.fair))

    def _only(self, rows: np.ndarray) -> "LeftOut":
        evidence = Evidence(*(part[rows] for part in self.evidence))
        chosen, labels = [self.chosen[row] for row in rows], [self.labels[row] for row in rows]
        return LeftOut(chosen, self.embeddings[rows], labels, evidence, self.fair[rows])
