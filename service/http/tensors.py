"""Tensors as the Open Inference Protocol sends them: in JSON, or as bytes behind the JSON.

Bytes come with the binary tensor data extension: the header Inference-Header-Content-Length says where the JSON
ends, and `binary_data_size` of each tensor how many of the bytes behind it are its own. Numbers are little-endian;
each element of a BYTES tensor has its length before it, as a uint32.
"""

import json
import struct
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from service.errors import Refused

HEADER = "Inference-Header-Content-Length"
BYTES, UINT8, FP32 = "BYTES", "UINT8", "FP32"
_LENGTH = struct.Struct("<I")
_UNSUPPORTED = ("classification", "shared_memory_region")  # parameters that would change what is sent


class Tensor(NamedTuple):
    """A tensor. data : an array, or the elements of BYTES; texts : whether those are text, as they are in JSON."""

    name: str
    datatype: str
    shape: Tuple[int, ...]
    data: Union[np.ndarray, List[Union[bytes, str]]]
    texts: bool = False


class Requested(NamedTuple):
    """An output that is asked for, as JSON or as bytes."""

    name: str
    binary: bool


class InferRequest(NamedTuple):
    """What is asked. outputs : None for all of them; binary : how those are sent then."""

    id: Optional[str]
    inputs: List[Tensor]
    outputs: Optional[List[Requested]]
    binary: bool


def read_request(body: bytes, header_length: Optional[str]) -> InferRequest:
    """Take a request apart. header_length : of the HTTP header. Raises `Refused`."""
    end = len(body)
    if header_length is not None:
        if not (header_length.isdecimal() and len(header_length) < 12 and int(header_length) <= end):
            raise _refusal(f"{HEADER} is a number up to the body's {end} bytes, got {header_length[:50]!r}")
        end = int(header_length)
    try:
        asked = json.loads(body[:end].decode("utf-8"))
    except (ValueError, RecursionError):
        raise _refusal("the body does not begin with JSON" if end < len(body) else "the body is not JSON") from None
    if not isinstance(asked, dict) or not _are_objects(asked.get("inputs")):
        raise _refusal('the body is a JSON object with "inputs", a list of objects')
    name = asked.get("id")
    if name is not None and not isinstance(name, str):
        raise _refusal("id is text")
    binary = _parameters(asked).get("binary_data_output", False) is True
    inputs, rest = [], memoryview(body)[end:]
    for one in asked["inputs"]:
        tensor, used = _read_tensor(one, rest)
        inputs.append(tensor)
        rest = rest[used:]
    if rest:
        raise _refusal(f"{len(rest)} bytes are left behind the last input")
    return InferRequest(name, inputs, _read_outputs(asked, binary), binary)


def write_response(header: Dict[str, Any], outputs: Sequence[Tuple[Tensor, bool]]) -> Tuple[bytes, Optional[int]]:
    """A response's body, and the length of its JSON where bytes follow. outputs : tensors, and which ones as bytes."""
    described, tail = [], []
    for tensor, binary in outputs:
        facts = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        if binary:
            tail.append(_to_bytes(tensor))
            facts["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            facts["data"] = tensor.data.ravel().tolist() if tensor.datatype == FP32 else list(tensor.data)
        described.append(facts)
    head = json.dumps(dict(header, outputs=described), ensure_ascii=False).encode()
    return head + b"".join(tail), len(head) if tail else None


def _read_tensor(one: Dict[str, Any], rest: memoryview) -> Tuple[Tensor, int]:
    """An input, and how many bytes of the rest are its own."""
    name, kind, shape = one.get("name"), one.get("datatype"), one.get("shape")
    if not isinstance(name, str) or kind not in (BYTES, UINT8):
        raise _refusal(f"an input has a name and the datatype {BYTES} or {UINT8}")
    if not (isinstance(shape, list) and 1 <= len(shape) <= 8 and all(type(size) is int and size > 0 for size in shape)):
        raise _refusal(f"the shape of {name[:50]!r} is a list of numbers above 0")
    count, size = _product(shape), _parameters(one).get("binary_data_size")
    if size is None:
        return Tensor(name, kind, tuple(shape), _from_json(one, kind, count), True), 0
    if type(size) is not int or not 0 <= size <= len(rest) or "data" in one:
        raise _refusal(
            f"binary_data_size of {name[:50]!r} is at most {len(rest)}, and there is no data in the JSON then"
        )
    if kind == UINT8:
        data: Any = np.frombuffer(rest[:size], np.uint8)
    else:
        data = _split(bytes(rest[:size]))
    _check_count(name, len(data), count)
    return Tensor(name, kind, tuple(shape), data.reshape(shape) if kind == UINT8 else data), size


def _from_json(one: Dict[str, Any], kind: str, count: int) -> Union[np.ndarray, List[str]]:
    """The data of an input in JSON, flat or nested."""
    name, data = one["name"], one.get("data")
    if not isinstance(data, list):
        raise _refusal(f"{name[:50]!r} has no data, a list")
    if kind == UINT8:
        try:
            numbers = np.array(data)
        except ValueError:
            numbers = np.empty(0, object)
        if numbers.dtype.kind not in "iu" or numbers.min() < 0 or numbers.max() > 255:
            raise _refusal(f"the data of {name[:50]!r} are whole numbers from 0 to 255")
        _check_count(name, numbers.size, count)
        return numbers.astype(np.uint8).reshape(one["shape"])
    while data and all(isinstance(row, list) for row in data):
        data = [element for row in data for element in row]
    if not all(isinstance(element, str) for element in data):
        raise _refusal(f"the data of {name[:50]!r} are texts")
    _check_count(name, len(data), count)
    return data


def _split(data: bytes) -> List[bytes]:
    """The elements of a BYTES tensor."""
    found, at = [], 0
    while at < len(data):
        end = at + _LENGTH.size
        if end <= len(data):
            end += _LENGTH.unpack_from(data, at)[0]
        if end > len(data) or end < at + _LENGTH.size:
            raise _refusal("an element of a BYTES tensor is cut off")
        found.append(data[at + _LENGTH.size : end])
        at = end
    return found


def _to_bytes(tensor: Tensor) -> bytes:
    if tensor.datatype == FP32:
        return np.ascontiguousarray(tensor.data, "<f4").tobytes()
    encoded = [text.encode() if isinstance(text, str) else text for text in tensor.data]
    return b"".join(_LENGTH.pack(len(element)) + element for element in encoded)


def _read_outputs(asked: Dict[str, Any], binary: bool) -> Optional[List[Requested]]:
    outputs = asked.get("outputs")
    if outputs is None or outputs == []:
        return None
    if not _are_objects(outputs) or not all(isinstance(one.get("name"), str) for one in outputs):
        raise _refusal('"outputs" is a list of objects with a name')
    return [Requested(one["name"], _parameters(one).get("binary_data", binary) is True) for one in outputs]


def _parameters(one: Dict[str, Any]) -> Dict[str, Any]:
    found = one.get("parameters")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise _refusal('"parameters" is an object')
    for name in _UNSUPPORTED:
        if name in found:
            raise _refusal(f"the parameter {name} is of an extension that is not there")
    return found


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def _product(shape: Sequence[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product


def _check_count(name: str, found: int, count: int) -> None:
    if found != count:
        raise _refusal(f"{name[:50]!r} has {found} elements, its shape says {count}")


def _refusal(detail: str) -> Refused:
    return Refused(detail, "bad_request")
