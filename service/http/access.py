"""Who may do what: tokens, the Host header, and requests that other web pages make.

On this machine's own address no token is needed. On any other one the daemon makes two at its
first start: `classify` may read and classify, `manage` may do everything. A board on a home network
is attacked from its owner's browser, so a request made by another site's page is refused, and so is
a Host name that isn't ours (DNS rebinding).
"""

import hmac
import ipaddress
import json
import secrets
import socket
from pathlib import Path
from typing import Dict, Optional

from flask import Flask, Request, Response, request

from service.errors import StoreError
from service.http.problems import problem
from service.store.files import publish_file

CLASSIFY, MANAGE = "classify", "manage"
TOKEN_HINT = "send the token as 'Authorization: Bearer TOKEN' or 'X-Api-Key: TOKEN'"
TOKEN_FILE = "tokens.json"
_OPEN = ("/healthz",)
_SHORTEST = 16  # characters of a token
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class Access:
    """The rules of one daemon.

    tokens : by scope; empty where none is needed
    """

    def __init__(self, host: str, allowed_hosts: str, tokens: Dict[str, str]):
        self._tokens = tokens
        names = {"localhost", host.lower(), socket.gethostname().lower(), socket.gethostname().lower() + ".local"}
        self._hosts = names | {name.strip().lower() for name in allowed_hosts.split(",") if name.strip()}

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
        if not self._tokens or asked.path in _OPEN or asked.endpoint in ("page.index", "page.asset"):
            return None
        scope = self.scope(asked.headers.get("Authorization", ""), asked.headers.get("X-Api-Key", ""))
        if scope is None:
            return problem(401, "token_needed", TOKEN_HINT, WWW_Authenticate="Bearer")
        reads = asked.method in _SAFE_METHODS or asked.path == "/v1/classify"
        if scope == CLASSIFY and not reads:
            return problem(403, "scope_too_small", "this token may read and classify; this needs the manage token")
        return None

    def scope(self, authorization: str, api_key: str) -> Optional[str]:
        """What the token in one of these headers allows, None for nothing. Compared in constant time."""
        scheme, _, bearer = authorization.partition(" ")
        token = (bearer.strip() if scheme.lower() == "bearer" else api_key).encode("utf-8", "replace")
        found = None
        for scope, known in self._tokens.items():
            if hmac.compare_digest(token, known.encode()):
                found = scope
        return found

    def may_send_body(self, authorization: str, api_key: str) -> bool:
        """Whether a body is worth reading. Asked before it is, so that strangers can't fill the memory."""
        return not self._tokens or self.scope(authorization, api_key) is not None


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
        made = {scope: secrets.token_urlsafe(24) for scope in (MANAGE, CLASSIFY)}
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
