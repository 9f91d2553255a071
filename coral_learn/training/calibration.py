"""Honest scores and the answer "none of these", from what a head says of its own examples.

Scores: one factor on the logits (Guo et al.: On Calibration of Modern Neural Networks, ICML 2017,
https://arxiv.org/abs/1706.04599), with targets that leave room for error (Platt 1999). None of
these: each example is a stranger to the head without the example's class. The threshold on the
familiarity that so many of these strangers may reach keeps the rate for others like them, by the
rank argument of conformal prediction (Vovk, Gammerman, Shafer: Algorithmic Learning in a Random
World, 2005).
"""

from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from coral_learn.errors import OptionError
from coral_learn.heads.base import Calibration, IncrementalHead, places_of
from coral_learn.heads.imprinting import ImprintingHead
from coral_learn.heads.softmax import SoftmaxHead
from coral_learn.training.left_out import LeftOut
from coral_learn.training.sample import Sample

FALSE_ACCEPT_RATE = 0.05
MOST_REFUSED = 1.0
# Scores are fitted between so many times and so many parts of the head's own scale.
_WIDEST = 20.0
# The share of taught examples that may fall to a pre-trained class by the lead of those.
_LOST_TO_KEPT = 0.005
# How much narrower the narrowest gap may be than it looks: by this over the root of how many were seen.
_DOUBT = 0.2
# With few examples taught classes need a little help against a thousand others that know thousands.
_LAG = 0.01


class Calibrated(NamedTuple):
    """A calibration and what it was found to do, leaving each example out.

    examples : how many stand behind it
    refused : share of them that would be taken for none of the classes; None without any
    accepted : share of strangers (examples whose class was left out) that would be taken for one
    """

    calibration: Calibration
    examples: int
    refused: Optional[float]
    accepted: Optional[float]

    def as_dict(self) -> Dict[str, Any]:
        """For JSON, which has no infinity: a threshold that refuses nothing is None."""
        scale, threshold = self.calibration
        figures = {"examples": self.examples, "refused": self.refused, "accepted": self.accepted}
        return {"scale": scale, "threshold": threshold if np.isfinite(threshold) else None, **figures}


def calibrate(
    head: IncrementalHead,
    embeddings: np.ndarray,
    labels: Sequence[Any],
    false_accept_rate: float = FALSE_ACCEPT_RATE,
    most_refused: float = MOST_REFUSED,
    groups: Optional[Sequence[Any]] = None,
) -> Calibrated:
    """Calibrate a head by its own examples, leaving each out in turn; the head takes the result.

    embeddings, labels : (N, D) and N, what was learnt; of many a sample is looked at (`Sample`)
    false_accept_rate : share of strangers that may be taken for one of the classes, above 0; 1
        refuses nothing. Nothing is refused either with fewer examples than one over this rate:
        too few to know what strangers look like.
    most_refused : share of the examples themselves that may be refused for it; where the rate would
        refuse more, the threshold gives way. 1 keeps the rate whatever it costs.
    groups : N; examples with the same one, such as frames taken together, are left out together; None
        for an example on its own
    """
    return calibrate_left_out(head, embeddings, labels, false_accept_rate, most_refused, groups)[0]


def calibrate_left_out(
    head: IncrementalHead,
    embeddings: np.ndarray,
    labels: Sequence[Any],
    false_accept_rate: float = FALSE_ACCEPT_RATE,
    most_refused: float = MOST_REFUSED,
    groups: Optional[Sequence[Any]] = None,
    sample: Optional[Sample] = None,
) -> Tuple[Calibrated, LeftOut]:
    """The same, and what it was found by, which `evaluate_evidence` and `examine_left_out` take as well.

    sample : which of them are looked at; None to have it chosen
    """
    check_rate(false_accept_rate)
    sample = Sample.of(labels, groups) if sample is None else sample
    if isinstance(head, ImprintingHead) and head.kept and sample.chosen:
        _give_lead(head, np.asarray(embeddings)[sample.chosen], [labels[index] for index in sample.chosen])
    left_out = LeftOut.of(head, embeddings, labels, sample, groups)
    if not sample.chosen:
        head.calibration = Calibration(head.scale)
        return Calibrated(head.calibration, 0, None, None), left_out
    strange, own = head.as_strangers(left_out.embeddings, left_out.labels), places_of(left_out.labels, head.classes)
    result = _calibration(left_out, own, strange, head.scale, false_accept_rate, most_refused)
    head.calibration = result.calibration
    return result, left_out


