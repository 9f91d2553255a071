"""From a kind of head and examples to a head that has learnt them."""

from typing import Any, Callable, Dict, NamedTuple, Optional, Sequence, Type

import numpy as np

from coral_learn.errors import OptionError
from coral_learn.heads import ImprintingHead, IncrementalHead, LinearDiscriminantHead, NeighboursHead, SoftmaxHead
from coral_learn.heads.base import Head
from coral_learn.heads.pipeline import EmbeddingPipeline
from coral_learn.training.fit import EpochReport, HeldOut, fit_softmax
from coral_learn.training.options import SoftmaxOptions

INCREMENTAL: Dict[str, Type[IncrementalHead]] = {
    head.kind: head for head in (ImprintingHead, LinearDiscriminantHead, NeighboursHead)
}
KINDS = (*INCREMENTAL, SoftmaxHead.kind)


class Recipe(NamedTuple):
    """How a head is made: the same examples give the same head.

    kind : one of `KINDS`; size : D; mean : (D,) mean embedding or None; softmax : for that kind only
    """

    kind: str
    size: int
    mean: Optional[np.ndarray] = None
    softmax: SoftmaxOptions = SoftmaxOptions()

    def make(
        self,
        embeddings: np.ndarray,
        labels: Sequence[Any],
        on_epoch: Optional[Callable[[EpochReport], None]] = None,
        should_stop: Optional[Callable[[], bool]] = None,
        held_out: Optional[HeldOut] = None,
    ) -> Head:
        """The head that has learnt (N, D) embeddings of N classes. Errors and the rest as of `fit_softmax`."""
        if self.kind == SoftmaxHead.kind:
            return fit_softmax(
                self.softmax_pipeline(), embeddings, labels, self.softmax, on_epoch, should_stop, held_out
            )
        if self.kind not in INCREMENTAL:
            raise OptionError("a head is one of {}, got {!r}".format(", ".join(KINDS), self.kind))
        head = INCREMENTAL[self.kind].suited(self.size, self.mean)
        head.learn_all(np.asarray(embeddings), labels)
        return head

    def softmax_pipeline(self) -> EmbeddingPipeline:
        """The pipeline of a softmax head."""
        return SoftmaxHead.suited_pipeline(self.size, self.mean)

    @property
    def least_classes(self) -> int:
        """How many classes it takes to make one."""
        return 2 if self.kind == SoftmaxHead.kind else 1
