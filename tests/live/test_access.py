"""Who gets in: tokens, sessions, TLS, proxies; and that clients who take their time keep nobody out."""

import contextlib
import http.client
import json
import re
import signal
import socket
import ssl
import stat
import subprocess
import time
from urllib.parse import urlsplit

import pytest

from service.client import Client
from service.errors import ProblemError
from service.http.access import Access, load_tokens
from service.http.app import create_app
from service.http.services import Services
from service.settings import Settings
from service.store import Store
from service.store.sessions import Sessions

OPEN = ("/", "/healthz", "/v1/session")  # and what the page is made of
NETWORK = ("--host", "0.0.0.0")
HALF_HEADER = b"GET /healthz HTTP/1.1\r\nHost: local"
HALF_BODY = (
    b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 90000\r\n\r\nhalf"
)


@pytest.fixture
def guarded(start_daemon, tiny_model):
    """A daemon on all addresses, so that it wants a token, and its tokens."""
    daemon = start_daemon("--model", str(tiny_model), *NETWORK, ready=False)
    return daemon, tokens_of(daemon)


@pytest.fixture
def encrypted(start_daemon, tiny_model, certificate):
    """A daemon on all addresses that speaks TLS, its tokens, and its certificate."""
    own, key = certificate()
    daemon = start_daemon(
        "--model", str(tiny_model), *NETWORK, "--tls-cert", str(own), "--tls-key", str(key), ready=False
    )
    return daemon, tokens_of(daemon), own


@pytest.fixture
def routes(tmp_path):
    """(method, path) of every route of the app, with something in the place of names."""
    access = Access("127.0.0.1", "", {}, Sessions(tmp_path, {}))
    parts = dict.fromkeys(Services._fields)
    with contextlib.closing(Store(tmp_path / "routes", 0)) as store:
        given = {"settings": Settings(), "access": access, "store": store}
        app = create_app(Services(**{**parts, **given}))
    found = set()
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<any\('([^']+)'[^>]*>", r"\1", rule.rule)
        path = re.sub(r"<[^>]*>", "1", path)
        found |= {(method, path) for method in rule.methods - {"HEAD", "OPTIONS"}}
    return sorted(found)


def tokens_of(daemon) -> dict:
    """What is in the file of tokens."""
    return json.loads((daemon.data_dir / "tokens.json").read_text())


def ask(daemon, method: str, path: str, body=None, source: str = "127.0.0.1", **headers: str):
    """(status, headers, JSON or None) of a request from an address; the body of a success is not read."""
    connection = daemon.connect()
    connection.source_address = (source, 0)
    with contextlib.closing(connection):
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        with contextlib.closing(connection.getresponse()) as response:
            is_problem = response.headers["Content-Type"] == "application/problem+json"
            is_json = is_problem or path == "/v1/session"
            document = json.loads(response.read().decode()) if is_json else None
            return response.status, response.headers, document


def test_tokens_can_be_given_on_a_command_line(tmp_path):
    """As they are: none begins with what flags begin with."""
    for token in load_tokens(tmp_path).values():
        assert re.fullmatch("[0-9a-f]{48}", token)


def bearer(token: str) -> dict:
    """The header that carries a token."""
    return {"Authorization": f"Bearer {token}"}


def sign_in(daemon, token: str, **headers: str) -> str:
    """Sign in; returns the cookie as a browser sends it."""
    sent = {"Content_Type": "application/json", **headers}
    status, answer, body = ask(daemon, "POST", "/v1/session", json.dumps({"token": token}), **sent)
    assert status == 200, body
    return answer["Set-Cookie"].partition(";")[0]


def is_open(path: str) -> bool:
    """Whether a route answers without a token."""
    return path in OPEN or path.startswith("/page/")


def reads(method: str, path: str) -> bool:
    """Whether the token with the scope classify is enough."""
    if path == "/v1/doctor":  # it names processes and folders
        return False
    return method == "GET" or path == "/v1/classify" or (path.startswith("/v2/") and path.endswith("/infer"))


