"""The daemon: its parts, started in order and stopped in reverse."""

import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Callable, List, Optional

from coral_learn.catalog import bundled_model
from coral_learn.extractor import ExtractorInfo
from coral_learn.image import ImageLimits
from coral_learn.manifest import Manifest
from coral_learn.runtime.tflite import read_model
from service import systemd
from service.calibrating import Calibrating
from service.camera import Camera
from service.camera.sources import resolve_camera
from service.demo import draw_demo
from service.errors import SettingsError
from service.extraction import ExtractorSupervisor
from service.http import create_app
from service.http.access import Access, is_loopback, load_tokens
from service.http.server import create_server, listen
from service.http.services import Services
from service.jobs import JobQueue
from service.learning import Answering, Teaching, Versions
from service.live import LiveLoop, Watchers
from service.pictures import PictureReader
from service.reembedding import Reembedding
from service.settings import Settings
from service.store import Store
from service.writing import ModelWriter

log = logging.getLogger(__name__)

_MEGABYTE = 1024 * 1024
_MEGAPIXEL = 1000 * 1000
_DEMO_FPS = 0.4  # slow enough to teach what is shown


class Daemon:
    """All parts of one daemon. `run` answers until it is told to stop.

    Raises `ServiceError` when the data folder or the port can't be had, `ModelError` without a model.
    """

    def __init__(self, settings: Settings):
        if settings.model:
            read_model(settings.model)
        if settings.keep_classes:
            _must_have_classes(settings.model or bundled_model())
        self._listener = listen(settings.host, settings.port)
        self.settings, folder = settings, Path(settings.data_dir).expanduser()
        try:
            self._store = Store(folder, int(settings.min_free_mb * _MEGABYTE))
        except Exception:
            self._listener.close()
            raise
        swept = self._store.sweep()
        if any(swept):
            log.warning(
                "after an unclean stop: %d unused pictures and %d unfinished versions removed, %d pictures are missing",
                *(swept.orphans, swept.folders, swept.missing),
            )
        self.tokens = {} if is_loopback(settings.host) else load_tokens(folder)
        self._answering = Answering(settings.head)
        self._versions = Versions(self._store, self._answering, settings.head, settings.keep_classes)
        self._teaching = Teaching(self._store, self._answering, self._versions.rebuild)
        self._extraction = ExtractorSupervisor(
            settings.model, settings.device, _threads(settings.threads), settings.extractor_timeout, self._on_ready
        )
        limits = ImageLimits(int(settings.max_upload_mb * _MEGABYTE), int(settings.max_megapixels * _MEGAPIXEL))
        pictures = PictureReader(limits, max(2, os.cpu_count() or 2))
        self._watchers = Watchers(settings.max_streams)
        source = resolve_camera(settings.camera)
        self.shows_demo = settings.demo and settings.camera == "auto" and source is None
        fps = settings.camera_fps
        if self.shows_demo:
            source, fps = str(draw_demo(folder / "demo")), fps or _DEMO_FPS
        self._live = LiveLoop(Camera(source, fps), self._extraction, self._answering, self._watchers)
        rates = settings.false_accept_rate, settings.most_refused
        self._jobs = JobQueue(self._store, self._answering, self._versions, self._live.tell_model, *rates)
        self._calibrating = Calibrating(self._store, self._answering, self._versions, *rates)
        self._reembedding = Reembedding(self._store, self._extraction, pictures, self._answering, self._teaching)
        access = Access(settings.host, settings.allowed_hosts, self.tokens)
        services = Services(
            settings,
            access,
            self._store,
            self._extraction,
            pictures,
            self._answering,
            self._teaching,
            self._versions,
            self._calibrating,
            ModelWriter(folder),
            self._jobs,
            self._live,
            self._watchers,
            self._reembedding,
        )
        self._server = create_server(
            create_app(services), access, self._listener, settings.max_upload_mb, settings.max_streams
        )

    @property
    def address(self) -> str:
        """Where the page is."""
        host, port = self._listener.getsockname()[:2]
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
        return f"http://{host}:{port}"

    @property
    def network_address(self) -> Optional[str]:
        """Where others on the network find it, None where it listens for this machine only."""
        if is_loopback(self.settings.host):
            return None
        return f"http://{socket.gethostname()}:{self._listener.getsockname()[1]}"

    @property
    def camera_source(self):
        """The camera, video or folder in use, or None."""
        return self._live.camera.source

    def run(self) -> None:
        """Start every part, answer until SIGTERM or SIGINT, stop every part. Call in the main thread."""
        stops: List[Callable[[], None]] = [self._store.close]
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        try:
            for part in (self._extraction, self._jobs, self._live, self._calibrating):
                part.start()
                stops.append(part.stop)
            stops.append(self._reembedding.stop)
            systemd.notify("READY=1")
            self._server.run()
        except SystemExit:
            pass
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
        self._watchers.close()
        self._extraction.interrupt()
        sys.exit(0)

    def _on_ready(self, info: ExtractorInfo, model_path: Path) -> None:
        self._versions.adopt(info, model_path)
        self._reembedding.start()


def _must_have_classes(model) -> None:
    """Raise `SettingsError` for an extractor without pre-trained classes."""
    manifest = Manifest.of(model)
    if manifest.pretrained() is None:
        raise SettingsError(
            f"--keep-classes needs a model with pre-trained classes, {manifest.name} has none; "
            "coral-learn models cut makes one of a classifier"
        )


def _threads(setting: int) -> int:
    return setting or min(4, os.cpu_count() or 1)


def _report_threads() -> None:
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.name.startswith("waitress"):
            log.debug("the thread %s is still there at the end", thread.name)
