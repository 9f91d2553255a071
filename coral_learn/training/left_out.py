"""What a head finds in its own examples, each left out in turn: worked out once, for all who ask."""

from typing import Any, List, NamedTuple, Sequence

import numpy as np

from coral_learn.heads.base import Evidence, IncrementalHead


class LeftOut(NamedTuple):
    """Examples that a head has learnt, and what it finds in each as if just that one had not been.

    chosen : their indices among those that were given; embeddings : (N, D); labels : N
    evidence : as of `IncrementalHead.leave_one_out`
    """

    chosen: List[int]
    embeddings: np.ndarray
    labels: List[Any]
    evidence: Evidence

    @classmethod
    def of(
        cls, head: IncrementalHead, embeddings: np.ndarray, labels: Sequence[Any], chosen: Sequence[int]
    ) -> "LeftOut":
        """Of some of the examples given, by their indices; of none without asking the head."""
        embeddings, labels = np.asarray(embeddings)[list(chosen)], [labels[index] for index in chosen]
        nothing = Evidence(np.zeros((0, len(head.classes))), np.zeros(0))
        evidence = head.leave_one_out(embeddings, labels) if labels else nothing
        return cls(list(chosen), embeddings, labels, evidence)

    def last(self, most: int) -> "LeftOut":
        """The last `most` of them."""
        some = slice(max(0, len(self.labels) - most), None)
        evidence = Evidence(*(part[some] for part in self.evidence))
        return LeftOut(self.chosen[some], self.embeddings[some], self.labels[some], evidence)
