"""The parts of the daemon that requests are answered with."""

from typing import NamedTuple

from flask import current_app

from service.calibrating import Calibrating
from service.capturing import Capturing
from service.doctor.practice import Practice
from service.extraction import ExtractorSupervisor
from service.http.access import Access
from service.jobs import JobQueue
from service.jobs.reembedding import Reembedding
from service.learning import Answering, Teaching, Versions
from service.lessons import Lessons
from service.live import LiveLoop, Watchers
from service.mapping import ExampleMap
from service.metrics import Metrics
from service.pictures import PictureReader
from service.preferences import Preferences
from service.review import ReviewRing
from service.settings import Settings
from service.store import Store
from service.temperature import Temperature
from service.writing import ModelWriter


class Services(NamedTuple):
    """Everything a request may need. settings : as they were at the start; preferences : as they are"""

    settings: Settings
    preferences: Preferences
    access: Access
    store: Store
    extraction: ExtractorSupervisor
    pictures: PictureReader
    answering: Answering
    teaching: Teaching
    versions: Versions
    calibrating: Calibrating
    lessons: Lessons
    capturing: Capturing
    mapping: ExampleMap
    writer: ModelWriter
    jobs: JobQueue
    live: LiveLoop
    watchers: Watchers
    reembedding: Reembedding
    metrics: Metrics
    review: ReviewRing
    temperature: Temperature
    doctor: Practice


def services() -> Services:
    """The parts of the daemon that answers the present request."""
    return current_app.config["SERVICES"]
