"""Zip and tar from anywhere, read a member at a time and never unpacked onto the disk.

Nothing that an archive says about itself is trusted: names stay names, and bytes are counted as they come.
"""

import bz2
import gzip
import lzma
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from typing import BinaryIO, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

from service.errors import ArchiveUnusable

# What the readers below raise for damaged input; a failing disk looks the same to them.
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    RuntimeError,
    LookupError,
    OverflowError,
)
_BLOCK = 512  # tar: everything is padded to this
_CHUNK = 1 << 20
_DIRECTORY_ENTRY = 320  # zip: bytes that a member may take in the list of members, on average
_ENTRY_MARK = b"PK\x01\x02"
_UTF8_FLAG, _ENCRYPTED_FLAG = 0x800, 0x1
_LONGEST_NAME_RECORD = 1 << 16
_XZ_MEMORY = 100 << 20  # bytes; xz -9 asks for 65 MB, a hostile file for gigabytes
_DRIVE = re.compile("[A-Za-z]:")
_HIDDEN = ("thumbs.db", "desktop.ini")


class Limits(NamedTuple):
    """What an archive may unpack to: bytes of a member, bytes of all that is read, and how many members."""

    member_bytes: int
    total_bytes: int
    members: int = 200_000


class Member(NamedTuple):
    """One file of an archive. path : its folders and its name; code : why it is not read, or ""."""

    path: Tuple[str, ...]
    code: str


class Content(NamedTuple):
    """A member that was read. index : its place in `members`; code : why there are no data, or ""."""

    index: int
    data: bytes
    code: str


class ZipContainer:
    """A zip. Raises `ArchiveUnusable`."""

    ordered = True  # `contents` come in the order they are asked for

    def __init__(self, file: BinaryIO, limits: Limits):
        self._limits, self._total = limits, 0
        guarded = _CountedDirectory(file, limits.members)
        try:
            self._zip = zipfile.ZipFile(guarded)
        except ArchiveUnusable:
            raise
        except _DAMAGED as error:
            raise damaged(error) from error
        guarded.opened = True
        self._infos = [info for info in self._zip.infolist() if not info.filename.endswith("/")]
        self.members: List[Member] = [_member(_zip_name(info), _zip_kind(info)) for info in self._infos]

    def contents(self, wanted: Sequence[int], most: Optional[int] = None) -> Iterator[Content]:
        """Read these members, each of `most` bytes or fewer. Raises `ArchiveUnusable` when all get too much."""
        for index in wanted:
            data, code = self._read(self._infos[index], self._limits.member_bytes if most is None else most)
            self._total += len(data)
            _check_total(self._total, self._limits)
            yield Content(index, data, code)

    def _read(self, info: zipfile.ZipInfo, most: int) -> Tuple[bytes, str]:
        if info.flag_bits & _ENCRYPTED_FLAG:
            return b"", "member_encrypted"
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            return b"", "member_compression"  # the others may ask for gigabytes of memory
        if info.file_size > most:
            return b"", "member_too_large"
        try:
            with self._zip.open(info) as member:
                data = member.read(most + 1)
        except _DAMAGED:
            return b"", "member_damaged"
        return (data, "") if len(data) <= most else (b"", "member_too_large")


class TarContainer:
    """A tar, packed or not. It can only be read from its start, so a damaged one is noticed before it is used.

    Raises `ArchiveUnusable`.
    """

    ordered = False

    def __init__(self, file: BinaryIO, limits: Limits):
        self._file, self._limits = file, limits
        self.members: List[Member] = [member for member, _, _ in self._walk()]

    def contents(self, wanted: Sequence[int], most: Optional[int] = None) -> Iterator[Content]:
        """Read these members, in the order of the archive. Raises `ArchiveUnusable`."""
        most, asked = self._limits.member_bytes if most is None else most, set(wanted)
        for index, (_, size, stream) in enumerate(self._walk()):
            if index not in asked:
                continue
            asked.remove(index)
            yield Content(index, b"", "member_too_large") if size > most else Content(index, stream.take(size), "")
            if not asked:
                return

    def _walk(self) -> Iterator[Tuple[Member, int, "_TarStream"]]:
        """Every file: what it is, its size, and where to read it from before the next one is asked for."""
        self._file.seek(0)
        stream, count = _TarStream(_unpacked(self._file), self._limits), 0
        while True:
            header = _next_header(stream)
            if header is None:
                return
            name, size, info = header
            ends = stream.position + _padded(size if _has_data(info) else 0)
            if not info.isdir():
                count += 1
                if count > self._limits.members:
                    raise _too_many(self._limits.members)
                yield _member(name, _tar_kind(info)), size, stream
            stream.skip(ends - stream.position)


