"""/v1/export and /v1/import: the whole data set as one archive"""

import logging
import time
from typing import Iterator

from flask import Blueprint, Response, request

from service.errors import Invalid, StoreError, Unavailable, UnsupportedBody
from service.http.description import Media, describes
from service.http.events import HeldStream
from service.http.schemas import JOB_QUEUED
from service.http.services import Services, services
from service.http.training import job_response
from service.jobs.importing import IMPORT
from service.store.archive import write_archive
from service.store.container import check_archive

log = logging.getLogger(__name__)

blueprint = Blueprint("archive", __name__)

ADD = "archive.add_archive"  # the endpoint whose bodies are larger than others
_TYPES = (
    "application/zip",
    "application/x-zip-compressed",
    "application/x-tar",
    "application/gzip",
    "application/x-gzip",
    "application/x-bzip2",
    "application/x-xz",
    "application/octet-stream",
)


@blueprint.get("/v1/export")
@describes(answers={200: Media(None, ("application/zip",)), 503: "too_many_streams"})
def get_archive():
    """The data set with embeddings as a zip: a folder a class, and a manifest.

    Its `missing` counts the pictures whose files are gone. Where one can't be read the connection breaks.
    """
    parts = services()
    response = Response(HeldStream(parts.watchers.places, _pieces(parts)), mimetype="application/zip")
    name = time.strftime("coral-learn-%Y-%m-%d.zip")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


@blueprint.post("/v1/import")
@describes(
    answers={
        202: JOB_QUEUED,
        400: ("archive_damaged", "archive_unsupported", "archive_too_large"),
        409: "queue_full",
        415: "unsupported_media_type",
        422: ("body_missing", "invalid"),
    },
    body=Media(None, _TYPES),
)
def add_archive():
    """Queue the import of an archive: one of ours, or a zip or tar with a folder a class."""
    parts, size = services(), request.content_length or 0
    if request.mimetype not in _TYPES:
        raise UnsupportedBody(f"an archive is sent as {', '.join(_TYPES)}; got {request.mimetype[:100]!r}")
    if "class" in request.args:
        raise Invalid("an archive names its classes itself, by its folders", "class")
    if not size:
        raise Invalid("the body is a zip or tar archive, here it is empty", code="body_missing")
    body = request.environ["wsgi.input"]  # the file it was spooled to, which becomes that of the job
    check_archive(body)
    parts.store.must_have_room(size)
    return job_response(parts.jobs.add(IMPORT, {"bytes": size}, lambda job: parts.store.incoming.keep(body, job)))


def _pieces(parts: Services) -> Iterator[bytes]:
    """The archive. What is raised breaks the connection, so that nobody takes half of it for whole."""
    try:
        for piece in write_archive(parts.store, parts.answering.extractor):
            if parts.watchers.closed:
                raise Unavailable("the daemon stops, the archive is not complete")
            yield piece
    except StoreError as error:
        log.warning("an export is broken off: %s", error)
        raise
