"""Versions of installed packages, where a behaviour hangs on them."""

from typing import Tuple


def package_version(name: str) -> Tuple[int, ...]:
    """The version of an installed package, e.g. (3, 0, 2)."""
    try:
        from importlib import metadata
    except ImportError:  # Python 3.7
        import importlib_metadata as metadata
    return tuple(int(part) for part in metadata.version(name).split(".")[:3] if part.isdigit())
