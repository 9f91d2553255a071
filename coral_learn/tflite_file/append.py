"""Appending a last layer to an extractor: from then on the file goes from the picture to scores.

The old file stays whole inside the new one (see writer.py), so that this works for models compiled
for the Edge TPU as well: what was compiled runs there, the last layer on the CPU.
"""

from typing import NamedTuple, Optional, Sequence

import numpy as np

from coral_learn.errors import ModelFormatError, OptionError
from coral_learn.tflite_file.draft import Draft
from coral_learn.tflite_file.metadata import check_labels, set_labels
from coral_learn.tflite_file.model import TfliteModel
from coral_learn.tflite_file.writer import Options

# The lowest version of DEQUANTIZE that takes the type.
_DEQUANTIZE_VERSIONS = {"uint8": 1, "int8": 2}
_LARGEST = 127  # of an int8 weight


class Layer(NamedTuple):
    """z = embedding - mean; z = sign(z) * abs(z) ** power; z = z / length of z; softmax(weights @ z + biases).

    weights : (C, D) float32; biases : (C,) float32; mean : (D,) or None; normalize : whether z gets length 1
    """

    weights: np.ndarray
    biases: np.ndarray
    mean: Optional[np.ndarray] = None
    power: float = 1.0
    normalize: bool = True


def append_layer(
    model: bytes,
    layer: Layer,
    labels: Sequence[str],
    description: str = "",
    quantized: bool = False,
    prefix: str = "head",
    head: Optional[dict] = None,
) -> bytes:
    """A .tflite file from the picture to (1, C) float32 scores that sum to 1, with its labels inside.

    quantized : keep the weights as int8 with a scale a row, a quarter of the size; the run-time makes
        them float again when it starts. Otherwise they are the float32 numbers given.
    prefix : of the new tensors' names
    head : what head.json in the file says, see metadata.py

    Raises `OptionError` for a layer that fits itself or its labels badly, `ClassNameInvalid` for
    labels that a file of lines can't hold, `ModelFormatError` for a model this can't be appended to.
    """
    layer = _check_layer(layer)
    if len(check_labels(labels)) != len(layer.biases):
        raise OptionError(f"the layer has {len(layer.biases)} classes, got {len(labels)} labels")
    draft = Draft(TfliteModel(model))
    tail = _Tail(draft, prefix)
    embedding = tail.embedding(layer.weights.shape[1])
    scores = tail.scores(tail.normalised(embedding, layer), layer, quantized)
    draft.replace_first_output(scores, others=True)
    set_labels(draft, labels, description, head)
    return draft.write()


def _check_layer(layer: Layer) -> Layer:
    weights, biases = _float32(layer.weights), _float32(layer.biases)
    mean = None if layer.mean is None else _float32(layer.mean)
    if weights.ndim != 2 or not weights.size or biases.shape != weights.shape[:1]:
        raise OptionError(f"weights (C, D) and biases (C,) don't fit: {weights.shape} and {biases.shape}")
    if mean is not None and mean.shape != weights.shape[1:]:
        raise OptionError(f"the mean of embeddings of {weights.shape[1]} numbers can't have the shape {mean.shape}")
    if not all(np.isfinite(array).all() for array in (weights, biases, mean) if array is not None):
        raise OptionError("a layer has finite numbers only, this one has NaN or infinity in it")
    if not 0 < layer.power <= 1:
        raise OptionError(f"the power must be above 0 and at most 1, got {layer.power!r}")
    return layer._replace(weights=weights, biases=biases, mean=mean)


def _float32(values) -> np.ndarray:
    with np.errstate(over="ignore"):  # infinity is refused
        return np.asarray(values).astype(np.float32)


