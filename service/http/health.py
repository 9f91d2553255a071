"""/healthz, /readyz and /v1/status"""

import os
from typing import Any, Dict, List

from flask import Blueprint, jsonify

import coral_learn
from service.camera.supervisor import NONE, ONLINE
from service.errors import StoreError
from service.extraction.supervisor import READY
from service.http.description import describes
from service.http.problems import problem
from service.http.schemas import record
from service.http.services import services

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
@describes(answers={200: record(ok={"const": True})})
def healthz():
    """The process answers."""
    return jsonify(ok=True)


@blueprint.get("/readyz")
@describes(answers={200: record(ready={"const": True}), 503: "not_ready"})
def readyz():
    """Everything that is needed works; else 503 with the failing parts."""
    failing = _failing()
    if not failing:
        return jsonify(ready=True)
    detail = "; ".join(f"{one['field']}: {one['detail']}" for one in failing)
    return problem(503, "not_ready", detail, failing, Retry_After="2")


@blueprint.get("/v1/status")
@describes(answers={200: "Status"})
def status():
    """What runs, on what, how well, and with how much in it."""
    parts = services()
    info, health = parts.answering.extractor, parts.extraction.health
    classes = parts.store.classes.all()
    return jsonify(
        version=coral_learn.__version__,
        device=info.device if info else None,
        device_reason=info.reason if info else health.reason,
        degraded=bool(info and info.degraded) or health.state != READY,
        extractor=_extractor(parts),
        incomplete=parts.reembedding.incomplete,
        model=dict(parts.answering.model, unseen=parts.versions.unseen()),
        counts={
            "classes": len(classes),
            "enabled": sum(one.enabled for one in classes),
            "examples": parts.store.examples.count(),
            "watching": parts.watchers.places.taken,
            "frames": parts.live.frames,
            "waiting": parts.extraction.waiting,
            "review": len(parts.review),
        },
        camera=dict(parts.live.camera._asdict()),
        temperature=parts.temperature.read(),
        slowed_down=parts.temperature.slowed,
    )


def _extractor(parts) -> Dict[str, Any]:
    info, health = parts.answering.extractor, parts.extraction.health
    recovery = parts.extraction.recovery
    facts = {
        "state": health.state,
        "reason": health.reason,
        "starts": health.starts,
        "losses": parts.extraction.losses,
        "recovery_s": None if recovery is None else round(recovery, 1),
        "stand_in": parts.extraction.stands_in,
        "to_embed": parts.reembedding.left,
        "instead_of": None if _is_same_file(parts.extraction.model, parts.settings.model) else parts.settings.model,
    }
    if info is not None:
        facts.update(
            name=info.name,
            digest=info.digest,
            runtime=info.runtime,
            embedding_size=info.embedding_size,
            input={"width": info.input_width, "height": info.input_height},
        )
    return facts


def _is_same_file(model: str, other: str) -> bool:
    """Whether two names of models, empty for the bundled one, are of one file; over HTTP it comes with its folder."""
    return bool(model) == bool(other) and os.path.abspath(model) == os.path.abspath(other)


def _failing() -> List[Dict[str, str]]:
    parts, failing = services(), []
    if parts.extraction.health.state != READY or parts.answering.extractor is None:
        failing.append({"field": "extractor", "detail": parts.extraction.health.reason})
    try:
        parts.store.check_writable()
    except StoreError as error:
        failing.append({"field": "store", "detail": str(error)})
    camera = parts.live.camera
    if camera.state not in (NONE, ONLINE):
        failing.append({"field": "camera", "detail": camera.reason})
    return failing
