"""service/report.py: single pictures in the reports of models."""

import json

from hypothesis import given
from hypothesis import strategies as st

from coral_learn.training import NO_EVALUATION, Finding
from service.report import findings_of, measured, named

NAMES = {1: "cup", 2: "pen {0}"}
FIGURES = {"classes": [1, 2], "answers": [1, 2, None], "confusion": [[1, 0, 0], [0, 1, 0]]}


def name(number):
    """The name of a class."""
    return NAMES.get(number, f"deleted class {number}")


def never():
    """Nobody needs to know what is stored."""
    raise AssertionError


@given(st.lists(st.tuples(st.integers(1, 2), st.sampled_from([1, 2, None])), max_size=1200))
def test_pictures_of_each_cell(answered):
    """Every wrong answer up to many, right ones up to some, in order; and how many are not listed."""
    ids, labels = [str(index) for index in range(len(answered))], [label for label, _ in answered]
    evaluation = NO_EVALUATION._replace(examples=len(answered), given=[answer for _, answer in answered])
    figures = measured(evaluation, ids, labels)
    listed = [(one["class"], one["answer"]) for one in figures["pictures"]]
    for cell in set(answered):
        assert listed.count(cell) == min(answered.count(cell), 50 if cell[0] == cell[1] else 500)
    assert len(listed) + figures["not_listed"] == len(answered)
    assert [one["example"] for one in figures["pictures"]] == sorted(
        (one["example"] for one in figures["pictures"]), key=int
    )
    assert "given" not in json.loads(json.dumps(figures))


def test_names_of_the_day():
    """Classes by the names they have now, an example that is gone marked so; what was read stays as it was."""
    report = {
        "held_out": dict(
            FIGURES, pictures=[{"example": "a", "class": 1, "answer": None}, {"example": "b", "class": 2, "answer": 9}]
        ),
        "findings": findings_of([Finding("wrong_label", "warning", "{0} is {1}", "look", (1, 2), (1, 0))], ["a", "b"]),
        "disabled": {"classes": [2], "examples": 3},
    }
    before = json.dumps(report)
    asked = []

    def stored():
        assert not asked, "what is stored may be long to read"
        asked.append(True)
        return {"b": 2, "c": 2}

    read = named(report, "held_out", name, stored)
    assert (read["held_out"]["classes"], read["held_out"]["answers"]) == (["cup", "pen {0}"], ["cup", "pen {0}", None])
    assert read["held_out"]["pictures"] == [
        {"example": "a", "class": "cup", "answer": None, "deleted": True},
        {"example": "b", "class": "pen {0}", "answer": "deleted class 9", "deleted": False},
    ]
    (finding,) = read["findings"]
    assert (finding["text"], finding["classes"]) == ("'cup' is 'pen {0}'", ["cup", "pen {0}"])
    assert (finding["examples"], finding["present"]) == (["b", "a"], ["pen {0}", None])
    assert read["disabled"]["classes"] == ["pen {0}"]
    assert json.dumps(report) == before


def test_reports_of_older_versions():
    """What they don't have is not made up, and nobody is asked for it."""
    read = named({"held_out": FIGURES}, "held_out", name, never)
    assert "pictures" not in read["held_out"]
    assert (read["findings"], "disabled" in read) == ([], False)
    assert named({"left_out": FIGURES, "findings": None}, "left_out", name, never)["findings"] is None
