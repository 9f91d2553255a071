"""A model of the catalogue into a folder, with a manifest: `coral-learn models fetch`."""

import io
import json
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence
from urllib.parse import quote, urlsplit

import numpy as np

from coral_learn.catalog import (
    EXTRACTOR_KIND,
    CatalogFile,
    CatalogModel,
    golden_picture,
    knowledge_of,
)
from coral_learn.embedding_sample import EmbeddingSample
from coral_learn.errors import ManifestError, ModelFormatError, RuntimeMissing
from coral_learn.inspection import inspect_model
from coral_learn.manifest import Manifest
from coral_learn.runtime.edgetpu import find_edge_tpus, installed_libedgetpu
from service.addresses import masked
from service.errors import FetchFailed, SettingsError, StoreError, WrongContent
from service.model_files.downloading import Download, Expected, Patience
from service.model_files.sampling import golden_embedding, sample_folder
from service.store.files import publish_file, translated

GITHUB = "https://github.com"
MOST_BYTES = 100 << 20  # the largest one that Coral publishes for learning has a fifth of it

SHIPPED, MEASURED, KEPT = "shipped", "measured", "kept"  # where a mean embedding is from

Show = Callable[[str, int, Optional[int]], None]


class FetchedFile(NamedTuple):
    """path : where it is; role : "plain" or "compiled"; state : "downloaded", "resumed", "copied" or "there"."""

    path: Path
    role: str
    state: str


class FetchedModel(NamedTuple):
    """What is in the folder now.

    manifest : None for a model that is no extractor
    mean : where its mean embedding is from: "shipped" with this package, "measured" on pictures, "kept" as
        the manifest that was there had it, "" without one
    pictures : how many it was measured on; golden : it is checked when it starts
    """

    model: CatalogModel
    files: List[FetchedFile]
    manifest: Optional[Path]
    mean: str
    pictures: int
    golden: bool

    def path(self, role: str) -> Optional[Path]:
        """The file of a role, None if it was not fetched."""
        return next((file.path for file in self.files if file.role == role), None)


class Origin(NamedTuple):
    """Where files come from.

    mirror : what stands before /OWNER/NAME/raw/COMMIT/PATH; files : those brought here, instead of a download
    """

    mirror: str = GITHUB
    files: Sequence[Path] = ()
    patience: Optional[Patience] = None


def on_board() -> bool:
    """Whether this machine has an Edge TPU, or its library."""
    return bool(find_edge_tpus()) or installed_libedgetpu() is not None


def file_url(model: CatalogModel, file: CatalogFile, mirror: str = GITHUB) -> str:
    """Where a published file is. Raises `SettingsError` for a mirror that is no http(s) address."""
    parts = urlsplit(mirror)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise SettingsError(f"a mirror's address begins with http:// or https://, got {masked(mirror)!r}")
    if "@" in parts.netloc:
        raise SettingsError(f"a mirror's address has no user name and no password in it, got {masked(mirror)!r}")
    return f"{mirror.rstrip('/')}/{model.repository}/raw/{model.commit}/{quote(file.path)}"


def role_of(model: CatalogModel, file: CatalogFile) -> str:
    """ "plain" or "compiled"."""
    return "plain" if file == model.plain else "compiled"


def fetch_model(
    model: CatalogModel,
    folder: Path,
    compiled: bool,
    origin: Origin,
    show: Show,
    pictures: Optional[Path] = None,
    replace: bool = False,
) -> FetchedModel:
    """Put a published model into a folder, which is made where there is none.

    compiled : the file for the Edge TPU too; the plain one always, for export and the CPU
    show : called with a file's name, the bytes that are here and those in all, None when that isn't known
    pictures : a folder of photographs of all sorts for the mean embedding
    replace : whether other files of the same names may be written over

    Raises `FetchFailed`, `StoreError`, or `SettingsError` for what doesn't fit.
    """
    wanted = [file for file in model.files if compiled or file == model.plain]
    given = _given(model, origin.files)
    if given:
        wanted = [file for file in model.files if file in given]
    with translated(folder):
        folder.mkdir(parents=True, exist_ok=True)
    _check_there(wanted, folder, replace)
    files = []
    for file in wanted:
        path, role = folder / file.name, role_of(model, file)
        if path.exists() and file.matches(path.read_bytes()):
            files.append(FetchedFile(path, role, "there"))
        elif given:
            publish_file(path, given[file])
            files.append(FetchedFile(path, role, "copied"))
        else:
            download = Download(
                file_url(model, file, origin.mirror),
                path,
                Expected(file.bytes, MOST_BYTES, file.matches, _digest_in_words(file)),
                lambda here, whole, name=file.name: show(name, here, whole),
                origin.patience,
            )
            _run(download, model, wanted, origin.mirror)
            files.append(FetchedFile(path, role, "resumed" if download.resumed else "downloaded"))
    for file in files:
        file.path.chmod(0o644)  # a model is no secret, and the daemon may be another user
    if model.kind != EXTRACTOR_KIND:
        return FetchedModel(model, files, None, "", 0, False)
    return _ManifestWriter(model, folder, files).write(pictures, replace)


def _given(model: CatalogModel, paths: Sequence[Path]) -> Dict[CatalogFile, bytes]:
    """The model's files among those that were brought here. Raises `WrongContent` for any other."""
    given = {}
    for path in paths:
        try:
            if path.stat().st_size > MOST_BYTES:
                raise WrongContent(f"{path} has more than {MOST_BYTES} bytes, no file of {model.name} has")
            data = path.read_bytes()
        except OSError as error:
            raise SettingsError(f"--from: {path} can't be read: {error.strerror}") from error
        file = next((file for file in model.files if file.matches(data)), None)
        if file is None:
            known = "; ".join(f"{file.name} has {_digest_in_words(file)}" for file in model.files)
            raise WrongContent(f"{path} ({len(data)} bytes) is no file of {model.name}: {known}")
        given[file] = data
    return given


