"""/metrics"""

from flask import Blueprint, Response

from service.http.description import Media, describes
from service.http.services import services
from service.metrics import MEDIA_TYPE

blueprint = Blueprint("metrics", __name__)


@blueprint.get("/metrics")
@describes(answers={200: Media(None, ("text/plain",))})
def metrics():
    """Counters and readings as text, for Prometheus."""
    return Response(services().metrics.text(), content_type=MEDIA_TYPE, headers={"Cache-Control": "no-store"})
