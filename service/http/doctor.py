"""/v1/doctor"""

from flask import Blueprint, jsonify

from service.http.description import describes
from service.http.services import services

blueprint = Blueprint("doctor", __name__)


@blueprint.get("/v1/doctor")
@describes(answers={200: "Diagnosis", 403: "scope_too_small", 409: "doctor_busy"})
def doctor():
    """What is wrong with this machine, the Edge TPU and the extractor, and what to do about it.

    It takes up to 20 seconds; what is not done by then is skipped.
    """
    return jsonify(services().doctor.examine())
