"""An extractor out of an image classifier: `coral-learn models cut`."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np

from coral_learn.embedding_sample import EmbeddingSample
from coral_learn.errors import ModelFormatError
from coral_learn.tflite_file import LastLayer, TfliteModel, cut, find_last_layer, read_labels
from service.errors import SettingsError, StoreError
from service.model_files.sampling import sample_folder
from service.store.files import publish_file


class CutModel(NamedTuple):
    """What was made.

    embedding_size : D; classes : how many pre-trained ones can be kept; pictures : how many its mean
    embedding is from, 0 without one; files : what was written
    """

    embedding_size: int
    classes: int
    pictures: int
    files: List[Path]


class _Files(NamedTuple):
    """Where the parts of a cut model go."""

    model: Path
    manifest: Path
    arrays: Path
    classes: Path
    golden: Path

    @classmethod
    def beside(cls, target: Path) -> "_Files":
        stem = target.stem
        names = (f"{stem}.json", f"{stem}.npz", f"{stem}_classes.txt", f"{stem}_golden.png")
        return cls(target, *(target.with_name(name) for name in names))


def cut_model(
    source: Path,
    target: Path,
    labels: Optional[Path] = None,
    pictures: Optional[Path] = None,
    replace: bool = False,
) -> CutModel:
    """Write the extractor of a classifier, with a manifest that lets the daemon keep its classes.

    target : the new .tflite file; the manifest NAME.json, the last layer NAME.npz and the names
        NAME_classes.txt go beside it
    labels : a file with a name a line; None takes those inside the model, or numbers
    pictures : a folder of pictures of all sorts, folders in it too, for the mean embedding and a golden
        picture; None writes neither
    replace : whether files that are there may be written over

    Raises `ModelFileMissing`, `ModelFormatError`, or `SettingsError` for what else doesn't fit.
    """
    files = _Files.beside(target)
    _check_target(source, files, replace)
    model = TfliteModel.read(source)
    layer, extractor = find_last_layer(model), cut(model.data)
    names = _names(model, labels, len(layer.biases))
    sample = None if pictures is None else sample_folder(extractor, pictures)
    try:
        for path in (files.manifest, files.golden):  # they belong to what is replaced
            if path.exists():
                path.unlink()
        publish_file(target, extractor)
        written = [target, *_publish(files, layer, names, sample)]
        facts = _facts(files, source, model.data, extractor, layer, sample)
        # The manifest comes last: without it the rest is a plain model.
        publish_file(files.manifest, json.dumps(facts, indent=2).encode("utf-8") + b"\n")
    except (StoreError, OSError) as error:
        raise SettingsError(f"{target} can't be written: {error}") from error
    for path in (*written, files.manifest):
        path.chmod(0o644)  # a model is no secret, and the daemon may be another user
    count = 0 if sample is None else sample.pictures
    return CutModel(layer.weights.shape[1], len(names), count, [target, files.manifest, *written[1:]])


def _check_target(source: Path, files: _Files, replace: bool) -> None:
    target = files.model
    if target.suffix != ".tflite" or target.resolve() == source.resolve():
        raise SettingsError(f"the new file must be another one and end in .tflite, got {target}")
    if not target.parent.is_dir():
        raise SettingsError(f"there is no folder {target.parent} to write {target.name} into; make it first")
    there = [path.name for path in files if path.exists()]
    if there and not replace:
        raise SettingsError(f"{', '.join(there)} in {target.parent} would be written over; --replace allows it")


def _publish(files: _Files, layer: LastLayer, names: List[str], sample: Optional[EmbeddingSample]) -> List[Path]:
    arrays = {"weights": layer.weights, "biases": layer.biases}
    written = [files.arrays, files.classes]
    if sample is not None:
        arrays.update(mean_embedding=sample.mean, golden_embedding=sample.golden_embedding)
        publish_file(files.golden, sample.golden_image)
        written.append(files.golden)
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    publish_file(files.arrays, packed.getvalue())
    publish_file(files.classes, "".join(name + "\n" for name in names).encode("utf-8"))
    return written


def _facts(
    files: _Files, source: Path, whole: bytes, extractor: bytes, layer: LastLayer, sample: Optional[EmbeddingSample]
) -> Dict[str, Any]:
    """The manifest."""
    arrays = files.arrays.name
    facts = {
        "name": files.model.stem,
        "source": f"cut from {source.name}, sha256 {hashlib.sha256(whole).hexdigest()}",
        "licence": "that of the model it was cut from",
        "sha256": hashlib.sha256(extractor).hexdigest(),
        "embedding_size": layer.weights.shape[1],
        "pretrained": {"names": files.classes.name, "weights": f"{arrays}:weights", "biases": f"{arrays}:biases"},
    }
    if sample is not None:
        facts["mean_embedding"] = f"{arrays}:mean_embedding"
        facts["golden"] = {"image": files.golden.name, "embedding": f"{arrays}:golden_embedding"}
    return facts


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
