"""The TLS listener by itself: what comes in comes out, and it ends."""

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest

from service.errors import SettingsError
from service.http.tls import LOOK_SECONDS, Certificate, TlsListener, tls_context


@pytest.fixture(scope="module")
def make_files(tmp_path_factory):
    """make_files(): paths of a new certificate and its key, made on the spot."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed: apt-get install openssl")

    def make():
        folder = tmp_path_factory.mktemp("tls")
        paths = str(folder / "own.pem"), str(folder / "own.key")
        command = [openssl, "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "2", "-subj", "/CN=localhost"]
        command += ["-addext", "subjectAltName=DNS:localhost", "-out", paths[0], "-keyout", paths[1]]
        subprocess.run(command, check=True, capture_output=True)
        return paths

    return make


@pytest.fixture(scope="module")
def files(make_files):
    """A certificate and its key."""
    return make_files()


@pytest.fixture
def given():
    """The connections that were handed over, with their addresses."""
    connections = []
    yield connections
    for connection, _ in connections:
        connection.close()


@pytest.fixture
def listener():
    """A bound socket."""
    with contextlib.closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound


@pytest.fixture
def running(files, listener, given):
    """A TLS listener for two connections at a time."""
    made = TlsListener(Certificate(*files), listener, lambda *pair: given.append(pair), 2)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def connect(running, listener, files):  # noqa: ARG001
    """connect(): a new TLS connection; connect(speaks=False): one that says nothing yet."""
    context = ssl.create_default_context(cafile=files[0])
    with contextlib.ExitStack() as held:

        def open_connection(speaks: bool = True):
            plain = held.enter_context(contextlib.closing(socket.create_connection(listener.getsockname(), timeout=10)))
            if not speaks:
                return plain
            return held.enter_context(contextlib.closing(context.wrap_socket(plain, server_hostname="localhost")))

        yield open_connection


def wait_for(condition):
    """Wait until it holds, ten seconds at most; returns what it gave."""
    ends = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)
    return condition()


def read_all(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def test_bytes_pass_both_ways(connect, given):
    """Megabytes arrive whole though the sender closes at once and the reader is slow; the address comes along."""
    client = connect()
    inner, address = wait_for(lambda: given)[0]
    assert address == client.getsockname()
    client.sendall(b"question")
    inner.settimeout(10)
    assert inner.recv(100) == b"question"
    sent = bytes(range(256)) * 20000

    def answer() -> None:
        inner.sendall(sent)
        inner.close()

    sender = threading.Thread(target=answer)
    sender.start()
    time.sleep(0.5)
    received = read_all(client)
    sender.join(10)
    assert received == sent


def test_a_client_that_leaves_is_noticed(connect, given):
    """Closed outside, closed inside."""
    client = connect()
    inner, _ = wait_for(lambda: given)[0]
    client.close()
    inner.settimeout(10)
    assert inner.recv(10) == b""


def test_who_does_not_shake_hands_makes_room(connect, given):
    """With two places, the third connection is served although two strangers hold both."""
    strangers = [connect(speaks=False) for _ in range(2)]
    connect().sendall(b"x")
    assert wait_for(lambda: given)
    assert strangers[0].recv(10) == b""


def test_no_more_than_the_limit_at_a_time(connect, given):
    """A third client waits until one of two has gone."""
    first = connect()
    connect()
    wait_for(lambda: len(given) == 2)
    third = threading.Thread(target=lambda: connect().sendall(b"x"))
    third.start()
    time.sleep(0.3)
    assert len(given) == 2
    first.close()
    wait_for(lambda: len(given) == 3)
    third.join(10)


def test_it_ends_within_a_second(connect, given, running):
    """With open connections, and with one in the middle of its handshake."""
    client = connect()
    wait_for(lambda: given)
    connect(speaks=False)
    begun = time.monotonic()
    running.stop()
    assert time.monotonic() - begun < 1.0
    with contextlib.suppress(OSError):
        assert client.recv(10) == b""


def test_never_started(files, listener):
    """Stopping what was never started is fine."""
    TlsListener(tls_context(*files), listener, lambda *_: None, 2).stop()


def test_tls_1_2_at_least(files):
    """Older versions are not spoken."""
    assert tls_context(*files).minimum_version == ssl.TLSVersion.TLSv1_2


def test_unusable_files(files, tmp_path):
    """Missing, no certificate, or a key with a passphrase: a SettingsError that names the settings, and no question."""
    own, key = files
    broken, locked = tmp_path / "broken.pem", tmp_path / "locked.key"
    broken.write_text("nothing")
    command = ["openssl", "rsa", "-aes128", "-passout", "pass:secret", "-in", key, "-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True)
    for pair in (("/nonexistent.pem", key), (own, "/nonexistent.key"), (str(broken), key), (own, str(locked))):
        with pytest.raises(SettingsError, match="tls_cert"):
            tls_context(*pair)


class Clock:
    """A clock that is set by hand."""

    now = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def test_a_renewed_certificate_is_taken_over(make_files, listener, given, tmp_path, caplog):
    """By handshakes a minute later, or at once when asked; a broken one is told of once, and the old one stays."""
    pairs, clock, paths = [make_files(), make_files()], Clock(), [str(tmp_path / name) for name in ("cert", "key")]

    def put(pair) -> None:
        for source, link in zip(pair, paths):  # links, as Let's Encrypt's tool keeps them
            with contextlib.suppress(FileNotFoundError):
                os.unlink(link)
            os.symlink(source, link)

    def served() -> int:
        """Which pair a handshake gets."""
        found = ssl.get_server_certificate(listener.getsockname()).strip()
        return [Path(own).read_text().strip() for own, _ in pairs].index(found)

    put(pairs[0])
    certificate = Certificate(*paths, now=clock)
    running = TlsListener(certificate, listener, lambda *pair: given.append(pair), 8)
    running.start()
    with contextlib.ExitStack() as ending:
        ending.callback(running.stop)
        assert served() == 0
        put(pairs[1])
        assert served() == 0
        clock.now += LOOK_SECONDS
        assert served() == 1
        put(pairs[0])
        certificate.look_soon()
        assert served() == 0
        put((pairs[1][0], pairs[0][1]))
        for _ in range(3):
            certificate.look_soon()
            assert served() == 0
        assert len([one for one in caplog.records if one.levelname == "ERROR"]) == 1
        put(pairs[1])
        certificate.look_soon()
        assert served() == 1
