"""The last layer: from an embedding to a score for each class."""

from coral_learn.heads.base import Calibration, Evidence, Head, IncrementalHead, load_head
from coral_learn.heads.discriminant import LinearDiscriminantHead
from coral_learn.heads.imprinting import ImprintingHead
from coral_learn.heads.neighbours import Neighbour, NeighboursHead
from coral_learn.heads.pipeline import EmbeddingPipeline
from coral_learn.heads.softmax import SoftmaxHead

__all__ = [
    "Calibration",
    "EmbeddingPipeline",
    "Evidence",
    "Head",
    "ImprintingHead",
    "IncrementalHead",
    "LinearDiscriminantHead",
    "Neighbour",
    "NeighboursHead",
    "SoftmaxHead",
    "load_head",
]
