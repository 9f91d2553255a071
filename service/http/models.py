"""/v1/models"""

import hashlib
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from flask import Blueprint, Response, jsonify, request, send_file

from coral_learn.heads import Head
from coral_learn.training import INCREMENTAL
from service.errors import Conflict, Invalid, NotFound
from service.http.description import Media, describes
from service.http.reading import json_body, paging, truth
from service.http.schemas import (
    ACTIVE,
    COUNT,
    HEAD_BODY,
    PAGING,
    file_answers,
    flag,
    page_of,
    record,
    ref,
)
from service.http.services import services
from service.learning import LIVE
from service.report import named
from service.store.models import StoredModel

blueprint = Blueprint("models", __name__)


@blueprint.get("/v1/models")
@describes(answers={200: page_of("Model")}, query=PAGING)
def list_models():
    """Every model: the live one, then the versions, newest first."""
    page, size = paging()
    models: List[Optional[StoredModel]] = [None, *services().store.models.all()]  # None is the live one
    shown = models[page * size : (page + 1) * size]
    items = [_live() if model is None else _as_dict(model) for model in shown]
    return jsonify(items=items, page=page, size=size, total=len(models))


@blueprint.get("/v1/models/<version>")
@describes(answers={200: "Model", 404: "model_not_found"})
def get_model(version: str):
    """One model."""
    return jsonify(_live() if version == LIVE else _as_dict(services().store.models.get(_number(version))))


@blueprint.delete("/v1/models/<version>")
@describes(
    answers={
        200: record(deleted=COUNT, model=ref("ModelTag")),
        404: "model_not_found",
        409: ("model_in_use", "model_live"),
    }
)
def delete_model(version: str):
    """Remove a version with its files, for good. Not the one that answers, and not the live model."""
    if version == LIVE:
        raise Conflict("the live model is made of the examples and can't be deleted; they can", "model_live")
    parts, number = services(), _number(version)
    parts.versions.delete(number)
    return jsonify(deleted=number, model=parts.answering.model)


@blueprint.get("/v1/models/<version>/report")
@describes(answers={200: "Report", 404: ("model_not_found", "report_not_found")})
def get_report(version: str):
    """What training a version found: options, held-out accuracy, confusion matrix, loss curve, findings.

    Of the live model: the same figures with each example left out in turn, at the revision they were found of.
    """
    if version == LIVE:
        return jsonify(_named(_live_report(), "left_out"))
    report = services().store.models.report(services().store.models.get(_number(version)))
    return jsonify(_named(report, "held_out"))


@blueprint.get("/v1/models/<version>/labels.txt")
@describes(
    answers={
        200: Media(None, ("text/plain",), {"ETag": "of the names"}),
        304: None,
        404: "model_not_found",
        409: ("nothing_learnt", "other_extractor"),
        412: "precondition_failed",
        503: "extractor_unavailable",
    }
)
def get_labels(version: str):
    """The classes a model can answer, a name a line, in the order of its scores."""
    names = "".join(name + "\n" for name in _model(version).names)
    response = Response(names, mimetype="text/plain")
    response.add_etag()
    return response.make_conditional(request)


@blueprint.get("/v1/models/<version>/model.tflite")
@describes(
    answers={
        **file_answers(["application/octet-stream"]),
        404: "model_not_found",
        409: ("nothing_learnt", "head_not_writable", "model_not_written", "other_extractor"),
        503: "extractor_unavailable",
        507: "store_full",
    },
    query=[flag("quantized", "as int8, a quarter of the size")],
)
def get_file(version: str):
    """The extractor with this head behind it, labels inside; with ?quantized=true as int8, a quarter of the size."""
    parts, model, quantized = services(), _model(version), truth("quantized")
    name = f"{model.name}{'-int8' if quantized else ''}"
    path = parts.writer.write(name, parts.answering.model_path, model.head, model.names, quantized)
    return send_file(path, "application/octet-stream", True, f"coral-learn-{model.name}.tflite", conditional=True)


class _Model(NamedTuple):
    """A model to write; name : another one for every other model; names : of the head's classes, in order."""

    name: str
    head: Head
    names: List[str]


def _model(version: str) -> _Model:
    answering = services().answering
    answering.must_have_extractor()
    if version == LIVE:
        live = answering.copy_live()
        name, head = f"live-{live.revision}-{live.copy.kind}", live.copy
    else:
        name, head = f"{_number(version)}-{answering.revision}", services().versions.load(_number(version))
    if not head.classes:
        raise Conflict("this model has learnt nothing yet: teach a class first", "nothing_learnt")
    names = [answering.class_name(number) for number in head.classes]
    facts = [*names, str(head.calibration), str(getattr(head, "kept_lead", ""))]
    digest = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]
    return _Model(f"{name}-{digest}", head, names)


def _live_report() -> Dict[str, Any]:
    report = services().answering.live_report
    if report is None:
        raise NotFound("the live model has not been measured yet; ask again in a second", "report_not_found")
    return report


def _named(report: Dict[str, Any], measured: str) -> Dict[str, Any]:
    parts = services()
    return named(report, measured, parts.answering.class_name, lambda: dict(parts.store.examples.labels()))


@blueprint.post("/v1/models/<version>/activate")
@describes(
    answers={200: ACTIVE, 404: "model_not_found", 409: "other_extractor", 503: "extractor_unavailable"},
    body=HEAD_BODY,
)
def activate(version: str):
    """Let a model answer from now on."""
    parts = services()
    if version == LIVE:
        parts.versions.activate_live(_head_in_body())
    else:
        number = _number(version)
        _only(json_body(), ())
        parts.versions.activate(number)
    parts.live.tell_model()
    return jsonify(model=parts.answering.model, unseen=parts.versions.unseen())


def _head_in_body():
    head = _only(json_body(), ("head",)).get("head")
    if head is not None and (not isinstance(head, str) or head not in INCREMENTAL):
        raise Invalid(f"head is one of {', '.join(INCREMENTAL)}, got {head!r}", "head")
    return head


def _only(body: Any, allowed: Tuple[str, ...]) -> Dict[str, Any]:
    """The body, an object with no other fields than these."""
    if not isinstance(body, dict):
        raise Invalid("the body is a JSON object or empty", code="body_invalid")
    unknown = sorted(set(body) - set(allowed))
    if unknown:
        known = " and ".join(repr(name) for name in allowed) or "none"
        raise Invalid(f"unknown field {unknown[0][:50]!r}; here is {known} to give", unknown[0][:50], "body_invalid")
    return body


def _number(version: str) -> int:
    if not version.isdecimal() or len(version) > 9:
        raise NotFound(
            f"there is no model version {version[:20]!r}; a version is a number or 'live'", "model_not_found"
        )
    return int(version)


def _live() -> Dict[str, Any]:
    parts = services()
    report = parts.answering.live_report
    accuracy = report["left_out"]["accuracy"] if report is not None else None
    facts = dict(parts.answering.live_facts, created=None, examples=parts.store.examples.count(), accuracy=accuracy)
    return dict(facts, active=parts.answering.model["version"] == LIVE)


def _as_dict(model: StoredModel) -> Dict[str, Any]:
    return {
        "version": model.version,
        "head": model.head,
        "created": model.created,
        "classes": model.classes,
        "examples": model.examples,
        "accuracy": model.accuracy,
        "active": services().answering.model["version"] == model.version,
    }
