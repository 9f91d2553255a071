"""/v1/train and /v1/jobs"""

import json
from typing import Any, Dict, Iterator

from flask import Blueprint, Response, jsonify

from service.http.description import Media, describes
from service.http.events import HEARTBEAT, block, event_response
from service.http.reading import json_body, paging
from service.http.schemas import JOB_QUEUED, PAGING, TRAINING, page_of
from service.http.services import Services, services
from service.jobs import JobQueue
from service.jobs.options import read_options
from service.store.jobs import ENDED, StoredJob

blueprint = Blueprint("training", __name__)


@blueprint.post("/v1/train")
@describes(answers={202: JOB_QUEUED, 409: "queue_full", 422: "invalid"}, body=Media(TRAINING, required=False))
def train():
    """Queue a training job. It waits while stored pictures are still to be embedded for a new extractor."""
    options, parts = read_options(json_body()), services()
    if parts.reembedding.left:
        parts.reembedding.look(parts.answering.must_have_extractor().digest)  # the job that did it may have failed
    return job_response(parts.jobs.train(options))


@blueprint.get("/v1/jobs")
@describes(answers={200: page_of("Job")}, query=PAGING)
def list_jobs():
    """The jobs, newest first."""
    page, size = paging()
    found, total = services().store.jobs.page(page, size)
    jobs = services().jobs
    items = [_as_dict(jobs, jobs.get(job.id)) for job in found]
    return jsonify(items=items, page=page, size=size, total=total)


@blueprint.get("/v1/jobs/<job>")
@describes(answers={200: "Job", 404: "job_not_found"})
def get_job(job: str):
    """One job as it is now."""
    jobs = services().jobs
    return jsonify(_as_dict(jobs, jobs.get(job)))


@blueprint.delete("/v1/jobs/<job>")
@describes(answers={200: "Job", 404: "job_not_found", 409: "job_ended"})
def cancel_job(job: str):
    """Cancel a job that waits or runs."""
    jobs = services().jobs
    return jsonify(_as_dict(jobs, jobs.cancel(job)))


@blueprint.get("/v1/jobs/<job>/events")
@describes(answers={200: Media(None, ("text/event-stream",)), 404: "job_not_found", 503: "too_many_streams"})
def job_events(job: str):
    """A job's progress as it happens (Server-Sent Events); ends with the job."""
    parts = services()
    return event_response(parts.watchers, _blocks(parts, parts.jobs.get(job)))


def job_response(job: StoredJob) -> Response:
    """202 for a job that was queued, with its place."""
    response = jsonify(_as_dict(services().jobs, job))
    response.status_code = 202
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return response


def _blocks(parts: Services, now: StoredJob) -> Iterator[str]:
    told = None
    while True:
        yield ": here\n\n" if now == told else block("job", json.dumps(_as_dict(parts.jobs, now)))
        if now.state in ENDED or parts.watchers.closed:
            return
        told = now
        now = parts.jobs.wait(now.id, now.__ne__, HEARTBEAT)


def _as_dict(jobs: JobQueue, job: StoredJob) -> Dict[str, Any]:
    return dict(job._asdict(), waiting_for=jobs.why_waiting(job))
