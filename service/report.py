"""What reports of models say of single pictures: those behind each count, and what the doctor found.

Written with classes by number, as names change; read with the names of the day.
"""

from collections import Counter
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from coral_learn.training import Evaluation, Finding

# Of each cell of a confusion matrix: to look at more of them tells nothing new.
_MOST_RIGHT, _MOST_WRONG = 50, 500


def measured(evaluation: Evaluation, ids: Sequence[str], labels: Sequence[int]) -> Dict[str, Any]:
    """The figures of N examples, with the examples themselves; of many alike answers the first ones.

    not_listed : how many are left out of the list
    """
    cells: Dict[Any, int] = Counter()
    pictures = []
    for example, label, answer in zip(ids, labels, evaluation.given):
        cells[label, answer] += 1
        if cells[label, answer] <= (_MOST_RIGHT if label == answer else _MOST_WRONG):
            pictures.append({"example": example, "class": label, "answer": answer})
    return dict(evaluation.as_dict(), pictures=pictures, not_listed=evaluation.examples - len(pictures))


def findings_of(found: Sequence[Finding], ids: Sequence[str]) -> List[Dict[str, Any]]:
    """What was found, with ids for the examples concerned. ids : of the examples that were looked at"""
    return [dict(one.as_dict(), text=one.template, examples=[ids[index] for index in one.examples]) for one in found]


def named(
    report: Dict[str, Any], field: str, name: Callable[[int], str], stored: Callable[[], Mapping[str, int]]
) -> Dict[str, Any]:
    """A report as clients see it: classes by name, and where the pictures are by now, or that they are gone.

    field : where its figures are; name : of a class by its number; stored : the class of each example that is there
    """
    found = report.get("findings", [])
    speaks_of_any = report[field].get("pictures") or any(one["examples"] for one in found or [])
    there = stored() if speaks_of_any else {}
    new = dict(report, **{field: _named_figures(report[field], name, there)})
    new["findings"] = None if found is None else [_named_finding(one, name, there) for one in found]
    if "disabled" in report:  # reports of older versions don't have it
        new["disabled"] = dict(report["disabled"], classes=[name(number) for number in report["disabled"]["classes"]])
    return new


def _named_figures(figures: Dict[str, Any], name: Callable[[int], str], there: Mapping[str, int]) -> Dict[str, Any]:
    def named_or_none(number: Optional[int]) -> Optional[str]:
        return None if number is None else name(number)

    new = dict(figures)
    for field in ("classes", "answers"):
        new[field] = [named_or_none(number) for number in figures[field]]
    if figures.get("pictures"):  # nor have reports of older versions these
        new["pictures"] = [
            {
                "example": one["example"],
                "class": name(one["class"]),
                "answer": named_or_none(one["answer"]),
                "deleted": one["example"] not in there,
            }
            for one in figures["pictures"]
        ]
    return new


def _named_finding(finding: Dict[str, Any], name: Callable[[int], str], there: Mapping[str, int]) -> Dict[str, Any]:
    names = [name(number) for number in finding["classes"]]
    present = [name(there[one]) if one in there else None for one in finding["examples"]]
    return dict(finding, classes=names, present=present, text=finding["text"].format(*(repr(one) for one in names)))
