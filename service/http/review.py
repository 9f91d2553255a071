"""/v1/review: frames that the camera loop found worth a look."""

from contextlib import suppress
from typing import Any, Dict

from flask import Blueprint, Response, jsonify, request

from service.capturing import CAMERA
from service.errors import Invalid, NotFound
from service.http.description import describes
from service.http.reading import json_body, paging
from service.http.schemas import (
    CLASS_BODY,
    COUNT,
    PAGING,
    PICTURE_PROBLEMS,
    TEXT,
    file_answers,
    list_of,
    record,
    ref,
)
from service.http.services import services
from service.store.classes import check_name
from service.store.examples import Origin

blueprint = Blueprint("review", __name__)


@blueprint.get("/v1/review")
@describes(
    answers={
        200: record(
            items=list_of(ref("ReviewFrame")),
            page=COUNT,
            size=COUNT,
            total=COUNT,
            bytes=dict(COUNT, description="on the disk, of all frames"),
            budget_bytes=dict(COUNT, description="that there may be (review-mb)"),
        )
    },
    query=PAGING,
)
def list_frames():
    """The frames that were kept for a look, newest first: uncertain answers, and what is unlike all seen lately."""
    ring, (page, size) = services().review, paging()
    found, total = ring.page(page, size)
    items = [one.as_dict() for one in found]
    return jsonify(items=items, page=page, size=size, total=total, bytes=ring.bytes, budget_bytes=ring.budget)


@blueprint.get("/v1/review/<frame>/image")
@describes(answers={**file_answers(["image/jpeg"]), 404: "frame_not_found"})
def get_frame(frame: str):
    """A frame's picture."""
    data = services().review.image(frame)
    response = Response(data, mimetype="image/jpeg")
    response.set_etag(frame)
    response.headers["Cache-Control"] = "private, max-age=86400"
    return response.make_conditional(request, accept_ranges=True, complete_length=len(data))


@blueprint.post("/v1/review/<frame>")
@describes(
    answers={
        201: "Taught",
        **PICTURE_PROBLEMS,
        404: "frame_not_found",
        409: "class_pretrained",
        422: (*PICTURE_PROBLEMS[422], "name_invalid"),
    },
    body=CLASS_BODY,
)
def teach_frame(frame: str):
    """Teach a class this frame, which leaves the review; undone soon, it is back."""
    body, ring = json_body(), services().review
    if not isinstance(body, dict) or set(body) != {"class"}:
        raise Invalid('the body is a JSON object with one field: {"class": "..."}', "class", "body_invalid")
    name = check_name(body["class"])
    jpeg = ring.image(frame)
    taught = _teach(name, jpeg)
    with suppress(NotFound):  # it may have made room for another meanwhile
        ring.take_out(frame, jpeg, taught["step"])
    return jsonify(taught), 201


@blueprint.delete("/v1/review/<frame>")
@describes(answers={200: record(deleted=TEXT), 404: "frame_not_found"})
def delete_frame(frame: str):
    """Remove a frame; what is like it is not kept again soon."""
    services().review.remove(frame)
    return jsonify(deleted=frame)


@blueprint.delete("/v1/review")
@describes(answers={200: record(deleted=COUNT)})
def delete_frames():
    """Remove every frame."""
    return jsonify(deleted=services().review.clear())


def _teach(name: str, data: bytes) -> Dict[str, Any]:
    """Teach a class a frame, as POST /v1/examples does with an upload; the body of the answer."""
    parts = services()
    outcome = parts.lessons.teach(name, [parts.lessons.prepare(data)], Origin(CAMERA))
    parts.live.tell_model()
    return {**outcome.as_dict(), "rejected": []}
