"""From answers, one a frame, to the class that is published: quiet where single answers flicker."""

from typing import Dict, NamedTuple, Optional

from service.learning import Answer

_SLOW = 0.5  # seconds between frames from which on each stands for itself
_KNOWN = 0.5  # of the averaged share of known answers


class DecisionRule(NamedTuple):
    """When a class is published.

    threshold : a score below it counts as unknown
    frames : equal answers in a row that are needed; 1 publishes each at once
    smoothing : weight of what was before in a moving average of scores, 0 for none, below 1
    """

    threshold: float = 0.0
    frames: int = 3
    smoothing: float = 0.0


class Decided(NamedTuple):
    """What is published.

    label : a class, None for unknown; since : when that began, seconds since 1970, None before the first frame;
    changed : whether by the frame at hand; before : what it was until then
    """

    label: Optional[str]
    since: Optional[float]
    changed: bool = False
    before: Optional[str] = None


class Decision:
    """Follows the answers. Used by one thread; `rule` may be replaced from another at any time.

    Frames that are far apart (a camera with less than two a second) stand for themselves: three in a
    row would take longer than what they show.
    """

    def __init__(self, rule: DecisionRule):
        self.rule = rule
        self.now = Decided(None, None)
        self._forget()

    def take(self, answer: Answer, captured: float, came: float) -> Decided:
        """Take the answer to the next frame. captured : in seconds since 1970; came : of the monotonic clock"""
        rule = self.rule
        self._keep_pace(came)
        label = self._label(answer, rule)
        self._streak = self._streak + 1 if label == self._candidate else 1
        self._candidate = label
        needed = 1 if self._interval is not None and self._interval >= _SLOW else rule.frames
        if self.now.since is None or (label != self.now.label and self._streak >= needed):
            return self._decide(label if self._streak >= needed else None, captured)
        self.now = self.now._replace(changed=False)
        return self.now

    def lose(self, now: float) -> Decided:
        """There are no frames any more: nothing is decided. now : in seconds since 1970"""
        self._forget()
        if self.now.label is None:
            self.now = self.now._replace(changed=False)
            return self.now
        return self._decide(None, now)

    def _decide(self, label: Optional[str], when: float) -> Decided:
        before, first = self.now.label, self.now.since is None
        self.now = Decided(label, when, first or label != before, before)
        return self.now

    def _forget(self) -> None:
        self._candidate: Optional[str] = None
        self._streak = 0
        self._came: Optional[float] = None
        self._interval: Optional[float] = None
        self._average: Dict[str, float] = {}
        self._known = 0.0

    def _keep_pace(self, came: float) -> None:
        """Average the time between frames, by a clock that nobody sets: a jump would make a fast camera a slow one."""
        if self._came is not None:
            gap = came - self._came
            self._interval = gap if self._interval is None else 0.7 * self._interval + 0.3 * gap
        self._came = came

    def _label(self, answer: Answer, rule: DecisionRule) -> Optional[str]:
        """The class of one answer, averaged with those before it where that is asked for."""
        if not rule.smoothing or not answer.predictions:
            self._average = {}
            return answer.label if answer.score >= rule.threshold else None
        scores = {one.label: one.score for one in answer.predictions}
        keep = rule.smoothing if self._average else 0.0
        labels = set(self._average) | set(scores)
        self._average = {
            label: keep * self._average.get(label, 0.0) + (1 - keep) * scores.get(label, 0.0) for label in labels
        }
        self._average = {label: score for label, score in self._average.items() if score > 1e-4}
        self._known = keep * self._known + (1 - keep) * (answer.label is not None)
        best = max(self._average, key=lambda label: (self._average[label], label), default=None)
        if best is None or self._known < _KNOWN or self._average[best] < rule.threshold:
            return None
        return best
