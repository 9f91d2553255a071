"""Training and judging the last layer, from embeddings alone."""

from coral_learn.training.evaluation import Evaluation, evaluate
from coral_learn.training.fit import EpochReport, SoftmaxOptions, fit_softmax
from coral_learn.training.split import Split, stratified_split

__all__ = [
    "EpochReport",
    "Evaluation",
    "SoftmaxOptions",
    "Split",
    "evaluate",
    "fit_softmax",
    "stratified_split",
]
