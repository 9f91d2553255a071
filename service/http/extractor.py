"""/v1/extractor"""

import os

from flask import Blueprint

from service.errors import Invalid, SettingsError
from service.http.description import describes
from service.http.reading import json_body
from service.http.schemas import JOB_QUEUED, only, record, text
from service.http.services import services
from service.http.training import job_response
from service.jobs.choice import EXCHANGE, check_model
from service.learning import pretrained_of

blueprint = Blueprint("extractor", __name__)


@blueprint.post("/v1/extractor")
@describes(
    answers={202: JOB_QUEUED, 409: "queue_full", 422: "model_unusable"},
    body=only(record(model=text("a .tflite file on the daemon's machine, empty for the bundled one"))),
)
def exchange_extractor():
    """Queue the exchange of the extractor: every stored picture is embedded anew, then the new one answers.

    {"model": FILE} names a .tflite file on the daemon's machine, "" the bundled one.
    """
    body = json_body()
    if not isinstance(body, dict) or set(body) != {"model"} or not isinstance(body["model"], str):
        raise Invalid('the body is a JSON object with one field: {"model": "FILE.tflite"}', "model", "body_invalid")
    manifest = check_model(body["model"])
    if services().versions.keeps_classes:
        try:
            pretrained_of(manifest)
        except SettingsError as error:
            raise Invalid(str(error), "model", "model_unusable") from error
    # Whole, as the next start may be in another folder.
    model = body["model"] and os.path.abspath(body["model"])
    return job_response(services().jobs.add(EXCHANGE, {"model": model}))
