"""Connections that take too long, on a real waitress server in this process."""

import contextlib
import socket
import threading
import time

import pytest
from flask import Flask, Response
from waitress import wasyncore

from service.http.access import Access
from service.http.janitor import BODY_SECONDS, HEADER_SECONDS, RESERVE, STALL_SECONDS
from service.http.server import client_address, create_server, listen
from service.store.sessions import Sessions

HEADER = b"POST /body HTTP/1.1\r\nHost: localhost\r\n"


class AnyBody:
    """Rules for bodies that let everything in."""

    largest_import = 1 << 20

    def begin(self, *_) -> None:
        """Nothing to do."""

    def check(self, *_) -> None:
        """Nothing to do."""


@pytest.fixture
def ended():
    """Set when the endless answer was given up."""
    return threading.Event()


@pytest.fixture
def app(ended):
    """/endless sends until nobody is there; anything else is short."""
    app = Flask("janitor")

    def endless():
        try:
            while True:
                yield b"x" * 65536
        finally:
            ended.set()

    app.add_url_rule("/endless", "endless", lambda: Response(endless()))
    app.add_url_rule("/body", "body", lambda: "ok", methods=["GET", "POST"])
    return app


@pytest.fixture
def server(app, tmp_path):
    """A server that runs in a thread; ends with the test."""
    listener = listen("127.0.0.1", 0)
    access = Access("127.0.0.1", "", {}, Sessions(tmp_path, {}))
    made = create_server(app, access, listener, AnyBody(), streams=1)
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


def wait_for(condition) -> None:
    """Wait until it holds, ten seconds at most."""
    ends = time.monotonic() + 10
    while not condition():
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


def test_headers_have_ten_seconds(server, client):
    """From the opening of the connection, a byte now and then being no help."""
    slow = client()
    slow.sendall(HEADER)
    wait_for(lambda: overdue(server, 0) == [False])
    assert overdue(server, HEADER_SECONDS - 1) == [False]
    slow.sendall(b"X: y")
    assert overdue(server, HEADER_SECONDS + 1) == [True]


def test_bodies_have_longer_and_all_that_they_use(server, client):
    """Half a minute, and a second more for each kilobyte that came."""
    slow = client()
    slow.sendall(HEADER + b"Content-Length: 100000\r\n\r\n" + bytes(10240))
    wait_for(lambda: in_server(server, lambda: [one.in_body for one in server.active_channels.values()]) == [True])
    wait_for(lambda: overdue(server, BODY_SECONDS + 9) == [False])
    assert overdue(server, BODY_SECONDS + 11) == [True]


def test_between_requests_nothing_is_overdue(server, client):
    """A connection that is kept is left to waitress' own time limit; the next request has its ten seconds again."""
    kept = client()
    kept.sendall(b"GET /body HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer(kept).startswith(b"HTTP/1.1 200")
    wait_for(lambda: overdue(server, 60) == [False])
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
