"""/v1/camera"""

from flask import Blueprint, Response

from service.http.description import Media, describes
from service.http.services import services

blueprint = Blueprint("camera", __name__)


@blueprint.get("/v1/camera/snapshot.jpg")
@describes(
    answers={
        200: Media(None, ("image/jpeg",), {"X-Frame": "its number", "X-Captured": "when, in seconds since 1970"}),
        503: "camera",
    }
)
def snapshot():
    """The newest frame as a JPEG; 503 when the camera delivers none."""
    frame = services().live.picture()
    headers = {"X-Frame": str(frame.number), "X-Captured": f"{frame.captured:.3f}"}
    return Response(frame.jpeg, mimetype="image/jpeg", headers=headers)