def _check_there(wanted: List[CatalogFile], folder: Path, replace: bool) -> None:
    for file in wanted:
        path = folder / file.name
        try:
            other = path.exists() and not file.matches(path.read_bytes())
        except OSError as error:
            raise SettingsError(f"{path} can't be read: {error.strerror}") from error
        if other and not replace:
            raise SettingsError(f"{path} is there and is not the published one; --replace writes over it")


def _run(download: Download, model: CatalogModel, wanted: List[CatalogFile], mirror: str) -> None:
    try:
        download.run()
    except WrongContent:
        raise
    except FetchFailed as error:
        raise type(error)(f"{error}.\n{by_hand(model, wanted, mirror)}") from error


def by_hand(model: CatalogModel, wanted: List[CatalogFile], mirror: str = GITHUB) -> str:
    """What to do where there is no internet, in lines."""
    lines = ["If there is no internet here, download on another machine"]
    for file in wanted:
        size = "" if file.bytes is None else f" ({file.bytes:,} bytes)"
        lines.append(f"  {masked(file_url(model, file, mirror))}{size}")
    names = " ".join(file.name for file in wanted)
    return "\n".join(
        [*lines, f"bring it where this command's user can read it, and say in place of --both: --from {names}"]
    )


def _digest_in_words(file: CatalogFile) -> str:
    return f"sha256 {file.sha256}" if file.sha256 is not None else f"git's blob id {file.blob}"


class _ManifestWriter:
    """The manifest of fetched files: of the plain one where it is there, and so of both."""

    def __init__(self, model: CatalogModel, folder: Path, files: List[FetchedFile]):
        self._model, self._files = model, files
        plain = folder / model.plain.name
        if plain.exists() and model.plain.matches(plain.read_bytes()):
            self._file, self._path = model.plain, plain
        else:
            self._file, self._path = model.compiled, files[0].path
        self._target = self._path.with_suffix(".json")
        self._source = file_url(model, self._file)

    def write(self, pictures: Optional[Path], replace: bool) -> FetchedModel:
        if pictures is None and self._target.exists() and not self._outdated(replace):
            manifest = Manifest.of(self._path)
            mean = KEPT if manifest.mean_embedding is not None else ""
            return FetchedModel(self._model, self._files, self._target, mean, 0, manifest.golden() is not None)
        if pictures is not None and self._file != self._model.plain:
            raise SettingsError("--pictures needs the plain model to run on the CPU; fetch or bring that file too")
        sample = None if pictures is None else sample_folder(self._path.read_bytes(), pictures)
        golden = golden_picture().read_bytes() if sample is None else sample.golden_image
        arrays = self._arrays(sample)
        self._publish(arrays, golden)
        mean = "" if "mean_embedding" not in arrays else SHIPPED if sample is None else MEASURED
        count = 0 if sample is None else sample.pictures
        return FetchedModel(self._model, self._files, self._target, mean, count, "golden_embedding" in arrays)

    def _outdated(self, replace: bool) -> bool:
        """Whether the manifest that is there is to be replaced; one that doesn't fit is only when that is allowed."""
        try:
            Manifest.of(self._path)
            return replace
        except ManifestError as error:
            if replace:
                return True
            raise SettingsError(f"{error}; --replace writes a new manifest") from error

    def _arrays(self, sample: Optional[EmbeddingSample]) -> Dict[str, np.ndarray]:
        if sample is not None:
            return {"mean_embedding": sample.mean, "golden_embedding": sample.golden_embedding}
        knowledge = knowledge_of(self._model)
        if knowledge is not None:
            with np.load(str(knowledge), allow_pickle=False) as arrays:
                return dict(arrays)
        if self._file != self._model.plain:
            return {}
        try:
            return {"golden_embedding": golden_embedding(self._path.read_bytes())}
        except RuntimeMissing:
            return {}  # it can be fetched on a machine that runs nothing

    def _publish(self, arrays: Dict[str, np.ndarray], golden: bytes) -> None:
        stem = self._path.stem
        places = {"arrays": self._path.with_name(stem + ".npz"), "golden": self._path.with_name(stem + "_golden.png")}
        facts = self._facts(arrays, places)
        with translated(self._target):
            if self._target.exists():
                self._target.unlink()  # it belongs to what is replaced
        if arrays:
            packed = io.BytesIO()
            np.savez(packed, **arrays)
            publish_file(places["arrays"], packed.getvalue())
        if "golden" in facts:
            publish_file(places["golden"], golden)
        # The manifest comes last: without it the rest is a plain model.
        publish_file(self._target, json.dumps(facts, indent=2).encode("utf-8") + b"\n")
        for path in (self._target, *places.values()):
            if path.exists():
                path.chmod(0o644)

    def _facts(self, arrays: Dict[str, np.ndarray], places: Dict[str, Path]) -> Dict[str, Any]:
        try:
            found = inspect_model(self._path)
        except ModelFormatError as error:  # its content is the published one
            raise StoreError(f"{self._path} can't be read back: {error}") from error
        facts = {
            "name": self._path.stem,
            "source": self._source,
            "licence": self._model.licence,
            "sha256": found.sha256,
            "embedding_size": found.embedding_size,
        }
        if "mean_embedding" in arrays:
            facts["mean_embedding"] = f"{places['arrays'].name}:mean_embedding"
        if "golden_embedding" in arrays:
            embedding = f"{places['arrays'].name}:golden_embedding"
            facts["golden"] = {"image": places["golden"].name, "embedding": embedding}
        return facts
