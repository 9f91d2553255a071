"""What is taught and what answers: the model that answers, changes of what it was taught, and versions."""

from service.learning.answering import LIVE, Answer, Answering, ListedClass, LiveCopy
from service.learning.outcome import Added, Changed, Deleted, Taught
from service.learning.teaching import Teaching
from service.learning.versions import Versions, can_keep, pretrained_of

__all__ = [
    "LIVE",
    "Added",
    "Answer",
    "Answering",
    "Changed",
    "Deleted",
    "ListedClass",
    "LiveCopy",
    "Taught",
    "Teaching",
    "Versions",
    "can_keep",
    "pretrained_of",
]
