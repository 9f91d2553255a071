"""Reading and writing files whole."""

import os
from pathlib import Path

from coral_learn.errors import ModelFileMissing


def read_bytes(path) -> bytes:
    """All of a file. Raises `ModelFileMissing` that says why it can't be read."""
    try:
        with open(str(path), "rb") as file:
            return file.read()
    except FileNotFoundError as error:
        raise ModelFileMissing(f"no model file at {path}") from error
    except OSError as error:
        raise ModelFileMissing(f"the model file {path} can't be read: {error.strerror}") from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all, after a crash too. Raises `OSError`."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with open(str(unfinished), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
