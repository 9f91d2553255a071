"""/v1/train and /v1/jobs"""

import json
from typing import Any, Dict, Iterator

from flask import Blueprint, Response, jsonify

from service.http.reading import json_body, paging
from service.http.services import services
from service.jobs.options import read_options
from service.store.jobs import ENDED, StoredJob

blueprint = Blueprint("training", __name__)

_HEARTBEAT = 3.0  # seconds


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
    first, parts = services().jobs.get(job), services()
    parts.watchers.enter()

    def events() -> Iterator[str]:
        try:
            now, told = first, None
            while True:
                if now != told:
                    yield f"event: job\ndata: {json.dumps(_as_dict(now))}\n\n"
                    told = now
                else:
                    yield ": waiting\n\n"
                if now.state in ENDED or parts.watchers.closed:
                    return
                now = parts.jobs.wait(job, lambda later, before=told: later != before, _HEARTBEAT)
        finally:
            parts.watchers.leave()

    return Response(events(), mimetype="text/event-stream")


def _as_dict(job: StoredJob) -> Dict[str, Any]:
    return dict(job._asdict())
