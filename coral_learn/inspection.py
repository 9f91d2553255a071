"""What a .tflite file is, found without running it."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

from coral_learn.catalog import find_file, git_blob_id
from coral_learn.errors import ManifestError, ModelFormatError
from coral_learn.manifest import Manifest
from coral_learn.runtime.tflite import is_compiled
from coral_learn.tflite_file import (
    TfliteModel,
    find_imprinting_tail,
    find_last_layer,
    least_runtime,
    read_labels,
)
from coral_learn.tflite_file.tensor import Tensor
from coral_learn.twins import compiled_twin, plain_name, plain_twin

_INPUT_TYPES = ("uint8", "int8", "float32")
_SMALL = ("uint8", "int8")


class ModelFacts(NamedTuple):
    """What was found; names and shapes are the file's own.

    path, bytes, sha256, blob : the file; blob is git's id of its content
    catalog : {"name", "title", "file": "plain" or "compiled"} of the catalogue's entry, or None
    compiled : for the Edge TPU; least_runtime : version of its run-time needed at least, None if not said
    inputs, outputs : {"name", "shape", "dtype", "scale", "zero_point"}; scale None when not quantised
    operators : name and count, the most frequent first; subgraphs : how many
    quantisation : "8 bit", "float" or "mixed"
    metadata : names; labels : how many names are inside, None without any
    embedding_size : D, None if it isn't one
    extractor : whether it serves as one; verdict : why, or why not and what to do
    manifest : {"path", "mean_embedding", "pretrained_classes", "golden"}, {"path", "error"}, or None
    twin : the compiled file of a plain model, the plain one of a compiled model; None if not there
    """

    path: str
    bytes: int
    sha256: str
    blob: str
    catalog: Optional[Dict[str, str]]
    compiled: bool
    least_runtime: Optional[int]
    inputs: List[Dict[str, Any]]
    outputs: List[Dict[str, Any]]
    operators: Dict[str, int]
    subgraphs: int
    quantisation: str
    metadata: List[str]
    labels: Optional[int]
    embedding_size: Optional[int]
    extractor: bool
    verdict: str
    manifest: Optional[Dict[str, Any]]
    twin: Optional[str]


class _Verdict(NamedTuple):
    extractor: bool
    embedding_size: Optional[int]
    words: str


def inspect_model(path: Path) -> ModelFacts:
    """Look at a file. Raises `ModelFileMissing` or `ModelFormatError`."""
    model = TfliteModel.read(path)
    verdict = _judge(model)
    compiled = is_compiled(model.data)
    return ModelFacts(
        path=str(path),
        bytes=len(model.data),
        sha256=hashlib.sha256(model.data).hexdigest(),
        blob=git_blob_id(model.data),
        catalog=_entry(model.data),
        compiled=compiled,
        least_runtime=least_runtime(model) if compiled else None,
        inputs=[_tensor(model.tensor(index)) for index in model.inputs],
        outputs=[_tensor(model.tensor(index)) for index in model.outputs],
        operators=dict(Counter(operator.code for operator in model.operators).most_common()),
        subgraphs=len(model.subgraphs),
        quantisation=quantisation(model),
        metadata=sorted(model.metadata),
        labels=_labels(model),
        embedding_size=verdict.embedding_size,
        extractor=verdict.extractor,
        verdict=verdict.words,
        manifest=_manifest(path),
        twin=_twin(path, compiled),
    )


def quantisation(model: TfliteModel) -> str:
    """How the numbers that flow through a model are stored: "8 bit", "float" or "mixed".

    A model whose picture comes in and whose answer goes out as float32 counts as "8 bit" when everything
    between a first QUANTIZE and a last DEQUANTIZE is.
    """
    edges = {"QUANTIZE": "inputs", "DEQUANTIZE": "outputs"}
    indexes = set()
    for operator in model.operators:
        sides = {"inputs", "outputs"} - {edges.get(operator.code, "")}
        indexes.update(index for side in sides for index in getattr(operator, side) if index >= 0)
    computed = [model.tensor(index) for index in indexes if not model.buffer(model.tensor(index).buffer_index)]
    small = [tensor.dtype in _SMALL and tensor.scale.size > 0 for tensor in computed]
    if small and all(small):
        return "8 bit"
    return "mixed" if any(small) else "float"


def _judge(model: TfliteModel) -> _Verdict:
    wrong = _wrong_input(model)
    if wrong:
        return _Verdict(False, None, wrong)
    if not model.outputs:
        return _Verdict(False, None, "it has no output")
    if find_imprinting_tail(model) is not None:
        words = "a classifier in Coral's imprinting form: ImprintingEngine takes it as it is, "
        return _Verdict(False, None, words + "coral-learn models cut makes an extractor of it")
    output = model.tensor(model.outputs[0])
    if not output.shape or output.count != output.shape[-1] or output.count < 2:
        return _Verdict(False, None, f"an extractor gives one embedding, shape (1, D); this one gives {output.shape}")
    try:
        layer = find_last_layer(model)
    except ModelFormatError:
        layer = None
    if layer is not None:
        classes, size = layer.weights.shape
        words = f"a classifier of {classes} classes behind {size} values: coral-learn models cut makes an extractor"
        return _Verdict(False, None, words)
    return _Verdict(True, output.count, f"an extractor: a picture in, an embedding of {output.count} values out")


def _wrong_input(model: TfliteModel) -> str:
    if len(model.inputs) != 1:
        return f"an extractor has one input, this one has {len(model.inputs)}"
    tensor = model.tensor(model.inputs[0])
    shape = tensor.shape
    if len(shape) == 4 and shape[0] == 1 and shape[3] == 3 and tensor.dtype in _INPUT_TYPES and 0 not in shape:
        return ""
    return (
        "an extractor takes one RGB image, shape (1, height, width, 3), type uint8, int8 or float32; "
        f"this one takes {shape} of type {tensor.dtype}"
    )


def _tensor(tensor: Tensor) -> Dict[str, Any]:
    quantised = tensor.scale.size == 1
    return {
        "name": tensor.name,
        "shape": [int(size) for size in tensor.shape],
        "dtype": tensor.dtype,
        "scale": float(tensor.scale[0]) if quantised else None,
        "zero_point": int(tensor.zero_point[0]) if quantised else None,
    }


def _entry(data: bytes) -> Optional[Dict[str, str]]:
    found = find_file(data)
    if found is None:
        return None
    model, file = found
    return {"name": model.name, "title": model.title, "file": "plain" if file == model.plain else "compiled"}


def _labels(model: TfliteModel) -> Optional[int]:
    try:
        labels = read_labels(model.data)
    except ModelFormatError:
        return None
    return None if labels is None else len(labels)


def _manifest(path: Path) -> Optional[Dict[str, Any]]:
    source = next((place for place in _manifest_places(path) if place.exists()), None)
    if source is None:
        return None
    try:
        manifest = Manifest.of(path)
        pretrained = manifest.pretrained()
        return {
            "path": str(source),
            "mean_embedding": manifest.mean_embedding is not None,
            "pretrained_classes": 0 if pretrained is None else len(pretrained.names),
            "golden": manifest.golden() is not None,
        }
    except (ManifestError, UnicodeDecodeError) as error:
        return {"path": str(source), "error": str(error)}


def _manifest_places(path: Path) -> List[Path]:
    return [path.with_name(name).with_suffix(".json") for name in (path.name, plain_name(path))]


def _twin(path: Path, compiled: bool) -> Optional[str]:
    twin = plain_twin(path) if compiled else compiled_twin(path)
    return None if twin is None else str(twin)
