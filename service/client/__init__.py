"""A client of the HTTP API, of the standard library alone.

    client = Client("http://coral.local:8080", token="...")
    client.add_example("cat", "cat.jpg")
    print(client.classify("what.jpg").label)

A client may be used by many threads; each has a connection of its own, which is kept open. Requests
that may be repeated are: up to three times when the connection is lost or the daemon says when to come
again. Those that change something carry an Idempotency-Key, so that the daemon carries them out once.
"""

from service.client.address import DEFAULT_URL
from service.client.answers import (
    ENDED,
    AddedExample,
    AddedExamples,
    CapturedFrames,
    Classification,
    Event,
    Example,
    Job,
    ListedClass,
    Prediction,
    RefusedFile,
)
from service.client.bodies import SUFFIXES, PathLike, Picture, Transferred
from service.client.client import Client
from service.client.faults import is_about_picture

__all__ = [
    "DEFAULT_URL",
    "ENDED",
    "SUFFIXES",
    "AddedExample",
    "AddedExamples",
    "CapturedFrames",
    "Classification",
    "Client",
    "Event",
    "Example",
    "Job",
    "ListedClass",
    "PathLike",
    "Picture",
    "Prediction",
    "RefusedFile",
    "Transferred",
    "is_about_picture",
]
