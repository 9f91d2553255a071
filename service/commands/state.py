"""What the daemon runs on and knows, and taking back the last change of it."""

import argparse
from itertools import islice

from service.client import Client
from service.commands.printing import DONE, model_in_words, print_json

_RECENT = 20  # jobs that are looked at; far fewer can wait
_UNDONE = {
    "add_class": "the class {name!r} was added",
    "rename_class": "the class {before!r} was renamed {name!r}",
    "merge_classes": "the class {name!r} was merged into {into!r}",
    "delete_class": "the class {name!r} was deleted, with {count} examples",
    "add_examples": "pictures that were added to {name!r}: {count}",
    "move_example": "a picture was moved to {name!r}",
    "delete_example": "a picture of {name!r} was deleted",
    "delete_examples": "pictures that were deleted: {count}",
    "import": "the import {job}, with all it brought",
}


def status(client: Client, parsed: argparse.Namespace) -> int:
    """Print what the daemon runs on and what it knows."""
    status = client.status()
    if parsed.json:
        print_json(status)
        return DONE
    extractor, counts, camera, model = (status[name] for name in ("extractor", "counts", "camera", "model"))
    print(f"coral-learn {status['version']} at {client.url}")
    print(f"device     {status['device'] or 'none'}: {status['device_reason']}{' (degraded)' * status['degraded']}")
    instead = extractor.get("instead_of")
    told = "" if instead is None else f", instead of {instead or 'the bundled one'}, which is set"
    print(f"extractor  {extractor.get('name') or 'none'}, {extractor['state']}{told}")
    unseen = (model.get("unseen") or {}).get("examples")
    print(f"model      {model_in_words(model)}" + (f"; {unseen} examples it has not seen" if unseen else ""))
    print(f"taught     {counts['classes']} classes, {counts['examples']} examples")
    print(f"camera     {camera['state']}" + (f": {camera['reason']}" if camera.get("reason") else ""))
    if status.get("incomplete"):
        print(f"incomplete {status['incomplete']}")
    for job in reversed([job for job in islice(client.jobs(), _RECENT) if not job.ended]):
        print(f"job        {job.kind}, {job.state}" + (f", {job.progress:.0%}" if job.state == "running" else ""))
    return DONE


def undo(client: Client, parsed: argparse.Namespace) -> int:
    """Take back the last step."""
    answer = client.undo()
    if parsed.json:
        print_json(answer)
    else:
        step, details = answer["undone"], answer["undone"]["details"]
        known = _Known(details, **({"count": len(details["examples"])} if "examples" in details else {}))
        print(f"taken back: {_UNDONE.get(step['action'], step['action']).format_map(known)}")
    return DONE


class _Known(dict):
    """Details of a step; what isn't there reads as a question mark."""

    def __missing__(self, _: str) -> str:
        return "?"