Container = Union[ZipContainer, TarContainer]


def open_container(file: BinaryIO, limits: Limits) -> Container:
    """The archive in a file. Raises `ArchiveUnusable`."""
    return ZipContainer(file, limits) if check_archive(file) == "zip" else TarContainer(file, limits)


def check_archive(file: BinaryIO) -> str:
    """The kind of archive in a file, as far as a glance at both of its ends tells. Raises `ArchiveUnusable`."""
    found = kind_of(file)
    if found is None:
        raise ArchiveUnusable("this is neither a zip nor a tar archive", "archive_unsupported")
    if found == "zip" and not zipfile.is_zipfile(file):
        raise damaged("it is cut off, or no zip at all")
    return found


def kind_of(file: BinaryIO) -> Optional[str]:
    """zip, gzip, bzip2, xz or tar by the first bytes, or None."""
    file.seek(0)
    start = file.read(_BLOCK)
    file.seek(0)
    for mark, kind in ((b"PK", "zip"), (b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz")):
        if start.startswith(mark):
            return kind
    if len(start) == _BLOCK and (start[257:262] == b"ustar" or _is_tar_header(start)):
        return "tar"
    return None


class _CountedDirectory:
    """A file that refuses to give out a list of too many members: zipfile reads it in one piece, whatever its size."""

    def __init__(self, file: BinaryIO, members: int):
        self._file, self._members, self._seen = file, members, 0
        self.opened = False
        self.seek, self.tell = file.seek, file.tell

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self.opened:
            return self._file.read(size)
        if size > self._members * _DIRECTORY_ENTRY:
            raise _too_many(self._members)
        data = self._file.read(size)
        self._seen += data.count(_ENTRY_MARK)
        if self._seen > self._members:
            raise _too_many(self._members)
        return data


class _TarStream:
    """What is in a tar, byte after byte, counted."""

    def __init__(self, source, limits: Limits):
        self._source, self._limits, self.position = source, limits, 0

    def block(self) -> bytes:
        """The next block, b"" at the end."""
        data = self._read(_BLOCK)
        if data and len(data) < _BLOCK:
            raise damaged("it ends in the middle of a header")
        return data

    def take(self, size: int) -> bytes:
        """So many bytes."""
        data = self._read(size)
        if len(data) < size:
            raise damaged("it ends in the middle of a file")
        return data

    def skip(self, size: int) -> None:
        """Pass over so many bytes."""
        while size > 0:
            size -= len(self.take(min(size, _CHUNK)))

    def _read(self, size: int) -> bytes:
        try:
            parts, left = [], size
            while left > 0:
                part = self._source.read(min(left, _CHUNK))
                if not part:
                    break
                parts.append(part)
                left -= len(part)
        except _DAMAGED as error:
            raise damaged(error) from error
        self.position += size - left
        _check_total(self.position, self._limits)
        return b"".join(parts)


class _XzFile:
    """What is in an xz, with a limit to the memory that takes; `lzma.LZMAFile` has none."""

    def __init__(self, file: BinaryIO):
        self._file, self._unpacker = file, _new_xz()

    def read(self, size: int) -> bytes:
        """Up to so many bytes, b"" at the end."""
        while True:
            if self._unpacker.eof:
                rest = self._unpacker.unused_data.lstrip(b"\0") or self._file.read(_CHUNK).lstrip(b"\0")
                if not rest:
                    return b""
                self._unpacker = _new_xz()  # several may lie one behind the other
            else:
                rest = self._file.read(1 << 16) if self._unpacker.needs_input else b""
                if not rest and self._unpacker.needs_input:
                    raise EOFError("it is cut off")
            data = self._unpacker.decompress(rest, size)
            if data:
                return data


def _new_xz() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)


def _unpacked(file: BinaryIO):
    openers = {"gzip": lambda: gzip.GzipFile(fileobj=file), "bzip2": lambda: bz2.BZ2File(file)}
    openers["xz"] = lambda: _XzFile(file)
    return openers.get(kind_of(file), lambda: file)()


def _next_header(stream: _TarStream) -> Optional[Tuple[str, int, tarfile.TarInfo]]:
    """Name, size and header of the next member, or None at the end. tarfile's own loop reads names of any length."""
    name: Optional[str] = None
    size: Optional[int] = None
    while True:
        block = stream.block()
        if not block.strip(b"\0"):
            return None
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            if info.size < 0 or info.type == tarfile.GNUTYPE_SPARSE:
                raise ValueError("a member without a size that can be used")
            if info.type == tarfile.GNUTYPE_LONGNAME:
                name = _text(_record(stream, info).rstrip(b"\0"))
            elif info.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
                facts = _pax(_record(stream, info))
                name = _text(facts["path"]) if "path" in facts else name
                size = int(facts["size"]) if "size" in facts else size
            elif info.type in (tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK):
                stream.skip(_padded(info.size))
            else:
                size = info.size if size is None else size
                if size < 0:
                    raise ValueError("a member of less than nothing")
                return info.name if name is None else name, size, info
        except ArchiveUnusable:
            raise
        except _DAMAGED as error:
            raise damaged(error) from error


def _record(stream: _TarStream, info: tarfile.TarInfo) -> bytes:
    if info.size > _LONGEST_NAME_RECORD:
        raise ValueError(f"a name of {info.size} bytes")
    return stream.take(_padded(info.size))[: info.size]


def _pax(data: bytes) -> dict:
    """The records "LENGTH KEY=VALUE" of an extended header."""
    facts, place = {}, 0
    while place < len(data):
        length = int(data[place:].split(b" ", 1)[0])
        record = data[place : place + length]
        if length < 5 or len(record) < length:
            raise ValueError("an extended header that is cut off")
        key, _, value = record.split(b" ", 1)[1][:-1].partition(b"=")
        facts[_text(key)] = value
        place += length
    return facts


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _has_data(info: tarfile.TarInfo) -> bool:
    return info.isreg() or info.type not in tarfile.SUPPORTED_TYPES


def _is_tar_header(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


def _member(name: str, kind: str) -> Member:
    """A member by its name; kind : why it is refused already, or ""."""
    name = name.replace("\\", "/")
    path = tuple(part for part in name.split("/") if part not in ("", "."))
    if name.startswith("/") or _DRIVE.match(name) or ".." in path or "\0" in name or not path:
        return Member(path, "path_unsafe")
    if any(part.startswith(".") or part == "__MACOSX" for part in path) or path[-1].lower() in _HIDDEN:
        return Member(path, "hidden_file")
    return Member(path, kind)


def _zip_name(info: zipfile.ZipInfo) -> str:
    """A member's name. Several packers write UTF-8 without saying so, which zipfile takes for cp437."""
    if info.flag_bits & _UTF8_FLAG:
        return info.orig_filename
    try:
        return info.orig_filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.orig_filename


def _zip_kind(info: zipfile.ZipInfo) -> str:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind in (0, stat.S_IFREG):
        return ""
    return "link_refused" if kind == stat.S_IFLNK else "device_refused"


def _tar_kind(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return "link_refused"
    return "" if info.isreg() else "device_refused"


def _check_total(total: int, limits: Limits) -> None:
    if total > limits.total_bytes:
        raise ArchiveUnusable(
            f"the archive unpacks to more than {limits.total_bytes} bytes (the setting max_import_mb)",
            "archive_too_large",
        )


def _too_many(members: int) -> ArchiveUnusable:
    return ArchiveUnusable(f"the archive has too many members, at most {members} are allowed", "archive_too_large")


def damaged(reason) -> ArchiveUnusable:
    """An archive that does not hold what it should. reason : in words"""
    return ArchiveUnusable(f"the archive is damaged: {reason}", "archive_damaged")
