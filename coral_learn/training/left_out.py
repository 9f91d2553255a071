"""What a head finds in its own examples, each left out in turn: worked out once, for all who ask."""

from typing import Any, List, NamedTuple, Optional, Sequence

import numpy as np

from coral_learn.heads.base import Evidence, IncrementalHead, places_of
from coral_learn.training.sample import Sample
from coral_learn.training.split import bundles_of


class LeftOut(NamedTuple):
    """Examples that a head has learnt, and what it finds in each as if it had not been, nor others of its group.

    chosen : their indices among those that were given; embeddings : (N, D); labels : N
    evidence : as of `IncrementalHead.leave_one_out`
    fair : (N,) bool, whether something of its class is left then, or no answer could be right; and nothing of
        its group, or a wrong one hardly could
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
        sample: Sample,
        groups: Optional[Sequence[Any]] = None,
    ) -> "LeftOut":
        """Of a sample of the examples given; of none without asking the head.

        groups : of all that are given; examples with the same one, other than None, are left out together
        """
        chosen = sample.chosen
        embeddings, labels = np.asarray(embeddings)[chosen], [labels[index] for index in chosen]
        if not labels:
            nothing = Evidence(np.zeros((0, len(head.classes))), np.zeros(0))
            return cls([], embeddings, labels, nothing, np.zeros(0, bool))
        groups = [None] * len(labels) if groups is None else [groups[index] for index in chosen]
        bundles = bundles_of(len(labels), groups)
        parts = [(rows, head.leave_all_out) for rows in bundles if len(rows) > 1]
        alone = [rows[0] for rows in bundles if len(rows) == 1]
        if alone:
            parts.append((alone, head.leave_one_out))
        evidence = Evidence(np.empty((len(labels), len(head.classes))), np.empty(len(labels)))
        for rows, leave_out in parts:
            found = leave_out(embeddings[rows], [labels[row] for row in rows])
            evidence.logits[rows], evidence.familiarity[rows] = found
        own = evidence.logits[np.arange(len(labels)), places_of(labels, head.classes)]
        torn = np.array([group in sample.torn for group in groups])
        return cls(list(chosen), embeddings, labels, evidence, np.isfinite(own) & ~torn)

    def only_fair(self) -> "LeftOut":
        """Those that could have been answered right."""
        rows = np.flatnonzero(self.fair)
        evidence = Evidence(*(part[rows] for part in self.evidence))
        chosen, labels = [self.chosen[row] for row in rows], [self.labels[row] for row in rows]
        return LeftOut(chosen, self.embeddings[rows], labels, evidence, self.fair[rows])
