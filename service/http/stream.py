"""/v1/stream: Server-Sent Events for everybody who watches.

Each event is the newest of its kind: a slow reader gets fewer, never late ones.
"""

from typing import Iterator

from flask import Blueprint

from service.http.description import Media, Parameter, describes
from service.http.events import HEARTBEAT, block, event_response
from service.http.reading import whole_number
from service.http.schemas import COUNT
from service.http.services import services
from service.live import Watchers

blueprint = Blueprint("stream", __name__)

_RATE = 40  # more than the 30 of most cameras, whose frames come a little early or late
_MOST = 1000


@blueprint.get("/v1/stream")
@describes(
    answers={200: Media(None, ("text/event-stream",)), 503: "too_many_streams"},
    query=[
        Parameter("rate", dict(COUNT, minimum=1, maximum=_MOST, default=_RATE), "how often a second to send at most")
    ],
)
def stream():
    """classification, decision, camera, extractor, model and classes events as they happen, or as often as asked for.

    classes has {"change"}, a number that grows with every change of classes and examples: time to read them again.
    extractor has {"state", "reason"} as in /v1/status. Until that is ready again nothing is decided, and no
    classification comes.
    """
    watchers, rate = services().watchers, whole_number("rate", _RATE, 1, _MOST)
    return event_response(watchers, _blocks(watchers, 1.0 / rate))


def _blocks(watchers: Watchers, pause: float) -> Iterator[str]:
    last = 0
    yield "retry: 2000\n\n"
    while not watchers.closed:
        news = watchers.wait(last, HEARTBEAT)
        last = news[-1].number if news else last
        yield "".join(block(one.kind, one.data, one.number) for one in news) or ": here\n\n"
        watchers.rest(pause)
