"""An extractor and a head together: pictures in, answers out."""

from typing import Any, List, NamedTuple, Optional

import numpy as np

from coral_learn.errors import OptionError
from coral_learn.extractor import Extractor
from coral_learn.heads import Head, ImprintingHead


class Prediction(NamedTuple):
    """A class and its score, 0..1."""

    label: Any
    score: float


class Classifier:
    """Teach and classify RGB pictures. Not thread safe.

    extractor : None is the bundled model on the device `auto` chooses
    head : None is imprinting, centred by the extractor's mean embedding where it is known

    >>> classifier = Classifier()
    >>> red, blue = (np.full((64, 64, 3), colour, np.uint8) for colour in ((200, 20, 20), (20, 20, 200)))
    >>> classifier.teach(red, "red")
    >>> classifier.teach(blue, "blue")
    >>> classifier.classify(red)[0].label
    'red'
    """

    def __init__(self, extractor: Optional[Extractor] = None, head: Optional[Head] = None):
        self.extractor = extractor or Extractor()
        size, mean = self.extractor.info.embedding_size, self.extractor.manifest.mean_embedding
        self.head = head or ImprintingHead.suited(size, mean)

    def teach(self, rgb: np.ndarray, label) -> None:
        """Learn one picture, (height, width, 3) uint8. The head must be an incremental one."""
        self.head.learn_one(self.extractor.embed(rgb), label)

    def classify(self, rgb: np.ndarray, top_k: Optional[int] = None) -> List[Prediction]:
        """The classes by falling score, all or the first `top_k`. Raises `NothingLearnt`."""
        return rank(self.head.scores(self.extractor.embed(rgb)), self.head.classes, top_k)


def rank(scores: np.ndarray, classes: List[Any], top_k: Optional[int] = None) -> List[Prediction]:
    """Classes by falling score; equal scores keep the classes' order."""
    if top_k is not None and top_k < 0:
        raise OptionError(f"top_k must be 0 or more, got {top_k!r}")
    order = np.argsort(-scores, kind="stable")[:top_k]
    return [Prediction(classes[index], float(scores[index])) for index in order]
