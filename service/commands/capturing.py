"""Teaching what the camera sees."""

import argparse

from service.client import Client
from service.commands.printing import DONE, print_json


def capture(client: Client, parsed: argparse.Namespace) -> int:
    """Teach a class the camera's next frames."""
    captured = client.capture(parsed.class_name, parsed.count, parsed.interval)
    if parsed.json:
        accepted = [one._asdict() for one in captured.accepted]
        facts = {**captured._asdict(), "accepted": accepted}
        print_json({"class": facts.pop("class_name"), **facts})
        return DONE
    dropped = f", {captured.near_duplicates} nearly the same dropped" if captured.near_duplicates else ""
    missed = f" ({captured.missed})" if captured.missed else ""
    taught = len(captured.accepted)
    print(f"{captured.class_name}: {taught} of {captured.frames} frames taught{dropped}{missed}; ", end="")
    print(f"the class has {captured.class_examples}")
    for one in captured.accepted:
        for warning in one.warnings:
            print(f"  {warning}")
    return DONE
