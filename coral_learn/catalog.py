"""The models that come with the package, and those that Coral publishes for learning."""

import hashlib
import json
from pathlib import Path
from typing import List, NamedTuple, Optional, Tuple

from coral_learn.errors import ModelFileMissing, ModelUnknown

BUNDLED = "efficientnet_lite0"
BUNDLED_KIND, EXTRACTOR_KIND, IMPRINTING_KIND = "bundled", "extractor", "imprinting"


class CatalogFile(NamedTuple):
    """A file of a published model.

    path : in its repository; bytes, sha256 : None where they aren't known; blob : git's id of the content
    """

    path: str
    bytes: Optional[int]
    sha256: Optional[str]
    blob: str

    @property
    def name(self) -> str:
        """The file's name without folders."""
        return self.path.rpartition("/")[2]

    def matches(self, data: bytes) -> bool:
        """Whether this is the published content: by sha256, or by git's blob id where only that is known."""
        if self.sha256 is not None:
            return hashlib.sha256(data).hexdigest() == self.sha256
        return git_blob_id(data) == self.blob


class CatalogModel(NamedTuple):
    """A model that can be had.

    kind : "bundled" (comes with the package), "extractor", or "imprinting" (a whole classifier with Coral's
        L2-normalised tail)
    repository, commit : on GitHub; "" for the bundled one
    input_size : pixels a side; embedding_size : D; None where only the file says so
    knowledge : its mean embedding and golden embedding come with the package
    plain, compiled : its files; the bundled model has no compiled one
    """

    name: str
    title: str
    kind: str
    licence: str
    repository: str
    commit: str
    input_size: Optional[int]
    embedding_size: Optional[int]
    knowledge: bool
    good_for: str
    plain: CatalogFile
    compiled: Optional[CatalogFile]

    @property
    def files(self) -> List[CatalogFile]:
        """The plain file first."""
        return [self.plain] if self.compiled is None else [self.plain, self.compiled]

    @property
    def source(self) -> str:
        """Where it is from, in words."""
        return f"{self.repository} at {self.commit[:7]}" if self.repository else "comes with coral-learn"


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


def golden_picture() -> Path:
    """A drawn picture by which any extractor can be checked."""
    return models_folder() / (BUNDLED + "_golden.png")


def knowledge_of(model: CatalogModel) -> Optional[Path]:
    """The file with the arrays mean_embedding and golden_embedding of a published model, None without."""
    return models_folder() / (Path(model.plain.name).stem + ".npz") if model.knowledge else None


def catalog() -> List[CatalogModel]:
    """Every model that can be had, the bundled one first."""
    facts = json.loads((models_folder() / "catalog.json").read_text(encoding="utf-8"))
    return [_bundled(), *(_model(entry) for entry in facts["models"])]


def find_model(name: str) -> CatalogModel:
    """The model of this name. Raises `ModelUnknown`."""
    models = {model.name: model for model in catalog()}
    if name not in models:
        raise ModelUnknown(f"there is no model {name!r} in the catalogue, there are {', '.join(models)}")
    return models[name]


def find_file(data: bytes) -> Optional[Tuple[CatalogModel, CatalogFile]]:
    """The catalogue's model and file with this content, None for any other."""
    digest, blob = hashlib.sha256(data).hexdigest(), git_blob_id(data)
    for model in catalog():
        for file in model.files:
            if digest == file.sha256 or (file.sha256 is None and blob == file.blob):
                return model, file
    return None


def git_blob_id(data: bytes) -> str:
    """What git names this content by (gitformat-pack: sha1 of "blob SIZE", NUL, the content), hexadecimal."""
    digest = hashlib.new("sha1")
    digest.update(b"blob %d\0" % len(data))
    digest.update(data)
    return digest.hexdigest()


def _bundled() -> CatalogModel:
    path = bundled_model()
    facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    content = CatalogFile(path.name, path.stat().st_size, facts["sha256"], "")
    return CatalogModel(
        BUNDLED,
        "EfficientNet-Lite0, headless",
        BUNDLED_KIND,
        facts["licence"],
        "",
        "",
        facts["input"]["width"],
        facts["embedding_size"],
        True,
        "the default: more often right than MobileNet v1 with few examples, and 1000 ImageNet classes that can be kept",
        content,
        None,
    )


def _model(entry: dict) -> CatalogModel:
    files = {role: CatalogFile(**entry[role]) for role in ("plain", "compiled")}
    return CatalogModel(**dict(entry, **files))
