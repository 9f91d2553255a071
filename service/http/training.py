"""/v1/train and /v1/jobs"""

import json
from typing import Any, Dict, Iterator

from flask import Blueprint, jsonify

from service.http.events import HEARTBEAT, block, event_response
from service.http.reading import json_body, paging
from service.http.services import Services, services
from service.jobs.options import read_options
from service.store.jobs import ENDED, StoredJob

blueprint = Blueprint("training", __name__)


@blueprint.post("/v1/train")
def train():
    """Queue a training job."""
    job = services().jobs.train(read_options(json_body()))
    response = jsonify(_as_dict(job))
    response.status_code = 202
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return response


@blueprint.get("/v1/jobs")
def list_jobs():
    """The jobs, newest first."""
    page, size = paging()
    found, total = services().store.jobs.page(page, size)
    items = [_as_dict(services().jobs.get(job.id)) for job in found]
    return jsonify(items=items, page=page, size=size, total=total)


@blueprint.get("/v1/jobs/<job>")
def get_job(job: str):
    """One job as it is now."""
    return jsonify(_as_dict(services().jobs.get(job)))


@blueprint.delete("/v1/jobs/<job>")
def cancel_job(job: str):
    """Cancel a job that waits or runs."""
    return jsonify(_as_dict(services().jobs.cancel(job)))


@blueprint.get("/v1/jobs/<job>/events")
def job_events(job: str):
    """A job's progress as it happens (Server-Sent Events); ends with the job."""
    parts = services()
    return event_response(parts.watchers, _blocks(parts, parts.jobs.get(job)))


def _blocks(parts: Services, now: StoredJob) -> Iterator[str]:
    told = None
    while True:
        yield ": here\n\n" if now == told else block("job", json.dumps(_as_dict(now)))
        if now.state in ENDED or parts.watchers.closed:
            return
        told = now
        now = parts.jobs.wait(now.id, now.__ne__, HEARTBEAT)


def _as_dict(job: StoredJob) -> Dict[str, Any]:
    return dict(job._asdict())