def assert_refused(path: str, status: int, problem, expected: int, code: str) -> None:
    """Refused with this status and a problem document; the inference protocol of /v2 has errors of its own form."""
    assert (path, status) == (path, expected)
    if not path.startswith("/v2"):
        assert problem["code"] == code, path


def test_every_route_wants_the_right_token(guarded, routes):
    """Without one, with a wrong one, with too small a one: refused in words; with the right one: never refused."""
    daemon, tokens = guarded
    checked = 0
    for number, (method, path) in enumerate(routes):
        what = (method, path)
        if not is_open(path):
            checked += 1
            status, _, problem = ask(daemon, method, path)
            assert_refused(path, status, problem, 401, "token_needed")
            wrong = bearer(tokens["manage"][:-1] + "?")
            status, _, problem = ask(daemon, method, path, source=f"127.0.1.{number + 1}", **wrong)
            assert_refused(path, status, problem, 401, "token_needed")
            status, _, problem = ask(daemon, method, path, **bearer(tokens["classify"]))
            if reads(method, path):
                assert status not in (401, 403), what
            else:
                assert_refused(path, status, problem, 403, "scope_too_small")
        status, _, problem = ask(daemon, method, path, **bearer(tokens["manage"]))
        assert status not in (401, 403, 421, 429) and status != 500, (what, problem)
    assert checked > 20


def test_every_route_refuses_other_hosts_and_other_sites(guarded, routes):
    """A foreign Host, a foreign Origin, a request that another site's page makes: refused even with the right token."""
    daemon, tokens = guarded
    manage = bearer(tokens["manage"])
    for method, path in routes:
        for headers, expected in (
            ({"Host": "evil.example"}, (421, "host_not_allowed")),
            ({"Origin": "http://evil.example"}, (403, "origin_not_allowed")),
            ({"Origin": "null"}, (403, "origin_not_allowed")),
            ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Dest": "empty"}, (403, "origin_not_allowed")),
        ):
            status, _, problem = ask(daemon, method, path, **manage, **headers)
            assert_refused(path, status, problem, *expected)


def test_sign_in_with_a_cookie(guarded, make_picture, encode):
    """A token gives a cookie that scripts can't read; with it our page may do what other pages may not."""
    daemon, tokens = guarded
    assert ask(daemon, "GET", "/v1/session")[2] == {"scope": None, "needed": True}
    status, headers, body = ask(daemon, "POST", "/v1/session", json.dumps({"token": tokens["manage"]}))
    assert (status, body) == (200, {"scope": "manage"})
    cookie, *flags = headers["Set-Cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Strict", "Path=/", f"Max-Age={30 * 24 * 3600}"} <= set(flags)
    assert "Secure" not in flags
    assert cookie.startswith("coral_learn_session=")
    assert tokens["manage"] not in cookie

    assert ask(daemon, "GET", "/v1/session", Cookie=cookie)[2] == {"scope": "manage", "needed": True}
    assert ask(daemon, "GET", "/v1/status", Cookie=cookie)[0] == 200
    new = json.dumps({"name": "thing"})
    status, _, problem = ask(daemon, "POST", "/v1/classes", new, Cookie=cookie)
    assert (status, problem["code"]) == (403, "csrf")
    assert ask(daemon, "POST", "/v1/classes", new, Cookie=cookie, Sec_Fetch_Site="same-origin")[0] == 201
    picture = encode(make_picture("red", 1, 400, 400), "PNG")
    daemon.wait_for(lambda: ask(daemon, "GET", "/readyz", Cookie=cookie)[0] == 200, 30, "ready")
    sent = {"Cookie": cookie, "Origin": daemon.url, "Content_Type": "image/png"}
    assert ask(daemon, "POST", "/v1/examples?class=thing", picture, **sent)[0] == 201

    status, _, problem = ask(daemon, "DELETE", "/v1/session", Cookie=cookie)
    assert (status, problem["code"]) == (403, "csrf")
    status, headers, body = ask(daemon, "DELETE", "/v1/session", Cookie=cookie, Origin=daemon.url)
    assert (status, body) == (200, {"scope": None, "needed": True})
    assert "Max-Age=0" in headers["Set-Cookie"]
    assert ask(daemon, "GET", "/v1/status", Cookie=cookie)[0] == 401
    assert ask(daemon, "GET", "/v1/session", Cookie=cookie)[2] == {"scope": None, "needed": True}


