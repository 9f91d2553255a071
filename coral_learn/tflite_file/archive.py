"""The ZIP archive that TensorFlow Lite's metadata put behind a model: labels and the like.

https://www.tensorflow.org/lite/models/convert/metadata: the archive is appended to the file, and its
names are those of the associated files in the metadata.
"""

import zipfile
from io import SEEK_END, BytesIO
from typing import Dict

from coral_learn.errors import ModelFormatError

_MAX_UNPACKED = 32 << 20
_MAX_FILES = 1000
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same bytes whenever they are written


def read_archive(data: bytes) -> Dict[str, bytes]:
    """Names and contents, {} without an archive. Raises `ModelFormatError` for a broken or oversized one."""
    if not zipfile.is_zipfile(BytesIO(data)):
        return {}
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            entries = archive.infolist()
            if len(entries) > _MAX_FILES or sum(entry.file_size for entry in entries) > _MAX_UNPACKED:
                raise ModelFormatError(f"the archive behind the model unpacks to more than {_MAX_UNPACKED} bytes")
            return {entry.filename: _unpack(archive, entry) for entry in entries}
    except ModelFormatError:
        raise
    except Exception as error:  # zipfile fails in a dozen ways on broken archives
        raise ModelFormatError(f"the archive behind the model can't be read: {error}") from error


def archive_start(data: bytes) -> int:
    """The byte where the archive begins; the length of the file without a readable one."""
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            return min([archive.start_dir] + [entry.header_offset for entry in archive.infolist()])
    except Exception:  # no archive, or none that a reader could make sense of
        return len(data)


def write_archive(data: bytes, files: Dict[str, bytes]) -> bytes:
    """`data`, which has no archive, with one behind it; nothing is added without files."""
    if not files:
        return data
    file = BytesIO(data)
    file.seek(0, SEEK_END)  # mode "a" would go on in what looks like an archive inside the model
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)
    return file.getvalue()


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    # Sizes in the directory may lie; reading stops where they say.
    with archive.open(entry) as file:
        return file.read(entry.file_size)
