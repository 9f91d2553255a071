"""/v1/camera"""

from typing import Any, Dict, Iterator, Tuple

from flask import Blueprint, Response, jsonify

from service.capturing import LONGEST_CAPTURE, LONGEST_INTERVAL, MOST_FRAMES
from service.errors import CameraError, Invalid
from service.http.description import Media, Parameter, describes
from service.http.events import HeldStream
from service.http.problems import problem
from service.http.reading import check_own_text, json_body, truth
from service.http.schemas import CAPTURE_BODY, YES_OR_NO
from service.http.services import services
from service.live import Viewfinder
from service.store.classes import check_name

blueprint = Blueprint("camera", __name__)

_WAIT = 10.0  # seconds for a picture
_BOUNDARY = "frame"


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


@blueprint.get("/v1/camera/stream.mjpg")
@describes(
    answers={200: Media(None, ("multipart/x-mixed-replace",)), 503: ("camera", "too_many_streams")},
    query=[Parameter("annotated", dict(YES_OR_NO, default=True), "with the decided class drawn into it")],
)
def stream():
    """The live picture, each frame the newest one; it ends when the camera is lost."""
    annotated, live = truth("annotated", True), services().live
    first = live.viewfinder.frame(_WAIT, annotated=annotated)  # so that without a camera it is a 503
    body = HeldStream(live.viewers, _pictures(live.viewfinder, first.number - 1, annotated))
    return Response(body, mimetype=f"multipart/x-mixed-replace; boundary={_BOUNDARY}")


@blueprint.post("/v1/camera/capture")
@describes(
    answers={
        200: "Captured",
        201: "Captured",
        404: "class_not_found",
        409: "class_pretrained",
        422: ("name_invalid", "body_invalid", "invalid"),
        503: ("camera", "extractor_unavailable", "extractor_busy", "extractor_failed"),
    },
    body=CAPTURE_BODY,
)
def capture():
    """Teach a class what the camera sees now. Frames nearly the same as others of the capture are dropped and counted.

    200 where all of them were. A capture goes on when its name is sent again, so that its frames stay
    together: on one side of every measurement.
    """
    asked = _asked(json_body())
    try:
        captured = services().capturing.capture(*asked)
    except CameraError as error:
        return problem(503, error.code, f"there is nothing to capture: {error}", Retry_After="2")
    services().live.tell_model()
    body = dict(
        captured.outcome.as_dict(),
        capture=captured.group,
        frames=captured.frames,
        near_duplicates=captured.near_duplicates,
        missed=captured.missed,
    )
    return jsonify(body), 201 if captured.outcome.accepted else 200


def _pictures(viewfinder: Viewfinder, last: int, annotated: bool) -> Iterator[bytes]:
    while True:
        try:
            frame = viewfinder.frame(_WAIT, last, annotated)
        except CameraError:  # said by the event of the stream; an old picture is not shown on
            return
        last, picture = frame.number, frame.annotated if annotated else frame.jpeg
        head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n"
        yield f"{head}X-Captured: {frame.captured:.3f}\r\n\r\n".encode() + picture + b"\r\n"


def _asked(body: Any) -> Tuple[str, int, float, str, bool]:
    """Class, count, interval and group of a capture, and whether a missing class is made. Raises `Invalid`."""
    known = {"class", "count", "interval_s", "capture", "create"}
    if not isinstance(body, dict) or set(body) - known or "class" not in body:
        allowed = '{"class": "...", "count": 1, "interval_s": 0.2, "capture": "...", "create": true}'
        raise Invalid(f"the body is a JSON object like {allowed}; only class is needed", "class", "body_invalid")
    count = _number(body, "count", 1, 1, MOST_FRAMES)
    interval = _number(body, "interval_s", 0.2, 0, LONGEST_INTERVAL)
    if count != int(count):
        raise Invalid(f"count is a whole number, got {count:g}", "count")
    if count * interval > LONGEST_CAPTURE:
        raise Invalid(f"a capture takes at most {LONGEST_CAPTURE:g} s, this would take {count * interval:g}", "count")
    group = body.get("capture")
    check_own_text("capture", group)
    create = body.get("create", True)
    if not isinstance(create, bool):
        raise Invalid(f"create is true or false, got {str(create)[:50]!r}", "create")
    return check_name(body["class"]), int(count), float(interval), group, create


def _number(body: Dict[str, Any], name: str, default: float, lowest: float, highest: float) -> float:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not lowest <= value <= highest:
        raise Invalid(f"{name} is a number from {lowest:g} to {highest:g}, got {str(value)[:50]!r}", name)
    return value
