"""How good a head is on examples it has not seen."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from coral_learn.errors import EmbeddingMismatch
from coral_learn.heads.base import Head


class Evaluation(NamedTuple):
    """Figures on held-out examples.

    examples : how many stand behind the figures
    accuracy : share answered right, 0..1; None without examples
    mean_class_accuracy : mean over classes, so that big classes don't hide small ones
    classes : the classes met, sorted; confusion[i][j] : examples of class i answered as answers[j]
    """

    examples: int
    accuracy: Optional[float]
    mean_class_accuracy: Optional[float]
    classes: List[Any]
    answers: List[Any]
    confusion: List[List[int]]

    def as_dict(self) -> Dict[str, Any]:
        """For JSON."""
        return dict(self._asdict())


def evaluate(head: Head, embeddings: np.ndarray, labels: Sequence[Any]) -> Evaluation:
    """Let a head answer (N, D) embeddings and compare with their N labels."""
    if len(embeddings) != len(labels):
        raise EmbeddingMismatch(f"{len(embeddings)} embeddings with {len(labels)} labels")
    if not len(labels):
        return Evaluation(0, None, None, [], [], [])
    given = [head.predict(embedding) for embedding in embeddings]
    classes, answers = sorted(set(labels)), sorted(set(labels) | set(given))
    confusion = np.zeros((len(classes), len(answers)), int)
    for label, answer in zip(labels, given):
        confusion[classes.index(label), answers.index(answer)] += 1
    right = np.array([confusion[row, answers.index(label)] for row, label in enumerate(classes)])
    return Evaluation(
        len(labels),
        float(right.sum() / len(labels)),
        float((right / confusion.sum(axis=1)).mean()),
        classes,
        answers,
        confusion.tolist(),
    )
