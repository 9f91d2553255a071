"""Learn new image classes on the device: a TFLite extractor and a trainable last layer.

>>> from coral_learn import Classifier
>>> classifier = Classifier()
>>> classifier.extractor.info.embedding_size
1280
"""

from coral_learn.classifier import Classifier, Prediction
from coral_learn.coral_api import ImprintingEngine, SoftmaxRegression
from coral_learn.errors import CoralLearnError
from coral_learn.extractor import Extractor, ExtractorInfo
from coral_learn.heads import (
    EmbeddingPipeline,
    Head,
    ImprintingHead,
    IncrementalHead,
    LinearDiscriminantHead,
    NeighboursHead,
    SoftmaxHead,
    load_head,
)
from coral_learn.training import (
    Recipe,
    SoftmaxOptions,
    calibrate,
    choose_head,
    evaluate,
    evaluate_left_out,
    fit_softmax,
    make_calibrated,
    stratified_split,
)

__version__ = "0.1.0"

__all__ = [
    "Classifier",
    "CoralLearnError",
    "EmbeddingPipeline",
    "Extractor",
    "ExtractorInfo",
    "Head",
    "ImprintingEngine",
    "ImprintingHead",
    "IncrementalHead",
    "LinearDiscriminantHead",
    "NeighboursHead",
    "Prediction",
    "Recipe",
    "SoftmaxHead",
    "SoftmaxOptions",
    "SoftmaxRegression",
    "calibrate",
    "choose_head",
    "evaluate",
    "evaluate_left_out",
    "fit_softmax",
    "load_head",
    "make_calibrated",
    "stratified_split",
]
