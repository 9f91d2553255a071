"""Trying again, where that may help."""

import time
from typing import Callable, TypeVar

from service.errors import ConnectionLost, ProblemError, Unreachable

LONGEST_WAIT = 30.0  # seconds
_RETRIES = 3
_FIRST_WAIT = 0.2  # seconds
_Result = TypeVar("_Result")


def patiently(attempt: Callable[[], _Result]) -> _Result:
    """Try up to four times: after a lost connection, or when the daemon says when to come again."""
    lost = False
    for retry in range(_RETRIES):
        try:
            return attempt()
        except ProblemError as error:
            again = error.status == 503 or error.code == "idempotency_under_way"
            if not again or error.retry_after is None or error.retry_after > LONGEST_WAIT:
                raise
            time.sleep(error.retry_after)
        except Unreachable as error:
            lost = lost or isinstance(error, ConnectionLost)
            if not lost:
                raise
            time.sleep(_FIRST_WAIT * 2**retry)
    return attempt()
