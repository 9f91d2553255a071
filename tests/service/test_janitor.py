"""Connections that take too long, on a real waitress server in this process."""

import contextlib
import socket
import threading
import time

import pytest
from flask import Flask, Response
from waitress import wasyncore
from waitress.utilities import RequestEntityTooLarge

from service.http import lingering
from service.http.access import Access
from service.http.janitor import BODY_SECONDS, HEADER_SECONDS, RESERVE, SILENT_SECONDS, SLOWEST, STALL_SECONDS, Janitor
from service.http.server import client_address, create_server, listen, run_server
from service.metrics import Metrics
from service.store.sessions import Sessions

HEADER = b"POST /body HTTP/1.1\r\nHost: localhost\r\n"


class AnyBody:
    """Rules for bodies that let everything in but what is to be stored."""

    largest_import = 1 << 30

    def begin(self, request, *_) -> None:
        """Refuse one path."""
        if request.path == "/refused":
            request.error, request.completed = RequestEntityTooLarge("no"), True

    def check(self, *_) -> None:
        """Nothing to do."""

    def end(self, *_) -> None:
        """Nothing to do."""


@pytest.fixture
def ended():
    """Set when the endless answer was given up."""
    return threading.Event()


@pytest.fixture
def slowly():
    """What /slow waits for."""
    return threading.Event()


@pytest.fixture
def app(ended, slowly):
    """/endless sends until nobody is there; /slow waits; anything else is short."""
    app = Flask("janitor")

    def endless():
        try:
            while True:
                yield b"x" * 65536
        finally:
            ended.set()

    app.add_url_rule("/endless", "endless", lambda: Response(endless()))
    app.add_url_rule("/slow", "slow", lambda: str(slowly.wait(10)))
    app.add_url_rule("/body", "body", lambda: "ok", methods=["GET", "POST"])
    return app


@pytest.fixture
def server(app, tmp_path):
    """A server that runs in a thread; ends with the test."""
    listener = listen("127.0.0.1", 0)
    access = Access("127.0.0.1", "", {}, Sessions(tmp_path, {}))
    made = create_server(app, access, listener, AnyBody(), Metrics(), streams=1)
    thread = threading.Thread(target=made.run)
    thread.start()
    yield made
    in_server(made, lambda: [channel.drop() for channel in made.active_channels.values()])
    wait_for(lambda: not made.active_channels)
    in_server(made, lambda: wasyncore.close_all(made._map))
    thread.join(10)
    made.task_dispatcher.shutdown()
    assert not thread.is_alive()


@pytest.fixture
def client(server):
    """client(): a new connection to the server; all are closed at the end."""
    with contextlib.ExitStack() as held:
        address = "127.0.0.1", int(server.effective_port)
        yield lambda: held.enter_context(contextlib.closing(socket.create_connection(address, timeout=10)))


def in_server(server, work):
    """What this work gives when the server's own thread does it."""
    done, results = threading.Event(), []

    def do() -> None:
        results.append(work())
        done.set()

    server.trigger.pull_trigger(do)
    assert done.wait(10)
    return results[0]


def wait_for(condition):
    """Wait until it holds, ten seconds at most; returns what it gave."""
    ends = time.monotonic() + 10
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < ends
        time.sleep(0.01)


def answer(connection: socket.socket) -> bytes:
    """What comes, up to the end of the short answer."""
    received = b""
    while not received.endswith(b"ok"):
        part = connection.recv(4096)
        assert part, received
        received += part
    return received


def overdue(server, seconds: float) -> list:
    """Whether each connection is overdue so many seconds from now."""
    channels = server.active_channels
    return in_server(server, lambda: [one.overdue(time.monotonic() + seconds) for one in channels.values()])


@pytest.mark.parametrize("count", [1, 5, 130])
def test_all_who_wait_are_let_in_at_once(app, tmp_path, count):
    """One round of the server's loop takes every connection that is waiting, up to the limit."""
    listener = listen("127.0.0.1", 0)
    access = Access("127.0.0.1", "", {}, Sessions(tmp_path, {}))
    made = create_server(app, access, listener, AnyBody(), Metrics(), streams=1)
    with contextlib.ExitStack() as held:
        for _ in range(count):
            held.enter_context(contextlib.closing(socket.create_connection(listener.getsockname(), timeout=10)))
        made.asyncore.loop(timeout=1, use_poll=True, map=made._map, count=1)
        assert count <= made.adj.connection_limit or len(made._map) == made.adj.connection_limit
        assert count > made.adj.connection_limit or len(made.active_channels) == count
    wasyncore.close_all(made._map)
    made.task_dispatcher.shutdown()


