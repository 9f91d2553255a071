"""What is known about an extractor beside its .tflite file.

The manifest of NAME.tflite is NAME.json in the same folder; it may point to NAME.npz for
arrays. A model without one works too: then there is no mean embedding, no pre-trained class
and no golden check.
"""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np

from coral_learn.errors import ManifestError
from coral_learn.twins import plain_name

_MIN_COSINE = 0.99
_FIELDS = {"name": str, "source": str, "licence": str, "sha256": str, "embedding_size": int}


class Pretrained(NamedTuple):
    """The last layer the extractor was trained with: logits = embedding @ weights.T + biases.

    names : C class names; weights : (C, D) float32; biases : (C,) float32
    """

    names: List[str]
    weights: np.ndarray
    biases: np.ndarray


class Golden(NamedTuple):
    """A picture and the embedding, shape (D,), that the model should give for it."""

    image: bytes
    embedding: np.ndarray
    min_cosine: float


class Manifest:
    """The facts of one extractor file.

    name, source, licence : str
    digest : sha256 of the .tflite file, hexadecimal; embeddings belong to it. For a compiled file that of the
        plain one, where the golden picture of their manifest shows that they give the same embeddings
    mean_embedding : (D,) float32, or None
    """

    def __init__(self, folder: Path, facts: Dict[str, Any]):
        self._folder, self._facts = folder, facts
        self.name: str = facts["name"]
        self.source: str = facts.get("source", "")
        self.licence: str = facts.get("licence", "")
        self.digest: str = facts["sha256"]
        self.embedding_size: Optional[int] = facts.get("embedding_size")

    @classmethod
    def of(cls, model_path) -> "Manifest":
        """The manifest beside a model, checked against the file, or a bare one without a file of its own.

        For a compiled model the plain file's manifest serves too. Raises `ManifestError`.
        """
        path = Path(str(model_path))
        digest = file_digest(path)
        for name in (path.name, plain_name(path)):
            source = path.with_name(name).with_suffix(".json")
            if source.exists():
                return cls._read(source, path, digest)
        return cls(path.parent, {"name": path.stem, "sha256": digest})

    @classmethod
    def _read(cls, source: Path, model: Path, digest: str) -> "Manifest":
        try:
            facts = json.loads(source.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ManifestError(f"the manifest {source} can't be read: {error}") from error
        for field, kind in _FIELDS.items():
            if not isinstance(facts, dict) or not isinstance(facts.get(field), kind):
                raise ManifestError(f"the manifest {source} needs the field {field!r} of type {kind.__name__}")
        if model.stem == source.stem and facts["sha256"] != digest:
            raise ManifestError(
                f"{model} has the sha256 {digest}, its manifest says {facts['sha256']}: "
                "the file was changed or belongs to another manifest"
            )
        # A compiled file and the plain one compute the same but for rounding, and share the output's scale, so
        # what was taught with one may be answered with the other. That they belong together is not believed by
        # their names: each of them has to agree with the one golden picture before it is used.
        return cls(source.parent, facts if "golden" in facts else dict(facts, sha256=digest))

    @property
    def mean_embedding(self) -> Optional[np.ndarray]:
        """The mean embedding of natural pictures, (D,) float32, or None."""
        return self._load(_place(self._facts, "mean_embedding")) if "mean_embedding" in self._facts else None

    def pretrained(self) -> Optional[Pretrained]:
        """The pre-trained last layer, or None."""
        facts = self._facts.get("pretrained")
        if facts is None:
            return None
        names = self._read_file(facts, "names").decode("utf-8").splitlines()
        weights = self._load(_place(facts, "weights"))
        biases = self._load(_place(facts, "biases"))
        if not len(names) == len(weights) == len(biases):
            raise ManifestError(
                f"the pre-trained layer of {self.name} has {len(names)} names, "
                f"{len(weights)} weights and {len(biases)} biases"
            )
        return Pretrained(names, weights, biases)

    @property
    def radius(self) -> Optional[float]:
        """The usual length of an embedding less the mean: that of the golden picture, or None."""
        golden, mean = self.golden(), self.mean_embedding
        return None if golden is None or mean is None else float(np.linalg.norm(golden.embedding - mean))

    def golden(self) -> Optional[Golden]:
        """The golden picture and its embedding, or None."""
        facts = self._facts.get("golden")
        if facts is None:
            return None
        embedding = self._load(_place(facts, "embedding"))
        return Golden(self._read_file(facts, "image"), embedding, float(facts.get("min_cosine", _MIN_COSINE)))

    def _read_file(self, facts: Dict[str, Any], field: str) -> bytes:
        try:
            return (self._folder / _place(facts, field)).read_bytes()
        except OSError as error:
            raise ManifestError(f"{facts[field]} of the model {self.name} can't be read: {error.strerror}") from error

    def _load(self, place: str) -> np.ndarray:
        """An array named as FILE.npz:KEY, float32."""
        file, _, key = place.partition(":")
        try:
            with np.load(str(self._folder / file), allow_pickle=False) as arrays:
                return arrays[key].astype(np.float32)
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise ManifestError(f"{place} of the model {self.name} can't be read: {error}") from error


def _place(facts: Dict[str, Any], field: str) -> str:
    if not isinstance(facts, dict) or not isinstance(facts.get(field), str):
        raise ManifestError(f"the manifest needs the field {field!r} to name a file")
    return facts[field]


def file_digest(path) -> str:
    """sha256 of a file, hexadecimal."""
    return hashlib.sha256(Path(str(path)).read_bytes()).hexdigest()
