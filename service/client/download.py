"""Answers that become files."""

import http.client
import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any, Dict, Optional

from service.client.bodies import ANY, PathLike, Transferred
from service.client.retrying import patiently
from service.client.transport import Transport, query_of

SLOW = 150.0  # seconds; writing a model file takes the daemon up to two minutes
_BLOCK = 1 << 16  # bytes


def download(
    transport: Transport,
    path: str,
    target: PathLike,
    query: Optional[Dict[str, Any]] = None,
    progress: Optional[Transferred] = None,
) -> int:
    """Write an answer to a file, whole or not at all; returns its size in bytes. Raises `OSError`, and as `Client`."""
    target = Path(target)
    temporary = target.parent / f".part-{uuid.uuid4().hex}"
    timeout = max(transport.timeout, SLOW)

    def attempt() -> int:
        file.seek(0)
        file.truncate()
        with transport.opened(path + query_of(query), ANY, timeout) as response:
            done, total = 0, response.length
            while True:
                with transport.translated(timeout):
                    block = response.read(_BLOCK)
                    if not block and done < (total or 0):
                        raise http.client.IncompleteRead(b"", total - done)
                if not block:
                    return done
                file.write(block)
                done += len(block)
                if progress is not None:
                    progress(done, total)

    try:
        with open(temporary, "xb") as file:
            size = patiently(attempt)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    return size
