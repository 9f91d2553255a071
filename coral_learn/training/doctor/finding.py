"""What the doctor says."""

from typing import Any, Dict, NamedTuple, Tuple

ERROR, WARNING, ADVICE = "error", "warning", "advice"


class Finding(NamedTuple):
    """Something worth knowing.

    code : a stable word; severity : error (don't use the result), warning, advice
    template : what was found, with {0}, {1} where the classes stand; remedy : what to do
    classes : those concerned; examples : indices of those concerned
    """

    code: str
    severity: str
    template: str
    remedy: str
    classes: Tuple[Any, ...] = ()
    examples: Tuple[int, ...] = ()

    @property
    def text(self) -> str:
        """What was found, in words."""
        return self.template.format(*(repr(label) for label in self.classes))

    def as_dict(self) -> Dict[str, Any]:
        """For JSON: code, severity, text, remedy, classes, examples."""
        return {
            "code": self.code,
            "severity": self.severity,
            "text": self.text,
            "remedy": self.remedy,
            "classes": [getattr(label, "item", lambda label=label: label)() for label in self.classes],
            "examples": list(self.examples),
        }
