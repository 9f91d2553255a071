"""A client of the HTTP API, of the standard library alone.

    client = Client("http://coral.local:8080", token="...")
    client.add_example("cat", "cat.jpg")
    print(client.classify("what.jpg").label)

A client may be used by many threads; each has a connection of its own, which is kept open. Requests
that may be repeated are: up to three times when the connection is lost or the daemon says when to come
again. Those that change something carry an Idempotency-Key, so that the daemon carries them out once.
"""

import http.client
import json
import os
import selectors
import socket
import ssl
import threading
import time
import uuid
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple, TypeVar, Union
from urllib.parse import quote, urlencode, urlsplit

from service.errors import AddressError, ClientError, ConnectionLost, ProblemError, UnexpectedAnswer, Unreachable

DEFAULT_URL = "http://127.0.0.1:8080"
SUFFIXES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
}
ENDED = ("succeeded", "failed", "cancelled", "interrupted")

PathLike = Union[str, "os.PathLike[str]"]
Picture = Union[PathLike, bytes]
Transferred = Callable[[int, Optional[int]], None]  # bytes so far, and in all where that is known

_RETRIES = 3
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 30.0  # seconds
_QUIET = 10.0  # seconds; a stream is never silent for longer
_SLOW = 150.0  # seconds; writing a model file takes the daemon up to two minutes
_BLOCK = 1 << 16  # bytes
_PAGE = 200
_ANY = "application/octet-stream"
_CHANGING = ("POST", "PATCH", "DELETE")
_KEY = "Idempotency-Key"
_Result = TypeVar("_Result")


class Prediction(NamedTuple):
    """A class and its score, 0..1."""

    label: str
    score: float


class Classification(NamedTuple):
    """What is in a picture. label : None for nothing known; answer : all of it, as it came."""

    label: Optional[str]
    score: float
    predictions: List[Prediction]
    model: Dict[str, Any]
    device: str
    timing_ms: Dict[str, float]
    answer: Dict[str, Any]


class Example(NamedTuple):
    """A stored picture. width, height : pixels; created : seconds since 1970; facts : all of it, as it came."""

    id: str
    class_name: str
    sha256: str
    width: int
    height: int
    created: float
    facts: Dict[str, Any]


class AddedExample(NamedTuple):
    """A picture that was taught. duplicate : it was there already; class_examples : of its class by now."""

    id: str
    class_name: str
    duplicate: bool
    warnings: List[str]
    class_examples: int
    model: Dict[str, Any]


class RefusedFile(NamedTuple):
    """A picture that was not taught. filename : empty for bytes; code : a stable word for programs."""

    filename: str
    code: str
    detail: str


class AddedExamples(NamedTuple):
    """What became of several pictures."""

    accepted: List[AddedExample]
    refused: List[RefusedFile]


class ListedClass(NamedTuple):
    """A class. examples : how many."""

    name: str
    examples: int
    pretrained: bool


class Job(NamedTuple):
    """Work in the background. progress : 0..1; model : {"version", "activated", "reason"} or None; error : a problem
    document or None; facts : all of it, as it came.
    """

    id: str
    kind: str
    state: str
    progress: float
    metrics: Dict[str, Any]
    model: Optional[Dict[str, Any]]
    error: Optional[Dict[str, Any]]
    facts: Dict[str, Any]

    @property
    def ended(self) -> bool:
        """Whether it has come to an end, of whatever kind."""
        return self.state in ENDED


class Event(NamedTuple):
    """Something that happened. kind : classification, camera, model ...; id : for going on behind it, may be empty."""

    kind: str
    data: Dict[str, Any]
    id: str


