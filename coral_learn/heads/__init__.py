"""The last layer: from an embedding to a score for each class."""

from coral_learn.heads.base import Head, IncrementalHead, load_head
from coral_learn.heads.imprinting import ImprintingHead
from coral_learn.heads.pipeline import EmbeddingPipeline
from coral_learn.heads.softmax import SoftmaxHead

__all__ = ["EmbeddingPipeline", "Head", "ImprintingHead", "IncrementalHead", "SoftmaxHead", "load_head"]