def test_a_sign_in_sent_again_has_a_cookie_too(guarded):
    """An answer that was lost is not given again without what counts in it: each has a session of its own."""
    daemon, tokens = guarded
    body = json.dumps({"token": tokens["classify"]})
    answers = [ask(daemon, "POST", "/v1/session", body, Idempotency_Key="in")[:2] for _ in range(2)]
    cookies = [headers["Set-Cookie"].split(";")[0] for _, headers in answers]
    assert [status for status, _ in answers] == [200, 200]
    assert len(set(cookies)) == 2
    assert all(ask(daemon, "GET", "/v1/status", Cookie=cookie)[0] == 200 for cookie in cookies)


def test_a_session_has_the_scope_of_its_token(guarded):
    """Signed in with the token classify a page may read, and change nothing."""
    daemon, tokens = guarded
    cookie = sign_in(daemon, tokens["classify"])
    assert ask(daemon, "GET", "/v1/session", Cookie=cookie)[2]["scope"] == "classify"
    assert ask(daemon, "GET", "/v1/classes", Cookie=cookie)[0] == 200
    status, _, problem = ask(daemon, "POST", "/v1/classes", '{"name": "x"}', Cookie=cookie, Origin=daemon.url)
    assert (status, problem["code"]) == (403, "scope_too_small")


