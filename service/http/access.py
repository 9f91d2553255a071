"""Who may do what: tokens, the Host header, and requests that other web pages make.

On this machine's own address no token is needed. On any other one the daemon makes two at its
first start: `classify` may read and classify, `manage` may do everything. A program sends one with each
request; the page signs in with it once and has a cookie from then on. A board on a home network
is attacked from its owner's browser, so a request made by another site's page is refused, and so is
a Host name that isn't ours (DNS rebinding).
"""

import hmac
import ipaddress
import json
import secrets
import socket
from pathlib import Path
from typing import Dict, NamedTuple, Optional, Tuple

from flask import Flask, Request, Response, request
from werkzeug.http import parse_cookie

from service.errors import StoreError, TooManyFailures
from service.http.failures import Failures
from service.http.problems import problem, speaks_protocol
from service.store.files import publish_file
from service.store.sessions import Sessions

CLASSIFY, MANAGE = "classify", "manage"
TOKEN_HINT = "send the token as 'Authorization: Bearer TOKEN' or 'X-Api-Key: TOKEN'"
TOKEN_FILE = "tokens.json"
COOKIE = "coral_learn_session"
SESSION_PATH = "/v1/session"
STANDING, UNREAD = "coral_learn.standing", "coral_learn.unread"  # what the server tells of a request with a body
_LARGEST_SIGN_IN = 4096  # bytes
_OPEN_ENDPOINTS = ("page.index", "page.asset")
_OPEN = ("/healthz",)
_OF_MANAGERS = ("/v1/doctor",)  # it names processes and folders
_SHORTEST = 16  # characters of a token
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class Standing(NamedTuple):
    """What whoever sent a request may do.

    scope : None for nothing
    by_cookie : a browser sends cookies by itself, whatever page makes the request
    failed : this address sent too many wrong tokens, so that none was compared
    """

    scope: Optional[str] = None
    by_cookie: bool = False
    failed: Optional[TooManyFailures] = None


class Access:
    """The rules of one daemon.

    tokens : by scope; empty where none is needed
    """

    def __init__(
        self,
        host: str,
        allowed_hosts: str,
        tokens: Dict[str, str],
        sessions: Sessions,
        failures: Optional[Failures] = None,
    ):
        self._tokens, self.sessions, self._failures = tokens, sessions, failures or Failures()
        names = {"localhost", host.lower(), socket.gethostname().lower(), socket.gethostname().lower() + ".local"}
        self._hosts = names | {name.strip().lower() for name in allowed_hosts.split(",") if name.strip()}

    @property
    def needed(self) -> bool:
        """Whether clients need a token."""
        return bool(self._tokens)

    def check(self, asked: Request) -> Optional[Response]:
        """None when the request may go on, else the refusal."""
        return self._check_host(asked) or self._check_origin(asked) or self._check_token(asked)

    def _check_host(self, asked: Request) -> Optional[Response]:
        name = _host_name(asked.headers.get("Host", ""))
        if name in self._hosts or _is_address(name):
            return None
        detail = f"this daemon is not {name[:100]!r}; the setting allowed_hosts adds names"
        return problem(421, "host_not_allowed", detail)

    def _check_origin(self, asked: Request) -> Optional[Response]:
        origin = asked.headers.get("Origin")
        foreign = origin is not None and origin.partition("://")[2] != asked.headers.get("Host", "")
        if not foreign and asked.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
            # Following a link from elsewhere to the page is fine; anything else another site does is not.
            foreign = asked.endpoint != "page.index" or asked.headers.get("Sec-Fetch-Dest", "document") != "document"
        if foreign:
            return problem(403, "origin_not_allowed", "requests made by other sites' pages are refused")
        return None

    def _check_token(self, asked: Request) -> Optional[Response]:
        if not self._tokens or asked.path in _OPEN or asked.endpoint in _OPEN_ENDPOINTS:
            return _check_read(asked)
        standing = self.standing_of(asked)
        if standing.failed:
            raise standing.failed
        if standing.by_cookie and not _made_by_our_page(asked):
            return problem(403, "csrf", "with the cookie of a session only our own page may change something")
        if asked.path == SESSION_PATH:
            return _check_read(asked)
        if standing.scope is None:
            return problem(401, "token_needed", TOKEN_HINT, WWW_Authenticate="Bearer")
        reads = asked.method in SAFE_METHODS or asked.path == "/v1/classify" or speaks_protocol(asked.path)
        if standing.scope == CLASSIFY and (not reads or asked.path in _OF_MANAGERS):
            return problem(403, "scope_too_small", "this token may read and classify; this needs the manage token")
        return None

    def standing_of(self, asked: Request) -> Standing:
        """The standing of a request, found out once: each wrong token counts once."""
        if STANDING not in asked.environ:
            headers = (asked.headers.get(name, "") for name in ("Authorization", "X-Api-Key", "Cookie"))
            asked.environ[STANDING] = self.standing(asked.remote_addr or "", *headers)
        return asked.environ[STANDING]

    def standing(self, address: str, authorization: str, api_key: str, cookie: str) -> Standing:
        """What these headers, from this address, stand for. A token goes before a cookie."""
        if not self._tokens:
            return Standing(MANAGE)
        scheme, _, bearer = authorization.partition(" ")
        token = bearer.strip() if scheme.lower() == "bearer" else api_key
        if token:
            try:
                return Standing(self._compare(address, token))
            except TooManyFailures as error:
                return Standing(failed=error)
        scope = self.sessions.scope(session_name(cookie))
        return Standing(scope, by_cookie=scope is not None)

    def sign_in(self, address: str, token: str) -> Optional[Tuple[str, str]]:
        """Scope and session id for a right token, None for a wrong one. Raises `TooManyFailures`."""
        scope = self._compare(address, token)
        return None if scope is None else (scope, self.sessions.open(scope))

    def takes_body(self, standing: Standing, path: str, length: int, chunked: bool) -> bool:
        """Whether a body is worth reading. Asked before it is, so that strangers can't fill the memory."""
        signs_in = path == SESSION_PATH and not chunked and length <= _LARGEST_SIGN_IN
        return standing.scope is not None or signs_in

    def _compare(self, address: str, token: str) -> Optional[str]:
        """The scope of a token, None for a wrong one. In constant time."""
        sent, found = token.encode("utf-8", "replace"), None

        def compare() -> bool:
            nonlocal found
            for scope, known in self._tokens.items():
                if hmac.compare_digest(sent, known.encode()):
                    found = scope
            return found is not None

        self._failures.attempt(address, compare)
        return found


