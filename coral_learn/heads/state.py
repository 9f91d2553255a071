"""Reading a head's state, which may come from a damaged file, without trusting it."""

from typing import Any, Dict, List, Optional, Tuple

import numpy as np

State = Dict[str, np.ndarray]

_KINDS = {"whole": "iu", "real": "fiu"}


def numbers(state: State, name: str, kind: str, shape: Optional[Tuple[int, ...]] = None) -> np.ndarray:
    """An array of finite numbers. kind : "whole" or "real"; shape : None for any. Raises `ValueError`, `KeyError`."""
    array = np.asarray(state[name])
    if array.dtype.kind not in _KINDS[kind]:
        raise ValueError(f"{name} should be {kind} numbers, its type is {array.dtype}")
    if shape is not None and array.shape != shape:
        raise ValueError(f"{name} should have the shape {shape}, has {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinity")
    return array


def number(state: State, name: str, kind: str, lowest: float, highest: float) -> float:
    """One number within bounds."""
    value = numbers(state, name, kind, ()).item()
    if not lowest <= value <= highest:
        raise ValueError(f"{name} should be from {lowest:g} to {highest:g}, is {value!r}")
    return value


def names(state: State, name: str) -> List[Any]:
    """Names of classes: whole numbers or text, each of them once."""
    array = np.asarray(state[name])
    if array.ndim != 1 or array.dtype.kind not in ("i", "U"):
        raise ValueError(f"{name} should be a row of whole numbers or of text, is {array.ndim}-d of type {array.dtype}")
    found = array.tolist()
    if len(set(found)) != len(found):
        raise ValueError(f"{name} has a class twice")
    return found
