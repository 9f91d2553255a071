"""A report as people read it: one line a check, the remedy below it."""

import os
from typing import Any, Dict, TextIO

from service.doctor.check import FAIL, OK, SKIP, WARN

_SIGNS = {OK: "ok  ", WARN: "warn", FAIL: "FAIL", SKIP: "skip"}
_COLOURS = {OK: "32", WARN: "33", FAIL: "31", SKIP: "2"}
_WIDTH = 23


def is_colourful(stream: TextIO) -> bool:
    """Whether to colour what is written there: a terminal, and nobody said NO_COLOR."""
    return stream.isatty() and "NO_COLOR" not in os.environ


def line(check: Dict[str, str], colours: bool) -> str:
    """A check as one line, and for a warning or a failure a second one with the remedy."""
    sign = _SIGNS.get(check["state"], check["state"])
    if colours:
        sign = f"\033[{_COLOURS.get(check['state'], '0')}m{sign}\033[0m"
    told = ": ".join(" ".join(part.split()) for part in (check["found"], check["meaning"]) if part)
    text = f"{sign}  {check['name']:<{_WIDTH}}{told}"
    if check["state"] in (WARN, FAIL) and check["remedy"]:
        text += f"\n{'':{6 + _WIDTH}}-> {' '.join(check['remedy'].split())}"
    return text


def summary(report: Dict[str, Any]) -> str:
    """The last line."""
    states = [check["state"] for check in report["checks"]]
    failed, warned = states.count(FAIL), states.count(WARN)
    if failed:
        return f"{failed} of {len(states)} checks failed, {warned} warn"
    return f"nothing failed{f', {warned} of {len(states)} checks warn' if warned else ''}"
