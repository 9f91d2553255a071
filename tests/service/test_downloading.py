"""service/downloading.py: one file from the network, whole or not at all."""

import fcntl
import hashlib
import shutil
import socket
import stat

import numpy as np
import pytest
from file_server import FileServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.errors import FetchFailed, Unfetchable, WrongContent
from service.model_files.downloading import Download, Expected, Patience

CONTENT = np.random.RandomState(0).bytes(300_000)
SIZE = 300_000
OTHER = np.random.RandomState(1).bytes(300_000)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """Nothing stands between the tests and their server, whatever this machine's environment says."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def running():
    """The server, for all tests of this file."""
    server = FileServer()
    yield server
    server.stop()


@pytest.fixture
def server(running):
    """The server as new, with one file."""
    return renewed(running)


def renewed(server):
    """The server with nothing that an earlier test left."""
    server.contents, server.faults, server.etag = {"/file": CONTENT}, [], "strong"
    server.requests.clear()
    return server


@pytest.fixture
def target(tmp_path):
    """Where the file goes: a folder of its own."""
    (tmp_path / "place").mkdir()
    return tmp_path / "place" / "model.tflite"


def download(server, target, size=SIZE, attempts=3, content=CONTENT, most=1 << 20, show=None, timeout=20.0):
    """Run a download of this content; returns it."""
    digest = hashlib.sha256(content).digest()
    expected = Expected(size, most, lambda data: hashlib.sha256(data).digest() == digest, "sha256 0123")
    patience = Patience(timeout, attempts, 0.0)
    made = Download(server.url + "/file", target, expected, show or (lambda *_: None), patience)
    made.run()
    return made


def names(target):
    """The files in the target's folder."""
    return sorted(path.name for path in target.parent.iterdir())


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_whole(server, target, size):
    """The file comes whole, for everyone to read, and nothing else stays; progress goes from 0 to all."""
    shown = []
    made = download(server, target, size, show=lambda here, whole: shown.append((here, whole)))

    assert target.read_bytes() == CONTENT
    assert names(target) == ["model.tflite"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    assert not made.resumed
    assert shown == sorted(shown)
    assert (shown[0], shown[-1]) == ((0, len(CONTENT)), (len(CONTENT), len(CONTENT)))
    assert server.requests[0][1]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_no_length(server, target, size):
    """A server needs not say how long the file is."""
    server.faults = ["no length"]
    download(server, target, size)

    assert target.read_bytes() == CONTENT


def test_goes_on_after_an_interruption(server, target):
    """What a broken connection brought is not asked for again, and only if the file is still the same."""
    server.faults = [("cut", 100_000), ("cut", 50_000)]
    made = download(server, target)

    assert target.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=100000-", "bytes=150000-"]
    assert server.requests[1][1]["If-Range"].startswith('"')
    assert made.resumed


def test_goes_on_in_the_next_run(server, target):
    """When all attempts break, what came is kept, the error says so, and the next run goes on from there."""
    server.faults = [("cut", 60_000), ("cut", 60_000)]
    with pytest.raises(Unfetchable, match="120000 bytes that came are kept"):
        download(server, target, attempts=2)
    assert names(target) == ["model.tflite.part", "model.tflite.part.json"]
    download(server, target)

    assert target.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=60000-", "bytes=120000-"]
    assert names(target) == ["model.tflite"]


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(
    faults=st.lists(
        st.one_of(
            st.tuples(st.just("cut"), st.integers(0, 400_000)),
            st.sampled_from([503, 429, "no range", "shifted", "no length"]),
        ),
        max_size=5,
    ),
    etag=st.sampled_from(["strong", "weak", ""]),
    size=st.sampled_from([len(CONTENT), None]),
)
def test_whatever_breaks(running, tmp_path_factory, faults, etag, size):
    """However connections fail: the target is the whole file or isn't there, and one good run completes it."""
    server, place = renewed(running), tmp_path_factory.mktemp("place")
    target = place / "model.tflite"
    server.faults, server.etag = faults, etag
    try:
        download(server, target, size)
    except FetchFailed:
        assert not target.exists()
        server.faults = []
        download(server, target, size)

    assert target.read_bytes() == CONTENT
    assert names(target) == ["model.tflite"]
    shutil.rmtree(str(place))


def test_a_server_without_ranges(server, target):
    """Where the server knows no ranges, the file is taken from its beginning."""
    server.faults = [("cut", 100_000), "no range"]
    made = download(server, target)

    assert target.read_bytes() == CONTENT
    assert not made.resumed


@pytest.mark.parametrize("etag", ["strong", "weak"])
def test_a_file_that_changed(server, target, etag):
    """Two halves of different files are never put together."""
    server.etag, server.contents, server.faults = etag, {"/file": OTHER}, [("cut", 100_000)]
    with pytest.raises(Unfetchable):
        download(server, target, attempts=1)
    server.contents = {"/file": CONTENT}
    download(server, target)

    assert target.read_bytes() == CONTENT
    assert server.ranges[1] == "bytes=100000-"


def test_a_wrong_beginning_without_etag(server, target):
    """Nothing says that the beginning is of another file but the digest: then all is taken anew, once."""
    server.etag = ""
    target.with_name("model.tflite.part").write_bytes(OTHER[:100_000])
    made = download(server, target)

    assert target.read_bytes() == CONTENT
    assert server.ranges == ["bytes=100000-", None]
    assert not made.resumed


def test_a_whole_part_is_enough(server, target):
    """An interruption before the very last step costs no further download."""
    target.with_name("model.tflite.part").write_bytes(CONTENT)
    download(server, target)

    assert target.read_bytes() == CONTENT
    assert server.requests == []


@pytest.mark.parametrize("extra", [b"", b"x" * 10])
def test_a_part_that_is_too_long(server, target, extra):
    """What is as long as the file or longer, and isn't it, is begun anew."""
    target.with_name("model.tflite.part").write_bytes(OTHER + extra)
    download(server, target)
    target.unlink()
    target.with_name("model.tflite.part").write_bytes(OTHER + extra)
    download(server, target, size=None)

    assert target.read_bytes() == CONTENT


def test_wrong_content(server, target):
    """Another file of the same length is deleted, and the error says what was expected."""
    server.contents = {"/file": OTHER}
    with pytest.raises(WrongContent, match=r"not the published model\.tflite: sha256 0123 was expected"):
        download(server, target)

    assert names(target) == []
    assert len(server.requests) == 1


def test_what_was_there_stays(server, target):
    """A download that fails doesn't touch the file that was there."""
    target.write_bytes(b"before")
    server.contents = {"/file": OTHER}
    with pytest.raises(WrongContent):
        download(server, target)

    assert target.read_bytes() == b"before"


@pytest.mark.parametrize("fault", ["", "no length"])
def test_too_much(server, target, fault):
    """More bytes than the file has, or than any may have, are not taken."""
    server.contents, server.faults = {"/file": CONTENT + b"x"}, [fault] * 2
    if not fault:
        with pytest.raises(WrongContent, match="offers 300001 bytes"):
            download(server, target)
    with pytest.raises(WrongContent, match="300000" if fault else "at most 200000"):
        download(server, target, size=None, most=300_000 if fault else 200_000)

    assert names(target) == []


@pytest.mark.parametrize("status", [403, 404, 410])
def test_refused(server, target, status):
    """What the server refuses is not asked for again."""
    server.faults = [status] * 9
    with pytest.raises(FetchFailed, match=f"the server answers {status}"):
        download(server, target)

    assert len(server.requests) == 1
    assert names(target) == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_asked_again(server, target, status):
    """A server that has trouble is asked again, but not for ever."""
    server.faults = [status, status]
    download(server, target)
    assert target.read_bytes() == CONTENT
    target.unlink()
    server.faults = [status] * 9
    with pytest.raises(Unfetchable, match=f"the server answers {status}"):
        download(server, target)

    assert len(server.requests) == 6
    assert names(target) == []


def test_a_server_that_says_nothing(server, target):
    """A connection that stalls is given up, and another one tried."""
    server.faults = ["stall", "stall"]
    with pytest.raises(Unfetchable, match=r"nothing came for 0\.2 seconds"):
        download(server, target, attempts=2, timeout=0.2)

    assert len(server.requests) == 2
    assert names(target) == []


def test_nothing_listens(target, server):
    """Where nothing listens, or the name isn't known, one attempt is enough."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        for url in (f"http://127.0.0.1:{port}/file", "http://nowhere.invalid/file"):
            expected = Expected(None, 1000, lambda _: True, "")
            with pytest.raises(Unfetchable, match="can't be downloaded: "):
                Download(url, target, expected, lambda *_: None, Patience(5.0, 9, 100.0)).run()

    assert names(target) == []
    assert server.requests == []


def test_through_a_proxy(server, target, monkeypatch):
    """The proxy that the environment names is asked."""
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    server.contents = {"http://nowhere.invalid/file": CONTENT}
    digest = Expected(None, 1 << 20, lambda data: data == CONTENT, "")
    Download("http://nowhere.invalid/file", target, digest, lambda *_: None, Patience(20.0, 1, 0.0)).run()

    assert target.read_bytes() == CONTENT


def test_one_at_a_time(server, target):
    """A second process that downloads the same file is told so, and the first isn't disturbed."""
    part = target.with_name("model.tflite.part")
    with open(str(part), "wb") as held:
        fcntl.flock(held.fileno(), fcntl.LOCK_EX)
        with pytest.raises(FetchFailed, match="is being downloaded by another process"):
            download(server, target)

    assert part.exists()
    download(server, target)
    assert target.read_bytes() == CONTENT
