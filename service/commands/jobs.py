"""Training, and waiting for jobs."""

import argparse
import json
from typing import Any, Tuple

from service.client import Client, Job
from service.commands.printing import DONE, complain, print_json
from service.progress import Progress


def option(text: str) -> Tuple[str, Any]:
    """A NAME=VALUE of the command line, its value as JSON where it is some. Raises `ArgumentTypeError`."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"an option is NAME=VALUE, got {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def train(client: Client, parsed: argparse.Namespace) -> int:
    """Train a model version."""
    options = dict(parsed.option)
    for name in ("head", "activate"):
        if getattr(parsed, name) is not None:
            options[name] = getattr(parsed, name)
    return see_through(client, client.train(**options), parsed)


def see_through(client: Client, job: Job, parsed: argparse.Namespace) -> int:
    """Wait for a job, unless told not to, and say how it ended."""
    if not parsed.no_wait:
        try:
            with Progress("training" if job.kind == "train" else job.kind) as progress:
                job = client.wait(job.id, lambda now: progress.show(now.progress, _note(now)))
        except KeyboardInterrupt:
            return complain(f"interrupted; the job {job.id} goes on in the daemon")
    if parsed.json:
        print_json(job.facts)
    elif job.state == "succeeded" or not job.ended:
        print(_outcome(job))
    if not job.ended or job.state == "succeeded":
        return DONE
    detail = (job.error or {}).get("detail")
    return complain(f"the job {job.id} has {job.state}" + (f": {detail}" if detail else ""))


def _note(job: Job) -> str:
    accuracy = job.metrics.get("held_out_accuracy", job.metrics.get("accuracy"))
    return job.state if accuracy is None else f"accuracy {accuracy:.3f}"


def _outcome(job: Job) -> str:
    if job.model is not None:
        answers = "answers from now on" if job.model["activated"] else "does not answer"
        return f"version {job.model['version']} {answers}: {job.model['reason']}"
    counts = {name: value for name, value in job.metrics.items() if not isinstance(value, bool)}
    figures = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in counts.items())
    return f"the job {job.id} is {job.state}" if not job.ended else f"done{f': {figures}' if figures else ''}"
