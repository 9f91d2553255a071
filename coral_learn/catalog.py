"""The models that come with the package."""

from pathlib import Path

from coral_learn.errors import ModelFileMissing

BUNDLED = "efficientnet_lite0"


def models_folder() -> Path:
    """The folder of the bundled models: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / "models", package.parent / "models"):
        if (folder / (BUNDLED + ".tflite")).exists():
            return folder
    raise ModelFileMissing(
        "the bundled model {}.tflite is not in {}: reinstall coral-learn".format(BUNDLED, package / "models")
    )


def bundled_model() -> Path:
    """The default extractor: EfficientNet-Lite0, int8, 1280 values."""
    return models_folder() / (BUNDLED + ".tflite")
