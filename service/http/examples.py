"""/v1/examples"""

from typing import Any, Dict, List, Tuple

from flask import Blueprint, Response, jsonify, request

from coral_learn import image
from coral_learn.errors import ImageError
from coral_learn.image import MEDIA_TYPES
from service.errors import Invalid
from service.http.description import Parameter, describes
from service.http.problems import problem, status_of
from service.http.reading import Upload, check_own_text, json_body, paging, truth, uploads
from service.http.schemas import (
    CLASS_BODY,
    CLASS_NAME,
    OWN_TEXT,
    PAGING,
    PICTURE_PROBLEMS,
    PICTURE_TYPES,
    PICTURES,
    STEP,
    STEP_OR_NULL,
    TEXT,
    YES_OR_NO,
    also,
    file_answers,
    flag,
    list_of,
    only,
    page_of,
    record,
    ref,
)
from service.http.services import services
from service.lessons import Prepared
from service.store.classes import check_name
from service.store.examples import Origin, StoredExample

blueprint = Blueprint("examples", __name__)

VIEWS = ("stored", "model")
MOST_DELETED = 1000  # at once


@blueprint.post("/v1/examples")
@describes(
    answers={
        201: "Taught",
        **PICTURE_PROBLEMS,
        404: "class_not_found",
        409: "class_pretrained",
        422: (*PICTURE_PROBLEMS[422], "class_missing", "name_invalid", "nothing_accepted"),
    },
    query=[
        Parameter("class", CLASS_NAME, "made when it is missing, unless create says otherwise", required=True),
        Parameter("client_id", OWN_TEXT, "the client's own name for the pictures"),
        Parameter("capture", OWN_TEXT, "frames taken together share it, and are never on both sides of a measurement"),
        Parameter("create", dict(YES_OR_NO, default=True), "whether a missing class is made"),
        flag("measure", "measure the accuracy afterwards, however long that takes"),
    ],
    body=PICTURES,
)
def add_examples():
    """Teach a class one or more pictures. What is accepted is on the disk before the answer."""
    name = check_name(_class_in_query())
    prepared, rejected = _prepare(uploads())
    if not prepared:
        return _nothing_accepted(rejected)
    parts = services()
    outcome = parts.lessons.teach(name, prepared, _origin(), truth("measure"), truth("create", True))
    parts.live.tell_model()
    return jsonify({**outcome.as_dict(), "rejected": rejected}), 201


@blueprint.get("/v1/examples")
@describes(
    answers={200: page_of("Example"), 404: "class_not_found"},
    query=[
        Parameter("class", TEXT, "those of one class"),
        Parameter("client_id", TEXT, "those with the client's own name"),
        *PAGING,
    ],
)
def list_examples():
    """The examples, oldest first: all, those of one class, those with a client's own id."""
    page, size = paging()
    name, client_id = request.args.get("class"), request.args.get("client_id")
    if name is not None:
        name = services().store.classes.get(name).name
    found, total = services().store.examples.page(name, page, size, client_id)
    return jsonify(items=[_as_dict(one) for one in found], page=page, size=size, total=total)


@blueprint.get("/v1/examples/<example>")
@describes(answers={200: "Example", 404: "example_not_found"})
def get_example(example: str):
    """One example's facts."""
    return jsonify(_as_dict(services().store.examples.get(example)))


@blueprint.get("/v1/examples/<example>/image")
@describes(
    answers={
        **file_answers(PICTURE_TYPES),
        404: ("example_not_found", "image_not_found"),
        503: "extractor_unavailable",
    },
    query=[Parameter("view", dict(TEXT, enum=list(VIEWS), default="stored"), "as stored, or as the model sees it")],
)
def get_image(example: str):
    """The stored bytes of an example's picture; with ?view=model the pixels as the extractor sees them."""
    parts, view = services(), request.args.get("view", "stored")
    found = parts.store.examples.get(example)
    if view not in VIEWS:
        raise Invalid(f"view is one of {', '.join(VIEWS)}, got {view[:50]!r}", "view")
    data, kind, tag = parts.store.images.read(found.sha256), MEDIA_TYPES[found.format], found.sha256
    if view == "model":
        extractor = parts.answering.must_have_extractor()
        data, kind = image.to_png(parts.pictures.read(data, extractor).pixels), "image/png"
        tag = f"{found.sha256[:32]}-{extractor.digest[:32]}"
    response = Response(data, mimetype=kind)
    response.set_etag(tag)
    response.headers["Cache-Control"] = "private, max-age=86400"
    return response.make_conditional(request, accept_ranges=True, complete_length=len(data))


