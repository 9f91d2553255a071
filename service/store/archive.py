"""The data set as one archive: a folder a class, embeddings, and a manifest that says what is what.

A zip, pictures stored as they are, because they are compressed already:

    CLASS/EXAMPLE.jpg               a picture; the class's name made fit for a file system
    embeddings/DIGEST/00000.npy     what an extractor made of them: float32, 1000 rows a file
    manifest.json                   true names, origins, digests; which row belongs to which picture
"""

import hashlib
import io
import json
import logging
import time
import unicodedata
import zipfile
import zlib
from typing import Any, Dict, FrozenSet, Iterator, List, NamedTuple, Optional, Set

import numpy as np

from coral_learn.extractor import ExtractorInfo
from coral_learn.image import SUFFIXES
from service.errors import NotFound
from service.store.examples import StoredExample
from service.store.store import Store

log = logging.getLogger(__name__)

FORMAT, VERSION = "coral-learn-data-set", 1
MANIFEST, EMBEDDINGS = "manifest.json", "embeddings"
PART_ROWS = 1000
_CHUNK = 1 << 18
_NAMED = 10  # missing pictures that the log names
_LONGEST_FOLDER = 120  # bytes; file systems take 255, and paths have limits too
_DISLIKED = '<>:"/\\|?*%'
_RESERVED = {"con", "prn", "aux", "nul", "__macosx", "embeddings", "manifest.json"} | {
    name + str(number) for name in ("com", "lpt") for number in range(10)
}
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # a zip knows no time before


class _Export(NamedTuple):
    """What is exported: the folder of every class by its number, and every example with its class's number."""

    folders: Dict[int, str]
    names: Dict[int, str]
    disabled: FrozenSet[int]
    examples: list


def write_archive(store: Store, extractor: Optional[ExtractorInfo]) -> Iterator[bytes]:
    """The archive, piece by piece, of what is stored at the first one. Memory: a picture, and what zip lists.

    extractor : whose embeddings go with it; None for none

    Teaching may go on meanwhile. A picture deleted before its turn is left out; so is one whose file is gone, which
    the manifest counts as missing as well, and the log warns of. Raises `StoreError` when one can't be read: that may
    pass, so an archive without it would only look like a backup.
    """
    outlet = _Outlet()
    # Closed by hand only: leaving a `with` early would try to write the end of it.
    archive = zipfile.ZipFile(outlet, "w", zipfile.ZIP_STORED, allowZip64=True)
    export, lines, left_out = _list(store), _Lines(), 0
    missing: List[str] = []
    rows = None if extractor is None else _Rows(archive, extractor)
    for example_id, class_id in export.examples:
        try:
            example = store.examples.get(example_id)
            data = store.images.read(example.sha256)
        except NotFound:
            left_out += 1
            if _is_there(store, example_id):
                missing.append(example_id)
            continue
        file = f"{export.folders[class_id]}/{example.id}{SUFFIXES[example.format]}"
        archive.writestr(_info(file, example.created), data)
        row = None
        if rows is not None:
            row = rows.add(store.examples.embedding(example.sha256, extractor.digest))
        lines.add(_listed(file, export.names[class_id], example, row))
        yield from outlet.take(_CHUNK)
    parts = [] if rows is None else rows.finish()
    yield from outlet.take()
    head = {
        "format": FORMAT,
        "version": VERSION,
        "created": time.time(),
        "extractor": None if extractor is None else _facts(extractor),
        "classes": [
            {"name": export.names[number], "folder": folder, "enabled": number not in export.disabled}
            for number, folder in export.folders.items()
        ],
        "left_out": left_out,
        "missing": len(missing),
        "embeddings": parts,
    }
    info = _info(MANIFEST, time.time())
    info.compress_type = zipfile.ZIP_DEFLATED
    with archive.open(info, "w", force_zip64=True) as manifest:
        manifest.write(json.dumps(head, ensure_ascii=False, indent=1).encode()[:-2] + b',\n "examples": [')
        for number, text in enumerate(lines.read()):
            manifest.write((b",\n  " if number else b"\n  ") + text)
            yield from outlet.take(_CHUNK)
        manifest.write(b"\n ]\n}\n")
    archive.close()
    if missing:
        some = ", ".join(missing[:_NAMED]) + (", ..." if len(missing) > _NAMED else "")
        log.warning("an archive lacks %d pictures, whose files are gone; of the examples %s", len(missing), some)
    yield from outlet.take()


def folder_names(names: List[str]) -> List[str]:
    """A folder for each class: readable, allowed by every file system, no two the same to any of them."""
    taken: Set[str] = set()
    folders = []
    for name in names:
        safe = _safe(name)
        folder, number = safe, 1
        while _folded(folder) in taken:
            number += 1
            folder = f"{safe}~{number}"
        taken.add(_folded(folder))
        folders.append(folder)
    return folders


