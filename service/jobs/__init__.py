"""Work in the background: a queue in the daemon, a process for the job that runs."""

from service.jobs.queue import JobQueue

__all__ = ["JobQueue"]
