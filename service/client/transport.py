"""Requests and their answers: with the token, errors of ours, and tried again where that may help."""

import http.client
import json
import threading
import uuid
from contextlib import contextmanager
from typing import Any, Callable, ContextManager, Dict, Iterator, Optional, TypeVar, Union
from urllib.parse import quote, urlencode

from service.client.address import Address, checked_token
from service.client.bodies import PathLike, body_headers
from service.client.connection import Connection, Request
from service.client.faults import Faults
from service.client.retrying import patiently

_PAGE = 200
_CHANGING = ("POST", "PATCH", "DELETE")
_KEY = "Idempotency-Key"
_Result = TypeVar("_Result")


class Transport:
    """Asks one daemon, on a connection a thread, which is kept open. The arguments are those of `Client`."""

    def __init__(self, url: str, token: Optional[str], timeout: float, ca_file: Optional[PathLike]):
        self.url, self.timeout = url, timeout
        self._address = Address.of(url, ca_file)
        self._faults = Faults(url, self._address.host, timeout)
        self._headers = {"Accept": "application/json", "User-Agent": "coral-learn-client"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {checked_token(token)}"
        self._local = threading.local()

    def close(self) -> None:
        """Close this thread's connection; a later request opens a new one."""
        kept = getattr(self._local, "kept", None)
        if kept is not None:
            kept.close()

    def translated(self, timeout: float) -> ContextManager[None]:
        """Errors of the connection become ours."""
        return self._faults.translated(timeout)

    def understood(self) -> ContextManager[None]:
        """What doesn't look as this API's answers do becomes our error."""
        return self._faults.understood()

    def pages(self, path: str, query: Optional[Dict[str, Any]] = None) -> Iterator[Dict[str, Any]]:
        """The items of a list, fetched page by page."""
        page = seen = 0
        while True:
            answer = self.json("GET", path, query=dict(query or {}, page=page, size=_PAGE))
            with self._faults.understood():
                items, total = answer["items"], answer["total"]
            yield from items
            page, seen = page + 1, seen + len(items)
            if not items or seen >= total:
                return

    def made(self, make: Callable[[Dict[str, Any]], _Result], facts: Dict[str, Any]) -> _Result:
        """What is made of facts that came, if they are as they should be."""
        with self._faults.understood():
            return make(facts)

    def json(self, method: str, path: str, body: Any = None, kind: str = "", query=None, **how: Any) -> Any:
        """A request whose answer is JSON; a body without a `kind` is sent as JSON."""
        if body is not None and not kind:
            body, kind = json.dumps(body).encode(), "application/json"
        data = self.ask(method, path, body, kind, query, **how)
        with self._faults.understood():
            return json.loads(data.decode("utf-8"))

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        kind: str = "",
        query: Optional[Dict[str, Any]] = None,
        repeat: bool = True,
        timeout: Optional[float] = None,
    ) -> bytes:
        """The body of an answer, read whole, on this thread's connection."""
        headers = dict(self._headers, **body_headers(body, kind))
        # Classifying changes nothing, so it may be repeated without being remembered on the daemon's card.
        if method in _CHANGING and path != "/v1/classify":
            headers[_KEY] = uuid.uuid4().hex
        request = Request(method, self._address.prefix + path + query_of(query), body, headers)
        kept = self._kept()

        def attempt() -> bytes:
            try:
                with self._faults.translated(timeout):
                    response = kept.send(request, timeout or self.timeout)
                    data = response.read()
            except BaseException:  # half an answer may wait on this connection
                kept.close()
                raise
            self._faults.check(response, data)
            return data

        return patiently(attempt) if repeat else attempt()

    def _kept(self) -> Connection:
        if not hasattr(self._local, "kept"):
            self._local.kept = Connection(self._address)
        return self._local.kept

    @contextmanager
    def opened(self, path: str, accept: str, timeout: float, **headers: str) -> Iterator[http.client.HTTPResponse]:
        """An answer to be read bit by bit, on a connection of its own."""
        headers = dict(self._headers, Accept=accept, **{name.replace("_", "-"): text for name, text in headers.items()})
        connection = Connection(self._address)
        try:
            with self._faults.translated(timeout):
                response = connection.send(Request("GET", self._address.prefix + path, None, headers), timeout)
                refusal = b"" if response.status == 200 else response.read()
            self._faults.check(response, refusal)
            yield response
        finally:
            connection.close()


def path_of(*parts: Union[str, int]) -> str:
    """The path of something of version 1 of the API."""
    return "/v1/" + "/".join(quote(str(part), safe="") for part in parts)


def query_of(values: Optional[Dict[str, Any]]) -> str:
    """A query as it goes behind a path; what is None is left out."""
    told = {name: value for name, value in (values or {}).items() if value is not None}
    words = {name: "true" if value is True else value for name, value in told.items()}
    return "?" + urlencode(words, quote_via=quote) if words else ""