class _Tail:
    """Adds operators to a draft, each behind the one before."""

    def __init__(self, draft: Draft, prefix: str):
        self._draft, self._prefix = draft, prefix

    def embedding(self, size: int) -> int:
        """The model's first output as (1, size) float32."""
        if not self._draft.outputs:
            raise ModelFormatError("the model has no output to append a layer to")
        output = self._draft.model.tensor(self._draft.outputs[0])
        if output.count != size:
            raise ModelFormatError(f"the layer takes {size} numbers, the model gives {output}")
        index = output.index
        if output.dtype in _DEQUANTIZE_VERSIONS and output.scale.size == 1:
            version = _DEQUANTIZE_VERSIONS[output.dtype]
            index = self._add("DEQUANTIZE", "embedding", [index], output.shape, "DequantizeOptions", version=version)
        elif output.dtype != "float32":
            raise ModelFormatError(f"the model should give float32, or uint8 or int8 with one scale, it gives {output}")
        if output.shape == (1, size):
            return index
        shape = np.array([1, size], np.int32)
        inputs = [index, self._constant("shape", shape)]
        return self._add("RESHAPE", "flat", inputs, (1, size), "ReshapeOptions", new_shape=shape)

    def normalised(self, z: int, layer: Layer) -> int:
        """Centred, flattened by the power, of length 1: as far as the layer wants it."""
        shape = (1, layer.weights.shape[1])
        if layer.mean is not None:
            z = self._add("SUB", "centred", [z, self._constant("mean", layer.mean[None])], shape, "SubOptions")
        if layer.power != 1:
            z = self._powered(z, layer.power, shape)
        if layer.normalize:
            z = self._add("L2_NORMALIZATION", "normalised", [z], shape, "L2NormOptions")
        return z

    def scores(self, z: int, layer: Layer, quantized: bool) -> int:
        """(1, C) scores."""
        logits = self._quantized_logits(z, layer) if quantized else self._logits(z, layer)
        return self._add("SOFTMAX", "scores", [logits], (1, len(layer.biases)), "SoftmaxOptions", beta=1.0)

    def _powered(self, z: int, power: float, shape) -> int:
        # The operator SIGN is younger than the run-times of the boards, and POW takes no negative
        # numbers: the positive and the negative part one by one.
        exponent = self._constant("power", np.array(power, np.float32))
        minus = self._add("NEG", "minus", [z], shape, "NegOptions")
        parts = []
        for name, part in (("positive", z), ("negative", minus)):
            part = self._add("RELU", name, [part], shape)
            parts.append(self._add("POW", name + "_powered", [part, exponent], shape, "PowOptions"))
        return self._add("SUB", "powered", parts, shape, "SubOptions")

    def _logits(self, z: int, layer: Layer) -> int:
        inputs = [z, self._constant("weights", layer.weights), self._constant("biases", layer.biases)]
        return self._add("FULLY_CONNECTED", "logits", inputs, (1, len(layer.biases)), "FullyConnectedOptions")

    def _quantized_logits(self, z: int, layer: Layer) -> int:
        # DEQUANTIZE with one scale and MUL behind it run everywhere; old run-times know no scales by row.
        scales = np.abs(layer.weights).max(axis=1, keepdims=True) / np.float32(_LARGEST)
        stored = np.round(layer.weights / np.where(scales > 0, scales, 1)).astype(np.int8)
        weights = self._draft.add_constant(self._prefix + "/weights_int8", stored, scale=1.0)
        weights = self._add("DEQUANTIZE", "weights", [weights], stored.shape, "DequantizeOptions", version=2)
        shape = (1, len(layer.biases))
        rows = self._add("FULLY_CONNECTED", "rows", [z, weights, -1], shape, "FullyConnectedOptions")
        scaled = self._add("MUL", "scaled", [rows, self._constant("scales", scales.T)], shape, "MulOptions")
        biases = self._constant("biases", layer.biases[None])
        return self._add("ADD", "logits", [scaled, biases], shape, "AddOptions")

    def _constant(self, name: str, array: np.ndarray) -> int:
        return self._draft.add_constant(f"{self._prefix}/{name}", array)

    def _add(
        self, code: str, name: str, inputs, shape, table: Optional[str] = None, version: int = 1, **options
    ) -> int:
        output = self._draft.add_tensor(f"{self._prefix}/{name}", shape)
        self._draft.add_operator(code, inputs, output, Options(table, options) if table else None, version)
        return output
