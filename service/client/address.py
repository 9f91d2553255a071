"""Where a daemon is, and what it wants to see from who asks."""

import os
import ssl
from typing import NamedTuple, Optional
from urllib.parse import quote, urlsplit

from service.client.bodies import PathLike
from service.errors import AddressError

DEFAULT_URL = "http://127.0.0.1:8080"


class Address(NamedTuple):
    """Where to connect to. prefix : what goes before every path, for a daemon behind a proxy."""

    host: str
    port: int
    prefix: str
    tls: Optional[ssl.SSLContext]

    @classmethod
    def of(cls, url: str, ca_file: Optional[PathLike]) -> "Address":
        try:
            parts = urlsplit(url)
            port = parts.port
            (parts.hostname or "").encode("idna")
        except ValueError as error:
            raise AddressError(f"{url!r} is no address: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise AddressError(f"an address looks like {DEFAULT_URL}, got {url!r}")
        if not url.isprintable() or " " in url or parts.username is not None:
            raise AddressError(f"an address has no spaces, control characters, user name or password, got {url!r}")
        tls = _tls(ca_file) if parts.scheme == "https" else None
        return cls(parts.hostname, port or (443 if tls else 80), quote(parts.path, safe="/%"), tls)


def _tls(ca_file: Optional[PathLike]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context()
        if ca_file is not None:
            context.load_verify_locations(os.fspath(ca_file))
        return context
    except OSError as error:  # ssl.SSLError is one
        raise AddressError(f"the certificates in {ca_file} can't be used: {error.strerror or error}") from error


def checked_token(token: str) -> str:
    """A token that can go into a header. Raises `AddressError`."""
    if not token or not token.isprintable() or not token.isascii() or " " in token:
        raise AddressError("a token has no spaces, line ends or special characters; take it from tokens.json as it is")
    return token
