"""/v1/stream: Server-Sent Events for everybody who watches.

Each event is the newest of its kind: a slow reader gets fewer, never late ones.
"""

from typing import Iterator

from flask import Blueprint

from service.http.description import Media, describes
from service.http.events import HEARTBEAT, block, event_response
from service.http.services import services
from service.live import Watchers

blueprint = Blueprint("stream", __name__)


@blueprint.get("/v1/stream")
@describes(answers={200: Media(None, ("text/event-stream",)), 503: "too_many_streams"})
def stream():
    """classification, camera and model events as they happen."""
    watchers = services().watchers
    return event_response(watchers, _blocks(watchers))


def _blocks(watchers: Watchers) -> Iterator[str]:
    last = 0
    yield "retry: 2000\n\n"
    while not watchers.closed:
        news = watchers.wait(last, HEARTBEAT)
        last = news[-1].number if news else last
        yield "".join(block(one.kind, one.data, one.number) for one in news) or ": here\n\n"
