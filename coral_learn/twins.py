"""The names of a plain model, NAME.tflite, and of its compiled twin, NAME_edgetpu.tflite beside it."""

from pathlib import Path

_SUFFIX = "_edgetpu"  # what edgetpu_compiler puts behind a file's name


def compiled_twin(path: Path) -> Path:
    """Where the compiled twin of a plain model lies, if there is one."""
    return path.with_name(path.stem + _SUFFIX + path.suffix)


def plain_twin(path: Path) -> Path:
    """Where the plain twin of a compiled model lies, if there is one; the path itself when it isn't named as one."""
    return path.with_name(path.stem.replace(_SUFFIX, "") + path.suffix)