def test_unusable_sign_ins(guarded):
    """A wrong token is a 401, a body without one a 422, a body that is too large a 413 that is not read."""
    daemon, _ = guarded
    status, headers, problem = ask(daemon, "POST", "/v1/session", '{"token": "wrong"}')
    assert (status, problem["code"]) == (401, "token_wrong")
    assert "Set-Cookie" not in headers
    for body in ("", "[]", "{}", '{"token": 1}', '{"token": ""}', '{"token": "x", "scope": "manage"}', "{"):
        assert ask(daemon, "POST", "/v1/session", body)[0] == 422, body
    address = urlsplit(daemon.url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as client:
        client.sendall(b"POST /v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 413")


def test_where_no_token_is_needed(tiny_daemon):
    """On this machine's own address everybody may do everything, and the page learns so."""
    assert ask(tiny_daemon, "GET", "/v1/session")[2] == {"scope": "manage", "needed": False}
    status, headers, body = ask(tiny_daemon, "POST", "/v1/session", '{"token": "any"}')
    assert (status, body, headers["Set-Cookie"]) == (200, {"scope": "manage"}, None)
    assert ask(tiny_daemon, "DELETE", "/v1/session")[2] == {"scope": "manage", "needed": False}


def test_sessions_outlive_a_restart_but_not_their_token(guarded):
    """After SIGKILL people are still signed in; with new tokens nobody is; the file holds no secret, and is 0600."""
    daemon, tokens = guarded
    cookie = sign_in(daemon, tokens["manage"])
    file = daemon.data_dir / "sessions.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert cookie.partition("=")[2] not in file.read_text()
    assert not any(token in file.read_text() for token in tokens.values())
    daemon.kill()
    daemon.start()
    assert ask(daemon, "GET", "/v1/status", Cookie=cookie)[0] == 200
    daemon.stop()
    (daemon.data_dir / "tokens.json").unlink()
    daemon.start()
    assert ask(daemon, "GET", "/v1/status", Cookie=cookie)[0] == 401


def test_wrong_tokens_slow_their_sender_down(guarded):
    """After five the next tries get 429, right or wrong; other addresses and who is signed in are not hindered."""
    daemon, tokens = guarded
    cookie = sign_in(daemon, tokens["manage"])
    right, body = bearer(tokens["manage"]), json.dumps({"token": "wrong"})
    for _ in range(2):
        assert ask(daemon, "GET", "/v1/status", **bearer("wrong"))[0] == 401
    assert ask(daemon, "POST", "/v1/classes", b"{}", X_Api_Key="wrong")[0] == 401
    for _ in range(2):
        assert ask(daemon, "POST", "/v1/session", body)[0] == 401
    for _ in range(3):
        status, headers, problem = ask(daemon, "GET", "/v1/status", **right)
        assert (status, problem["code"], headers["Retry-After"]) == (429, "too_many_failures", "1")
        assert ask(daemon, "POST", "/v1/session", body)[0] == 429
        assert ask(daemon, "POST", "/v1/classes", b"{}", **right)[0] == 429
        assert ask(daemon, "GET", "/healthz", **right)[0] == 200
        assert ask(daemon, "GET", "/v1/status", Cookie=cookie)[0] == 200
        assert ask(daemon, "GET", "/v1/status", source="127.0.0.2", **right)[0] == 200
    daemon.wait_for(lambda: ask(daemon, "GET", "/v1/status", **right)[0] == 200, 5, "the end of the wait")
    assert ask(daemon, "GET", "/v1/status", **bearer("wrong"))[0] == 401


def test_bodies_of_strangers_are_not_read(guarded):
    """A body without a right token is refused before it comes, never asked for, and never taken for a request."""
    daemon, tokens = guarded
    address = urlsplit(daemon.url)
    head = "POST /v1/examples?class=x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n"
    smuggled = f"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {tokens['manage']}\r\n\r\n"
    for token in ("", "Authorization: Bearer wrong\r\n"):
        with socket.create_connection((address.hostname, address.port), timeout=30) as client:
            client.sendall((head + token + "\r\n" + smuggled).encode())
            reply = client.makefile("rb").read()
        assert reply.startswith(b"HTTP/1.1 401 ")
        assert reply.count(b"HTTP/1.1") == 1
        assert b"Connection: close" in reply


def test_tls(encrypted, make_picture, encode):
    """Pages, cookies and pictures over a certificate that clients can check; the address that is printed says https."""
    daemon, tokens, own = encrypted
    assert daemon.url.startswith("https://127.0.0.1:")
    address = urlsplit(daemon.url)
    context = ssl.create_default_context(cafile=str(own))
    connection = http.client.HTTPSConnection("localhost", address.port, timeout=30, context=context)
    with contextlib.closing(connection):
        for _ in range(3):  # one connection, several requests
            connection.request("GET", "/healthz")
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, b'{"ok":true}\n')
        assert connection.sock.version() in ("TLSv1.2", "TLSv1.3")

    status, headers, _ = ask(daemon, "POST", "/v1/session", json.dumps({"token": tokens["manage"]}), Origin=daemon.url)
    assert status == 200
    assert "; Secure" in headers["Set-Cookie"]
    manage = bearer(tokens["manage"])
    daemon.wait_for(lambda: ask(daemon, "GET", "/readyz", **manage)[0] == 200, 30, "ready")
    picture = encode(make_picture("red", 1, 1500, 1000), "PNG")
    assert len(picture) > 1_000_000
    taught = daemon.ask("POST", "/v1/examples?class=red", picture, Content_Type="image/png", **manage)
    assert taught.status == 201, taught.body
    stored = daemon.get(f"/v1/examples/{taught.json['accepted'][0]['id']}/image", Connection="close", **manage)
    assert stored.body == picture


def test_tls_knows_who_asks(encrypted):
    """Wrong tokens slow down the address they really come from, and no header can say otherwise."""
    daemon, tokens, _ = encrypted
    for number in range(5):
        sent = {**bearer("wrong"), "X_Forwarded_For": f"10.0.0.{number}"}
        assert ask(daemon, "GET", "/v1/status", source="127.0.0.3", **sent)[0] == 401
    assert ask(daemon, "GET", "/v1/status", source="127.0.0.3", **bearer(tokens["manage"]))[0] == 429
    assert ask(daemon, "GET", "/v1/status", source="127.0.0.4", **bearer(tokens["manage"]))[0] == 200


