"""How commands end, and what they print."""

import contextlib
import json
import sys
from typing import Any, Dict

DONE, FAILED = 0, 1
MEGABYTE = 1024 * 1024


def model_in_words(model: Dict[str, Any]) -> str:
    """Which model answers: version, head, revision."""
    revision = f", revision {model['revision']}" if "revision" in model else ""
    return f"{model['version']} ({model['head']}{revision})"


def print_json(value: Dict[str, Any]) -> None:
    """Print a line of JSON."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def complain(text: object, code: int = FAILED) -> int:
    """Print what went wrong; returns the exit code for it, which tells it where standard error can't be written to."""
    with contextlib.suppress(OSError):
        print(f"coral-learn: {text}", file=sys.stderr)
    return code
