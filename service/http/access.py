"""Who may do what: tokens, the Host header, and requests that other web pages make.

On this machine's own address no token is needed. On any other one the daemon makes two at its
first start: `classify` may read and classify, `manage` may do everything. A board on a home network
is attacked from its owner's browser, so a request made by another site's page is refused, and so is
a Host name that isn't ours (DNS rebinding).
"""

import hmac
import ipaddress
import json
import os
import secrets
import socket
from pathlib import Path
from typing import Dict, Optional

from flask import Flask, Request, Response, request

from service.errors import StoreError
from service.http.problems import problem

CLASSIFY, MANAGE = "classify", "manage"
TOKEN_FILE = "tokens.json"
_OPEN = ("/healthz",)
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class Access:
    """The rules of one daemon.

    tokens : by scope; empty where none is needed
    """

    def __init__(self, host: str, allowed_hosts: str, tokens: Dict[str, str]):
        self._tokens = tokens
        names = {"localhost", host.lower(), socket.gethostname().lower(), socket.gethostname().lower() + ".local"}
        self._hosts = names | {name.strip().lower() for name in allowed_hosts.split(",") if name.strip()}

    @property
    def wants_token(self) -> bool:
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
            foreign = not (asked.method in _SAFE_METHODS and asked.headers.get("Sec-Fetch-Mode") == "navigate")
        if foreign:
            return problem(403, "origin_not_allowed", "requests made by other sites' pages are refused")
        return None

    def _check_token(self, asked: Request) -> Optional[Response]:
        if not self._tokens or asked.path in _OPEN or asked.endpoint in ("page.index", "page.asset"):
            return None
        scope = self._scope(_token_of(asked))
        if scope is None:
            detail = "send the token as 'Authorization: Bearer TOKEN' or 'X-Api-Key: TOKEN'"
            return problem(401, "token_needed", detail, WWW_Authenticate="Bearer")
        reads = asked.method in _SAFE_METHODS or asked.path == "/v1/classify"
        if scope == CLASSIFY and not reads:
            return problem(403, "scope_too_small", "this token may read and classify; this needs the manage token")
        return None

    def _scope(self, token: str) -> Optional[str]:
        """The scope of a token. Compared in constant time."""
        found = None
        for scope, known in self._tokens.items():
            if hmac.compare_digest(token.encode("utf-8", "replace"), known.encode()):
                found = scope
        return found


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
    try:
        if not path.exists():
            tokens = {scope: secrets.token_urlsafe(24) for scope in (MANAGE, CLASSIFY)}
            handle = os.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as file:
                json.dump(tokens, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
        tokens = json.loads(path.read_text())
        return {scope: str(tokens[scope]) for scope in (MANAGE, CLASSIFY) if tokens[scope]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"the token file {path} can't be used: {error}; remove it to have a new one made") from error


def register(app: Flask, access: Access) -> None:
    """Let every request of an app pass the rules first."""
    app.before_request(lambda: access.check(request))


def _token_of(asked: Request) -> str:
    scheme, _, token = asked.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else asked.headers.get("X-Api-Key", "")


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
