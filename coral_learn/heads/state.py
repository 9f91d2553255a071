"""Reading a head's state, which may come from a damaged file, without trusting it."""

from typing import Any, Dict, List, Optional, Tuple

import numpy as np

State = Dict[str, np.ndarray]

_KINDS = {"whole": "iu", "real": "fiu"}
_LARGEST_REAL = 1e30  # fits float32, with room for what is done with it


def numbers(state: State, name: str, kind: str, shape: Optional[Tuple[int, ...]] = None) -> np.ndarray:
    """An array of finite numbers. kind : "whole" or "real"; shape : None for any. Raises `ValueError`, `KeyError`."""
    array = np.asarray(state[name])
    if array.dtype.kind not in _KINDS[kind]:
        raise ValueError(f"{name} should be {kind} numbers, its type is {array.dtype}")
    if shape is not None and array.shape != shape:
        raise ValueError(f"{name} should have the shape {shape}, has {array.shape}")
    if kind == "real" and not (np.abs(array.astype(np.float64)) <= _LARGEST_REAL).all():
        raise ValueError(f"{name} holds NaN, infinity or a number beyond all measure")
    if kind == "whole" and array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name} holds a number of more than 64 bits")
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
