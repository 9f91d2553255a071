"""The camera to its viewers: the newest frame, its answer, what is decided from answers, and everybody who watches."""

from service.live.decision import DecisionRule
from service.live.loop import CAMERA, CLASSIFICATION, DECISION, MODEL, LiveLoop
from service.live.viewfinder import View, Viewfinder
from service.live.watchers import Event, Places, Watchers

__all__ = [
    "CAMERA",
    "CLASSIFICATION",
    "DECISION",
    "MODEL",
    "DecisionRule",
    "Event",
    "LiveLoop",
    "Places",
    "View",
    "Viewfinder",
    "Watchers",
]
