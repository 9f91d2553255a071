"""/v1/stream: Server-Sent Events for everybody who watches.

Each event is the newest of its kind: a slow reader gets fewer, never late ones.
"""

from typing import Iterator

from flask import Blueprint, Response

from service.http.services import services

blueprint = Blueprint("stream", __name__)

_HEARTBEAT = 3.0  # seconds; a write is what notices that a client has gone


@blueprint.get("/v1/stream")
def stream():
    """classification, camera and model events as they happen."""
    watchers = services().watchers
    watchers.enter()

    def events() -> Iterator[str]:
        try:
            last = 0
            yield "retry: 2000\n\n"
            while not watchers.closed:
                news = watchers.wait(last, _HEARTBEAT)
                for event in news:
                    last = event.number
                yield (
                    "".join(f"event: {one.kind}\nid: {one.number}\ndata: {one.data}\n\n" for one in news)
                    or ": here\n\n"
                )
        finally:
            watchers.leave()

    return Response(events(), mimetype="text/event-stream")
