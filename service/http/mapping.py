"""/v1/map"""

import hashlib

from flask import Blueprint, Response, jsonify, request

from service.http.description import Media, Parameter, describes
from service.http.reading import whole_number
from service.http.schemas import COUNT, NUMBER, SHARE, TEXT, list_of, record
from service.http.services import services
from service.mapping import LARGEST

blueprint = Blueprint("mapping", __name__)

USUAL = 1000
_PLACE = record(**{"id": TEXT, "class": TEXT, "x": NUMBER, "y": NUMBER})
_MAP = record(
    items=list_of(_PLACE),
    explained=list_of(SHARE, minItems=2, maxItems=2, description="the share of all differences along x, along y"),
    total=dict(COUNT, description="examples that have an embedding"),
    shown=dict(COUNT, description="how many of them are here"),
)


@blueprint.get("/v1/map")
@describes(
    answers={
        200: Media(_MAP, headers={"ETag": "of what is taught, and of the classes' names"}),
        304: None,
        503: "extractor_unavailable",
    },
    query=[
        Parameter(
            "size",
            dict(COUNT, minimum=1, maximum=LARGEST, default=USUAL),
            "how many examples at most, spread over the classes",
        )
    ],
)
def get_map():
    """The examples on a plane, those that look alike to the extractor near each other.

    Two principal components of the embeddings, prepared as heads see them. Disabled classes are on it, too.
    """
    answering, size = services().answering, whole_number("size", USUAL, 1, LARGEST)
    names = answering.class_names()
    response = _kept(Response(), _digest(services().mapping.key(size), sorted(names.items())))
    if response.make_conditional(request).status_code == 304:
        return response
    drawn = services().mapping.draw(size)
    items = [
        {"id": one.example, "class": names.get(one.class_id, ""), "x": round(one.x, 5), "y": round(one.y, 5)}
        for one in drawn.places
    ]
    explained = [round(share, 5) for share in drawn.explained]
    response = jsonify(items=items, explained=explained, total=drawn.total, shown=len(items))
    return _kept(response, _digest(drawn.key, sorted(names.items())))


def _kept(response: Response, tag: str) -> Response:
    """One that browsers keep, and ask each time whether it holds still."""
    response.set_etag(tag)
    response.headers["Cache-Control"] = "no-cache"
    return response


def _digest(*facts) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]
