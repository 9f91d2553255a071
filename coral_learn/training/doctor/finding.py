"""What the doctor says."""

from typing import Any, Dict, NamedTuple, Tuple

ERROR, WARNING, ADVICE = "error", "warning", "advice"


class Finding(NamedTuple):
    """Something worth knowing.

    code : a stable word; severity : error (don't use the result), warning, advice
    text : what was found; remedy : what to do; classes : those concerned; examples : indices of those concerned
    """

    code: str
    severity: str
    text: str
    remedy: str
    classes: Tuple[Any, ...] = ()
    examples: Tuple[int, ...] = ()

    def as_dict(self) -> Dict[str, Any]:
        """For JSON."""
        return dict(self._asdict(), classes=list(self.classes), examples=list(self.examples))
