"""What goes wrong between a client and a daemon, as errors of ours."""

import http.client
import json
import socket
import ssl
from contextlib import contextmanager
from typing import Iterator, Optional

from service.errors import ClientError, ConnectionLost, ProblemError, UnexpectedAnswer, Unreachable


class Faults:
    """Makes errors that name the daemon they are about. timeout : seconds, where a request has none of its own"""

    def __init__(self, url: str, host: str, timeout: float):
        self._url, self._host, self._timeout = url, host, timeout

    @contextmanager
    def translated(self, timeout: Optional[float]) -> Iterator[None]:
        """Errors of the connection become ours."""
        url = self._url
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
            raise Unreachable(f"the name {self._host!r} of {url} isn't known in this network") from error
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
    def understood(self) -> Iterator[None]:
        """What doesn't look as this API's answers do becomes our error."""
        try:
            yield
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise UnexpectedAnswer(
                f"what answers at {self._url} is no coral-learn daemon, or of another version: {error!r}"
            ) from error

    def check(self, response: http.client.HTTPResponse, data: bytes) -> None:
        """Raise what an answer that is no success says."""
        if 200 <= response.status < 300:
            return
        if response.headers.get_content_type() != "application/problem+json":
            raise UnexpectedAnswer(
                f"{self._url} answers {response.status} {response.reason}, but not as a coral-learn daemon does; "
                "is the address right?"
            )
        with self.understood():
            problem = dict(json.loads(data.decode("utf-8")))
        raise ProblemError(response.status, problem, _seconds(response.headers.get("Retry-After")))


def is_about_picture(error: ClientError) -> bool:
    """Whether a refusal is for the picture that was sent, so that another one may be taken."""
    return isinstance(error, ProblemError) and (error.code.startswith("image_") or error.code == "body_too_large")


def _seconds(text: Optional[str]) -> Optional[float]:
    return float(text) if text is not None and text.isdecimal() else None
