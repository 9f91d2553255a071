"""What requests carry: numbers in the query, JSON bodies, pictures."""

from io import BytesIO
from typing import Any, List, NamedTuple, Tuple

from flask import Request, request

from coral_learn.image import MEDIA_TYPES
from coral_learn.versions import package_version, version_numbers
from service.errors import Invalid, UnsupportedBody
from service.store.examples import LONGEST_ID

MAX_FILES = 200
MAX_SIZE = 1000
# Older parsers can be kept busy for minutes by one body (CVE-2023-46136, fixed in 2.3.8); Python 3.7 has
# no newer one, so it takes raw bodies only.
MULTIPART_FIXED = (2, 3, 8)


class Upload(NamedTuple):
    """One picture as it came. filename : for answers only, never used as a path."""

    filename: str
    data: bytes


def whole_number(name: str, default: int, lowest: int, highest: int) -> int:
    """A number from the query. Raises `Invalid`."""
    text = request.args.get(name)
    if text is None:
        return default
    try:
        value = int(text)
    except ValueError:
        raise Invalid(f"{name} is a whole number, got {text[:50]!r}", name) from None
    if not lowest <= value <= highest:
        raise Invalid(f"{name} is {lowest} to {highest}, got {value}", name)
    return value


def truth(name: str, default: bool = False) -> bool:
    """A yes or no from the query. Raises `Invalid`."""
    text = request.args.get(name, str(default).lower())
    if text not in ("true", "false"):
        raise Invalid(f"{name} is true or false, got {text[:50]!r}", name)
    return text == "true"


def check_own_text(name: str, value: Any) -> None:
    """Raise `Invalid` where a client's own name for something can't be kept; None is none."""
    if value is not None and not (isinstance(value, str) and 1 <= len(value) <= LONGEST_ID and value.isprintable()):
        raise Invalid(f"{name} has 1 to {LONGEST_ID} printable characters", name)


def paging() -> Tuple[int, int]:
    """page, from 0, and size of the list asked for."""
    return whole_number("page", 0, 0, 10**9), whole_number("size", 20, 1, MAX_SIZE)


def json_body() -> Any:
    """The body as JSON; an empty one is an empty object. Raises `Invalid`."""
    data = request.get_data()
    if not data:
        return {}
    try:
        return request.get_json(force=True)
    except Exception:
        raise Invalid("the body is not JSON", code="body_invalid") from None


def uploads() -> List[Upload]:
    """The pictures of a request: the parts named `file` of a multipart body, or one raw body.

    Raises `UnsupportedBody` or `Invalid`.
    """
    kind = request.mimetype
    if kind == "multipart/form-data":
        return _parts()
    if kind in MEDIA_TYPES.values() or kind in ("application/octet-stream", "image/jpg", ""):
        return [Upload("", request.get_data())]
    allowed = ", ".join(["multipart/form-data", *MEDIA_TYPES.values(), "application/octet-stream"])
    raise UnsupportedBody(f"a picture is sent as {allowed}; got {kind[:100]}")


def _parts() -> List[Upload]:
    if version_numbers(package_version("werkzeug")) < MULTIPART_FIXED:
        raise UnsupportedBody(
            "multipart bodies are not taken here, because the parser for this Python version has a hole that was never "
            "closed; send each picture as the raw body, with its type, for example Content-Type: image/jpeg"
        )
    files = request.files.getlist("file") + request.files.getlist("files[]")
    if not files:
        raise Invalid("a multipart body has at least one part named 'file' with a file name", "file")
    if len(files) > MAX_FILES:
        raise Invalid(f"at most {MAX_FILES} files in one request, got {len(files)}", "file")
    return [Upload((file.filename or "")[:200], file.read()) for file in files]


class InMemoryRequest(Request):
    """Keeps multipart files in memory: the body is there already, and a temporary file would wear the card."""

    def _get_file_stream(self, *_: Any, **__: Any) -> BytesIO:
        return BytesIO()