def test_tls_with_clients_that_do_not_speak_it(encrypted):
    """Plain HTTP gets the connection closed; clients that never shake hands keep nobody out; the end comes at once."""
    daemon, tokens, _ = encrypted
    address = urlsplit(daemon.url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert b"HTTP" not in client.makefile("rb").read()
    with contextlib.ExitStack() as held:
        for _ in range(300):
            held.enter_context(socket.create_connection((address.hostname, address.port), timeout=30))
        begun = time.monotonic()
        assert ask(daemon, "GET", "/healthz")[0] == 200
        assert time.monotonic() - begun < 1.0
        stream = held.enter_context(contextlib.closing(daemon.connect()))
        stream.request("GET", "/v1/stream", headers=bearer(tokens["manage"]))
        assert stream.getresponse().status == 200
        begun = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - begun < 5.0


def test_renewed_certificate_after_sighup(encrypted, certificate):
    """The signal has the files looked at: connections from then on get the new certificate, those before it stay."""
    daemon, _, own = encrypted
    with contextlib.closing(daemon.connect()) as connection:
        connection.request("GET", "/healthz")
        assert connection.getresponse().read()
        for new, path in zip(certificate("new"), (own, own.with_suffix(".key"))):
            new.replace(path)
        daemon.process.send_signal(signal.SIGHUP)
        address = urlsplit(daemon.url)
        renewed = own.read_text().strip()
        daemon.wait_for(lambda: ssl.get_server_certificate((address.hostname, address.port)).strip() == renewed)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_who_still_sends_sees_the_refusal(start_daemon, tiny_model, certificate, tls):
    """50 MB are sent by a client that reads only then: it learns why no more was wanted."""
    own, key = certificate() if tls else ("", "")
    flags = ["--tls-cert", str(own), "--tls-key", str(key)] if tls else []
    daemon = start_daemon("--model", str(tiny_model), *NETWORK, "--min-free-mb", "1e6", *flags, ready=False)
    manage, body = {"X-Api-Key": tokens_of(daemon)["manage"]}, bytes(50_000_000)
    for path, headers, expected in (
        ("/v1/import", {**manage, "Content-Type": "application/zip"}, (507, "store_full")),
        ("/v1/classify", {**manage, "Content-Type": "image/jpeg"}, (413, "body_too_large")),
        ("/v1/classify", {"Content-Type": "image/jpeg"}, (401, "token_needed")),
    ):
        with contextlib.closing(daemon.connect()) as connection:
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            problem = json.loads(response.read().decode())
        assert (response.status, problem["code"]) == expected
    archive = daemon.data_dir / "archive.zip"
    archive.write_bytes(b"PK" + bytes(50_000_000))
    client = Client(daemon.url, manage["X-Api-Key"], ca_file=own or None)
    with client, pytest.raises(ProblemError, match="forever=true") as refused:
        client.import_(archive)
    assert refused.value.code == "store_full"


def test_unusable_tls_files(start_daemon, tmp_path, certificate):
    """Files that are missing, no certificate, or don't belong together: exit code 2 and the files' names."""
    (own, key), (other, _) = certificate(), certificate("other")
    broken = tmp_path / "broken.pem"
    broken.write_text("nothing")
    base = start_daemon(ready=False)
    for cert, private in ((tmp_path / "gone.pem", key), (own, tmp_path / "gone.pem"), (broken, key), (other, key)):
        flags = ["--tls-cert", str(cert), "--tls-key", str(private)]
        command = [*base.command[:4], "--port", "0", "--data-dir", str(tmp_path / "other"), *flags]
        done = subprocess.run(command, cwd=base.root, capture_output=True, timeout=60, check=False)
        named = cert if cert != own else private
        assert (done.returncode, named.name.encode() in done.stderr) == (2, True), done.stderr
        assert b"Traceback" not in done.stderr


def test_proxy_headers_without_a_trusted_proxy(guarded):
    """They change nothing: neither address, nor scheme, nor host."""
    daemon, tokens = guarded
    for number in range(5):
        sent = {**bearer("wrong"), "X_Forwarded_For": f"10.0.0.{number}"}
        assert ask(daemon, "GET", "/v1/status", source="127.0.0.3", **sent)[0] == 401
    assert ask(daemon, "GET", "/v1/status", source="127.0.0.3", **bearer(tokens["manage"]))[0] == 429
    sent = {"X_Forwarded_Proto": "https", "X_Forwarded_Host": "evil.example"}
    status, headers, _ = ask(daemon, "POST", "/v1/session", json.dumps({"token": tokens["manage"]}), **sent)
    assert (status, "Secure" in headers["Set-Cookie"]) == (200, False)


def test_proxy_headers_of_a_trusted_proxy(start_daemon, tiny_model):
    """Address, scheme and host are those it tells, from it alone; and behind it a token is needed on any address."""
    flags = ("--trusted-proxy", "127.0.0.1", "--allowed-hosts", "learn.example", "--model", str(tiny_model))
    daemon = start_daemon(*flags, ready=False)
    tokens = tokens_of(daemon)
    assert ask(daemon, "GET", "/v1/status")[0] == 401
    told = {"X_Forwarded_Proto": "https", "X_Forwarded_Host": "learn.example", "Origin": "https://learn.example"}
    status, headers, _ = ask(daemon, "POST", "/v1/session", json.dumps({"token": tokens["manage"]}), **told)
    assert status == 200
    assert "; Secure" in headers["Set-Cookie"]
    for body in (None, b"{}"):  # with a body a token is looked at before the application runs
        sender = f"10.0.0.{1 if body is None else 2}"
        method, path = ("GET", "/v1/status") if body is None else ("POST", "/v1/classes")
        for number in range(5):
            sent = {**bearer("wrong"), "X_Forwarded_For": f"10.9.9.{number}, {sender}"}
            assert ask(daemon, method, path, body, **sent)[0] == 401
        right = bearer(tokens["manage"])
        assert ask(daemon, method, path, body, X_Forwarded_For=sender, **right)[0] == 429
        assert ask(daemon, method, path, body, X_Forwarded_For="10.0.0.9", **right)[0] in (200, 422)
    assert ask(daemon, "GET", "/v1/status", source="127.0.0.5", X_Forwarded_For="10.0.0.1", **right)[0] == 200
    status, _, problem = ask(daemon, "GET", "/v1/status", X_Forwarded_Host="evil.example", **right)
    assert (status, problem["code"]) == (421, "host_not_allowed")


@pytest.mark.parametrize(
    ("headers", "bodies"), [(150, 20), pytest.param(1000, 50, marks=pytest.mark.slow)], ids=["150", "1000"]
)
def test_slow_clients_keep_nobody_out(start_daemon, tiny_model, headers, bodies):
    """While so many connections send half a header or half a body, another client is answered within a second."""
    daemon = start_daemon("--model", str(tiny_model), "--max-streams", "1")
    address = urlsplit(daemon.url)
    with contextlib.ExitStack() as held:
        for text, count in ((HALF_BODY, bodies), (HALF_HEADER, headers)):
            for _ in range(count):
                client = held.enter_context(socket.create_connection((address.hostname, address.port), timeout=30))
                with contextlib.suppress(OSError):  # let go already
                    client.sendall(text)
        for _ in range(10):
            begun = time.monotonic()
            assert daemon.get("/healthz").status == 200
            assert time.monotonic() - begun < 1.0


@pytest.mark.slow
def test_half_a_header_is_let_go(tiny_daemon):
    """A client whose headers are not there after ten seconds is let go, though it sends a byte now and then."""
    address = urlsplit(tiny_daemon.url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as client:
        begun = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - begun < 30:
                client.sendall(b"X" if time.monotonic() - begun > 1 else b"GET / HTTP/1.1\r\nX-Slow: ")
                time.sleep(0.5)
        assert 9.0 < time.monotonic() - begun < 15.0
