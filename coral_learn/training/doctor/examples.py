"""What is wrong with the examples."""

from collections import Counter
from typing import Any, List, Mapping, Optional, Sequence

import numpy as np

from coral_learn.heads.base import IncrementalHead, places_of
from coral_learn.training.doctor.finding import ADVICE, WARNING, Finding
from coral_learn.training.left_out import LeftOut
from coral_learn.training.recipe import Recipe
from coral_learn.training.sample import Sample
from coral_learn.training.split import folds
from coral_learn.training.validation import cross_validate

_FEW = 5
_UNEVEN = 10.0
_OVERLAP = 0.2
_SURELY_OTHER = 0.9
# The same picture saved anew as JPEG stays above (0.990 at quality 95, mostly at 75); the most alike of 600
# different ones are at 0.971 with three extractors.
SAME_PICTURE = 0.975
_SAME_ROWS = 500


def examine_examples(head: IncrementalHead, embeddings: np.ndarray, labels: Sequence[Any]) -> List[Finding]:
    """Look at examples with a calibrated head that has learnt just them. embeddings : (N, D); labels : N.

    Of more than some thousand examples a sample is looked at.
    """
    return examine_left_out(head, LeftOut.of(head, embeddings, labels, Sample.of(labels)))


def examine_left_out(head: IncrementalHead, left_out: LeftOut) -> List[Finding]:
    """The same of examples that a calibrated head has been asked about already, each left out."""
    findings, chosen, labels = [*_counts(head.counts)], left_out.chosen, left_out.labels
    if len(set(labels)) > 1:
        fair = left_out.only_fair()
        scores = head.calibration.scores(fair.evidence.logits)
        findings += _overlaps(head.classes, fair.labels, scores)
        findings += _wrong_labels(head.classes, fair.labels, scores, fair.chosen)
    findings += _same_pictures(head.pipeline(left_out.embeddings), labels, chosen)
    return findings


def _counts(of_classes: Mapping[Any, int]) -> List[Finding]:
    counts, findings = Counter(of_classes), []
    few = sorted(label for label, count in counts.items() if count < _FEW)
    if few:
        text = f"{len(few)} of {len(counts)} classes have fewer than {_FEW} examples"
        findings.append(
            Finding("few_examples", ADVICE, text, "teach these classes more, in other places and light", few)
        )
    if counts and max(counts.values()) >= _UNEVEN * min(counts.values()):
        most, least = counts.most_common(1)[0], counts.most_common()[-1]
        text = f"the classes are uneven: {most[1]} examples of {{1}}, {least[1]} of {{0}}"
        findings.append(
            Finding(
                "uneven_classes",
                WARNING,
                text,
                "teach the small classes more; for softmax leave `balance` on",
                (least[0], most[0]),
            )
        )
    return findings


def _overlaps(classes: List[Any], labels: Sequence[Any], scores: np.ndarray) -> List[Finding]:
    own, given = places_of(labels, classes), scores.argmax(axis=1)
    confused = np.zeros((len(classes), len(classes)), int)
    np.add.at(confused, (own, given), 1)
    sizes, findings = np.maximum(confused.sum(axis=1), 1), []
    for one in range(len(classes)):
        for other in range(one):
            mixed = confused[one, other] + confused[other, one]
            if mixed >= 2 and mixed / (sizes[one] + sizes[other]) >= _OVERLAP:
                pair = (classes[other], classes[one])
                both = sizes[one] + sizes[other]
                text = f"{mixed} of {both} examples of {{0}} and {{1}} are mistaken for the other"
                remedy = "show what tells them apart (nearer, other side), or merge the two classes"
                findings.append(Finding("classes_overlap", WARNING, text, remedy, pair))
    return findings


def _wrong_labels(classes: List[Any], labels: Sequence[Any], scores: np.ndarray, chosen: List[int]) -> List[Finding]:
    own, given = places_of(labels, classes), scores.argmax(axis=1)
    sure = scores.max(axis=1) >= _SURELY_OTHER
    findings = []
    for row in np.flatnonzero((own != given) & sure):
        label, other = labels[row], classes[given[row]]
        text = f"an example of {{0}} looks like {{1}} (score {scores[row, given[row]]:.2f} without itself)"
        findings.append(
            Finding("wrong_label", WARNING, text, "look at it: move or delete it", (label, other), (chosen[row],))
        )
    return findings


def _same_pictures(directions: np.ndarray, labels: Sequence[Any], chosen: List[int]) -> List[Finding]:
    """Examples so alike that they say nothing new, and alike ones with different labels."""
    rows, findings, same, told = directions.astype(np.float32), [], [], set()
    for start in range(0, len(rows), _SAME_ROWS):
        alike = rows[start : start + _SAME_ROWS] @ rows[start:].T >= SAME_PICTURE
        for one, other in zip(*(places + start for places in np.nonzero(np.triu(alike, 1)))):
            if labels[one] == labels[other]:
                same.append(chosen[other])
            elif other not in told:  # once, however many there are like it
                told.add(other)
                text = "nearly the same picture is an example of {0} and of {1}"
                pair = (labels[one], labels[other])
                findings.append(
                    Finding("same_picture_two_classes", WARNING, text, "delete one", pair, (chosen[one], chosen[other]))
                )
    if same:
        which = "1 example is" if len(set(same)) == 1 else f"{len(set(same))} examples are"
        text = f"{which} nearly the same as another one of the same class"
        remedy = "they add nothing, and make held-out figures look better than they are; teach from other views"
        findings.append(Finding("near_duplicates", ADVICE, text, remedy, (), tuple(sorted(set(same)))))
    return findings


def expect_from_more(
    recipe: Recipe, embeddings: np.ndarray, labels: Sequence[Any], more: int = 10
) -> Optional[Finding]:
    """An estimate of what `more` examples a class would bring, from how accuracy grew up to now.

    Errors fall with examples about as a power of their number; measured by cross-validation at all
    examples and at half of them. None where there is too little to measure.
    """
    counts = Counter(labels)
    if len(counts) < 2 or min(counts.values()) < 4:
        return None
    random, half = np.random.RandomState(0), []
    for label in sorted(counts):
        mine = [index for index, other in enumerate(labels) if other == label]
        half += [mine[index] for index in random.permutation(len(mine))[: len(mine) // 2]]
    now, then = (
        _wrong(recipe, embeddings, labels),
        _wrong(recipe, np.asarray(embeddings)[half], [labels[i] for i in half]),
    )
    size = len(labels) / len(counts)
    if now <= 0:
        text = f"every one of {len(labels)} held-out answers was right; more examples can only show it better"
        return Finding("more_examples", ADVICE, text, "teach from new places and light to see what fails")
    slope = max(0.0, np.log(max(then, now) / now) / np.log(2))
    expected = now * ((size + more) / size) ** -slope
    text = f"about {1 - now:.1%} right now; {more} more examples a class should bring about {1 - expected:.1%}"
    remedy = (
        "teach more"
        if now - expected > 0.01
        else "more of the same brings little; better pictures or a better extractor would"
    )
    return Finding("more_examples", ADVICE, text, remedy)


def _wrong(recipe: Recipe, embeddings: np.ndarray, labels: Sequence[Any]) -> float:
    """Cross-validated share of wrong answers, every class weighing the same."""
    return 1 - cross_validate(recipe, embeddings, labels, folds(labels)).mean_class_accuracy