def test_headers_have_ten_seconds(server, client):
    """From the opening of the connection, a byte now and then being no help."""
    slow = client()
    slow.sendall(HEADER)
    wait_for(lambda: overdue(server, 0) == [False])
    assert overdue(server, HEADER_SECONDS - 1) == [False]
    slow.sendall(b"X: y")
    assert overdue(server, HEADER_SECONDS + 1) == [True]


def test_bodies_have_longer_and_all_that_they_use(server, client):
    """Half a minute, and as much more as what came takes at the slowest."""
    slow = client()
    slow.sendall(HEADER + b"Content-Length: 1000000\r\n\r\n" + bytes(int(10 * SLOWEST)))
    wait_for(lambda: in_server(server, lambda: [one.in_body for one in server.active_channels.values()]) == [True])
    wait_for(lambda: overdue(server, BODY_SECONDS + 9) == [False])
    assert overdue(server, BODY_SECONDS + 11) == [True]


def test_between_requests_there_is_longer(server, client):
    """A connection that is kept has half a minute; the next request has its ten seconds again."""
    kept = client()
    kept.sendall(b"GET /body HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer(kept).startswith(b"HTTP/1.1 200")
    time.sleep(0.2)  # until the thread that answered has noted that it is done
    assert overdue(server, 0) == [False]
    assert overdue(server, SILENT_SECONDS - 1) == [False]
    assert overdue(server, SILENT_SECONDS + 1) == [True]
    kept.sendall(b"GET /bo")
    wait_for(lambda: overdue(server, HEADER_SECONDS + 1) == [True])


def test_who_takes_nothing_is_let_go(server, client, ended):
    """A reader that stalls for fifteen seconds loses the connection, and what answers it ends."""
    client().sendall(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
    channels = server.active_channels
    wait_for(lambda: in_server(server, lambda: sum(one.total_outbufs_len for one in channels.values())) > 262144)
    time.sleep(0.2)
    assert overdue(server, 0) == [False]
    assert overdue(server, STALL_SECONDS - 1) == [False]
    assert overdue(server, STALL_SECONDS + 1) == [True]
    in_server(server, lambda: [one.drop() for one in channels.values()])
    assert ended.wait(10)
    wait_for(lambda: not server.active_channels)


def test_an_answer_that_took_long_has_its_time_to_be_taken(server, client, slowly):
    """While it is made there is nothing to take; the fifteen seconds begin when there is."""
    client().sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
    (channel,) = wait_for(lambda: [one for one in server.active_channels.values() if one.answering])
    for seconds in (0, STALL_SECONDS + 3):
        assert overdue(server, seconds) == [False]

    def as_if_answered(seconds: float) -> bool:
        channel.total_outbufs_len += 1
        try:
            return channel.overdue(time.monotonic() + seconds)
        finally:
            channel.total_outbufs_len -= 1

    assert in_server(server, lambda: as_if_answered(STALL_SECONDS + 4)) is False
    assert in_server(server, lambda: as_if_answered(2 * STALL_SECONDS + 4)) is True
    slowly.set()


@pytest.fixture
def watching(app, tmp_path):
    """A server with its janitor, as in the daemon, and by how many seconds the janitor's clock is ahead."""
    listener, ahead, ended = listen("127.0.0.1", 0), [0.0], threading.Event()
    access = Access("127.0.0.1", "", {}, Sessions(tmp_path, {}))
    made = create_server(app, access, listener, AnyBody(), Metrics(), streams=1)
    made.janitor = Janitor(made, lambda: time.monotonic() + ahead[0])
    thread = threading.Thread(target=run_server, args=(made, ended.is_set))
    thread.start()
    yield made, ahead
    ended.set()
    made.pull_trigger()
    thread.join(10)
    wasyncore.close_all(made._map)


@pytest.mark.parametrize("jump", [-5 * 3600.0, 5 * 3600.0])
def test_clock_that_is_set_drops_nobody_and_keeps_nobody(watching, monkeypatch, jump):
    """Set while a body comes in, it costs nothing; who is overdue by the clock that nobody sets is dropped."""
    (made, ahead), clock = watching, time.time
    address = "127.0.0.1", int(made.effective_port)
    with contextlib.closing(socket.create_connection(address, timeout=10)) as slow:
        slow.sendall(HEADER + b"Content-Length: 4\r\n\r\n12")
        wait_for(lambda: in_server(made, lambda: [one.in_body for one in made.active_channels.values()]) == [True])
        monkeypatch.setattr(time, "time", lambda: clock() + jump)
        for ahead[0] in (2.0, 4.0):  # it looks twice
            in_server(made, list)
        slow.sendall(b"34")
        assert answer(slow).startswith(b"HTTP/1.1 200")
        for ahead[0] in (6.0, 8.0, 10.0 + SILENT_SECONDS):
            in_server(made, list)
        in_server(made, list)
        assert slow.recv(10) == b""


def test_the_one_who_waits_longest_makes_room(server, client):
    """Near the limit half a header goes first and half a body last; who is being answered stays."""
    answered, body = client(), client()
    answered.sendall(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answered.recv(10).startswith(b"HTTP/1.1")
    body.sendall(HEADER + b"Content-Length: 100\r\n\r\n")
    wait_for(lambda: in_server(server, lambda: any(one.in_body for one in server.active_channels.values())))
    places = server.adj.connection_limit - RESERVE
    waiting = [client() for _ in range(places - 2)]
    wait_for(lambda: len(server.active_channels) == places)
    newest = client()
    assert waiting[0].recv(10) == b""
    wait_for(lambda: len(server.active_channels) == places)
    newest.sendall(b"GET /body HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer(newest).startswith(b"HTTP/1.1 200")
    body.sendall(bytes(100))
    assert answer(body).startswith(b"HTTP/1.1 200")
    assert answered.recv(10)


REFUSED = b"POST /refused HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000000\r\n\r\n"


def lingering_ones(server) -> list:
    """The connections that are only open for an answer to be seen."""
    channels = server.active_channels
    return in_server(server, lambda: [one for one in channels.values() if one.lingering_since is not None])


def test_who_still_sends_sees_the_refusal(server, client):
    """A refused body is taken to its end, so that the answer is not lost; nothing in it is a request."""
    sender = client()
    sender.sendall(REFUSED)
    wait_for(lambda: lingering_ones(server))
    hidden = b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for _ in range(50):
        sender.sendall(hidden + bytes(1_000_000 - len(hidden)))
    received = b"".join(iter(lambda: sender.recv(65536), b""))
    assert received.startswith(b"HTTP/1.1 413 ")
    assert received.count(b"HTTP/1.1") == 1
    assert received.endswith(b"}")
    sender.close()
    wait_for(lambda: not server.active_channels)


def test_a_refused_client_has_seconds_only(server, client):
    """Who sends nothing has five, who sends on has thirty, and whoever needs its place takes it first."""
    refused, waiting = client(), client()
    waiting.sendall(HEADER)
    refused.sendall(REFUSED + bytes(1000))
    channel = wait_for(lambda: lingering_ones(server))[0]
    now = time.monotonic()
    assert not channel.overdue(now + lingering.LINGER_IDLE_SECONDS - 1)
    assert channel.overdue(now + lingering.LINGER_IDLE_SECONDS + 1)
    ends = now + 10
    while channel._heard < now + 0.2:
        refused.sendall(bytes(1000))
        assert time.monotonic() < ends
        time.sleep(0.02)
    channel._heard = now + lingering.LINGER_SECONDS
    assert not channel.overdue(now + lingering.LINGER_SECONDS - 2)
    assert channel.overdue(now + lingering.LINGER_SECONDS + 1)
    for _ in range(server.adj.connection_limit - RESERVE - 1):
        client()
    wait_for(lambda: channel.dropped)
    waiting.sendall(b"\r\n")
    assert answer(waiting).startswith(b"HTTP/1.1 200")


def test_a_refused_client_may_not_send_for_ever(server, client, monkeypatch):
    """After so many bytes the connection ends."""
    monkeypatch.setattr(lingering, "LINGER_BYTES", 1_000_000)
    sender = client()
    with contextlib.suppress(OSError):
        sender.sendall(REFUSED)
        for _ in range(20):
            sender.sendall(bytes(1_000_000))
            time.sleep(0.02)
    wait_for(lambda: not server.active_channels)


def test_whom_a_request_comes_from():
    """The peer, or whom a trusted proxy names last."""
    assert client_address("10.0.0.1", "192.0.2.1", None) == "10.0.0.1"
    assert client_address("10.0.0.1", "192.0.2.1", "10.0.0.2") == "10.0.0.1"
    assert client_address("10.0.0.1", "", "10.0.0.1") == "10.0.0.1"
    for named, expected in (
        ("192.0.2.1", "192.0.2.1"),
        ("evil, 192.0.2.1:99", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:99", "2001:db8::1"),
    ):
        assert client_address("10.0.0.1", named, "10.0.0.1") == expected
        assert client_address("10.0.0.1", named, "*") == expected
