"""The two files of one extractor: NAME.tflite for a CPU, and NAME_edgetpu.tflite, compiled from it."""

from pathlib import Path
from typing import Optional

COMPILED_SUFFIX = "_edgetpu"  # what edgetpu_compiler puts behind a file's name


def compiled_name(path: Path) -> str:
    """What edgetpu_compiler calls the file it makes of this one."""
    return path.stem + COMPILED_SUFFIX + path.suffix


def compiled_twin(path: Path) -> Optional[Path]:
    """The compiled file beside a plain one, None where there is none."""
    twin = path.with_name(compiled_name(path))
    return twin if twin.exists() else None


def plain_name(path: Path) -> str:
    """What the file was called that a compiled one was made of; its own name when it doesn't tell."""
    stem = path.stem[: -len(COMPILED_SUFFIX)] if path.stem.endswith(COMPILED_SUFFIX) else path.stem
    return stem + path.suffix


def plain_twin(path: Path) -> Optional[Path]:
    """The plain file beside a compiled one, None where there is none."""
    twin = path.with_name(plain_name(path))
    return twin if twin != path and twin.exists() else None
