"""The daemon: its parts, started in order and stopped in reverse."""

import logging
import signal
import socket
import threading
from types import MappingProxyType
from typing import Callable, List, Mapping, Optional

from coral_learn.runtime.tflite import read_model
from service import systemd
from service.assembly import assemble, check_kept_classes, open_store, picture_limits, shows_demo
from service.http import create_app
from service.http.access import is_loopback, load_tokens
from service.http.server import create_server, listen, run_server, tls_listener
from service.http.spooling import Bodies
from service.http.tls import Certificate
from service.preferences import Preferences
from service.settings import MEGABYTE, Settings

log = logging.getLogger(__name__)


class Daemon:
    """All parts of one daemon. `run` answers until it is told to stop.

    origins : where the settings come from that are no defaults, see `service.settings.Loaded`

    Raises `ServiceError` when the data folder or the port can't be had, `ModelError` without a model.
    """

    def __init__(self, settings: Settings, origins: Mapping[str, str] = MappingProxyType({})):
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
                parts.crowd,
                parts.metrics,
                picture_limits(settings).max_bytes,
                int(settings.max_import_mb * MEGABYTE),
            ),
            settings.max_streams + settings.max_picture_streams,
            settings.trusted_proxy,
            self._certificate is not None,
        )
        self._doors = [tls_listener(self._server, self._certificate, self._listener)] if self._certificate else []

    @property
    def address(self) -> str:
        """Where the page is."""
        host, port = self._listener.getsockname()[:2]
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
        return f"{self._scheme}://{host}:{port}"

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

    def run(self) -> None:
        """Start every part, answer until SIGTERM or SIGINT, stop every part. Call in the main thread."""
        parts = self._parts
        stops: List[Callable[[], None]] = [parts.store.close]
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        if self._certificate is not None:
            signal.signal(signal.SIGHUP, lambda *_: self._certificate.look_soon())
        try:
            for part in (parts.extraction, parts.jobs, parts.live, parts.calibrating, *self._doors):
                part.start()
                stops.append(part.stop)
            stops.append(parts.reembedding.stop)
            systemd.notify("READY=1")
            run_server(self._server, lambda: self._ending)
        finally:
            systemd.notify("STOPPING=1")
            log.info("stopping")
            self._server.close()
            for stop in reversed(stops):
                stop()
            _report_threads()

    def _end(self, *_) -> None:
        """What a signal does: first let go who waits, because the server waits for its threads."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # once is enough; stopping has its own time limits
        self._ending = True
        self._parts.watchers.close()
        self._parts.live.viewfinder.close()
        self._parts.extraction.interrupt()
        self._server.pull_trigger()


def _report_threads() -> None:
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.name.startswith("waitress"):
            log.debug("the thread %s is still there at the end", thread.name)