def is_open(endpoint: str, path: str) -> bool:
    """Whether everybody may ask there, with or without a token."""
    return endpoint in _OPEN_ENDPOINTS or path in (*_OPEN, SESSION_PATH)


def session_name(cookie: str) -> str:
    """The session's id in a Cookie header, empty when there is none."""
    return parse_cookie(cookie).get(COOKIE, "")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def load_tokens(folder: Path) -> Dict[str, str]:
    """The tokens in the data folder, made at the first call; the file is its owner's alone."""
    path = folder / TOKEN_FILE
    if not path.exists():
        # Not in Base64: one in 64 would begin with -, and --token would take it for a flag.
        made = {scope: secrets.token_hex(24) for scope in (MANAGE, CLASSIFY)}
        publish_file(path, json.dumps(made, indent=1).encode())  # for its owner alone: mode 0600
    try:
        read = json.loads(path.read_text())
        tokens = {scope: read[scope] for scope in (MANAGE, CLASSIFY)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"the token file {path} can't be used: {error!r}; remove it to have a new one made") from error
    if not all(isinstance(token, str) and len(token) >= _SHORTEST for token in tokens.values()):
        raise StoreError(f"the tokens in {path} need {_SHORTEST} characters or more; remove it to have a new one made")
    return tokens


def register(app: Flask, access: Access) -> None:
    """Let every request of an app pass the rules first."""
    app.before_request(lambda: access.check(request))


def _made_by_our_page(asked: Request) -> bool:
    """Whether a request can't have been made by another site's page; a foreign Origin was refused before."""
    if asked.method in ("GET", "HEAD") or asked.endpoint == "session.sign_in":
        return True
    return "Origin" in asked.headers or asked.headers.get("Sec-Fetch-Site") == "same-origin"


def _check_read(asked: Request) -> Optional[Response]:
    """Refuse what came with a body that was not read."""
    if not asked.environ.get(UNREAD):
        return None
    if asked.path == SESSION_PATH:
        return problem(413, "body_too_large", f"a token is sent in at most {_LARGEST_SIGN_IN} bytes of known length")
    return problem(401, "token_needed", TOKEN_HINT, WWW_Authenticate="Bearer")


def _host_name(host: str) -> str:
    """The name in a Host header, without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
