"""Every error the library raises, in one tree.

CoralLearnError
|-- ImageError (ValueError)             the picture can't be used
|   |-- ImageTooLarge                   more bytes or pixels than allowed
|   |-- ImageTooSmall
|   |-- ImageFormatUnsupported
|   `-- ImageBroken                     recognised, but can't be decoded
|-- ModelError                          the model file can't be used
|   |-- ModelFileMissing (FileNotFoundError, ValueError)
|   |-- ModelFormatError (ValueError)
|   |-- ModelUnknown (LookupError, ValueError)
|   |-- ManifestError (ValueError)
|   `-- GoldenCheckFailed (RuntimeError)
|-- DeviceError (RuntimeError)          the run-time or the device can't be used
|   |-- RuntimeMissing (ImportError)    no TensorFlow Lite run-time installed
|   |-- DelegateLibraryMissing          no libedgetpu
|   |-- DeviceNotFound                  libedgetpu, but no Edge TPU answers
|   |-- DeviceBusy                      another process holds it
|   |-- CompiledModelNeedsEdgeTpu
|   |-- RuntimeMismatch                 run-time and libedgetpu don't fit each other
|   `-- InvokeFailed                    the model was loaded and failed to run
|-- HeadError                           the last layer refuses
|   |-- NothingLearnt (RuntimeError)
|   |-- EmbeddingMismatch (ValueError)
|   |-- ClassUnknown (KeyError, ValueError)
|   |-- ClassPretrained (ValueError)
|   |-- ExampleUnknown (KeyError, ValueError)
|   |-- ClassNameInvalid (TypeError, ValueError)
|   `-- HeadStateError (ValueError)
`-- TrainingError
    |-- TooFewExamples (ValueError)
    |-- OptionError (ValueError)        a training option outside its range
    |-- TrainingDiverged (ArithmeticError)
    `-- TrainingStopped                 the stop check said so
"""


class CoralLearnError(Exception):
    """Base of all errors of this package."""


class ImageError(CoralLearnError, ValueError):
    """A picture can't be used. `code` is a stable word for programs."""

    code = "image_unusable"


class ImageTooLarge(ImageError):
    """More bytes, or more pixels by its header, than allowed."""

    code = "image_too_large"


class ImageTooSmall(ImageError):
    """A side shorter than the smallest useful one, or no bytes at all."""

    code = "image_too_small"


class ImageFormatUnsupported(ImageError):
    """Not one of the formats that are decoded here."""

    code = "image_format_unsupported"


class ImageBroken(ImageError):
    """The header was recognised, the picture behind it can't be decoded."""

    code = "image_broken"


class ModelError(CoralLearnError):
    """A model file can't be used."""


class ModelFileMissing(ModelError, FileNotFoundError, ValueError):
    """No file at the given path."""

    # FileNotFoundError prints its arguments as (errno, text); one sentence is enough here.
    __str__ = Exception.__str__


class ModelFormatError(ModelError, ValueError):
    """Not a TensorFlow Lite model, or not one that turns an image into an embedding."""


class ModelUnknown(ModelError, LookupError, ValueError):
    """The catalogue has no model of this name."""


class ManifestError(ModelError, ValueError):
    """The manifest beside a model is unreadable or says something else than the model."""


class GoldenCheckFailed(ModelError, RuntimeError):
    """The model runs, but gives another embedding than it should."""


class DeviceError(CoralLearnError, RuntimeError):
    """The run-time or the device can't be used."""


class RuntimeMissing(DeviceError, ImportError):
    """No TensorFlow Lite run-time is installed."""


class DelegateLibraryMissing(DeviceError):
    """The Edge TPU library (libedgetpu.so.1) is not installed."""


class DeviceNotFound(DeviceError):
    """The Edge TPU library is there, but opens no device."""


class DeviceBusy(DeviceError):
    """Another process holds the Edge TPU."""


class CompiledModelNeedsEdgeTpu(DeviceError):
    """A model compiled for the Edge TPU was to run without one."""


class RuntimeMismatch(DeviceError):
    """This run-time and this Edge TPU library crash together."""


class InvokeFailed(DeviceError):
    """The model was loaded and failed to run."""


class HeadError(CoralLearnError):
    """The last layer refuses what was asked."""


class NothingLearnt(HeadError, RuntimeError):
    """There is no class to choose from yet."""


class EmbeddingMismatch(HeadError, ValueError):
    """An embedding of another length, or one with NaN or infinity in it."""


class ClassUnknown(HeadError, KeyError, ValueError):
    """The head has no such class."""

    __str__ = Exception.__str__  # KeyError would print the repr of the sentence


class ClassPretrained(HeadError, ValueError):
    """A pre-trained class can't be changed."""


class ExampleUnknown(HeadError, KeyError, ValueError):
    """The head was never taught this example."""

    __str__ = Exception.__str__


class ClassNameInvalid(HeadError, TypeError, ValueError):
    """A class is named by a whole number or by text, the same sort throughout one head."""


class HeadStateError(HeadError, ValueError):
    """A stored head can't be read back."""


class TrainingError(CoralLearnError):
    """Training can't start or go on."""


class TooFewExamples(TrainingError, ValueError):
    """Not enough classes or examples to train."""


class OptionError(TrainingError, ValueError):
    """A training option outside its range."""


class TrainingDiverged(TrainingError, ArithmeticError):
    """The weights grew beyond all numbers."""


class TrainingStopped(TrainingError):
    """The stop check asked training to end."""
