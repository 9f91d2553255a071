"""Asking what is in pictures."""

import argparse
from pathlib import Path
from typing import Optional

from service.client import Client
from service.commands.pictures import no_picture, pictures_in, refusal_of, tell_refused
from service.commands.printing import DONE, FAILED, print_json
from service.errors import ProblemError


def classify(client: Client, parsed: argparse.Namespace) -> int:
    """Say what is in pictures."""
    given = {Path(text): pictures_in(Path(text)) for text in parsed.files}
    refused = [no_picture(path) for path, found in given.items() if not found]
    tell_refused(refused)
    for path in (path for found in given.values() for path in found):
        try:
            answer = client.classify(path, parsed.top_k, parsed.explain)
        except (ProblemError, OSError) as error:
            refused.append(refusal_of(path, error))
            tell_refused(refused[-1:])
            if parsed.json:
                print_json({"file": str(path), "error": {"code": refused[-1].code, "detail": refused[-1].detail}})
            continue
        if parsed.json:
            print_json({"file": str(path), **answer.answer})
            continue
        others = ", ".join(f"{one.label} {one.score:.2f}" for one in answer.predictions if one.label != answer.label)
        print(f"{path}: {_decided(answer.label, answer.score)}{f' ({others})' if others else ''}")
        for one in answer.answer.get("nearest", []):
            print(f"  like {one['example']} of {one['class']}, {one['similarity']:.2f}")
    return FAILED if refused else DONE


def _decided(label: Optional[str], score: float) -> str:
    return "none of what was taught" if label is None else f"{label} {score:.2f}"
