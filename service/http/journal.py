"""/v1/journal and /v1/undo"""

from flask import Blueprint, jsonify

from service.errors import Invalid
from service.http.description import Media, describes
from service.http.reading import json_body, paging
from service.http.schemas import COUNT, PAGING, only, or_null, page_of, record, ref
from service.http.services import services
from service.store.journal import StoredStep

blueprint = Blueprint("journal", __name__)


@blueprint.get("/v1/journal")
@describes(answers={200: page_of("Step")}, query=PAGING)
def list_steps():
    """What was done, newest first."""
    page, size = paging()
    found, total = services().store.journal.page(page, size)
    return jsonify(items=[_as_dict(one) for one in found], page=page, size=size, total=total)


@blueprint.post("/v1/undo")
@describes(
    answers={200: record(undone=ref("Step"), model=ref("ModelTag")), 409: ("nothing_to_undo", "step_passed")},
    body=Media(only({"type": "object", "properties": {"step": or_null(COUNT)}}), required=False),
)
def undo():
    """Take back the last step; with {"step": N} only when that is the last one."""
    parts, body = services(), json_body()
    step = body.get("step") if isinstance(body, dict) else None
    if not isinstance(body, dict) or set(body) - {"step"} or not (step is None or type(step) is int):
        raise Invalid('the body is empty or a JSON object with one field: {"step": NUMBER}', "step", "body_invalid")
    undone = parts.teaching.undo(step)
    if parts.answering.extractor is not None:
        parts.reembedding.start()  # what is back may be of the time of another extractor
    parts.live.tell_model()
    return jsonify(undone=_as_dict(undone), model=parts.answering.model)


def _as_dict(one: StoredStep) -> dict:
    return {"step": one.id, "action": one.action, "details": one.details, "created": one.created}
