"""Makes the parts of a daemon from its settings, each from those before it; starts none."""

import logging
import os
from pathlib import Path
from typing import Dict

from coral_learn.catalog import bundled_model
from coral_learn.extractor import ExtractorInfo
from coral_learn.image import ImageLimits
from coral_learn.manifest import Manifest
from coral_learn.runtime.choose import sysfs_of
from service.calibrating import Calibrating
from service.camera import Camera
from service.camera.sources import resolve_camera
from service.capturing import Capturing
from service.demo import draw_demo
from service.extraction import ExtractorSupervisor
from service.http.access import Access
from service.http.services import Services
from service.jobs import JobQueue
from service.jobs.exchanging import EXCHANGE, Exchange, chosen_model
from service.jobs.importing import IMPORT, Importing
from service.learning import Answering, Teaching, Versions, pretrained_of
from service.lessons import Lessons
from service.live import DecisionRule, LiveLoop, Places, Watchers
from service.metrics import Metrics
from service.pictures import PictureReader
from service.readings import Readings
from service.reembedding import Reembedding
from service.settings import MEGABYTE, Settings
from service.store import Store
from service.store.sessions import Sessions
from service.temperature import Temperature
from service.writing import ModelWriter

log = logging.getLogger(__name__)

_MEGAPIXEL = 1000 * 1000
_DEMO_FPS = 0.4  # slow enough to teach what is shown


def open_store(settings: Settings) -> Store:
    """The data folder, cleaned up after an unclean stop. Raises `DataFolderInUse`, `StoreError`."""
    store = Store(Path(settings.data_dir).expanduser(), int(settings.min_free_mb * MEGABYTE))
    swept = store.sweep()
    if any(swept):
        log.warning(
            "after an unclean stop: %d unused pictures and %d unfinished versions removed, %d pictures are missing",
            *(swept.orphans, swept.folders, swept.missing),
        )
    return store


def assemble(settings: Settings, store: Store, tokens: Dict[str, str]) -> Services:
    """Every part that requests are answered with, over an open store. tokens : by scope"""
    metrics = Metrics()
    answering = Answering(settings.head)
    versions = Versions(store, answering, settings.head, settings.keep_classes)
    teaching = Teaching(store, answering, versions)
    temperature = Temperature(sysfs_of(settings.device), settings.slow_down_at)
    extraction = ExtractorSupervisor(
        chosen_model(store, settings.model),
        settings.device,
        settings.threads or min(4, os.cpu_count() or 1),
        settings.extractor_timeout,
        settings.on_device_loss,
        temperature.dead_link,
    )
    limits = picture_limits(settings)
    pictures = PictureReader(limits, max(2, os.cpu_count() or 2), metrics)
    reembedding = Reembedding(store, extraction, pictures, answering, teaching)

    def take_extractor(info: ExtractorInfo, model_path: Path) -> None:
        versions.adopt(info, model_path)
        reembedding.start()

    extraction.on_ready = take_extractor
    watchers = Watchers(settings.max_streams)
    places = Places(settings.max_picture_streams, "watch the picture")
    live = LiveLoop(_camera(settings, store), extraction, answering, watchers, places, metrics, DecisionRule())
    rates = settings.false_accept_rate, settings.most_refused
    most_unpacked = 2 * int(settings.max_import_mb * MEGABYTE)
    importing = Importing(store, extraction, pictures, answering, teaching, limits, most_unpacked, live.tell_model)
    workers = {IMPORT: importing.run, EXCHANGE: Exchange(store, extraction, pictures, settings.model).run}
    jobs = JobQueue(store, answering, versions, metrics, live.tell_model, *rates, workers)
    calibrating = Calibrating(store, answering, versions, *rates)
    lessons = Lessons(store, extraction, pictures, answering, teaching, calibrating)
    metrics.read_from(Readings(store, extraction, answering, jobs, live, watchers, temperature))
    return Services(
        settings=settings,
        access=Access(settings.host, settings.allowed_hosts, tokens, Sessions(store.folder, tokens)),
        store=store,
        extraction=extraction,
        pictures=pictures,
        answering=answering,
        teaching=teaching,
        versions=versions,
        calibrating=calibrating,
        lessons=lessons,
        capturing=Capturing(live, lessons, answering),
        writer=ModelWriter(store.folder),
        jobs=jobs,
        live=live,
        watchers=watchers,
        reembedding=reembedding,
        metrics=metrics,
        temperature=temperature,
    )


def picture_limits(settings: Settings) -> ImageLimits:
    """What uploads may be."""
    return ImageLimits(int(settings.max_upload_mb * MEGABYTE), int(settings.max_megapixels * _MEGAPIXEL))


def shows_demo(settings: Settings) -> bool:
    """Whether drawn pictures stand in for a camera."""
    return settings.demo and settings.camera == "auto" and resolve_camera(settings.camera) is None


def check_kept_classes(settings: Settings) -> None:
    """Raise `SettingsError` where classes are to be kept that the extractor doesn't have."""
    if settings.keep_classes:
        pretrained_of(Manifest.of(settings.model or bundled_model()))


def _camera(settings: Settings, store: Store) -> Camera:
    if shows_demo(settings):
        return Camera(str(draw_demo(store.folder / "demo")), settings.camera_fps or _DEMO_FPS)
    return Camera(resolve_camera(settings.camera), settings.camera_fps)
