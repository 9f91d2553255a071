"""Network cameras that speak HTTP: motion JPEG without end, or one picture an address, asked for again and again."""

import base64
import http.client
import ssl
import time
from typing import Dict, Iterator, NamedTuple, Optional
from urllib.parse import quote, unquote, urljoin, urlsplit

from coral_learn.image import ImageLimits
from service.addresses import masked
from service.camera.jpeg import is_jpeg
from service.camera.shot import Shot
from service.camera.sources.base import Source
from service.camera.sources.multipart import Multipart
from service.errors import CameraError

_MOST_BYTES = ImageLimits().max_bytes
_MOST_BROKEN = 100  # in a row
_MOST_REDIRECTS = 3
_POLLS = 5.0  # a second
_MOVED = (301, 302, 303, 307, 308)


class Address(NamedTuple):
    """A URL taken apart. target : path and query; headers : what says who asks"""

    scheme: str
    host: str
    port: Optional[int]
    target: str
    headers: Dict[str, str]

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Raises `CameraError`, without the password."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise CameraError(f"{masked(url)} is no address: {masked(str(error))}") from None
        if not parts.hostname:
            raise CameraError(f"{masked(url)} names no host")
        target = quote(parts.path or "/", safe="/%:=&~+!$,;'@()*[]")
        if parts.query:
            target += "?" + quote(parts.query, safe="/%:=&?~+!$,;'@()*[]")
        headers = {"Accept": "multipart/x-mixed-replace, image/*", "User-Agent": "coral-learn"}
        if parts.username is not None:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers["Authorization"] = "Basic " + base64.b64encode(user.encode()).decode()
        return cls(parts.scheme.lower(), parts.hostname, port, target, headers)


class HttpSource(Source):
    """A camera by its URL; user and password may be in it (Basic).

    timeout : seconds for connecting and for each piece of an answer; fps : how often an address that
    gives one picture is asked, 0 for five times a second
    """

    kind, live = "http", True

    def __init__(self, url: str, timeout: float, fps: float):
        self._url, self._shown, self._timeout = url, masked(url), timeout
        self._interval = 1.0 / (fps or _POLLS)
        self._due = time.monotonic()
        self._connection: Optional[http.client.HTTPConnection] = None
        self._connected_to: Optional[tuple] = None
        self._pictures: Optional[Iterator[bytes]] = None
        self._first: Optional[bytes] = None
        self._broken_before = 0
        try:
            self._ask()
        except CameraError:
            self.close()
            raise

    def read(self) -> Shot:
        for _ in range(_MOST_BROKEN):
            data = self._next()
            if is_jpeg(data):
                return Shot(data=data)
            self.broken += 1
        raise CameraError(f"{self._shown} sends no JPEG, {_MOST_BROKEN} times in a row")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _next(self) -> bytes:
        if self._first is not None:
            data, self._first = self._first, None
            return data
        if self._pictures is None:
            time.sleep(max(0.0, self._due - time.monotonic()))
            self._due = max(self._due + self._interval, time.monotonic())
            self._ask()
            return self._next()
        return self._careful(lambda: next(self._pictures))

    def _ask(self) -> None:
        """Send the request; afterwards there are either pictures without end, or a first one."""
        response = self._careful(lambda: self._follow(self._url))
        kind = (response.getheader("Content-Type") or "").strip()
        if kind.lower().startswith("multipart/"):
            self._pictures = iter(Multipart(response, kind, _MOST_BYTES))
            return
        self._pictures = None
        if not kind.lower().startswith(("image/", "application/octet-stream")):
            raise CameraError(f"{self._shown} gives {kind[:100] or 'nothing known'}, neither a JPEG nor motion JPEG")
        data = self._careful(lambda: response.read(_MOST_BYTES + 1))
        if len(data) > _MOST_BYTES:
            raise CameraError(f"{self._shown} gives a picture of more than {_MOST_BYTES} bytes")
        self._first = data

    def _follow(self, url: str) -> http.client.HTTPResponse:
        for _ in range(_MOST_REDIRECTS + 1):
            response = self._request(Address.parse(url))
            if response.status == 200:
                return response
            if response.status not in _MOVED or not response.getheader("Location"):
                raise CameraError(_refusal(response))
            response.read(_MOST_BYTES)
            url = _moved(url, response.getheader("Location"))
            self.close()
        raise CameraError(f"it sends on to other addresses more than {_MOST_REDIRECTS} times")

    def _request(self, address: Address) -> http.client.HTTPResponse:
        """Ask on the connection that is there, or, where it goes elsewhere or the other end closed it, on a new one."""
        place = address.scheme, address.host, address.port
        if place != self._connected_to:  # after a redirect: another host must not see what this one is told
            self.close()
        kept = self._connection is not None
        if not kept:
            self._connection, self._connected_to = self._connect(address), place
        try:
            self._connection.request("GET", address.target, headers=address.headers)
            return self._connection.getresponse()
        except (http.client.BadStatusLine, ConnectionError):
            if not kept:
                raise
            self.close()
            return self._request(address)

    def _connect(self, address: Address) -> http.client.HTTPConnection:
        if address.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(address.host, address.port, timeout=self._timeout, context=context)
        return http.client.HTTPConnection(address.host, address.port, timeout=self._timeout)

    def _careful(self, action):
        """Do something with the connection; whatever goes wrong becomes a `CameraError` without the password."""
        try:
            return action()
        except CameraError as error:
            raise CameraError(f"{self._shown}: {masked(str(error))}") from error
        except OSError as error:
            timed_out = "timed out" in str(error)
            reason = f"nothing came for {self._timeout:g} s" if timed_out else masked(error.strerror or str(error))
            raise CameraError(f"{self._shown}: {reason}") from error
        except (http.client.HTTPException, ValueError) as error:
            reason = masked(str(error)) or type(error).__name__
            raise CameraError(f"{self._shown} doesn't answer as HTTP wants it: {reason}") from error


def _refusal(response: http.client.HTTPResponse) -> str:
    answer = f"it answers {response.status} {response.reason}"
    if response.status == 401:
        wanted = (response.getheader("WWW-Authenticate") or "").split(" ")[0]
        if wanted and wanted.lower() != "basic":
            return f"{answer}: it wants the sign-in {wanted}, only Basic is spoken here"
        return f"{answer}: user or password is missing or wrong"
    return answer


def _moved(url: str, location: str) -> str:
    """Where a redirect leads; user and password go along within the same host only."""
    before, after = urlsplit(url), urlsplit(urljoin(url, location))
    if after.scheme not in ("http", "https"):
        raise CameraError(f"it sends on to {masked(location)}, which is no HTTP address")
    same = (before.hostname, before.port, before.scheme) == (after.hostname, after.port, after.scheme)
    user = before.netloc.rpartition("@")[0]
    netloc = f"{user}@{after.netloc}" if same and user and "@" not in after.netloc else after.netloc
    return after._replace(netloc=netloc).geturl()
