"""The bytes of a model file."""

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
