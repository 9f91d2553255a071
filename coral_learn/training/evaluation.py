"""How good a head is on examples it has not seen."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from coral_learn.errors import TooFewExamples
from coral_learn.heads.base import Evidence, Head, IncrementalHead, check_labels, must_match, places_of

_BINS = 10
_ROWS_AT_ONCE = 1000


class Evaluation(NamedTuple):
    """Figures on examples that were not learnt.

    examples : how many stand behind the figures
    accuracy : share answered right, 0..1, when a class must be named; None without examples
    mean_class_accuracy : mean over classes, so that big classes don't hide small ones
    calibration_error : expected calibration error, 0..1: how far scores are from the share of right
        answers among examples that got such scores
    refused : share taken for none of the classes
    classes : the classes met, sorted; confusion[i][j] : examples of class i answered as answers[j]
    given : the answer to each example in turn
    """

    examples: int
    accuracy: Optional[float]
    mean_class_accuracy: Optional[float]
    calibration_error: Optional[float]
    refused: Optional[float]
    classes: List[Any]
    answers: List[Any]
    confusion: List[List[int]]
    given: Sequence[Any] = ()

    def as_dict(self) -> Dict[str, Any]:
        """For JSON: the figures, without the single answers."""
        return {field: value for field, value in self._asdict().items() if field != "given"}

    def class_accuracy(self) -> Dict[Any, float]:
        """Share answered right of each class met."""
        rows = zip(self.classes, self.confusion)
        return {label: row[self.answers.index(label)] / sum(row) for label, row in rows}


NO_EVALUATION = Evaluation(0, None, None, None, None, [], [], [])


def evaluate(head: Head, embeddings: np.ndarray, labels: Sequence[Any]) -> Evaluation:
    """Let a head answer (N, D) embeddings it has not learnt and compare with their N labels."""
    must_match(embeddings, labels)
    parts, labels = [], check_labels(labels)
    for start in range(0, len(labels), _ROWS_AT_ONCE):
        rows = np.asarray(embeddings)[start : start + _ROWS_AT_ONCE]
        parts.append(Answers.to(head, rows))
    return judge(parts, labels)


def evaluate_left_out(head: IncrementalHead, embeddings: np.ndarray, labels: Sequence[Any]) -> Evaluation:
    """The same on examples the head has learnt, each answered as if it had not been; exact.

    An example that is the only one of its class counts as answered wrong: without it there is no such class.
    """
    parts = []
    for start in range(0, len(labels), _ROWS_AT_ONCE):
        some = slice(start, start + _ROWS_AT_ONCE)
        parts.append(Answers.of(head, head.leave_one_out(np.asarray(embeddings)[some], labels[some])))
    return judge(parts, labels)


def evaluate_evidence(head: Head, evidence: Evidence, labels: Sequence[Any]) -> Evaluation:
    """The same from what a head has found in N examples already. evidence : as of `leave_one_out`"""
    return judge([Answers.of(head, evidence)] if len(labels) else [], labels)


class Answers(NamedTuple):
    """What was answered to N examples: class (None without any), its score, and whether it was refused."""

    given: List[Any]
    scores: np.ndarray
    refused: np.ndarray

    @classmethod
    def to(cls, head: Head, embeddings: np.ndarray) -> "Answers":
        """A head's answers to (N, D) embeddings."""
        return cls.of(head, head.weigh(embeddings))

    @classmethod
    def of(cls, head: Head, evidence: Evidence) -> "Answers":
        """The answers that follow from what a head found in N embeddings."""
        logits, familiarity = evidence
        answered = np.isfinite(logits).any(axis=1)
        best = np.where(np.isfinite(logits), logits, -1e30)
        given = [head.classes[place] if any_ else None for place, any_ in zip(best.argmax(axis=1), answered)]
        scores = head.calibration.scores(best).max(axis=1)
        return cls(given, np.where(answered, scores, 0.0), ~head.calibration.accepts(familiarity))


def judge(parts: Sequence[Answers], labels: Sequence[Any]) -> Evaluation:
    """Compare answers, given in parts, with the labels of all."""
    if not parts:
        return NO_EVALUATION
    given = [label for part in parts for label in part.given]
    classes = sorted(set(labels))
    answers = sorted(set(labels) | {label for label in given if label is not None})
    # The only example of all has no answer at all; it stands as an answer of its own.
    answers += [None] if None in given else []
    rows, columns = places_of(labels, classes), places_of(given, answers)
    confusion = np.zeros((len(classes), len(answers)), int)
    np.add.at(confusion, (rows, columns), 1)
    right = np.array([one == label for one, label in zip(given, labels)])
    share = np.bincount(rows, right, len(classes)) / np.bincount(rows, minlength=len(classes))
    return Evaluation(
        len(labels),
        float(right.mean()),
        float(share.mean()),
        calibration_error(np.concatenate([part.scores for part in parts]), right),
        float(np.concatenate([part.refused for part in parts]).mean()),
        classes,
        answers,
        confusion.tolist(),
        given,
    )


def calibration_error(scores: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error of N best scores, 0..1, in ten bins (Guo et al. 2017)."""
    bins = np.minimum((scores * _BINS).astype(int), _BINS - 1)
    gaps = [abs(scores[bins == one].sum() - right[bins == one].sum()) for one in np.unique(bins)]
    return float(sum(gaps) / len(scores))


def auroc(familiar: np.ndarray, strange: np.ndarray) -> float:
    """Share of pairs in which the known one is more familiar than the stranger; ties count half."""
    if not len(familiar) or not len(strange):
        raise TooFewExamples(f"pairs need known ones and strangers, got {len(familiar)} and {len(strange)}")
    values = np.concatenate([familiar, strange])
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    rank_sum = ranks[: len(familiar)].sum() - len(familiar) * (len(familiar) + 1) / 2
    return float(rank_sum / (len(familiar) * len(strange)))
