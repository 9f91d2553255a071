"""/v1/classify"""

import time

from flask import Blueprint, jsonify

from service.embedder import embed_now
from service.errors import Invalid
from service.http.description import Parameter, describes
from service.http.reading import truth, uploads, whole_number
from service.http.schemas import COUNT, PICTURE_PROBLEMS, PICTURES, flag
from service.http.services import services
from service.learning.explaining import nearest_examples
from service.metrics import FROM_UPLOAD

blueprint = Blueprint("classify", __name__)

MAX_TOP_K = 1000
_NEAREST = 5


@blueprint.post("/v1/classify")
@describes(
    answers={200: "Answer", **PICTURE_PROBLEMS},
    query=[
        Parameter("top_k", dict(COUNT, minimum=1, maximum=MAX_TOP_K, default=5), "how many predictions"),
        flag("explain", "with the stored examples most like it"),
    ],
    body=PICTURES,
)
def classify():
    """What is in one picture: the best class, or null when nothing fits or nothing is learnt.

    With ?explain=true also the stored examples most like it: of the classes in the answer first, and of others as far
    as there is time to compare them.
    """
    started = time.perf_counter()
    top_k = whole_number("top_k", 5, 1, MAX_TOP_K)
    explain = truth("explain")
    files = uploads()
    if len(files) != 1:
        raise Invalid(f"one picture is classified at a time, got {len(files)}", "file")
    parts = services()
    data = files[0].data
    picture, embedded = embed_now(
        parts.extraction, parts.answering.must_have_extractor, lambda one: parts.pictures.read(data, one)
    )
    scoring = time.perf_counter()
    answer = parts.answering.classify(embedded.embedding, top_k, embedded.extractor)
    ended = time.perf_counter()
    timing = {
        "decode": round(picture.decode_ms, 2),
        "embed": round(embedded.milliseconds, 2),
        "head": round((ended - scoring) * 1000, 2),
        "total": round((ended - started) * 1000, 2),
    }
    parts.metrics.time_stages(FROM_UPLOAD, decode=timing["decode"], embed=timing["embed"], head=timing["head"])
    parts.metrics.count_answer(answer.label)
    body = {**answer.as_dict(), "device": embedded.device, "timing_ms": timing}
    if explain:
        found = nearest_examples(parts.store, parts.answering, embedded, answer, _NEAREST)
        body["nearest"] = [
            {"example": one.example, "class": one.label, "similarity": round(one.similarity, 4)} for one in found
        ]
    return jsonify(body)