class Client:
    """A daemon at an address.

    token : of scope `classify` or `manage`, where the daemon wants one
    timeout : seconds without any byte after which a request is given up
    ca_file : certificates to trust beside those of the system, PEM, for https

    Every method raises `ProblemError` when the daemon refuses, `Unreachable` when none answers, and
    `UnexpectedAnswer` when something else does; the constructor raises `AddressError`.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        token: Optional[str] = None,
        timeout: float = 30.0,
        ca_file: Optional[PathLike] = None,
    ):
        self.url, self._timeout = url.rstrip("/"), timeout
        self._address = _Address.of(self.url, ca_file)
        self._headers = {"Accept": "application/json", "User-Agent": "coral-learn-client"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {_checked(token)}"
        self._local = threading.local()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Close this thread's connection; a later request opens a new one. Other threads' close as they end."""
        kept = getattr(self._local, "kept", None)
        if kept is not None:
            kept.close()

    # -- state ------------------------------------------------------------------------------

    def status(self) -> Dict[str, Any]:
        """What runs, on what, how well, and with how much in it."""
        return self._json("GET", "/v1/status")

    def failing(self) -> List[Dict[str, Any]]:
        """The parts that don't work now, {"field", "detail"} each; empty when the daemon is ready."""
        try:
            self._json("GET", "/readyz", repeat=False)
        except ProblemError as error:
            if error.code != "not_ready":
                raise
            return error.problem.get("errors") or [{"field": "", "detail": error.detail}]
        return []

    def doctor(self) -> Dict[str, Any]:
        """What the daemon finds wrong with its machine: {"ok", "checks"}; takes up to 20 s and the manage token."""
        return self._json("GET", "/v1/doctor", repeat=False)

    # -- classes ----------------------------------------------------------------------------

    def classes(self) -> List[ListedClass]:
        """Every class."""
        return [self._made(_listed_class, one) for one in self._pages("/v1/classes")]

    def get_class(self, name: str) -> ListedClass:
        """One class."""
        return self._made(_listed_class, self._json("GET", _path("classes", name)))

    def create_class(self, name: str) -> ListedClass:
        """Add a class without examples."""
        return self._made(_listed_class, self._json("POST", "/v1/classes", {"name": name}))

    def rename_class(self, name: str, new_name: str) -> ListedClass:
        """Give a class another name; it needs no training."""
        return self._made(_listed_class, self._json("PATCH", _path("classes", name), {"name": new_name}))

    def merge_class(self, name: str, into: str) -> ListedClass:
        """Move the examples of a class into another one, which is returned."""
        return self._made(
            _listed_class, self._json("PATCH", _path("classes", name), {"name": into}, query={"merge": True})
        )

    def delete_class(self, name: str) -> Dict[str, Any]:
        """Remove a class with its examples."""
        return self._json("DELETE", _path("classes", name))

    # -- examples ---------------------------------------------------------------------------

    def add_example(self, class_name: str, picture: Picture) -> AddedExample:
        """Teach a class one picture: a path, or the bytes of a file. It is on the disk on return.

        Raises `OSError` when the file can't be read.
        """
        data, kind = _read(picture)
        answer = self._json("POST", "/v1/examples", data, kind, {"class": class_name})
        with self._understood():
            one, model = answer["accepted"][0], answer["model"]
            return AddedExample(
                one["id"], answer["class"], one["duplicate"], one["warnings"], answer["class_examples"], model
            )

    def add_examples(self, class_name: str, *pictures: Picture) -> AddedExamples:
        """Teach a class several pictures. Those that can't be read or used are told apart and stop nothing."""
        accepted, refused = [], []
        for picture in pictures:
            name = "" if isinstance(picture, bytes) else os.fspath(picture)
            try:
                accepted.append(self.add_example(class_name, picture))
            except ClientError as error:
                if not is_about_picture(error):
                    raise
                refused.append(RefusedFile(name, error.code, str(error)))
            except OSError as error:
                refused.append(RefusedFile(name, "file_unreadable", error.strerror or str(error)))
        return AddedExamples(accepted, refused)

    def examples(self, class_name: Optional[str] = None) -> Iterator[Example]:
        """The examples of one class or of all, oldest first, fetched page by page.

        What is deleted meanwhile shifts the pages: take a list() first to delete while going through.
        """
        return (self._made(_example, one) for one in self._pages("/v1/examples", {"class": class_name}))

    def example(self, example: str) -> Example:
        """One example's facts."""
        return self._made(_example, self._json("GET", _path("examples", example)))

    def move_example(self, example: str, class_name: str) -> Example:
        """Put an example into another class."""
        return self._made(_example, self._json("PATCH", _path("examples", example), {"class": class_name}))

    def delete_example(self, example: str, forever: bool = False) -> Dict[str, Any]:
        """Remove an example. forever : its picture goes at once, which can't be undone."""
        return self._json("DELETE", _path("examples", example), query={"forever": forever or None})

    def image(self, example: str, model_view: bool = False) -> bytes:
        """The stored file of an example. model_view : a PNG of the pixels as the extractor sees them."""
        return self._ask("GET", _path("examples", example, "image"), query={"view": "model" if model_view else None})

    # -- answers ----------------------------------------------------------------------------

    def classify(self, picture: Picture, top_k: int = 5, explain: bool = False) -> Classification:
        """What is in a picture: a path, or the bytes of a file.

        top_k : predictions to give; explain : whether `answer` has the nearest stored examples too.
        Raises `OSError` when the file can't be read.
        """
        data, kind = _read(picture)
        query = {"top_k": top_k, "explain": explain or None}
        answer = self._json("POST", "/v1/classify", data, kind, query)
        with self._understood():
            predictions = [Prediction(one["class"], one["score"]) for one in answer["predictions"]]
            facts = [answer[name] for name in ("model", "device", "timing_ms")]
            return Classification(answer["class"], answer["score"], predictions, *facts, answer)

    def stream(self, reconnect: bool = False) -> Iterator[Event]:
        """What the camera sees and what changes, as it happens; close() of the iterator ends it.

        reconnect : whether to connect again, with growing pauses, when the connection is lost or the daemon
            stops; only the first connection raises then
        """
        return self._reconnecting("/v1/stream") if reconnect else self._events("/v1/stream", _Place())

    def snapshot(self) -> bytes:
        """The camera's newest frame, a JPEG."""
        return self._ask("GET", "/v1/camera/snapshot.jpg")

    # -- training ---------------------------------------------------------------------------

    def train(self, **options: Any) -> Job:
        """Queue a training job: head, activate, and what else the daemon takes."""
        return self._made(_job, self._json("POST", "/v1/train", options))

    def job(self, job: str) -> Job:
        """One job as it is now."""
        return self._made(_job, self._json("GET", _path("jobs", job)))

    def jobs(self) -> Iterator[Job]:
        """The jobs, newest first, fetched page by page."""
        return (self._made(_job, one) for one in self._pages("/v1/jobs"))

    def cancel(self, job: str) -> Job:
        """Cancel a job that waits or runs."""
        return self._made(_job, self._json("DELETE", _path("jobs", job)))

    def job_events(self, job: str) -> Iterator[Job]:
        """A job each time it has got on; ends with the job, or with the daemon."""
        return (self._made(_job, one.data) for one in self._events(_path("jobs", job, "events"), _Place()))

    def wait(self, job: str, progress: Optional[Callable[[Job], None]] = None) -> Job:
        """Wait for the end of a job; returns it as it ended. progress : told each time it has got on."""
        with suppress(ConnectionLost):
            for now in self._followed(job):
                if progress is not None:
                    progress(now)
                if now.ended:
                    return now
        while True:
            now = self.job(job)
            if progress is not None:
                progress(now)
            if now.ended:
                return now
            time.sleep(1.0)

    def _followed(self, job: str) -> Iterator[Job]:
        """A job's events; none where all places for watchers are taken."""
        try:
            yield from self.job_events(job)
        except ProblemError as error:
            if error.status != 503:
                raise

    # -- models -----------------------------------------------------------------------------

    def models(self) -> List[Dict[str, Any]]:
        """Every model: the live one, then the versions, newest first."""
        answer = self._json("GET", "/v1/models")
        with self._understood():
            return list(answer["items"])

    def model(self, version: Union[int, str]) -> Dict[str, Any]:
        """One model. version : its number, or "live"."""
        return self._json("GET", _path("models", version))

    def activate(self, version: Union[int, str], head: Optional[str] = None) -> Dict[str, Any]:
        """Let a model answer from now on. head : of the live model."""
        return self._json("POST", _path("models", version, "activate"), {} if head is None else {"head": head})

    def report(self, version: Union[int, str]) -> Dict[str, Any]:
        """What training found: accuracy, confusion matrix, loss curve, findings."""
        return self._json("GET", _path("models", version, "report"))

    def labels(self, version: Union[int, str]) -> List[str]:
        """The classes a model can answer, in the order of its scores."""
        return self._ask("GET", _path("models", version, "labels.txt")).decode("utf-8").splitlines()

    def download_model(self, version: Union[int, str], path: PathLike, quantized: bool = False) -> int:
        """Write a model to a .tflite file, whole or not at all; returns its size in bytes.

        quantized : with an int8 head, a quarter of the size. Raises `OSError` when the file can't be written.
        """
        return self._download(_path("models", version, "model.tflite"), path, {"quantized": quantized or None})

    # -- the data set -----------------------------------------------------------------------

    def export(self, path: PathLike, progress: Optional[Transferred] = None) -> int:
        """Write the whole data set to an archive, whole or not at all; returns its size in bytes.

        progress : told the bytes so far, and in all where that is known.
        Raises `OSError` when the file can't be written.
        """
        return self._download("/v1/export", path, progress=progress)

    def import_(self, path: PathLike, progress: Optional[Transferred] = None) -> Job:
        """Send an archive to be taken in; returns the job that does it. progress : of the sending, as in `export`.

        Raises `OSError` when the file can't be read.
        """
        with open(path, "rb") as file:
            body = _Counted(file, progress)
            return self._made(
                _job, self._json("POST", "/v1/import", body, body.kind, timeout=max(self._timeout, _SLOW))
            )

    def journal(self) -> Iterator[Dict[str, Any]]:
        """What was done, {"step", "action", "details", "created"} each, newest first, fetched page by page."""
        return self._pages("/v1/journal")

    def undo(self, step: Optional[int] = None) -> Dict[str, Any]:
        """Take back the last step. step : only when that is the last one."""
        return self._json("POST", "/v1/undo", {} if step is None else {"step": step})

    # -- requests ---------------------------------------------------------------------------

    def _pages(self, path: str, query: Optional[Dict[str, Any]] = None) -> Iterator[Dict[str, Any]]:
        page = seen = 0
        while True:
            answer = self._json("GET", path, query=dict(query or {}, page=page, size=_PAGE))
            with self._understood():
                items, total = answer["items"], answer["total"]
            yield from items
            page, seen = page + 1, seen + len(items)
            if not items or seen >= total:
                return

    def _made(self, make: Callable[[Dict[str, Any]], _Result], facts: Dict[str, Any]) -> _Result:
        with self._understood():
            return make(facts)

    def _json(self, method: str, path: str, body: Any = None, kind: str = "", query=None, **how: Any) -> Any:
        """A request whose answer is JSON; a body without a `kind` is sent as JSON."""
        if body is not None and not kind:
            body, kind = json.dumps(body).encode(), "application/json"
        data = self._ask(method, path, body, kind, query, **how)
        with self._understood():
            return json.loads(data.decode("utf-8"))

    def _ask(
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
        headers = dict(self._headers, **_body_headers(body, kind))
        # Classifying changes nothing, so it may be repeated without being remembered on the daemon's card.
        if method in _CHANGING and path != "/v1/classify":
            headers[_KEY] = uuid.uuid4().hex
        request = _Request(method, self._address.prefix + path + _query(query), body, headers)
        kept = self._kept()

        def attempt() -> bytes:
            try:
                with self._translated(timeout):
                    response = kept.send(request, timeout or self._timeout)
                    data = response.read()
            except BaseException:  # half an answer may wait on this connection
                kept.close()
                raise
            self._check(response, data)
            return data

        return _patiently(attempt) if repeat else attempt()

    def _kept(self) -> "_Connection":
        if not hasattr(self._local, "kept"):
            self._local.kept = _Connection(self._address)
        return self._local.kept

    @contextmanager
    def _opened(self, path: str, accept: str, timeout: float, **headers: str) -> Iterator[http.client.HTTPResponse]:
        """An answer to be read bit by bit, on a connection of its own."""
        headers = dict(self._headers, Accept=accept, **{name.replace("_", "-"): text for name, text in headers.items()})
        connection = _Connection(self._address)
        try:
            with self._translated(timeout):
                response = connection.send(_Request("GET", self._address.prefix + path, None, headers), timeout)
                refusal = b"" if response.status == 200 else response.read()
            self._check(response, refusal)
            yield response
        finally:
            connection.close()

    def _download(self, path: str, target: PathLike, query=None, progress: Optional[Transferred] = None) -> int:
        target = Path(target)
        temporary = target.parent / f".part-{uuid.uuid4().hex}"
        timeout = max(self._timeout, _SLOW)

        def attempt() -> int:
            file.seek(0)
            file.truncate()
            with self._opened(path + _query(query), _ANY, timeout) as response:
                done, total = 0, response.length
                while True:
                    with self._translated(timeout):
                        block = response.read(_BLOCK)
                        if not block and done < (total or 0):
                            raise http.client.IncompleteRead(b"", total - done)
                    if not block:
                        return done
                    file.write(block)
                    done += len(block)
                    if progress is not None:
                        progress(done, total)

        try:
            with open(temporary, "xb") as file:
                size = _patiently(attempt)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        return size

    # -- events -----------------------------------------------------------------------------

    def _events(self, path: str, place: "_Place", patient: bool = True) -> Iterator[Event]:
        """The events of one connection; ends when the daemon ends it, raises `ConnectionLost` when it breaks."""
        timeout = max(self._timeout, _QUIET)
        headers = {"Last_Event_ID": place.id} if place.id else {}
        with ExitStack() as stack:

            def attempt() -> http.client.HTTPResponse:
                return stack.enter_context(self._opened(path, "text/event-stream", timeout, **headers))

            response = _patiently(attempt) if patient else attempt()
            yield from self._parsed(response, place, timeout)

    def _parsed(self, response: http.client.HTTPResponse, place: "_Place", timeout: float) -> Iterator[Event]:
        kind, lines = "message", []
        for line in self._lines(response, timeout):
            field, _, value = line.decode("utf-8", "replace").partition(":")
            value = value[1:] if value.startswith(" ") else value
            if field == "event":
                kind = value
            elif field == "data":
                lines.append(value)
            elif field == "id":
                place.id = value
            elif field == "retry" and value.isdecimal():
                place.wait = int(value) / 1000
            elif not line and lines:
                with self._understood():
                    data = json.loads("\n".join(lines))
                yield Event(kind, data, place.id)
                kind, lines = "message", []

    def _lines(self, response: http.client.HTTPResponse, timeout: float) -> Iterator[bytes]:
        """The lines of an answer, as they come; readline() would take a break for an end."""
        rest = b""
        while True:
            with self._translated(timeout):
                data = response.read1(_BLOCK)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            yield from (line.rstrip(b"\r") for line in lines)

    def _reconnecting(self, path: str) -> Iterator[Event]:
        place, failures, first = _Place(), 0, True
        while True:
            try:
                for event in self._events(path, place, patient=first):
                    first, failures = False, 0
                    yield event
            except (Unreachable, ProblemError) as error:
                if first or (isinstance(error, ProblemError) and error.status != 503):
                    raise
            first = False
            time.sleep(min(place.wait * 2**failures, _LONGEST_WAIT))
            failures = min(failures + 1, 16)

    # -- errors -----------------------------------------------------------------------------

    @contextmanager
    def _translated(self, timeout: Optional[float]) -> Iterator[None]:
        """Errors of the connection become ours."""
        url = self.url
        try:
            yield
        except socket.timeout as error:
            waited = timeout or self._timeout
            raise Unreachable(
                f"{url} gave no answer for {waited:g} s: is the daemon busy, or the network down?"
            ) from error
        except ConnectionRefusedError as error:
            raise Unreachable(
                f"nothing listens at {url}: is the daemon running there, at this port? coral-learn serve starts it"
            ) from error
        except socket.gaierror as error:
            raise Unreachable(f"the name {self._address.host!r} of {url} isn't known in this network") from error
        except ssl.SSLCertVerificationError as error:
            reason = getattr(error, "verify_message", "") or str(error)
            raise Unreachable(f"the certificate of {url} isn't trusted: {reason}; ca_file names one that is") from error
        except (ConnectionError, http.client.IncompleteRead, ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
            raise ConnectionLost(f"{url} closed the connection before its answer was whole") from error
        except ssl.SSLError as error:
            raise Unreachable(f"{url} doesn't speak TLS as it should ({error.reason}); is it http:// there?") from error
        except http.client.HTTPException as error:
            raise UnexpectedAnswer(f"what answers at {url} speaks no HTTP: {error!r}") from error
        except OSError as error:
            raise Unreachable(f"{url} can't be reached: {error.strerror or error}") from error

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """What doesn't look as this API's answers do becomes our error."""
        try:
            yield
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise UnexpectedAnswer(
                f"what answers at {self.url} is no coral-learn daemon, or of another version: {error!r}"
            ) from error

    def _check(self, response: http.client.HTTPResponse, data: bytes) -> None:
        """Raise what an answer that is no success says."""
        if 200 <= response.status < 300:
            return
        if response.headers.get_content_type() != "application/problem+json":
            raise UnexpectedAnswer(
                f"{self.url} answers {response.status} {response.reason}, but not as a coral-learn daemon does; "
                "is the address right?"
            )
        with self._understood():
            problem = dict(json.loads(data.decode("utf-8")))
        raise ProblemError(response.status, problem, _seconds(response.headers.get("Retry-After")))


def is_about_picture(error: ClientError) -> bool:
    """Whether a refusal is for the picture that was sent, so that another one may be taken."""
    return isinstance(error, ProblemError) and (error.code.startswith("image_") or error.code == "body_too_large")


class _Address(NamedTuple):
    """Where to connect to. prefix : what goes before every path, for a daemon behind a proxy."""

    host: str
    port: int
    prefix: str
    tls: Optional[ssl.SSLContext]

    @classmethod
    def of(cls, url: str, ca_file: Optional[PathLike]) -> "_Address":
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


class _Request(NamedTuple):
    method: str
    target: str
    body: Any
    headers: Dict[str, str]


class _Connection:
    """One connection, opened when it is needed."""

    def __init__(self, address: _Address):
        host, port, tls = address.host, address.port, address.tls
        self._response: Optional[http.client.HTTPResponse] = None
        self._connection = http.client.HTTPConnection(host, port)
        if tls is not None:
            self._connection = http.client.HTTPSConnection(host, port, context=tls)

    def send(self, request: _Request, timeout: float) -> http.client.HTTPResponse:
        """Send a request; returns the answer, its body unread."""
        connection, body = self._connection, request.body
        if connection.sock is not None and _is_readable(connection.sock):
            self.close()  # nothing is due, so it can only be the end: the daemon closes what is idle
        connection.timeout = timeout
        if connection.sock is not None:
            connection.sock.settimeout(timeout)
        if isinstance(body, _Counted):
            body.seek(0)
        try:
            connection.request(request.method, request.target, body, request.headers)
        except (BrokenPipeError, ConnectionResetError):
            # A body that is too large is refused before all of it was read: the answer says so.
            if body is None or connection.sock is None:
                raise
        self._response = connection.getresponse()
        return self._response

    def close(self) -> None:
        """Close it; the next request opens it anew."""
        if self._response is not None:
            self._response.close()  # it holds the socket as well
            self._response = None
        self._connection.close()

    def __del__(self) -> None:
        self.close()


class _Counted:
    """A file as a body. progress : told the bytes read so far and their number."""

    def __init__(self, file: BinaryIO, progress: Optional[Transferred]):
        self._file, self._progress = file, progress
        self.size = os.fstat(file.fileno()).st_size
        self.kind = _archive_type(file.read(4))

    def seek(self, position: int) -> None:
        """Go to a place, in bytes."""
        self._file.seek(position)

    def read(self, size: int) -> bytes:
        """The next bytes."""
        data = self._file.read(size)
        if self._progress is not None:
            self._progress(self._file.tell(), self.size)
        return data


class _Place:
    """Where a stream is. id : of the last event; wait : seconds before connecting again."""

    id, wait = "", 2.0


def _patiently(attempt: Callable[[], _Result]) -> _Result:
    """Try, and try again where that may help."""
    lost = False
    for retry in range(_RETRIES):
        try:
            return attempt()
        except ProblemError as error:
            again = error.status == 503 or error.code == "idempotency_under_way"
            if not again or error.retry_after is None or error.retry_after > _LONGEST_WAIT:
                raise
            time.sleep(error.retry_after)
        except Unreachable as error:
            lost = lost or isinstance(error, ConnectionLost)
            if not lost:
                raise
            time.sleep(_FIRST_WAIT * 2**retry)
    return attempt()


def _checked(token: str) -> str:
    if not token or not token.isprintable() or not token.isascii() or " " in token:
        raise AddressError("a token has no spaces, line ends or special characters; take it from tokens.json as it is")
    return token


def _path(*parts: Union[str, int]) -> str:
    return "/v1/" + "/".join(quote(str(part), safe="") for part in parts)


def _query(values: Optional[Dict[str, Any]]) -> str:
    told = {name: value for name, value in (values or {}).items() if value is not None}
    words = {name: "true" if value is True else value for name, value in told.items()}
    return "?" + urlencode(words, quote_via=quote) if words else ""


def _body_headers(body: Any, kind: str) -> Dict[str, str]:
    if body is None:
        return {}
    return {"Content-Type": kind, "Content-Length": str(body.size if isinstance(body, _Counted) else len(body))}


def _read(picture: Picture) -> Tuple[bytes, str]:
    """The bytes of a picture, and their media type by what they start with, else by the file's ending."""
    if isinstance(picture, bytes):
        return picture, _picture_type(picture) or _ANY
    path = Path(picture)
    data = path.read_bytes()
    return data, _picture_type(data) or SUFFIXES.get(path.suffix.lower(), _ANY)


def _picture_type(data: bytes) -> str:
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    starts = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"), (b"BM", "image/bmp"))
    return next((kind for start, kind in starts if data.startswith(start)), "")


def _archive_type(start: bytes) -> str:
    starts = ((b"PK", "application/zip"), (b"\x1f\x8b", "application/gzip"))
    return next((kind for known, kind in starts if start.startswith(known)), _ANY)


def _is_readable(sock: socket.socket) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        return bool(selector.select(0))


def _seconds(text: Optional[str]) -> Optional[float]:
    return float(text) if text is not None and text.isdecimal() else None


def _listed_class(facts: Dict[str, Any]) -> ListedClass:
    return ListedClass(facts["name"], facts["examples"], facts["pretrained"])


def _example(facts: Dict[str, Any]) -> Example:
    names = ("id", "class", "sha256", "width", "height", "created")
    return Example(*(facts[name] for name in names), facts)


def _job(facts: Dict[str, Any]) -> Job:
    names = ("id", "kind", "state", "progress", "metrics", "model", "error")
    return Job(*(facts[name] for name in names), facts)
