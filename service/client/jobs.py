"""Calls about work in the background."""

import time
from contextlib import suppress
from typing import Any, Callable, Iterator, Optional

from service.client.answers import Job, job_of
from service.client.calls import Calls
from service.client.events import Events
from service.client.transport import path_of
from service.errors import ProblemError, Unreachable

_AWAY = 90.0  # seconds


class Jobs(Calls):
    """Training, and following jobs of every kind."""

    def train(self, **options: Any) -> Job:
        """Queue a training job: head, activate, and what else the daemon takes."""
        return self._transport.made(job_of, self._transport.json("POST", "/v1/train", options))

    def job(self, job: str) -> Job:
        """One job as it is now."""
        return self._transport.made(job_of, self._transport.json("GET", path_of("jobs", job)))

    def jobs(self) -> Iterator[Job]:
        """The jobs, newest first, fetched page by page."""
        return (self._transport.made(job_of, one) for one in self._transport.pages("/v1/jobs"))

    def cancel(self, job: str) -> Job:
        """Cancel a job that waits or runs."""
        return self._transport.made(job_of, self._transport.json("DELETE", path_of("jobs", job)))

    def job_events(self, job: str) -> Iterator[Job]:
        """A job each time it has got on; ends with the job, or with the daemon."""
        return (
            self._transport.made(job_of, one.data)
            for one in Events(self._transport).once(path_of("jobs", job, "events"))
        )

    def wait(self, job: str, progress: Optional[Callable[[Job], None]] = None) -> Job:
        """Wait for the end of a job; returns it as it ended. progress : told each time it has got on.

        A daemon that is away for up to a minute and a half is waited for. Raises `Unreachable` after that.
        """
        with suppress(Unreachable):
            for now in self._followed(job):
                if progress is not None:
                    progress(now)
                if now.ended:
                    return now
        ends = time.monotonic() + _AWAY
        while True:
            try:
                now = self.job(job)
            except Unreachable as error:
                if time.monotonic() > ends:
                    raise Unreachable(f"{error}; the job {job} goes on once the daemon is there again") from error
                time.sleep(1.0)
                continue
            ends = time.monotonic() + _AWAY
            if progress is not None:
                progress(now)
            if now.ended:
                return now
            time.sleep(1.0)

    def _followed(self, job: str) -> Iterator[Job]:
        """A job's events; none where all places for watchers are taken."""
        try:
            yield from self.job_events(job)
        except ProblemError as error:
            if error.status != 503:
                raise