@blueprint.patch("/v1/examples/<example>")
@describes(
    answers={
        200: also("Example", step=STEP_OR_NULL, model=ref("ModelTag")),
        404: "example_not_found",
        409: ("class_pretrained", "example_exists"),
        422: "name_invalid",
    },
    body=CLASS_BODY,
)
def move_example(example: str):
    """Put an example into another class; the live model answers as if it had always been there."""
    body, parts = json_body(), services()
    if not isinstance(body, dict) or set(body) != {"class"}:
        raise Invalid('the body is a JSON object with one field: {"class": "..."}', "class", "body_invalid")
    moved = parts.teaching.move_example(example, check_name(body["class"]))
    parts.live.tell_model()
    return jsonify({**_as_dict(moved.now), "step": moved.step, "model": parts.answering.model})


@blueprint.delete("/v1/examples/<example>")
@describes(
    answers={200: record(deleted=TEXT, step=STEP_OR_NULL, model=ref("ModelTag")), 404: "example_not_found"},
    query=[flag("forever", "remove the picture at once; this can't be undone")],
)
def delete_example(example: str):
    """Remove an example; the live model forgets it exactly. With ?forever=true its picture goes at once."""
    parts = services()
    deleted = parts.teaching.delete_example(example, truth("forever"))
    parts.live.tell_model()
    return jsonify(deleted=example, step=deleted.step, model=parts.answering.model)


@blueprint.delete("/v1/examples")
@describes(
    answers={
        200: record(deleted=list_of(TEXT), step=STEP, model=ref("ModelTag")),
        404: "example_not_found",
        422: "body_invalid",
    },
    query=[flag("forever", "remove the pictures at once; this can't be undone")],
    body=only(record(examples=list_of(TEXT, minItems=1, maxItems=MOST_DELETED))),
)
def delete_examples():
    """Remove the examples that are named, all or none, as one step; the live model forgets them exactly."""
    body, parts = json_body(), services()
    wanted = body.get("examples") if isinstance(body, dict) and set(body) == {"examples"} else None
    if not isinstance(wanted, list) or not all(isinstance(one, str) for one in wanted):
        raise Invalid('the body is a JSON object like {"examples": [ID, ...]}', "examples", "body_invalid")
    if not 1 <= len(wanted) <= MOST_DELETED:
        raise Invalid(f"examples has 1 to {MOST_DELETED} ids, got {len(wanted)}", "examples", "body_invalid")
    deleted = parts.teaching.delete_examples(wanted, truth("forever"))
    parts.live.tell_model()
    return jsonify(deleted=list(dict.fromkeys(wanted)), step=deleted.step, model=parts.answering.model)


def _class_in_query() -> str:
    name = request.args.get("class")
    if name is None:
        raise Invalid("the address needs ?class=NAME", "class", "class_missing")
    return name


def _prepare(files: List[Upload]) -> Tuple[List[Prepared], List[Dict[str, Any]]]:
    """Decode and embed; pictures that can't be used are told apart."""
    parts, good, rejected = services(), [], []
    for file in files:
        try:
            good.append(parts.lessons.prepare(file.data))
        except ImageError as error:
            refusal = {"filename": file.filename, "code": error.code, "detail": str(error)}
            rejected.append(dict(refusal, status=status_of(error)))
    return good, rejected


def _origin() -> Origin:
    """Where the pictures come from, as the query says."""
    client_id, capture = request.args.get("client_id"), request.args.get("capture")
    for name, value in (("client_id", client_id), ("capture", capture)):
        check_own_text(name, value)
    return Origin("upload", capture, client_id)


def _nothing_accepted(rejected: List[Dict[str, Any]]) -> Response:
    """4xx: the reason itself for one picture, a list for several."""
    first = rejected[0]
    if len(rejected) == 1:
        return problem(first["status"], first["code"], first["detail"])
    errors = [{"field": one["filename"], "code": one["code"], "detail": one["detail"]} for one in rejected]
    return problem(422, "nothing_accepted", f"none of the {len(rejected)} pictures can be used", errors)


def _as_dict(one: StoredExample) -> Dict[str, Any]:
    return {
        "id": one.id,
        "class": one.class_name,
        "sha256": one.sha256,
        "format": one.format,
        "width": one.width,
        "height": one.height,
        "bytes": one.bytes,
        "source": one.source,
        "capture": one.capture,
        "client_id": one.client_id,
        "created": one.created,
    }
