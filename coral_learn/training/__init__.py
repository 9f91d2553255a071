"""Training and judging the last layer, from embeddings alone."""

from coral_learn.training.calibrated import CalibratedHead, make_calibrated
from coral_learn.training.calibration import (
    FALSE_ACCEPT_RATE,
    MOST_REFUSED,
    Calibrated,
    calibrate,
    calibrate_left_out,
)
from coral_learn.training.choose import Choice, choose_head
from coral_learn.training.doctor import (
    Finding,
    examine_examples,
    examine_history,
    examine_l2,
    examine_left_out,
    examine_training,
    expect_from_more,
)
from coral_learn.training.doctor.examples import SAME_PICTURE
from coral_learn.training.evaluation import (
    NO_EVALUATION,
    Evaluation,
    auroc,
    evaluate,
    evaluate_evidence,
    evaluate_left_out,
)
from coral_learn.training.finder import find_batch_size, find_learning_rate
from coral_learn.training.fit import EpochReport, HeldOut, fit_softmax
from coral_learn.training.history import History
from coral_learn.training.left_out import LeftOut
from coral_learn.training.options import SoftmaxOptions
from coral_learn.training.recipe import INCREMENTAL, KINDS, Recipe
from coral_learn.training.sample import Sample
from coral_learn.training.search import Search, Trial, search_options
from coral_learn.training.split import Split, folds, stratified_split
from coral_learn.training.validation import cross_validate

__all__ = [
    "FALSE_ACCEPT_RATE",
    "INCREMENTAL",
    "KINDS",
    "MOST_REFUSED",
    "NO_EVALUATION",
    "SAME_PICTURE",
    "Calibrated",
    "CalibratedHead",
    "Choice",
    "EpochReport",
    "Evaluation",
    "Finding",
    "HeldOut",
    "History",
    "LeftOut",
    "Recipe",
    "Sample",
    "Search",
    "SoftmaxOptions",
    "Split",
    "Trial",
    "auroc",
    "calibrate",
    "calibrate_left_out",
    "choose_head",
    "cross_validate",
    "evaluate",
    "evaluate_evidence",
    "evaluate_left_out",
    "examine_examples",
    "examine_history",
    "examine_l2",
    "examine_left_out",
    "examine_training",
    "expect_from_more",
    "find_batch_size",
    "find_learning_rate",
    "fit_softmax",
    "folds",
    "make_calibrated",
    "search_options",
    "stratified_split",
]