def calibrate_softmax(
    head: SoftmaxHead,
    embeddings: np.ndarray,
    labels: Sequence[Any],
    held_out_logits: np.ndarray,
    held_out_labels: Sequence[Any],
    false_accept_rate: float = FALSE_ACCEPT_RATE,
    most_refused: float = MOST_REFUSED,
    groups: Optional[Sequence[Any]] = None,
) -> Calibrated:
    """Calibrate a softmax head; the head takes the result.

    embeddings, labels : (N, D) and N, what it was trained on; they give the threshold on the
        likeness to the classes' means
    held_out_logits, held_out_labels : (M, C) and M, what a head trained alike said of examples that
        it was not trained on; they give the scale
    groups : of the N, as of `calibrate`
    """
    means = ImprintingHead(head.pipeline)
    means.learn_all(np.asarray(embeddings), labels)
    found = calibrate(means, embeddings, labels, false_accept_rate, most_refused, groups)
    own, scale = places_of(held_out_labels, head.classes), head.scale
    if len(own):
        scale = _fit_scale(np.asarray(held_out_logits, np.float64), own, scale)
    head.calibration = Calibration(scale, found.calibration.threshold)
    return found._replace(calibration=head.calibration)


def check_rate(rate: float) -> None:
    """Raise `OptionError` for a false-accept rate that is none."""
    if not isinstance(rate, (int, float)) or isinstance(rate, bool) or not 0 < rate <= 1:
        raise OptionError(f"the false-accept rate must be a number above 0, at most 1 (refuse nothing), got {rate!r}")


def _calibration(
    left_out: LeftOut, own: np.ndarray, strange: np.ndarray, scale: float, rate: float, most_refused: float
) -> Calibrated:
    """A calibration from answers to examples that were not learnt, and from strangers' familiarities."""
    fair, (logits, familiarity) = left_out.fair, left_out.evidence
    strange, familiar = strange[np.isfinite(strange)], familiarity[fair]
    threshold = _threshold(strange, rate)
    if most_refused < 1:
        allowed = float(np.sort(familiar)[int(most_refused * len(familiar))]) if len(familiar) else -np.inf
        threshold = min(threshold, allowed)
    return Calibrated(
        Calibration(_fit_scale(logits[fair], own[fair], scale), threshold),
        len(own),
        float((familiar < threshold).mean()) if len(familiar) else None,
        float((strange >= threshold).mean()) if len(strange) else None,
    )


def _threshold(strange: np.ndarray, rate: float) -> float:
    """The familiarity that a share `rate` of strangers reaches at most, counting one not yet seen."""
    allowed = int(np.floor(rate * (len(strange) + 1)))
    if allowed < 1 or rate >= 1:
        return -np.inf
    return float(np.nextafter(np.sort(strange)[-allowed], np.inf))


def _fit_scale(logits: np.ndarray, own: np.ndarray, scale: float) -> float:
    """The factor that makes the examples' own classes likeliest, between usual / 20 and usual x 20."""
    if not len(own) or logits.shape[1] < 2:
        return scale
    doubt = 1.0 / (len(own) + 2)
    low, high = np.log(scale / _WIDEST), np.log(scale * _WIDEST)
    golden = (np.sqrt(5) - 1) / 2
    for _ in range(24):  # golden section: the loss has one valley
        left, right = high - golden * (high - low), low + golden * (high - low)
        if _loss(logits, own, np.exp(left), doubt) < _loss(logits, own, np.exp(right), doubt):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def _loss(logits: np.ndarray, own: np.ndarray, scale: float, doubt: float) -> float:
    """Mean cross-entropy with targets 1 - doubt for the own class, the rest spread evenly over the others."""
    scaled = scale * (logits - logits.max(axis=1, keepdims=True))
    log_scores = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    mine, others = log_scores[np.arange(len(own)), own], logits.shape[1] - 1
    return float(-((1 - doubt) * mine + doubt * (log_scores.sum(axis=1) - mine) / others).mean())


def _give_lead(head: ImprintingHead, embeddings: np.ndarray, labels: Sequence[Any]) -> None:
    """Give pre-trained classes the lead that takes nearly nothing from the taught ones."""
    head.kept_lead = 0.0
    left_out, kept = head.leave_one_out(embeddings, labels), len(head.kept)
    gaps = left_out.logits[:, kept:].max(axis=1) - left_out.logits[:, :kept].max(axis=1)
    gaps = np.sort(gaps[np.isfinite(left_out.logits[np.arange(len(labels)), places_of(labels, head.classes)])])
    allowed = int(_LOST_TO_KEPT * (len(gaps) + 1))
    if allowed:
        head.kept_lead = max(0.0, float(gaps[allowed - 1]))
    elif len(gaps):
        # The narrowest of few gaps is narrower still in pictures to come.
        head.kept_lead = max(-_LAG, float(gaps[0]) - _DOUBT / len(gaps) ** 0.5)