def pack_rows(rows: np.ndarray) -> bytes:
    """(N, D) float32 as a .npy file."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(rows, "<f4"), (1, 0))
    return file.getvalue()


def unpack_rows(data: bytes, size: int) -> np.ndarray:
    """What `pack_rows` packed, of D = size. Raises `ValueError`.

    Not by `np.load`: that takes the memory that a file's header asks for.
    """
    start = 10 + int.from_bytes(data[8:10], "little")
    header = data[:start]
    if not header.startswith(b"\x93NUMPY\x01\x00") or b"'descr': '<f4'" not in header or b"False" not in header:
        raise ValueError("no file of float32 rows")
    rows = np.frombuffer(data, "<f4", offset=start).reshape(-1, size)
    if not np.isfinite(rows).all():
        raise ValueError("embeddings that are not finite")
    return rows.astype(np.float32)


class _Outlet:
    """What a zip is written to, and taken from: no seeking, so nothing is kept."""

    def __init__(self) -> None:
        self._pieces: List[bytes] = []
        self._size = 0

    def write(self, data) -> int:
        self._pieces.append(bytes(data))
        self._size += len(data)
        return len(data)

    def flush(self) -> None:
        pass

    def take(self, least: int = 1) -> Iterator[bytes]:
        """What was written since the last time, if it is enough, in pieces of a size that suits a connection."""
        if self._size < least:
            return
        pieces, self._pieces, self._size = b"".join(self._pieces), [], 0
        for start in range(0, len(pieces), _CHUNK):
            yield pieces[start : start + _CHUNK]


class _Rows:
    """Embeddings on their way into the archive, a part at a time."""

    def __init__(self, archive: zipfile.ZipFile, extractor: ExtractorInfo):
        self._archive, self._extractor = archive, extractor
        self._waiting: List[np.ndarray] = []
        self._count = 0
        self._parts: List[Dict[str, Any]] = []

    def add(self, embedding: Optional[np.ndarray]) -> Optional[int]:
        """Add one; returns its row, counted over all parts."""
        if embedding is None:
            return None
        self._waiting.append(embedding)
        self._count += 1
        if len(self._waiting) == PART_ROWS:
            self._write()
        return self._count - 1

    def finish(self) -> List[Dict[str, Any]]:
        """Write what is left; returns the parts for the manifest."""
        if self._waiting:
            self._write()
        return self._parts

    def _write(self) -> None:
        data = pack_rows(np.stack(self._waiting))
        file = f"{EMBEDDINGS}/{self._extractor.digest}/{len(self._parts):05}.npy"
        self._archive.writestr(_info(file, time.time()), data)
        digest = hashlib.sha256(data).hexdigest()
        self._parts.append({"file": file, "rows": len(self._waiting), "sha256": digest})
        self._waiting = []


class _Lines:
    """JSON, a line an example, packed: those of 100,000 take 10 MB instead of 35."""

    def __init__(self) -> None:
        self._packer = zlib.compressobj(1)
        self._packed = io.BytesIO()

    def add(self, values: Dict[str, Any]) -> None:
        """Add a line."""
        self._packed.write(self._packer.compress(json.dumps(values, ensure_ascii=False).encode() + b"\n"))

    def read(self) -> Iterator[bytes]:
        """Every line. Once, at the end."""
        self._packed.write(self._packer.flush())
        self._packed.seek(0)
        unpacker, rest = zlib.decompressobj(), b""
        for packed in iter(lambda: self._packed.read(1 << 14), b""):
            *whole, rest = (rest + unpacker.decompress(packed)).split(b"\n")
            yield from whole


def _list(store: Store) -> _Export:
    with store.changing:  # so that every example has its class
        names, disabled = {one.id: one.name for one in store.classes.all()}, store.classes.disabled()
        examples = sorted(store.examples.labels(), key=lambda one: one[1])  # stable: by class, then as they came
    return _Export(dict(zip(names, folder_names(list(names.values())))), names, disabled, examples)


def _is_there(store: Store, example_id: str) -> bool:
    """Whether an example has not been deleted."""
    try:
        store.examples.get(example_id)
    except NotFound:
        return False
    return True


def _listed(file: str, name: str, example: StoredExample, row: Optional[int]) -> Dict[str, Any]:
    return {
        "file": file,
        "class": name,
        "sha256": example.sha256,
        "source": example.source,
        "capture": example.capture,
        "client_id": example.client_id,
        "created": example.created,
        "width": example.width,
        "height": example.height,
        "format": example.format,
        "row": row,
    }


def _facts(extractor: ExtractorInfo) -> Dict[str, Any]:
    return {"digest": extractor.digest, "name": extractor.name, "size": extractor.embedding_size}


def _info(file: str, when: float) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(file, max(_EARLIEST, time.localtime(when)[:6]))
    info.external_attr = 0o644 << 16
    return info


def _safe(name: str) -> str:
    """A name with everything that a file system dislikes percent-encoded."""
    folder = "".join(_encoded(one) if one in _DISLIKED or not one.isprintable() else one for one in name)
    if folder[0] in ".~ ":
        folder = _encoded(folder[0]) + folder[1:]
    if folder.split(".")[0].lower() in _RESERVED or folder.lower() in _RESERVED:
        folder = _encoded(folder[0]) + folder[1:]
    while len(folder.encode()) > _LONGEST_FOLDER:
        folder = folder[:-1]
    if folder[-1] in ". ":
        folder = folder[:-1] + _encoded(folder[-1])
    return folder


def _encoded(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


def _folded(folder: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", folder).casefold())
