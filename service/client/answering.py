"""Calls that ask what is in a picture, or in front of the camera."""

from typing import Iterator

from service.client.answers import Classification, Event, Prediction
from service.client.bodies import Picture, read_picture
from service.client.calls import Calls
from service.client.events import Events


class Answering(Calls):
    """Classifying pictures, watching the camera."""

    def classify(self, picture: Picture, top_k: int = 5, explain: bool = False) -> Classification:
        """What is in a picture: a path, or the bytes of a file.

        top_k : predictions to give; explain : whether `answer` has the nearest stored examples too.
        Raises `OSError` when the file can't be read.
        """
        data, kind = read_picture(picture)
        query = {"top_k": top_k, "explain": explain or None}
        answer = self._transport.json("POST", "/v1/classify", data, kind, query)
        with self._transport.understood():
            predictions = [Prediction(one["class"], one["score"]) for one in answer["predictions"]]
            facts = [answer[name] for name in ("model", "device", "timing_ms")]
            return Classification(answer["class"], answer["score"], predictions, *facts, answer)

    def stream(self, reconnect: bool = False) -> Iterator[Event]:
        """What the camera sees and what changes, as it happens; close() of the iterator ends it.

        reconnect : whether to connect again, with growing pauses, when the connection is lost or the daemon
            stops; only the first connection raises then
        """
        events = Events(self._transport)
        return events.reconnecting("/v1/stream") if reconnect else events.once("/v1/stream")

    def snapshot(self) -> bytes:
        """The camera's newest frame, a JPEG."""
        return self._transport.ask("GET", "/v1/camera/snapshot.jpg")
