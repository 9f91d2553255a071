"""All calls to a daemon."""

from typing import Any, Dict, List, Optional

from service.client.address import DEFAULT_URL
from service.client.answering import Answering
from service.client.bodies import PathLike
from service.client.classes import Classes
from service.client.dataset import Dataset
from service.client.examples import Examples
from service.client.jobs import Jobs
from service.client.models import Models
from service.client.transport import Transport
from service.errors import ProblemError


class Client(Classes, Examples, Answering, Jobs, Models, Dataset):
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
        self.url = url.rstrip("/")
        super().__init__(Transport(self.url, token, timeout, ca_file))

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Close this thread's connection; a later request opens a new one. Other threads' close as they end."""
        self._transport.close()

    def status(self) -> Dict[str, Any]:
        """What runs, on what, how well, and with how much in it."""
        return self._transport.json("GET", "/v1/status")

    def failing(self) -> List[Dict[str, Any]]:
        """The parts that don't work now, {"field", "detail"} each; empty when the daemon is ready."""
        try:
            self._transport.json("GET", "/readyz", repeat=False)
        except ProblemError as error:
            if error.code != "not_ready":
                raise
            return error.problem.get("errors") or [{"field": "", "detail": error.detail}]
        return []

    def doctor(self) -> Dict[str, Any]:
        """What the daemon finds wrong with its machine: {"ok", "checks"}; takes up to 20 s and the manage token."""
        return self._transport.json("GET", "/v1/doctor", repeat=False)
