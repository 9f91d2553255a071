"""A head behind its extractor in one .tflite file, tried before it counts as written."""

import errno
import json
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np

from coral_learn.errors import ModelFormatError, OptionError
from coral_learn.heads import Head, NeighboursHead
from coral_learn.heads.base import softmax
from coral_learn.heads.pipeline import EmbeddingPipeline, check_embeddings
from coral_learn.runtime.base import TensorSpec
from coral_learn.runtime.tflite import CPU_ORDER, TfliteRuntime, find_library, load_interpreter
from coral_learn.tflite_file import Layer, TfliteModel, append_layer, begin_at, read_head, read_labels
from coral_learn.whole_file import write_bytes

_TRIALS = 100
# A float tail is exact but for rounding, which grows with the size of the logits; an int8 one gives the
# same best class nearly always.
_LARGEST_DIFFERENCE = 1e-5
_ROUNDING, _MOST_ROUNDING = 1e-6, 1e-3
_SAME_ANSWERS = 0.99


def layer_of(head: Head) -> Layer:
    """A head as layers of a model: the same scores, without the answer "none of these".

    Raises `OptionError` for nearest neighbours, which are no layer.
    """
    if isinstance(head, NeighboursHead):
        raise OptionError("nearest neighbours can't be written as layers of a model; train another head")
    scale, pipeline = head.calibration.scale, head.pipeline
    weights, biases = np.asarray(head.weights) * scale, np.asarray(head.biases) * scale
    return Layer(weights.astype(np.float32), biases.astype(np.float32), pipeline.mean, pipeline.power)


def describe(head: Head) -> Dict[str, Any]:
    """What head.json says of a head: its kind, its classes, and how its scores came to be."""
    scale, threshold = head.calibration
    return {
        "head": head.kind,
        "classes": len(head.classes),
        "scale": scale,
        "none_of_these_below": threshold if np.isfinite(threshold) else None,
        "centred": head.pipeline.mean is not None,
        "power": head.pipeline.power,
    }


def save_model(path, model: bytes) -> List[Path]:
    """Write a model, and what it holds as text beside it: NAME.labels.txt and NAME.head.json. Returns the files.

    Each file is there whole or not at all, the model last. Raises `ModelFormatError` for what is no
    model, `OSError` where nothing can be written.
    """
    target, files = Path(str(path)), []
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, f"there is no folder to write {target.name} into", str(target.parent))
    labels, head = read_labels(model), read_head(model)
    if labels is not None:
        files.append((target.with_suffix(".labels.txt"), "".join(label + "\n" for label in labels).encode("utf-8")))
    if head is not None:
        files.append((target.with_suffix(".head.json"), json.dumps(head, indent=2, sort_keys=True).encode("utf-8")))
    for file, content in [*files, (target, model)]:
        write_bytes(file, content)
    return [target, *(file for file, _ in files)]


def write_layer(
    extractor: bytes,
    layer: Layer,
    labels: Sequence[str],
    description: str = "",
    head: Optional[Dict[str, Any]] = None,
    quantized: bool = False,
    embeddings: Optional[np.ndarray] = None,
) -> bytes:
    """The extractor, plain or compiled, with a layer behind it and its labels inside.

    head : written as head.json; quantized : weights as int8, a quarter of the size
    embeddings : (N, D) of held-out pictures to try it with; None takes random ones

    The new part is run by the interpreter and compared with numpy: a float one must give the same
    scores within 1e-5 (more where logits beyond 10 make float32 round more), a quantised one the same
    best class for 99 of 100: hand embeddings in for that, random ones are harder. Raises
    `ModelFormatError` where it doesn't, and for what `append_layer` refuses.
    """
    written = append_layer(extractor, layer, labels, description, quantized, head=head)
    runtime = _run_tail(written, TfliteModel(extractor).outputs[0])
    stored = _inputs(runtime.input, layer.weights.shape[1], embeddings)
    logits = layer_logits(layer, runtime.input.dequantise(stored))
    expected = softmax(logits)
    given = np.stack([runtime.invoke(row.reshape(runtime.input.shape)).reshape(-1) for row in stored])
    runtime.close()
    if quantized:
        same = float((given.argmax(axis=1) == expected.argmax(axis=1)).mean())
        if same < _SAME_ANSWERS:
            raise ModelFormatError(f"with int8 weights only {same:.1%} of answers stay the same; write a float layer")
        return written
    difference = float(np.abs(given - expected).max())
    rounding = min(_ROUNDING * float(np.abs(logits).max()), _MOST_ROUNDING)
    if not difference < max(_LARGEST_DIFFERENCE, rounding):
        raise ModelFormatError(f"the written layer gives other scores than the head, by {difference:.2g}")
    return written


def apply_layer(layer: Layer, embeddings: np.ndarray) -> np.ndarray:
    """What a layer makes of (N, D) embeddings: (N, C) scores, float64."""
    return softmax(layer_logits(layer, embeddings))


def layer_logits(layer: Layer, embeddings: np.ndarray) -> np.ndarray:
    """What a layer makes of (N, D) embeddings before softmax: (N, C) float64."""
    size = layer.weights.shape[1]
    if layer.normalize:
        rows = EmbeddingPipeline(size, layer.mean, layer.power)(embeddings)
    else:
        rows = check_embeddings(embeddings, size).astype(np.float64)
        rows = rows if layer.mean is None else rows - layer.mean
        rows = np.sign(rows) * np.abs(rows) ** layer.power
    return rows @ layer.weights.T.astype(np.float64) + layer.biases


def _run_tail(model: bytes, embedding_tensor: int) -> TfliteRuntime:
    """What stands behind the extractor, in an interpreter on the CPU, whatever the extractor is compiled for."""
    library = find_library(CPU_ORDER)
    return TfliteRuntime(load_interpreter(library, begin_at(model, embedding_tensor), 1), str(library), "cpu")


def _inputs(spec: TensorSpec, size: int, embeddings: Optional[np.ndarray]) -> np.ndarray:
    """Embeddings as the extractor stores them, (N, D)."""
    if embeddings is None or not len(embeddings):
        random = np.random.RandomState(0)
        if spec.scale:
            limits = np.iinfo(spec.dtype)
            return random.randint(limits.min, limits.max + 1, (_TRIALS, size)).astype(spec.dtype)
        return random.normal(0, 1, (_TRIALS, size)).astype(spec.dtype)
    rows = check_embeddings(embeddings, size)
    if not spec.scale:
        return rows.astype(spec.dtype)
    limits = np.iinfo(spec.dtype)
    return np.rint(rows / spec.scale + spec.zero_point).clip(limits.min, limits.max).astype(spec.dtype)
