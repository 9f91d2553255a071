"""Parts of files, and files that are to be as they were: where Werkzeug answers otherwise than RFC 9110 has it."""

import re

from flask import Flask, Response, request

from service.http.problems import problem

_ONE_RANGE = re.compile(r"\s*bytes\s*=\s*(?:(\d{1,18})\s*-\s*(\d{0,18})|-\s*\d{1,18})\s*", re.IGNORECASE)


def register(app: Flask) -> None:
    """Have requests and answers of an app looked at."""
    app.before_request(_forget_other_ranges)
    app.after_request(_say_what_failed)


def _forget_other_ranges() -> None:
    """Answer whole where something else than one range of bytes is asked for (14.2); Werkzeug would refuse it."""
    found = _ONE_RANGE.fullmatch(request.headers.get("Range", "bytes=0-"))
    if found is None or (found.group(2) and int(found.group(2)) < int(found.group(1))):
        del request.environ["HTTP_RANGE"]


def _say_what_failed(response: Response) -> Response:
    """A failed If-Match or If-Unmodified-Since gets a problem (15.5.13), not the file it comes with."""
    if response.status_code != 412:
        return response
    response.close()
    return problem(412, "precondition_failed", "this is not as If-Match or If-Unmodified-Since want it to be")
