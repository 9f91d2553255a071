"""/v1/examples"""

from typing import Any, Dict, List, Tuple

from flask import Blueprint, Response, jsonify, request

from coral_learn.errors import ImageError
from coral_learn.image import MEDIA_TYPES
from service.errors import Invalid
from service.http.problems import problem, status_of
from service.http.reading import Upload, paging, uploads
from service.http.services import services
from service.pictures import Picture
from service.store.classes import check_name
from service.store.examples import NewPicture, Origin, StoredExample

blueprint = Blueprint("examples", __name__)


@blueprint.post("/v1/examples")
def add_examples():
    """Teach a class one or more pictures. What is accepted is on the disk before the answer."""
    name = check_name(_class_in_query())
    pictures, rejected = _read(uploads())
    if not pictures:
        return _nothing_accepted(rejected)
    parts, new = services(), [_to_store(picture) for picture in pictures]
    added = parts.teaching.add_examples(name, new, [picture.data for picture in pictures], Origin("upload"))
    parts.live.tell_model()
    accepted = [
        {
            "id": one.example,
            "sha256": picture.sha256,
            "width": picture.header.width,
            "height": picture.header.height,
            "duplicate": not one.new,
            "warnings": picture.warnings + _elsewhere(picture.sha256, name) + _not_seen(one.example),
        }
        for picture, one in zip(pictures, added)
    ]
    body = {
        "class": name,
        "accepted": accepted,
        "rejected": rejected,
        "class_examples": parts.store.classes.get(name).examples,
        "model": parts.answering.model,
    }
    return jsonify(body), 201


@blueprint.get("/v1/examples")
def list_examples():
    """The examples, oldest first, of one class or of all."""
    page, size = paging()
    name = request.args.get("class")
    if name is not None:
        services().store.classes.get(name)
    found, total = services().store.examples.page(name, page, size)
    return jsonify(items=[_as_dict(one) for one in found], page=page, size=size, total=total)


@blueprint.get("/v1/examples/<example>")
def get_example(example: str):
    """One example's facts."""
    return jsonify(_as_dict(services().store.examples.get(example)))


@blueprint.get("/v1/examples/<example>/image")
def get_image(example: str):
    """The stored bytes of an example's picture."""
    found = services().store.examples.get(example)
    return Response(services().store.images.read(found.sha256), mimetype=MEDIA_TYPES[found.format])


@blueprint.delete("/v1/examples/<example>")
def delete_example(example: str):
    """Remove an example; the live model forgets it exactly."""
    parts = services()
    parts.teaching.delete_example(example)
    parts.live.tell_model()
    return jsonify(deleted=example, model=parts.answering.model)


def _class_in_query() -> str:
    name = request.args.get("class")
    if name is None:
        raise Invalid("the address needs ?class=NAME", "class", "class_missing")
    return name


def _read(files: List[Upload]) -> Tuple[List[Picture], List[Dict[str, Any]]]:
    """Decode; pictures that can't be used are told apart."""
    parts, good, rejected = services(), [], []
    for file in files:
        try:
            picture = parts.pictures.read(file.data, parts.answering.must_have_extractor())
        except ImageError as error:
            refusal = {"filename": file.filename, "code": error.code, "detail": str(error)}
            rejected.append(dict(refusal, status=status_of(error)))
        else:
            good.append(picture)
    return good, rejected


def _to_store(picture: Picture) -> NewPicture:
    embedded = services().extraction.embed(picture.pixels)
    header = picture.header
    size = len(picture.data)
    return NewPicture(picture.sha256, header.format, header.width, header.height, size, embedded.embedding)


def _not_seen(example: str) -> List[str]:
    """A word of warning when what was taught is not in what answers."""
    answering = services().answering
    if answering.has_seen(example):
        return []
    version = answering.model["version"]
    return [f"version {version} answers now and has not seen this picture: train again, or activate the live model"]


def _elsewhere(sha256: str, name: str) -> List[str]:
    others = {one.class_name for one in services().store.examples.of_picture(sha256)} - {name}
    return [f"the same picture is in the class {other!r} as well" for other in sorted(others)]


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
        "created": one.created,
    }
