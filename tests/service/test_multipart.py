"""Motion JPEG over HTTP, as cameras really send it."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.camera.sources.multipart import Multipart
from service.errors import CameraError

PARTS = [b"\xff\xd8\xff one \n\r\n--fram \xff\xd9", b"\xff\xd8\xff" + bytes(range(256)) * 9 + b"\xff\xd9"]


def parts(body, content_type="multipart/x-mixed-replace; boundary=frame", most=100000):
    """All parts of a body, and how it ended."""
    found = []
    with pytest.raises(CameraError) as ended:
        for part in Multipart(io.BytesIO(body), content_type, most):
            found.append(part)
    return found, str(ended.value)


def body(boundary=b"--frame", length=len, before=b"\r\n", newline=b"\r\n"):
    """A stream of PARTS. length : of a part, None for none; before : the line break before a boundary"""
    written = b""
    for part in PARTS:
        size = b"" if length is None else b"content-LENGTH : %d" % length(part) + newline
        written += boundary + newline + b"Content-Type: image/jpeg" + newline + size + newline + part + before
    return written + boundary + newline


@pytest.mark.parametrize("length", [len, None])
@pytest.mark.parametrize("before", [b"\r\n", b"\n", b""])
@pytest.mark.parametrize("newline", [b"\r\n", b"\n"])
@pytest.mark.parametrize("name", ["boundary=frame", 'boundary="--frame"', "charset=x; Boundary=--frame"])
def test_what_cameras_send(length, before, newline, name):
    """With and without lengths, dashes in the name, and line breaks of several kinds."""
    found, _ = parts(body(length=length, before=before, newline=newline), "multipart/x-mixed-replace;" + name)
    assert found[: len(PARTS)] == PARTS


def test_boundary_that_is_not_named():
    """The first line has it."""
    assert parts(body(b"--any.thing"), "multipart/x-mixed-replace")[0] == PARTS


def test_length_that_is_too_short():
    """That part is cut off; the next is whole again."""
    found, _ = parts(body(length=lambda part: len(part) - (5 if part is PARTS[0] else 0)))
    assert found == [PARTS[0][:-5], PARTS[1]]


@pytest.mark.parametrize(
    ("sent", "complaint"),
    [
        (b"--frame\r\nContent-Length: 9999999\r\n\r\n", "at most 100000"),
        (b"--frame\r\n" + b"X-Header: y\r\n" * 100, "more than 64 lines"),
        (b"--frame\r\n" + b"X" * 9999, "more than 4096 bytes"),
        (b"--frame\r\n\r\n" + b"x" * 200000, "without an end"),
        (b"x" * 200000, "no boundary"),
        (b"--frame\r\nContent-Length: 10\r\n\r\nx", "in the middle"),
        (b"", "closed"),
    ],
)
def test_limits(sent, complaint):
    """Nothing is read without end, and what is wrong is said."""
    found, ended = parts(sent)
    assert complaint in ended
    assert found == []


@given(st.binary(max_size=400), st.integers(0, 300), st.integers(0, 2000))
def test_garbage_raises_nothing_else(garbage, at, cut):
    """Whatever comes, wherever the stream is cut off or damaged."""
    sent = body()
    found, _ = parts((sent[:at] + garbage + sent[at:])[: len(sent) - cut], most=3000)
    assert all(len(part) <= 3000 + 65536 for part in found)
