"""/v1/journal and /v1/undo"""

from typing import List, Optional

from flask import Blueprint, jsonify

from service.errors import Invalid
from service.http.description import Media, describes
from service.http.reading import json_body, paging
from service.http.schemas import MOST_STEPS, PAGING, STEP, UNDO_BODY, list_of, page_of, record, ref
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
    answers={
        200: record(undone=ref("Step"), steps=list_of(STEP), model=ref("ModelTag")),
        409: ("nothing_to_undo", "step_passed", "import_under_way"),
    },
    body=Media(UNDO_BODY, required=False),
)
def undo():
    """Take back the last step; with {"step": N} only when that is the last one.

    An import that has ended is taken back whole, by its last step, unless something else was changed while it went on.

    With {"steps": [N, ...]} all of these or none: those of one gesture, as the requests of one recording. They must be
    the last ones, and of several each must have added pictures or a class, or renamed one.
    """
    parts, numbers = services(), _steps_in_body()
    undone = [parts.teaching.undo()] if numbers is None else parts.teaching.undo_together(numbers)
    if parts.answering.extractor is not None:
        parts.reembedding.look(parts.answering.extractor.digest)  # what is back may be of the time of another extractor
    for one in undone:
        parts.review.put_back(one.id)
    parts.live.tell_model()
    return jsonify(undone=_as_dict(undone[0]), steps=[one.id for one in undone], model=parts.answering.model)


def _steps_in_body() -> Optional[List[int]]:
    """The numbers of the steps that are meant, None for whichever is the last."""
    body = json_body()
    if not isinstance(body, dict) or set(body) not in (set(), {"step"}, {"steps"}):
        raise Invalid('the body is empty, {"step": NUMBER} or {"steps": [NUMBER, ...]}', "step", "body_invalid")
    if body.get("step") is None and "steps" not in body:
        return None
    numbers = body["steps"] if "steps" in body else [body["step"]]
    if not isinstance(numbers, list) or not all(type(one) is int and one >= 0 for one in numbers):
        raise Invalid("a step is named by its number in the journal", next(iter(body)), "body_invalid")
    if not 1 <= len(numbers) <= MOST_STEPS:
        raise Invalid(f"steps has 1 to {MOST_STEPS} numbers, got {len(numbers)}", "steps", "body_invalid")
    return numbers


def _as_dict(one: StoredStep) -> dict:
    return {"step": one.id, "action": one.action, "details": one.details, "created": one.created}
