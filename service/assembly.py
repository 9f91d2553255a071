"""Makes the parts of a daemon from its settings, each from those before it; starts none."""

import logging
from functools import partial
from pathlib import Path
from typing import Dict, Optional

from coral_learn.catalog import bundled_model
from coral_learn.extractor import ExtractorInfo
from coral_learn.image import ImageLimits
from coral_learn.manifest import Manifest
from coral_learn.runtime.choose import sysfs_of
from service.calibrating import Calibrating
from service.camera import Camera, CameraOptions
from service.camera.sources import AUTO, resolve_camera
from service.capturing import Capturing
from service.cores import cores, extractor_threads
from service.demo import DRAWN, FPS, draw_demo
from service.doctor.practice import Practice
from service.extraction import ExtractorSupervisor
from service.extraction.supervisor import LOST
from service.http.access import Access
from service.http.services import Services
from service.jobs import JobQueue
from service.jobs.choice import EXCHANGE, ModelChoice
from service.jobs.exchanging import Exchange
from service.jobs.importing import IMPORT, Importing
from service.jobs.queue import TRAIN
from service.jobs.reembedding import REEMBED, Reembedding
from service.learning import Answering, Teaching, Versions, pretrained_of
from service.lessons import Lessons
from service.live import DecisionRule, LiveLoop, Places, Watchers
from service.mapping import ExampleMap
from service.memory import half_of_machine
from service.metrics import Metrics
from service.pictures import PictureReader
from service.preferences import Preferences
from service.readings import Readings
from service.region import Region
from service.review import FOLDER as REVIEW_FOLDER
from service.review import ReviewRing
from service.settings import MEGABYTE, Settings
from service.store import Store
from service.store.sessions import Sessions
from service.temperature import Temperature
from service.writing import ModelWriter

log = logging.getLogger(__name__)

_MEGAPIXEL = 1000 * 1000
_GIVE_WAY = 5  # of the loop and the camera to the extractor, as in nice(2)


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


def assemble(preferences: Preferences, store: Store, tokens: Dict[str, str]) -> Services:
    """Every part that requests are answered with, over an open store. tokens : by scope"""
    settings = preferences.settings
    metrics = Metrics()
    answering = Answering(settings.head)
    versions = Versions(store, answering, settings.head, settings.keep_classes)
    teaching = Teaching(store, answering, versions)
    temperature = Temperature(sysfs_of(settings.device), settings.slow_down_at)
    choice = ModelChoice(store, settings.model, partial(_can_serve, settings))
    threads = extractor_threads(settings.threads)
    extraction = ExtractorSupervisor(
        choice.model,
        settings.device,
        threads,
        settings.extractor_timeout,
        settings.on_device_loss,
        temperature.dead_link,
    )
    limits = picture_limits(settings)
    pictures = PictureReader(limits, max(2, cores()), metrics)
    reembedding = Reembedding(store, extraction, pictures, answering, teaching)

    def take_extractor(info: ExtractorInfo, model_path: Path) -> None:
        reembedding.look(info.digest)  # before, so that no training begins on a part of what was taught
        versions.adopt(info, model_path)
        choice.settle(info.digest, jobs.need)

    extraction.on_ready = take_extractor
    extraction.otherwise = choice.give_up
    watchers = Watchers(settings.max_streams)
    places = Places(settings.max_picture_streams, "watch the picture")
    budget = int(settings.review_mb * MEGABYTE)
    review = ReviewRing(store.folder / REVIEW_FOLDER, answering, store.must_have_room, budget)
    watching = watchers, places, metrics, _decision_rule(settings), review, temperature
    camera = Camera(camera_options(settings, store))
    # Not where the extractor has threads on all cores: those spin while they wait for each other.
    live = LiveLoop(camera, extraction, answering, *watching, nice=_GIVE_WAY if threads < cores() else 0)
    extraction.on_health = live.tell_extractor

    def take_changes(now: Settings) -> None:
        review.set_budget(int(now.review_mb * MEGABYTE))
        live.decision.rule = _decision_rule(now)
        options = camera_options(now, store)
        if options != camera.options:
            camera.change(options)

    preferences.on_change(take_changes)
    rates = settings.false_accept_rate, settings.most_refused
    most_unpacked = 2 * int(settings.max_import_mb * MEGABYTE)
    importing = Importing(store, extraction, pictures, answering, teaching, limits, most_unpacked, live.tell_model)
    exchange = Exchange(store, extraction, pictures, choice)
    workers = {IMPORT: importing.run, EXCHANGE: exchange.run, REEMBED: reembedding.run}
    why_held = partial(_why_held, answering, extraction, reembedding)
    memory = settings.job_memory_mb * MEGABYTE or half_of_machine()
    jobs = JobQueue(store, answering, versions, metrics, live.tell_model, *rates, workers, why_held, memory)
    reembedding.on_missing = partial(jobs.need, REEMBED, {})
    calibrating = Calibrating(store, answering, versions, *rates)
    lessons = Lessons(store, extraction, pictures, answering, teaching, calibrating, metrics)
    metrics.read_from(Readings(store, extraction, answering, jobs, live, watchers, temperature, review))
    return Services(
        settings=settings,
        preferences=preferences,
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
        mapping=ExampleMap(store, answering),
        writer=ModelWriter(store.folder, store.must_have_room),
        jobs=jobs,
        live=live,
        watchers=watchers,
        reembedding=reembedding,
        metrics=metrics,
        review=review,
        temperature=temperature,
        doctor=Practice(settings, extraction, answering),
    )


def _why_held(
    answering: Answering, extraction: ExtractorSupervisor, reembedding: Reembedding, kind: str
) -> Optional[str]:
    """Why no job of a kind may begin yet."""
    # Where no extractor can be loaded another one may be tried.
    if answering.extractor is None and not (kind == EXCHANGE and extraction.health.state == LOST):
        return "the extractor has not been loaded yet"
    return reembedding.incomplete if kind == TRAIN else None


def picture_limits(settings: Settings) -> ImageLimits:
    """What uploads may be."""
    return ImageLimits(int(settings.max_upload_mb * MEGABYTE), int(settings.max_megapixels * _MEGAPIXEL))


def shows_demo(settings: Settings) -> bool:
    """Whether drawn pictures stand in for a camera."""
    return settings.demo and settings.camera == AUTO and resolve_camera(settings.camera) is None


def _can_serve(settings: Settings, manifest: Manifest) -> bool:
    """Whether a model has what the settings want of it."""
    return not settings.keep_classes or manifest.pretrained() is not None


def check_kept_classes(settings: Settings) -> None:
    """Raise `SettingsError` where classes are to be kept that the extractor doesn't have."""
    if settings.keep_classes:
        pretrained_of(Manifest.of(settings.model or bundled_model()))


def _decision_rule(settings: Settings) -> DecisionRule:
    return DecisionRule(settings.decide_threshold, settings.decide_frames, settings.decide_smoothing)


def camera_options(settings: Settings, store: Store) -> CameraOptions:
    """What the settings say about the camera."""
    options = CameraOptions(
        source=AUTO if settings.camera == AUTO else resolve_camera(settings.camera),
        fps=settings.camera_fps,
        width=settings.camera_width,
        height=settings.camera_height,
        format=settings.camera_format,
        rotate=settings.camera_rotate,
        mirror=settings.camera_mirror,
        region=Region.parse(settings.camera_roi),
        frozen_s=settings.camera_frozen_s,
    )
    if not shows_demo(settings):
        return options
    drawn = str(draw_demo(store.folder / "demo"))
    return options._replace(source=drawn, kind=DRAWN, fps=settings.camera_fps or FPS)
