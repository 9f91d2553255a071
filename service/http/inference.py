"""/v2: the Open Inference Protocol (KServe, Triton), for clients that speak it.

There is one model, `coral-learn`, whose only version is the one that answers now; `live` names the model that
learns as examples come, and is there as long as it answers.
"""

import base64
import binascii
import time
from typing import Any, Dict, List, Optional, Tuple, Union

import numpy as np
from flask import Blueprint, Response, jsonify, request

import coral_learn
from coral_learn.errors import ImageError
from coral_learn.extractor import ExtractorInfo
from service.embedder import embed_now
from service.errors import ExtractorUnavailable, NotFound, Refused, Unavailable
from service.extraction.supervisor import READY, Embedded
from service.http import tensors
from service.http.description import Media, Parameter, describes
from service.http.schemas import (
    COUNT,
    INFER_REQUEST,
    PICTURE_PROBLEMS,
    TEXT,
    list_of,
    record,
    ref,
)
from service.http.services import Services, services
from service.http.tensors import BYTES, FP32, UINT8, InferRequest, Requested, Tensor
from service.learning import LIVE
from service.learning.answering import Answer
from service.metrics import FROM_UPLOAD
from service.pictures import Fitted, Picture

blueprint = Blueprint("inference", __name__)

NAME = "coral-learn"
LARGEST_BATCH = 16
IMAGE, PIXELS = "image", "pixels"
_INPUTS = ((IMAGE, BYTES, [-1]), (PIXELS, UINT8, [-1, -1, -1, 3]))
_OUTPUTS = (("label", BYTES, [-1]), ("score", FP32, [-1]), ("scores", FP32, [-1, -1]), ("labels", BYTES, [-1]))
_WHERE = "where the JSON ends, when bytes of tensors follow it"
_EVERY_CLASS = 10**6
_TRIES = 5


@blueprint.get("/v2")
@describes(answers={200: record(name=TEXT, version=TEXT, extensions=list_of(TEXT))})
def get_server():
    """What answers here."""
    return jsonify(name=NAME, version=coral_learn.__version__, extensions=["binary_tensor_data"])


@blueprint.get("/v2/health/live")
@describes(answers={200: record(live={"const": True})})
def live():
    """The process answers."""
    return jsonify(live=True)


@blueprint.get("/v2/health/ready")
@describes(answers={200: record(ready={"const": True}), 400: "not_ready"})
def ready():
    """Pictures can be answered; 400 while they can't, as the protocol has it."""
    _must_be_ready(services())
    return jsonify(ready=True)


@blueprint.get("/v2/models/<model>")
@blueprint.get("/v2/models/<model>/versions/<version>")
@describes(answers={200: "ModelMetadata", 404: ("model_not_found", "model_not_active")})
def get_metadata(model: str, version: str = ""):
    """The inputs and outputs of the model.

    One of the inputs is given: `image`, encoded pictures, or `pixels`, RGB of any size, [n, height, width, 3]; up to
    16 at once. The outputs are `label` [n], the best class of each, empty where none fits; `score` [n], its score;
    `scores` [n, classes] and `labels` [classes], the name of each column.
    """
    answering = services().answering
    _check(answering.model, _wanted(model, version))
    inputs, outputs = (
        [{"name": name, "datatype": kind, "shape": shape} for name, kind, shape in described]
        for described in (_INPUTS, _OUTPUTS)
    )
    versions = [str(answering.model["version"])]
    return jsonify(name=model, versions=versions, platform="coral_learn_tflite", inputs=inputs, outputs=outputs)


@blueprint.get("/v2/models/<model>/ready")
@blueprint.get("/v2/models/<model>/versions/<version>/ready")
@describes(
    answers={
        200: record(name=TEXT, ready={"const": True}),
        400: "not_ready",
        404: ("model_not_found", "model_not_active"),
    }
)
def model_ready(model: str, version: str = ""):
    """The model can answer; 400 while it can't, as the protocol has it."""
    parts = services()
    _check(parts.answering.model, _wanted(model, version))
    _must_be_ready(parts)
    return jsonify(name=model, ready=True)


@blueprint.post("/v2/models/<model>/infer")
@blueprint.post("/v2/models/<model>/versions/<version>/infer")
@describes(
    answers={
        200: Media(
            ref("InferAnswer"),
            ("application/json", "application/octet-stream"),
            {tensors.HEADER: _WHERE},
        ),
        **PICTURE_PROBLEMS,
        404: ("model_not_found", "model_not_active"),
    },
    query=[Parameter(tensors.HEADER, COUNT, _WHERE, place="header")],
    body=INFER_REQUEST,
)
def infer(model: str, version: str = ""):
    """What is in up to 16 pictures.

    In JSON an element of `image` is base64 text; with the binary tensor data extension it is the file itself.
    """
    parts, wanted = services(), _wanted(model, version)
    _check(parts.answering.model, wanted)
    asked = tensors.read_request(request.get_data(), request.headers.get(tensors.HEADER))
    chosen = _outputs(asked)
    embedded = _embed(parts, _input(asked))
    scoring = time.perf_counter()
    answers = _answers(parts, [one for _, one in embedded])
    head_ms = (time.perf_counter() - scoring) * 1000 / len(answers)
    tag = answers[0].model
    _check(tag, wanted)
    for (picture, one), answer in zip(embedded, answers):
        parts.metrics.time_stages(FROM_UPLOAD, decode=picture.decode_ms, embed=one.milliseconds, head=head_ms)
        parts.metrics.count_answer(answer.label)
    header = {
        "model_name": model,
        "model_version": str(tag["version"]),
        **({} if asked.id is None else {"id": asked.id}),
        "parameters": {**tag, "version": str(tag["version"]), "device": embedded[-1][1].device},
    }
    found = _tensors(answers)
    body, length = tensors.write_response(header, [(found[one.name], one.binary) for one in chosen])
    response = Response(body, mimetype="application/json" if length is None else "application/octet-stream")
    if length is not None:
        response.headers[tensors.HEADER] = str(length)
    return response


