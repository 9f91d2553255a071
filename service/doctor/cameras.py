"""Cameras of the kernel and what they deliver."""

from typing import Any, Dict, List

from service.doctor.check import FAIL, OK, SKIP, WARN, Check
from service.doctor.machine import Machine
from service.doctor.nodes import may_not

_SECONDS = 5.0
_MOST_FORMATS = 3


def check_cameras(machine: Machine, setting: str) -> Check:
    """Every /dev/videoN. setting : the daemon's camera"""
    nodes = [machine.shown(path) for path in machine.glob("/dev/video[0-9]*")]
    needed = _needed(setting)
    if not nodes or (needed and needed not in nodes):
        return _absent(nodes, needed, setting)
    closed = [node for node in nodes if not machine.may_use(machine.path(node))]
    if closed:
        state = FAIL if needed in closed or len(closed) == len(nodes) else WARN
        return Check("cameras", state, *may_not(machine, closed[0], "video"))
    outcome = machine.attempt(
        "service.doctor.child:cameras", {"nodes": [str(machine.path(node)) for node in nodes]}, _SECONDS
    )
    if outcome.result is None:
        meaning = f"asking it {outcome.ending}: its driver hangs"
        return Check("cameras", FAIL, outcome.stage, meaning, "unplug it, or reboot the board")
    return _judge({node: outcome.result[str(machine.path(node))] for node in nodes}, needed)


def _absent(nodes: List[str], needed: str, setting: str) -> Check:
    if needed:
        remedy = f"plug it in; there is {', '.join(nodes) or 'no /dev/video*'}. --camera auto takes what is there"
        return Check("cameras", FAIL, f"no {needed}", "the camera that was asked for is missing", remedy)
    remedy = "" if setting == "none" else "plug one in where live answers are wanted"
    return Check("cameras", SKIP, "no /dev/video*", "uploads are answered without one", remedy)


def _judge(facts: Dict[str, Dict[str, Any]], needed: str) -> Check:
    """What the nodes told, each as `CameraFacts` or with an error. needed : the node that was asked for, or empty"""
    cameras = {node: one for node, one in facts.items() if one.get("captures")}
    if needed and needed not in cameras:
        reason = facts[needed].get("error") or "it captures nothing (a node for metadata or output)"
        remedy = f"take another: {', '.join(cameras) or 'there is none'}"
        return Check("cameras", FAIL, f"{needed}: {reason}", "the camera that was asked for can't be used", remedy)
    if not cameras:
        reasons = ", ".join(f"{node}: {one.get('error') or 'captures nothing'}" for node, one in facts.items())
        return Check("cameras", WARN, reasons, "none of them is a camera that can be used", "plug the camera in again")
    return Check("cameras", OK, "; ".join(_described(node, one) for node, one in cameras.items()))


def _needed(setting: str) -> str:
    """The node a camera setting asks for, empty when it asks for none."""
    if setting.isdigit():
        return f"/dev/video{setting}"
    return setting if setting.startswith("/dev/video") else ""


def _described(node: str, facts: dict) -> str:
    formats = facts["formats"]
    more = f" and {len(formats) - _MOST_FORMATS} more" if len(formats) > _MOST_FORMATS else ""
    shown = " | ".join(formats[:_MOST_FORMATS]) or "no format listed"
    return f"{node} {facts['card']} ({facts['driver']}): {shown}{more}"
