"""What one check says."""

from typing import Any, Dict, Iterable, List, NamedTuple

OK, WARN, FAIL, SKIP = "ok", "warn", "fail", "skip"
STATES = (OK, WARN, FAIL, SKIP)


class Check(NamedTuple):
    """One line of a report.

    name : what was looked at; state : ok, warn, fail or skip; found : what is there; meaning : what that means;
    remedy : what to do about it, empty where there is nothing to do
    """

    name: str
    state: str
    found: str
    meaning: str = ""
    remedy: str = ""


def report(checks: Iterable[Check]) -> Dict[str, Any]:
    """The checks as JSON takes them; "ok" when none failed."""
    found: List[Check] = list(checks)
    return {"ok": all(one.state != FAIL for one in found), "checks": [dict(one._asdict()) for one in found]}
