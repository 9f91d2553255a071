"""The daemon: its parts, started in order and stopped in reverse; and what signals do to it."""

import faulthandler
import logging
import os
import signal
import socket
import sys
import threading
from types import MappingProxyType
from typing import Callable, List, Mapping, Optional

from coral_learn.runtime.tflite import read_model
from service import systemd
from service.assembly import assemble, check_kept_classes, open_store, picture_limits, shows_demo
from service.http import create_app
from service.http.access import is_loopback, load_tokens
from service.http.bodies import Bodies
from service.http.crowd import Crowd
from service.http.server import create_server, listen, run_server, tls_listener
from service.http.tls import Certificate
from service.preferences import Preferences
from service.reloading import Reloading
from service.settings import MEGABYTE, Loaded, Settings
from service.watchdog import Sign, Watchdog, answers, moves, watchdog_seconds

log = logging.getLogger(__name__)

_LOCK_SECONDS = 0.001


class Daemon:
    """All parts of one daemon. `run` answers until it is told to stop.

    origins : where the settings come from that are no defaults, see `service.settings.Loaded`
    read_again : reads flags, environment and configuration file once more, for SIGHUP; raises `SettingsError`

    Raises `ServiceError` when the data folder or the port can't be had, `ModelError` without a model.
    """

    def __init__(
        self,
        settings: Settings,
        origins: Mapping[str, str] = MappingProxyType({}),
        read_again: Optional[Callable[[], Loaded]] = None,
    ):
        if settings.model:
            read_model(settings.model)
        check_kept_classes(settings)
        self._certificate = Certificate(settings.tls_cert, settings.tls_key) if settings.tls_cert else None
        self._listener, self.settings, self._ending = listen(settings.host, settings.port), settings, False
        try:
            store = open_store(settings)
        except Exception:
            self._listener.close()
            raise
        preferences = Preferences(settings, origins, store)
        self._reloading = Reloading(preferences, read_again or (lambda: Loaded(settings, dict(origins))))
        self._hung_up, self._terminal = False, _has_terminal()
        self.settings = settings = preferences.settings
        ours_alone = is_loopback(settings.host) and not settings.trusted_proxy
        self.tokens = {} if ours_alone else load_tokens(store.folder)
        self.shows_demo = shows_demo(settings)
        self._parts = parts = assemble(preferences, store, self.tokens)
        self._server = create_server(
            create_app(parts),
            parts.access,
            self._listener,
            Bodies(
                store,
                Crowd(parts.extraction),
                picture_limits(settings).max_bytes,
                int(settings.max_import_mb * MEGABYTE),
            ),
            parts.metrics,
            settings.max_streams + settings.max_picture_streams,
            settings.trusted_proxy,
            self._certificate is not None,
        )
        self._doors = [tls_listener(self._server, self._certificate, self._listener)] if self._certificate else []

    @property
    def address(self) -> str:
        """Where the page is."""
        host, port = self._listener.getsockname()[:2]
        host = _reachable(host)
        return f"{self._scheme}://[{host}]:{port}" if ":" in host else f"{self._scheme}://{host}:{port}"

    @property
    def _scheme(self) -> str:
        return "https" if self.settings.tls_cert else "http"

    @property
    def network_address(self) -> Optional[str]:
        """Where others on the network find it, None where it listens for this machine only."""
        if is_loopback(self.settings.host):
            return None
        return f"{self._scheme}://{socket.gethostname()}:{self._listener.getsockname()[1]}"

    @property
    def camera_source(self):
        """The camera, video or folder in use, or None."""
        return self._parts.live.camera.source

    def run(self, announce: Callable[[], None] = lambda: None) -> None:
        """Start every part, answer until SIGTERM or SIGINT, stop every part. Call in the main thread.

        announce : called as soon as a signal does what it should; the address answers already, if slowly
        """
        parts = self._parts
        # The server's thread gives Python's lock away with each system call; by default it waits 5 ms for it each time.
        sys.setswitchinterval(_LOCK_SECONDS)
        stops: List[Callable[[], None]] = [parts.store.close]
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        if signal.signal(signal.SIGHUP, self._hang_up) == signal.SIG_IGN:
            self._terminal = False  # started by nohup: it is to outlive its terminal
        try:
            announce()
            for part in (parts.extraction, parts.jobs, parts.live, parts.calibrating, *self._doors, *self._watchdogs()):
                part.start()
                stops.append(part.stop)
            systemd.notify(f"READY=1\nSTATUS=answers at {self.address}")
            run_server(self._server, self._is_ended)
        finally:
            systemd.notify("STOPPING=1")
            log.info("stopping")
            self._server.close()
            for stop in reversed(stops):
                stop()
            _report_threads()

    def _watchdogs(self) -> List[Watchdog]:
        """The watchdog, where systemd wants to hear of one."""
        seconds, parts = watchdog_seconds(os.environ), self._parts
        if seconds is None:
            return []
        faulthandler.enable()  # it ends a daemon that hangs by SIGABRT: the log then has where each thread stood
        host, port = self._listener.getsockname()[:2]
        signs = [
            Sign("the HTTP server", answers(_reachable(host), port, self._certificate is not None)),
            Sign("the store", parts.store.database.check_free),
            Sign("the extractor's supervisor", moves(lambda: parts.extraction.beat)),
        ]
        return [Watchdog(seconds, signs)]

    def _is_ended(self) -> bool:
        """Asked by the server's loop after whatever happens. What SIGHUP wants is begun here, not in its handler."""
        if self._hung_up:
            self._hung_up = False
            if self._terminal and not _has_terminal():
                self._end()
            else:
                if self._certificate is not None:
                    self._certificate.look_soon()
                self._reloading.begin()
        return self._ending

    def _hang_up(self, *_) -> None:
        self._hung_up = True
        self._server.pull_trigger()

    def _end(self, *_) -> None:
        """What a signal does: first let go who waits, because the server waits for its threads."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # once is enough; stopping has its own time limits
        self._ending = True
        self._parts.watchers.close()
        self._parts.live.viewfinder.close()
        self._parts.extraction.interrupt()
        self._server.pull_trigger()


def _reachable(host: str) -> str:
    """An address at which a listener for all addresses is reached from here."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _has_terminal() -> bool:
    """Whether there is a terminal that this process ends with."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _report_threads() -> None:
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.name.startswith("waitress"):
            log.debug("the thread %s is still there at the end", thread.name)
