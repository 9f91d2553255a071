"""What the camera sees, as it happens."""

import argparse
import sys
from collections import deque
from contextlib import closing
from typing import Any, Deque, Dict, Optional, Tuple

from service.client import Client
from service.commands.printing import DONE, complain, model_in_words, print_json

_RATE_OVER = 20  # frames


class _Rate:
    """Frames a second over the last frames."""

    def __init__(self) -> None:
        self._frames: Deque[Tuple[int, float]] = deque(maxlen=_RATE_OVER)

    def add(self, number: int, captured: float) -> Optional[float]:
        """The rate with one more frame, None while there is only one. captured : seconds"""
        self._frames.append((number, captured))
        frames, seconds = (last - first for first, last in zip(self._frames[0], self._frames[-1]))
        if frames < 0 or seconds < 0:  # counted anew by another run of the daemon
            self._frames.clear()
            return None
        return frames / seconds if seconds else None


def watch(client: Client, parsed: argparse.Namespace) -> int:
    """Print what the camera sees until Ctrl-C, or for so many frames."""
    rate, seen = _Rate(), 0
    try:
        with closing(client.stream(reconnect=True)) as events:
            for event in events:
                data = event.data
                if event.kind == "camera" and data.get("state") == "none":
                    return complain("the daemon has no camera to watch; serve --camera names one")
                if event.kind == "classification":
                    seen, fps = seen + 1, rate.add(data["frame"], data["captured"])
                    data = dict(data, frames_per_second=None if fps is None else round(fps, 2))
                if parsed.json:
                    print_json({"event": event.kind, **data})
                else:
                    _tell(event.kind, data)
                if seen == parsed.count:
                    return DONE
    except KeyboardInterrupt:
        pass
    return DONE


def _tell(kind: str, data: Dict[str, Any]) -> None:
    if kind == "classification":
        fps = data["frames_per_second"]
        rate = "" if fps is None else f"  {fps:.1f} frames/s"
        label = data["decided"] if data["decided"] is not None else "-"
        print(f"{label:<24} {data['score']:.2f}{rate}", flush=True)
    elif kind == "camera":
        reason = f": {data['reason']}" if data.get("reason") else ""
        print(f"camera {data['state']}{reason}", file=sys.stderr)
    elif kind == "model":
        print(f"model {model_in_words(data)}", file=sys.stderr)
