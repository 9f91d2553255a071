"""What an archive holds for teaching: pictures with their classes. Ours, or any with a folder a class."""

import hashlib
import json
import logging
import time
import unicodedata
from collections import Counter
from contextlib import suppress
from typing import Any, BinaryIO, Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

import numpy as np

from coral_learn.extractor import ExtractorInfo
from service.errors import ArchiveUnusable, Invalid
from service.store.archive import EMBEDDINGS, FORMAT, MANIFEST, PART_ROWS, VERSION, unpack_rows
from service.store.classes import check_name
from service.store.container import Container, Limits, damaged, open_container
from service.store.examples import IMPORTED, SOURCES, Origin

log = logging.getLogger(__name__)

# Those that can't be read are listed as well, so that the answer says why; everything else is passed over.
_SUFFIXES = ("jpg", "jpeg", "jpe", "jfif", "png", "bmp", "dib", "webp", "gif", "tif", "tiff", "heic", "heif", "avif")
_LISTED_BYTES = 400  # of the manifest, a member
_LONGEST_ORIGIN = 200
SKIPPED = ("hidden_file", "not_a_picture")  # what is no picture is passed over, not refused


class Packed(NamedTuple):
    """A picture of an archive.

    embedding : (D,) float32, or None; extractor : the digest of the one it is by
    """

    class_name: str
    data: bytes
    origin: Origin
    embedding: Optional[np.ndarray]
    extractor: Optional[str]


class Unusable(NamedTuple):
    """Something of an archive that is not taken, and why, as a stable code."""

    code: str


class _Entry(NamedTuple):
    """A picture as the manifest or its folder tells of it; source and so on as of `Origin`."""

    file: str
    class_name: str
    sha256: Optional[str] = None
    source: str = IMPORTED
    capture: Optional[str] = None
    client_id: Optional[str] = None
    created: Optional[float] = None
    row: Optional[int] = None


class Contents:
    """What can be taken from an archive.

    total : how many pictures `pictures` will go through; classes : every class by name, also those without pictures;
    disabled : those of them that were disabled where the archive was made;
    unusable : what was told apart already by its name, counted by code

    Raises `ArchiveUnusable`.
    """

    def __init__(self, file: BinaryIO, limits: Limits, extractor: Optional[ExtractorInfo] = None):
        self._container = open_container(file, limits)
        self._paths = {"/".join(one.path): index for index, one in enumerate(self._container.members) if not one.code}
        self.unusable: Dict[str, int] = Counter()
        self._rows: Optional[_Rows] = None
        self.disabled: List[str] = []
        base, manifest = self._manifest(limits)
        if manifest is None:
            self._entries = self._by_folders()
            self.classes = list(dict.fromkeys(entry.class_name for entry in self._entries.values()))
        else:
            self._entries = self._by_manifest(base, manifest)
            self.classes, self.disabled = self._class_names(manifest), _disabled_names(manifest)
            if extractor is not None and self._container.ordered:
                self._rows = _Rows(self._container, self._paths, base, manifest, extractor)

    @property
    def total(self) -> int:
        """How many pictures there are to come."""
        return len(self._entries)

    def pictures(self) -> Iterator[Union[Packed, Unusable]]:
        """Every picture, or why it is not taken. Raises `ArchiveUnusable` where the archive unpacks to too much."""
        for content in self._container.contents(self._order()):
            entry = self._entries[content.index]
            if content.code:
                yield Unusable(content.code)
            elif entry.sha256 not in (None, hashlib.sha256(content.data).hexdigest()):
                yield Unusable("digest_mismatch")
            else:
                embedding = None if self._rows is None or entry.row is None else self._rows.row(entry.row)
                made_by = None if embedding is None else self._rows.extractor
                origin = Origin(entry.source, entry.capture, entry.client_id, entry.created)
                yield Packed(entry.class_name, content.data, origin, embedding, made_by)

    def _order(self) -> List[int]:
        """By class where that can be chosen, so that many can be taught at once; ours are in that order."""
        if not self._container.ordered or self._rows is not None:
            return list(self._entries)
        return sorted(self._entries, key=lambda index: self._entries[index].class_name)

    # -- our own ----------------------------------------------------------------------------

    def _manifest(self, limits: Limits) -> Tuple[str, Optional[Dict[str, Any]]]:
        """The manifest of one of our archives, and the folder it is in ("" or "NAME/"); None in any other archive."""
        for path in sorted((path for path in self._paths if path.split("/")[-1] == MANIFEST), key=len):
            if path.count("/") > 1:
                continue
            (content,) = self._container.contents([self._paths[path]], limits.members * _LISTED_BYTES)
            base, found = path[: -len(MANIFEST)], None
            with suppress(ValueError, RecursionError):
                found = json.loads(content.data.decode("utf-8"), object_hook=_compact)
            if isinstance(found, dict) and found.get("format") == FORMAT:
                if found.get("version") != VERSION:
                    raise ArchiveUnusable(
                        f"the archive has the version {str(found.get('version'))[:20]}, this daemon knows {VERSION}",
                        "archive_version",
                    )
                if not isinstance(found.get("examples"), list):
                    raise damaged(f"{path} has no list of examples")
                return base, found
            if FORMAT.encode() in content.data or any(one.startswith(f"{base}{EMBEDDINGS}/") for one in self._paths):
                raise damaged(f"{path} can't be understood; without that file its folders are taken for classes")
        return "", None

    def _by_manifest(self, base: str, manifest: Dict[str, Any]) -> Dict[int, _Entry]:
        entries: Dict[int, _Entry] = {}
        for one in manifest["examples"]:
            if not isinstance(one, _Entry):
                self.unusable["manifest_invalid"] += 1
            elif base + one.file not in self._paths:
                self.unusable["member_missing"] += 1
            elif self._paths[base + one.file] in entries:
                self.unusable["manifest_invalid"] += 1
            else:
                self._enter(entries, self._paths[base + one.file], one)
        return entries

    def _class_names(self, manifest: Dict[str, Any]) -> List[str]:
        found = manifest.get("classes")
        names = [one.get("name") for one in found if isinstance(one, dict)] if isinstance(found, list) else []
        valid = [name for name in names if _checked(name)]
        return list(dict.fromkeys(valid + [entry.class_name for entry in self._entries.values()]))

    # -- any other --------------------------------------------------------------------------

    def _by_folders(self) -> Dict[int, _Entry]:
        """A folder is a class. Folders that all pictures have in common above are passed over."""
        pictures: Dict[int, Tuple[str, ...]] = {}
        for index, (path, code) in enumerate(self._container.members):
            if not code and path[-1].rpartition(".")[2].lower() in _SUFFIXES:
                pictures[index] = path
            else:
                self.unusable[code or "not_a_picture"] += 1
        above = _common(list(pictures.values()))
        entries: Dict[int, _Entry] = {}
        for index, path in pictures.items():
            depth = len(path) - above
            if depth == 2:
                # The folders of a Mac come taken apart, an accent behind its letter.
                self._enter(entries, index, _Entry(path[-1], unicodedata.normalize("NFC", path[above])))
            else:
                self.unusable["no_class_folder" if depth < 2 else "folder_too_deep"] += 1
        return entries

    def _enter(self, entries: Dict[int, _Entry], index: int, entry: _Entry) -> None:
        name = _checked(entry.class_name)
        if name is None:
            self.unusable["name_invalid"] += 1
        else:
            entries[index] = entry._replace(class_name=name)


