"""Calls about examples."""

import os
from typing import Any, Dict, Iterator, Optional, Sequence

from service.client.answers import AddedExample, AddedExamples, CapturedFrames, Example, RefusedFile, example_of
from service.client.bodies import Picture, read_picture
from service.client.calls import Calls
from service.client.faults import is_about_picture
from service.client.transport import path_of
from service.errors import ClientError


class Examples(Calls):
    """Teaching pictures, and what was taught."""

    def add_example(self, class_name: str, picture: Picture) -> AddedExample:
        """Teach a class one picture: a path, or the bytes of a file. It is on the disk on return.

        Raises `OSError` when the file can't be read.
        """
        data, kind = read_picture(picture)
        answer = self._transport.json("POST", "/v1/examples", data, kind, {"class": class_name})
        with self._transport.understood():
            one, model = answer["accepted"][0], answer["model"]
            return AddedExample(
                one["id"], answer["class"], one["duplicate"], one["warnings"], answer["class_examples"], model
            )

    def add_examples(self, class_name: str, *pictures: Picture) -> AddedExamples:
        """Teach a class several pictures. Those that can't be read or used are told apart and stop nothing."""
        accepted, refused = [], []
        for picture in pictures:
            name = "" if isinstance(picture, bytes) else os.fspath(picture)
            try:
                accepted.append(self.add_example(class_name, picture))
            except ClientError as error:
                if not is_about_picture(error):
                    raise
                refused.append(RefusedFile(name, error.code, str(error)))
            except OSError as error:
                refused.append(RefusedFile(name, "file_unreadable", error.strerror or str(error)))
        return AddedExamples(accepted, refused)

    def capture(
        self,
        class_name: str,
        count: int = 1,
        interval: float = 0.2,
        capture: Optional[str] = None,
        create: bool = True,
    ) -> CapturedFrames:
        """Teach a class what the camera sees now.

        count : frames, `interval` seconds apart; capture : of an earlier call that goes on; create : whether a
        missing class is made
        """
        asked = {"class": class_name, "count": count, "interval_s": interval, "create": create}
        if capture is not None:
            asked["capture"] = capture
        timeout = self._transport.timeout + count * interval  # there is no answer before the last frame
        answer = self._transport.json("POST", "/v1/camera/capture", asked, timeout=timeout)
        with self._transport.understood():
            name, total, model = answer["class"], answer["class_examples"], answer["model"]
            accepted = [
                AddedExample(one["id"], name, one["duplicate"], one["warnings"], total, model)
                for one in answer["accepted"]
            ]
            counts = answer["frames"], answer["near_duplicates"], total, answer["missed"]
            return CapturedFrames(name, answer["capture"], accepted, *counts)

    def examples(self, class_name: Optional[str] = None) -> Iterator[Example]:
        """The examples of one class or of all, oldest first, fetched page by page.

        What is deleted meanwhile shifts the pages: take a list() first to delete while going through.
        """
        return (
            self._transport.made(example_of, one)
            for one in self._transport.pages("/v1/examples", {"class": class_name})
        )

    def example(self, example: str) -> Example:
        """One example's facts."""
        return self._transport.made(example_of, self._transport.json("GET", path_of("examples", example)))

    def move_example(self, example: str, class_name: str) -> Example:
        """Put an example into another class."""
        return self._transport.made(
            example_of, self._transport.json("PATCH", path_of("examples", example), {"class": class_name})
        )

    def delete_example(self, example: str, forever: bool = False) -> Dict[str, Any]:
        """Remove an example. forever : its picture goes at once, which can't be undone."""
        return self._transport.json("DELETE", path_of("examples", example), query={"forever": forever or None})

    def delete_examples(self, examples: Sequence[str], forever: bool = False) -> Dict[str, Any]:
        """Remove several by their ids, all or none, as one step. forever : as of `delete_example`"""
        body = {"examples": list(examples)}
        return self._transport.json("DELETE", path_of("examples"), body, query={"forever": forever or None})

    def image(self, example: str, model_view: bool = False) -> bytes:
        """The stored file of an example. model_view : a PNG of the pixels as the extractor sees them."""
        return self._transport.ask(
            "GET", path_of("examples", example, "image"), query={"view": "model" if model_view else None}
        )
