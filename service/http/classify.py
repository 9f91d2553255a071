"""/v1/classify"""

import time

from flask import Blueprint, jsonify

from service.errors import Invalid
from service.http.reading import truth, uploads, whole_number
from service.http.services import services
from service.learning.explaining import nearest_examples

blueprint = Blueprint("classify", __name__)

MAX_TOP_K = 1000
_NEAREST = 5


@blueprint.post("/v1/classify")
def classify():
    """What is in one picture: the best class, or null when nothing fits or nothing is learnt.

    With ?explain=true also the stored examples most like it, of the classes in the answer.
    """
    started = time.perf_counter()
    top_k = whole_number("top_k", 5, 1, MAX_TOP_K)
    explain = truth("explain")
    files = uploads()
    if len(files) != 1:
        raise Invalid(f"one picture is classified at a time, got {len(files)}", "file")
    parts = services()
    picture = parts.pictures.read(files[0].data, parts.answering.must_have_extractor())
    embedded = parts.extraction.embed(picture.pixels)
    scoring = time.perf_counter()
    answer = parts.answering.classify(embedded.embedding, top_k)
    ended = time.perf_counter()
    timing = {
        "decode": round(picture.decode_ms, 2),
        "embed": round(embedded.milliseconds, 2),
        "head": round((ended - scoring) * 1000, 2),
        "total": round((ended - started) * 1000, 2),
    }
    body = {**answer.as_dict(), "device": embedded.device, "timing_ms": timing}
    if explain:
        found = nearest_examples(parts.store, parts.answering, embedded.embedding, answer, _NEAREST)
        body["nearest"] = [
            {"example": one.example, "class": one.label, "similarity": round(one.similarity, 4)} for one in found
        ]
    return jsonify(body)