class _Rows:
    """The embeddings of an archive, a part of them in memory. What is damaged counts as not there."""

    def __init__(
        self,
        container: Container,
        paths: Dict[str, int],
        base: str,
        manifest: Dict[str, Any],
        extractor: ExtractorInfo,
    ):
        self._container, self._size, self.extractor = container, extractor.embedding_size, extractor.digest
        self._parts: List[Tuple[int, str]] = []
        self._number, self._part = -1, np.empty((0, self._size), np.float32)
        made_by, parts = manifest.get("extractor"), manifest.get("embeddings")
        if not isinstance(made_by, dict) or made_by.get("digest") != extractor.digest or not isinstance(parts, list):
            return
        for part in parts:
            if not isinstance(part, dict) or base + str(part.get("file")) not in paths:
                return
            self._parts.append((paths[base + part["file"]], part.get("sha256")))

    def row(self, number: int) -> Optional[np.ndarray]:
        """An embedding, (D,) float32, or None."""
        part, place = divmod(number, PART_ROWS)
        if part != self._number:
            self._number, self._part = part, self._read(part)
        return self._part[place] if place < len(self._part) else None

    def _read(self, part: int) -> np.ndarray:
        nothing = np.empty((0, self._size), np.float32)
        if part >= len(self._parts):
            return nothing
        index, digest = self._parts[part]
        (content,) = self._container.contents([index], PART_ROWS * self._size * 4 + 1000)
        try:
            if content.code or hashlib.sha256(content.data).hexdigest() != digest:
                raise ValueError(content.code or "its digest is another one")
            return unpack_rows(content.data, self._size)
        except ValueError as error:
            log.warning("embeddings of an archive can't be used, the pictures are embedded anew: %s", error)
            return nothing


def _disabled_names(manifest: Dict[str, Any]) -> List[str]:
    found = manifest.get("classes")
    listed = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return [one["name"] for one in listed if one.get("enabled") is False and _checked(one.get("name"))]


def _compact(found: Dict[str, Any]) -> Any:
    """Examples of a manifest as they are read, small: 100,000 dictionaries would take 200 MB."""
    if not {"file", "class", "sha256"} <= set(found):
        return found
    file, name, sha256, row = found["file"], found["class"], found["sha256"], found.get("row")
    if not all(isinstance(one, str) for one in (file, name, sha256)):
        return None
    row = row if isinstance(row, int) and not isinstance(row, bool) and row >= 0 else None
    source = next((one for one in SOURCES if one == found.get("source")), IMPORTED)
    capture, client_id = _word(found.get("capture")), _word(found.get("client_id"))
    return _Entry(file, name, sha256, source, capture, client_id, _past(found.get("created")), row)


def _past(value: Any) -> Optional[float]:
    """A time that may be true; others, far ahead, neither a zip nor a calendar could hold."""
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if known and 0 <= value <= time.time() else None


def _word(value: Any) -> Optional[str]:
    return value if isinstance(value, str) and 0 < len(value) <= _LONGEST_ORIGIN and value.isprintable() else None


def _checked(name: Any) -> Optional[str]:
    try:
        return check_name(name)
    except Invalid:
        return None


def _common(paths: List[Tuple[str, ...]]) -> int:
    """How many folders all pictures share above the folders of the classes."""
    above = 0
    while paths and all(len(path) > above + 2 and path[above] == paths[0][above] for path in paths):
        above += 1
    return above
