"""Learn new image classes on the device: a TFLite extractor and a trainable last layer.

>>> from coral_learn import Classifier
>>> classifier = Classifier()
>>> classifier.extractor.info.embedding_size
1280
"""

from importlib import import_module
from typing import Any, List

__version__ = "0.1.0"

# Where each name is from. Loaded when it is asked for: commands and the extractor's process need little of all this,
# and start sooner.
_HOMES = {
    "Classifier": "coral_learn.classifier",
    "CoralLearnError": "coral_learn.errors",
    "EmbeddingPipeline": "coral_learn.heads",
    "Extractor": "coral_learn.extractor",
    "ExtractorInfo": "coral_learn.extractor",
    "Head": "coral_learn.heads",
    "ImprintingEngine": "coral_learn.coral_api",
    "ImprintingHead": "coral_learn.heads",
    "IncrementalHead": "coral_learn.heads",
    "LinearDiscriminantHead": "coral_learn.heads",
    "NeighboursHead": "coral_learn.heads",
    "Prediction": "coral_learn.classifier",
    "Recipe": "coral_learn.training",
    "SoftmaxHead": "coral_learn.heads",
    "SoftmaxOptions": "coral_learn.training",
    "SoftmaxRegression": "coral_learn.coral_api",
    "calibrate": "coral_learn.training",
    "choose_head": "coral_learn.training",
    "evaluate": "coral_learn.training",
    "evaluate_left_out": "coral_learn.training",
    "fit_softmax": "coral_learn.training",
    "load_head": "coral_learn.heads",
    "make_calibrated": "coral_learn.training",
    "stratified_split": "coral_learn.training",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """A public name that is asked for the first time (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = getattr(import_module(_HOMES[name]), name)
    return found


def __dir__() -> List[str]:
    return sorted({*globals(), *__all__})
