"""Versions of installed packages, where a behaviour hangs on them."""

import re
from typing import Tuple


def package_version(name: str) -> str:
    """The version of an installed package, e.g. "2.5.0.post1"."""
    try:
        from importlib import metadata
    except ImportError:  # Python 3.7
        import importlib_metadata as metadata
    return metadata.version(name)


def version_numbers(version: str) -> Tuple[int, ...]:
    """The first three numbers of a version, e.g. (2, 5, 0), for comparing."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
