"""An extractor out of an image classifier: `coral-learn models cut`."""

import hashlib
import io
import json
from pathlib import Path
from typing import List, NamedTuple, Optional

import numpy as np

from coral_learn.errors import ModelFormatError
from coral_learn.tflite_file import LastLayer, TfliteModel, cut, find_last_layer, read_labels
from service.errors import SettingsError, StoreError
from service.store.files import publish_file


class CutModel(NamedTuple):
    """What was made. embedding_size : D; classes : how many pre-trained ones can be kept; files : what was written."""

    embedding_size: int
    classes: int
    files: List[Path]


def cut_model(source: Path, target: Path, labels: Optional[Path] = None) -> CutModel:
    """Write the extractor of a classifier, with a manifest that lets the daemon keep its classes.

    target : the new .tflite file; the manifest NAME.json, the last layer NAME.npz and the names
        NAME_classes.txt go beside it
    labels : a file with a name a line; None takes those inside the model, or numbers

    Raises `ModelFileMissing`, `ModelFormatError`, or `SettingsError` for labels or a target that don't fit.
    """
    if target.suffix != ".tflite" or target.resolve() == source.resolve():
        raise SettingsError(f"the new file must be another one and end in .tflite, got {target}")
    model = TfliteModel.read(source)
    layer, extractor = find_last_layer(model), cut(model.data)
    names = _names(model, labels, len(layer.biases))
    arrays, classes = target.with_suffix(".npz"), target.with_name(target.stem + "_classes.txt")
    manifest = {
        "name": target.stem,
        "source": f"cut from {source.name}, sha256 {hashlib.sha256(model.data).hexdigest()}",
        "licence": "that of the model it was cut from",
        "sha256": hashlib.sha256(extractor).hexdigest(),
        "embedding_size": layer.weights.shape[1],
        "pretrained": {"names": classes.name, "weights": f"{arrays.name}:weights", "biases": f"{arrays.name}:biases"},
    }
    # The manifest comes last: without it the rest is a plain model.
    try:
        publish_file(arrays, _packed(layer))
        publish_file(classes, "".join(name + "\n" for name in names).encode("utf-8"))
        publish_file(target, extractor)
        publish_file(target.with_suffix(".json"), json.dumps(manifest, indent=2).encode("utf-8") + b"\n")
    except StoreError as error:
        raise SettingsError(f"{target} can't be written: {error}") from error
    for path in (arrays, classes, target, target.with_suffix(".json")):
        path.chmod(0o644)  # a model is no secret, and the daemon may be another user
    return CutModel(layer.weights.shape[1], len(names), [target, target.with_suffix(".json"), arrays, classes])


def _names(model: TfliteModel, path: Optional[Path], count: int) -> List[str]:
    if path is not None:
        try:
            names = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"the labels {path} can't be read: {error}") from error
    else:
        try:
            names = read_labels(model.data) or []
        except ModelFormatError:
            names = []
        names = names if len(names) == count else [f"class {number}" for number in range(count)]
    if len(names) != count or not all(name.strip() for name in names):
        filled = sum(bool(name.strip()) for name in names)
        raise SettingsError(
            f"the model has {count} classes, so the labels must be {count} lines with a name each, "
            f"got {len(names)} lines with {filled} names"
        )
    return _different(names)


def _different(names: List[str]) -> List[str]:
    """Names with a number behind those that come again: ImageNet has two cranes."""
    taken, different = set(names), []
    met = set()
    for name in names:
        other, number = name, 1
        while other in met or (number > 1 and other in taken):
            number += 1
            other = f"{name} ({number})"
        met.add(other)
        different.append(other)
    return different


def _packed(layer: LastLayer) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, weights=layer.weights, biases=layer.biases)
    return file.getvalue()
