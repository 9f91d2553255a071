"""One file from the network, whole and checked, or not at all.

What came of an interrupted download stays beside the target as NAME.part and is gone on with by the
next one, where the server can.
"""

import errno
import fcntl
import http.client
import json
import os
import re
import socket
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Callable, Dict, Iterator, NamedTuple, Optional

import coral_learn
from service.addresses import masked
from service.errors import FetchFailed, Unfetchable, WrongContent
from service.store.files import sync_folder, translated

_CHUNK = 1 << 16
_AGAIN_LATER = (408, 425, 429)  # and 500 and above


class Patience(NamedTuple):
    """How long a download is tried.

    timeout : seconds without a byte; attempts : connections in all; pause : seconds before the second,
    twice as long before each further one
    """

    timeout: float = 30.0
    attempts: int = 5
    pause: float = 1.0


class Expected(NamedTuple):
    """What is to come.

    bytes : how many, None if not known; most : more are never taken; matches : whether this is the content;
    digest : in words, for the message
    """

    bytes: Optional[int]
    most: int
    matches: Callable[[bytes], bool]
    digest: str


class _Interrupted(Exception):
    """This connection ended too early; another may do better."""


class Download:
    """A download of a URL, http or https, through the proxy the environment names.

    target : the file; its folder must be there
    show : called with the bytes that are here and those in all, None when that isn't known
    """

    def __init__(
        self,
        url: str,
        target: Path,
        expected: Expected,
        show: Callable[[int, Optional[int]], None],
        patience: Optional[Patience] = None,
    ):
        self._url, self._target, self._expected = url, target, expected
        self._show, self._patience = show, patience or Patience()
        self._part = target.with_name(target.name + ".part")
        self._notes = target.with_name(target.name + ".part.json")
        self._opener = urllib.request.build_opener()
        self.resumed = False

    def run(self) -> None:
        """Download, check, and put it in its place.

        Raises `Unfetchable`, `WrongContent` (what came is deleted), `FetchFailed`, or `StoreError`.
        """
        with translated(self._target), self._locked() as file:
            if not self._is_whole(file):
                self._receive(file)
                if not self._is_whole(file) and self.resumed:
                    self._start_over(file)  # the beginning may be of another file
                    self._receive(file)
            if not self._is_whole(file):
                self._discard()
                raise WrongContent(
                    f"what {masked(self._url)} gave is not the published {self._target.name}: {self._expected.digest} "
                    f"was expected, {file.tell()} other bytes came; they were deleted"
                )
            os.fsync(file.fileno())
            os.chmod(str(self._part), 0o644)  # a model is no secret, and the daemon may be another user
            os.replace(str(self._part), str(self._target))
            sync_folder(self._target.parent)
            self._forget()

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        """The unfinished file, at its end, for this process alone."""
        with open(str(self._part), "a+b") as file:
            try:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise FetchFailed(f"{self._target.name} is being downloaded by another process") from error
            file.seek(0, os.SEEK_END)
            yield file

    def _is_whole(self, file: BinaryIO) -> bool:
        length = file.seek(0, os.SEEK_END)
        if not length or length > self._expected.most or self._expected.bytes not in (None, length):
            return False
        file.seek(0)
        return self._expected.matches(file.read())

    def _receive(self, file: BinaryIO) -> None:
        """Connect until the file is whole."""
        pause = self._patience.pause
        for attempt in range(1, self._patience.attempts + 1):
            try:
                self._connect(file)
                return
            except _Interrupted as error:
                if attempt == self._patience.attempts:
                    raise Unfetchable(self._describe(file, str(error))) from error
            time.sleep(pause)
            pause *= 2

    def _describe(self, file: BinaryIO, reason: str) -> str:
        here = file.seek(0, os.SEEK_END)
        kept = f"; the {here} bytes that came are kept, the next fetch goes on from there" if here else ""
        if not here:
            self._discard()
        return f"{masked(self._url)} can't be downloaded: {reason}{kept}"

    def _connect(self, file: BinaryIO) -> None:
        """Ask once for what is missing and write it. Raises `_Interrupted`."""
        offset = file.seek(0, os.SEEK_END)
        if offset >= self._limit:
            offset = self._start_over(file)
        try:
            answer = self._opener.open(self._request(offset), timeout=self._patience.timeout)
        except urllib.error.HTTPError as error:
            with error:
                self._refused(file, error.code)
        except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
            words = _in_words(error, self._patience.timeout)
            if _is_hopeless(getattr(error, "reason", error)):
                raise Unfetchable(self._describe(file, words)) from error
            raise _Interrupted(words) from error
        else:
            with answer:
                self._take(file, offset, answer)

    @property
    def _limit(self) -> int:
        return self._expected.most if self._expected.bytes is None else self._expected.bytes

    def _request(self, offset: int) -> urllib.request.Request:
        headers = {"User-Agent": f"coral-learn/{coral_learn.__version__}", "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            etag = self._remembered().get("etag", "")
            if etag.startswith('"'):  # a weak one isn't allowed there (RFC 9110, 13.1.5)
                headers["If-Range"] = etag
        return urllib.request.Request(self._url, headers=headers)

    def _refused(self, file: BinaryIO, status: int) -> None:
        if status == 416:  # nothing behind what is here, and yet it isn't whole
            self._start_over(file)
            raise _Interrupted("the server has no such range")
        if status in _AGAIN_LATER or status >= 500:
            raise _Interrupted(f"the server answers {status}")
        self._discard_if_empty(file)
        raise FetchFailed(f"{masked(self._url)} can't be downloaded: the server answers {status}")

    def _take(self, file: BinaryIO, offset: int, answer: Any) -> None:
        etag = answer.headers.get("ETag", "")
        if answer.status == 206 and not self._continues(offset, answer.headers, etag):
            self._start_over(file)
            raise _Interrupted("the file changed while it was downloaded")
        if answer.status != 206:
            offset = self._start_over(file)
        length = _number(answer.headers.get("Content-Length"))
        whole = None if length is None else offset + length
        if whole is not None and (whole > self._limit or self._expected.bytes not in (None, whole)):
            self._discard()
            raise WrongContent(
                f"{masked(self._url)} offers {whole} bytes, {self._target.name} has {self._in_all()}; nothing was taken"
            )
        self.resumed = offset > 0
        self._remember(etag)
        self._write(file, offset, whole, answer)

    def _write(self, file: BinaryIO, here: int, whole: Optional[int], answer: Any) -> None:
        whole = self._expected.bytes if whole is None else whole
        self._show(here, whole)
        try:
            while whole is None or here < whole:
                data = self._read(answer, _CHUNK if whole is None else min(_CHUNK, whole - here))
                if not data:
                    break
                here += len(data)
                if here > self._limit:
                    self._discard()
                    raise WrongContent(
                        f"{masked(self._url)} gives more than the {self._limit} bytes of {self._target.name}"
                    )
                file.write(data)
                self._show(here, whole)
        finally:
            file.flush()
        if whole is not None and here < whole:
            raise _Interrupted(f"the connection ended after {here} of {whole} bytes")

    def _read(self, answer: Any, most: int) -> bytes:
        try:
            return answer.read1(most)  # what is there, so that little is lost with the connection
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise _Interrupted(_in_words(error, self._patience.timeout)) from error

    def _in_all(self) -> str:
        return f"at most {self._expected.most}" if self._expected.bytes is None else str(self._expected.bytes)

    def _continues(self, offset: int, headers: Any, etag: str) -> bool:
        match = re.match(r"bytes (\d+)-", headers.get("Content-Range", ""))
        before = self._remembered().get("etag", "")
        return bool(match) and int(match.group(1)) == offset and (not before or not etag or before == etag)

    def _start_over(self, file: BinaryIO) -> int:
        file.seek(0)
        file.truncate()
        self.resumed = False
        return 0

    def _remember(self, etag: str) -> None:
        self._notes.write_text(json.dumps({"url": self._url, "etag": etag}), encoding="utf-8")

    def _remembered(self) -> Dict[str, str]:
        """What is known of where the unfinished file is from; {} if that is elsewhere."""
        try:
            notes = json.loads(self._notes.read_text(encoding="utf-8"))
            same = isinstance(notes, dict) and notes.get("url") == self._url and isinstance(notes.get("etag"), str)
            return notes if same else {}
        except (OSError, ValueError):
            return {}

    def _discard_if_empty(self, file: BinaryIO) -> None:
        if not file.seek(0, os.SEEK_END):
            self._discard()

    def _discard(self) -> None:
        with suppress(FileNotFoundError):
            self._part.unlink()
        self._forget()

    def _forget(self) -> None:
        with suppress(FileNotFoundError):
            self._notes.unlink()


def _number(text: Optional[str]) -> Optional[int]:
    return int(text) if text is not None and re.match(r"\d{1,15}$", text) else None


def _is_hopeless(reason: Any) -> bool:
    """Whether trying again at once is of no use: no network, no such name, nothing listens."""
    unreachable = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ECONNREFUSED)
    return isinstance(reason, socket.gaierror) or getattr(reason, "errno", None) in unreachable


def _in_words(error: Exception, timeout: float) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, OSError) and ("timed out" in str(reason) or isinstance(reason, TimeoutError)):
        return f"nothing came for {timeout:g} seconds"
    if isinstance(error, http.client.IncompleteRead):
        return "the connection ended early"
    return str(getattr(reason, "strerror", None) or reason) or type(reason).__name__
