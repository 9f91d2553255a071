"""What the camera sees, as it happens."""

import argparse
import sys
from contextlib import closing
from typing import Any, Dict

from service.client import Client
from service.commands.printing import DONE, complain, model_in_words, print_json


def watch(client: Client, parsed: argparse.Namespace) -> int:
    """Print what the camera sees until Ctrl-C, or for so many frames."""
    seen, told = 0, {}
    try:
        with closing(client.stream(reconnect=True)) as events:
            for event in events:
                data = event.data
                if event.kind == "camera" and data.get("state") == "none":
                    return complain("the daemon has no camera to watch; serve --camera names one")
                if event.kind == "classification":
                    seen += 1
                if parsed.json:
                    print_json({"event": event.kind, **data})
                else:
                    _tell(event.kind, data, told)
                if seen == parsed.count:
                    return DONE
    except KeyboardInterrupt:
        pass
    return DONE


def _tell(kind: str, data: Dict[str, Any], told: Dict[str, str]) -> None:
    """Print an event. told : the newest line of each kind that is worth one only where it says something else"""
    if kind == "classification":
        fps = data["fps"]
        rate = "" if fps is None else f"  {fps:.1f} frames/s"
        label = data["decided"] if data["decided"] is not None else "-"
        print(f"{label:<24} {data['score']:.2f}{rate}", flush=True)
    elif kind in ("camera", "extractor"):
        reason = f": {data['reason']}" if data.get("reason") else ""
        _tell_new(kind, f"{kind} {data['state']}{reason}", told)
    elif kind == "model":
        _tell_new(kind, f"model {model_in_words(data)}", told)


def _tell_new(kind: str, line: str, told: Dict[str, str]) -> None:
    if told.get(kind) != line:
        told[kind] = line
        print(line, file=sys.stderr)
