"""Tells systemd's watchdog that the daemon works (sd_watchdog_enabled(3)), only while it does.

A thread that pings on a timer would go on when everything else hangs. So before each ping every sign of
life is looked for: the server answers a request, the store's writer can begin, the extractor's supervisor
goes round. The extractor itself is none of them: a lost Edge TPU is no reason to start the daemon anew.
"""

import http.client
import logging
import os
import ssl
import threading
import time
from typing import Callable, List, Mapping, NamedTuple, Optional

from service import systemd

log = logging.getLogger(__name__)

_MOST_SECONDS = 10.0  # between two pings
_STOP_SECONDS = 1.0


class Sign(NamedTuple):
    """A sign of life; check : given the seconds it may take, says what hangs, or None"""

    name: str
    check: Callable[[float], Optional[str]]


class Watchdog:
    """A thread that looks for all signs and then pings.

    seconds : after which systemd ends a service that does not ping
    """

    def __init__(self, seconds: float, signs: List[Sign], notify: Callable[[str], object] = systemd.notify):
        self._signs, self._notify = signs, notify
        self.interval, self.patience = min(_MOST_SECONDS, seconds / 2), seconds / 4
        self._said = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to ping."""
        self._thread.start()

    def stop(self) -> None:
        """Ping no more."""
        self._stopping.set()
        self._thread.join(_STOP_SECONDS)

    def look(self) -> bool:
        """One pass: ping when every sign is there. Says so in the log when that changes."""
        hanging = "; ".join(filter(None, map(self._missing, self._signs)))
        if hanging and hanging != self._said:
            log.error("systemd's watchdog is not fed: %s", hanging)
        elif self._said and not hanging:
            log.info("systemd's watchdog is fed again")
        self._said = hanging
        if not hanging:
            self._notify("WATCHDOG=1")
        return not hanging

    def _missing(self, sign: Sign) -> str:
        try:
            found = sign.check(self.patience)
        except Exception as error:
            log.debug("the sign of life %s", sign.name, exc_info=True)
            found = str(error) or type(error).__name__
        return f"{sign.name}: {found}" if found else ""

    def _run(self) -> None:
        begun = time.monotonic()
        while not self._stopping.wait(max(0.0, begun + self.interval - time.monotonic())):
            begun = time.monotonic()
            self.look()


def watchdog_seconds(environ: Mapping[str, str]) -> Optional[float]:
    """After how many seconds without a ping systemd ends this very process; None when it does not watch it."""
    try:
        seconds, process = int(environ["WATCHDOG_USEC"]) / 1e6, int(environ["WATCHDOG_PID"])
    except (KeyError, ValueError):
        return None
    return seconds if seconds > 0 and process == os.getpid() else None


def answers(host: str, port: int, encrypted: bool) -> Callable[[float], Optional[str]]:
    """A check whether the server answers GET /healthz at an address."""

    def check(patience: float) -> Optional[str]:
        if encrypted:
            # It is ourselves we talk to; the certificate is in somebody else's name.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, port, timeout=patience, context=context
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=patience)
        try:
            connection.request("GET", "/healthz", headers={"Connection": "close"})
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return f"no answer within {patience:g} s ({str(error) or type(error).__name__})"
        finally:
            connection.close()
        return None if status == 200 else f"GET /healthz was answered with {status}"

    return check


def moves(beat: Callable[[], float]) -> Callable[[float], Optional[str]]:
    """A check whether a loop goes round. beat : time.monotonic() when it last did; twice the patience ago will do"""

    def check(patience: float) -> Optional[str]:
        still = time.monotonic() - beat()
        return f"its loop has stood still for {still:.0f} s" if still > 2 * patience else None

    return check