def _wanted(model: str, version: str) -> Optional[str]:
    """The version that is asked for, None for the one that answers. Raises `NotFound`."""
    if model not in (NAME, LIVE):
        raise NotFound(f"there is no model {model[:50]!r}, here is {NAME!r}", "model_not_found")
    wanted = version or (LIVE if model == LIVE else None)
    if wanted in (None, LIVE):
        return wanted
    if model == LIVE or not wanted.isdecimal() or len(wanted) > 9:
        raise NotFound(f"{model!r} has no version {wanted[:20]!r}", "model_not_found")
    services().store.models.get(int(wanted))
    return str(int(wanted))


def _check(tag: Dict[str, Any], wanted: Optional[str]) -> None:
    """Raise `NotFound` unless the model that answers is the one that is wanted."""
    if wanted not in (None, str(tag["version"])):
        detail = f"version {wanted} does not answer now, version {tag['version']} does"
        raise NotFound(f"{detail}; POST /v1/models/{wanted}/activate lets it answer", "model_not_active")


def _must_be_ready(parts: Services) -> None:
    health = parts.extraction.health
    if health.state != READY or parts.answering.extractor is None:
        raise Refused(f"the extractor is not ready: {health.reason or health.state}", "not_ready")


def _input(asked: InferRequest) -> Tensor:
    """The one input, checked but for the pictures in it. Raises `Refused`."""
    if [one.name for one in asked.inputs] not in ([IMAGE], [PIXELS]):
        raise Refused(f"there is one input, {IMAGE!r} or {PIXELS!r}", "bad_request")
    (one,) = asked.inputs
    right = one.datatype == (BYTES if one.name == IMAGE else UINT8)
    if one.name == IMAGE:
        shaped = len(one.shape) == 1 or one.shape[1:] == (1,)
    else:
        shaped = len(one.shape) == 4 and one.shape[3] == 3
    if not right or not shaped or one.shape[0] > LARGEST_BATCH:
        allowed = f"{IMAGE!r} is {BYTES} [n], {PIXELS!r} is {UINT8} [n, height, width, 3], n up to {LARGEST_BATCH}"
        raise Refused(f"{allowed}; got {one.datatype} {list(one.shape)}", "bad_request")
    return one


def _outputs(asked: InferRequest) -> List[Requested]:
    known = [name for name, _, _ in _OUTPUTS]
    if asked.outputs is None:
        return [Requested(name, asked.binary) for name in known]
    for one in asked.outputs:
        if one.name not in known:
            raise Refused(f"there is no output {one.name[:50]!r}, here are {', '.join(known)}", "bad_request")
    return asked.outputs


def _embed(parts: Services, given: Tensor) -> List[Tuple[Union[Picture, Fitted], Embedded]]:
    """Each picture with its embedding, all by one extractor: it may be exchanged while a batch is embedded."""
    for _ in range(_TRIES):
        found = [_embed_one(parts, given, number) for number in range(len(given.data))]
        if len({one.extractor for _, one in found}) == 1:
            return found
    raise ExtractorUnavailable("the extractor is exchanged too often to answer a batch; send smaller ones")


def _embed_one(parts: Services, given: Tensor, number: int) -> Tuple[Union[Picture, Fitted], Embedded]:
    def prepare(extractor: ExtractorInfo) -> Union[Picture, Fitted]:
        if given.name == PIXELS:
            return parts.pictures.fit(given.data[number], extractor)
        return parts.pictures.read(_encoded(given.data[number], given.texts), extractor)

    try:
        return embed_now(parts.extraction, parts.answering.must_have_extractor, prepare)
    except ImageError as error:
        if len(given.data) == 1:
            raise
        raise type(error)(f"picture {number + 1} of {len(given.data)}: {error}") from error


def _encoded(element: Any, is_text: bool) -> bytes:
    """The file of a picture. Raises `Refused`."""
    if not is_text:
        return element
    try:
        return base64.b64decode("".join(element.split()), validate=True)
    except (binascii.Error, ValueError):
        raise Refused(f"in JSON an element of {IMAGE!r} is a picture as base64 text", "bad_request") from None


def _answers(parts: Services, embedded: List[Embedded]) -> List[Answer]:
    """An answer each, all of the same model: it may change while a batch is answered."""
    for _ in range(_TRIES):
        answers = [parts.answering.classify(one.embedding, _EVERY_CLASS, one.extractor) for one in embedded]
        if all(_columns(one) == _columns(answers[0]) for one in answers):
            return answers
    raise Unavailable("the model changes too fast to answer a batch; send smaller ones")


def _columns(answer: Answer) -> Tuple[Dict[str, Any], List[str]]:
    return answer.model, sorted(one.label for one in answer.predictions)


def _tensors(answers: List[Answer]) -> Dict[str, Tensor]:
    """Every output by name; the columns of scores in the order of the names."""
    _, labels = _columns(answers[0])
    rows = [{one.label: one.score for one in answer.predictions} for answer in answers]
    scores = np.array([[row[label] for label in labels] for row in rows], np.float64).reshape(len(rows), len(labels))
    count = len(answers)
    return {
        "label": Tensor("label", BYTES, (count,), [answer.label or "" for answer in answers]),
        "score": Tensor("score", FP32, (count,), np.array([answer.score for answer in answers])),
        "scores": Tensor("scores", FP32, scores.shape, scores),
        "labels": Tensor("labels", BYTES, (len(labels),), labels),
    }
