"""From an image to its embedding."""

from typing import NamedTuple, Optional, Tuple

import numpy as np

from coral_learn import image
from coral_learn.catalog import bundled_model
from coral_learn.errors import GoldenCheckFailed, ManifestError, ModelFormatError
from coral_learn.manifest import Golden, Manifest
from coral_learn.runtime import Runtime, choose_runtime

# For float models without a word about it: what Keras' and TF Hub's classifiers mostly take.
_FLOAT_MEAN = _FLOAT_SPREAD = 127.5
_ANY_SIZE = image.ImageLimits(min_side=1)  # a golden picture is as small as the model takes


class ExtractorInfo(NamedTuple):
    """What embeddings come from.

    digest : sha256 of the model file; device : "cpu" or "edgetpu", where it really runs;
    reason : why this device; degraded : an Edge TPU is there and could not be used;
    runtime : library and version; embedding_size : D; input_width, input_height : pixels
    """

    name: str
    digest: str
    device: str
    reason: str
    degraded: bool
    runtime: str
    embedding_size: int
    input_width: int
    input_height: int


class Extractor:
    """A TFLite model whose output is an embedding. Not thread safe.

    model_path : a .tflite file; None is the bundled model
    device : auto, cpu, edgetpu, usb, pci, :0...
    threads : threads on a CPU

    >>> extractor = Extractor()
    >>> extractor.embed(np.zeros((480, 640, 3), np.uint8)).shape
    (1280,)
    """

    def __init__(self, model_path=None, device: str = "auto", threads: Optional[int] = None):
        choice = choose_runtime(model_path or bundled_model(), device, threads)
        self.runtime = choice.runtime
        self.model_path = choice.model_path
        try:
            self.manifest = Manifest.of(choice.model_path)
            height, width, size = _check_shapes(self.runtime, self.manifest)
        except Exception:
            self.runtime.close()
            raise
        self.info = ExtractorInfo(
            self.manifest.name,
            self.manifest.digest,
            self.runtime.device,
            choice.reason,
            choice.degraded,
            self.runtime.name,
            size,
            width,
            height,
        )

    def embed(self, rgb: np.ndarray) -> np.ndarray:
        """The embedding, (D,) float32, of an RGB picture of any size, (height, width, 3) uint8."""
        return self.embed_pixels(self.prepare(rgb))

    def prepare(self, rgb: np.ndarray) -> np.ndarray:
        """The picture as the model sees it: (input_height, input_width, 3) uint8."""
        return image.fit(image.check_rgb(rgb), self.info.input_width, self.info.input_height)

    def embed_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """The embedding, (D,) float32, of pixels that `prepare` made."""
        stored = self.runtime.invoke(_to_input(pixels, self.runtime.input.dtype)[None])
        return self.runtime.output.dequantise(stored).reshape(-1)

    def warm_up(self) -> None:
        """Run once and compare with the manifest's golden picture where there is one.

        The first run on an Edge TPU also loads the weights into it. Raises `GoldenCheckFailed`.
        """
        golden = self.manifest.golden()
        if golden is None:
            self.embed_pixels(np.zeros((self.info.input_height, self.info.input_width, 3), np.uint8))
        else:
            self._check_golden(golden)

    def close(self) -> None:
        """Let the model go. Safe to call twice."""
        self.runtime.close()

    def _check_golden(self, golden: Golden) -> None:
        embedding = self.embed(image.decode(golden.image, _ANY_SIZE))
        cosine = _cosine(embedding, golden.embedding)
        if not cosine >= golden.min_cosine:
            raise GoldenCheckFailed(
                f"the golden picture's embedding agrees only to cosine {cosine:.4f} with the manifest's, "
                f"at least {golden.min_cosine:.2f} is "
                f"needed: {self.info.runtime} computes this model wrongly"
            )


def _check_shapes(runtime: Runtime, manifest: Manifest) -> Tuple[int, int, int]:
    shape, output = runtime.input.shape, runtime.output.shape
    if len(shape) != 4 or shape[0] != 1 or shape[3] != 3 or runtime.input.dtype not in ("uint8", "int8", "float32"):
        raise ModelFormatError(
            "an extractor takes one RGB image, shape (1, height, width, 3), type uint8, int8 or float32; "
            f"this model takes {shape} of type {runtime.input.dtype}"
        )
    size = int(np.prod(output))
    if size != output[-1] or size < 2:
        raise ModelFormatError(
            f"an extractor gives one embedding, shape (1, D) or (1, 1, 1, D); this model gives {output}"
        )
    if manifest.embedding_size not in (None, size):
        raise ManifestError(f"{manifest.name} gives {size} values, its manifest says {manifest.embedding_size}")
    return shape[1], shape[2], size


def _to_input(pixels: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "uint8":
        return pixels
    if dtype == "int8":
        return (pixels.astype(np.int16) - 128).astype(np.int8)
    return (pixels.astype(np.float32) - _FLOAT_MEAN) / _FLOAT_SPREAD


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    if one.shape != other.shape:
        return float("nan")
    return float(one @ other / max(np.linalg.norm(one) * np.linalg.norm(other), 1e-12))
