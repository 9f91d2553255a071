"""/v1/camera"""

from flask import Blueprint, Response

from service.http.services import services

blueprint = Blueprint("camera", __name__)


@blueprint.get("/v1/camera/snapshot.jpg")
def snapshot():
    """The newest frame as a JPEG; 503 when the camera delivers none."""
    frame = services().live.picture()
    headers = {"X-Frame": str(frame.number), "X-Captured": f"{frame.captured:.3f}"}
    return Response(frame.jpeg, mimetype="image/jpeg", headers=headers)
