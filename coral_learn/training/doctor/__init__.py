"""What is wrong with the examples or the training, in words, with a remedy.

After the check-lists of those who debug networks (Karpathy: A Recipe for Training Neural Networks,
2019; Goodfellow, Bengio, Courville: Deep Learning, chapter 11).
"""

from coral_learn.training.doctor.examples import examine_examples, examine_left_out, expect_from_more
from coral_learn.training.doctor.finding import Finding
from coral_learn.training.doctor.fitting import examine_history, examine_l2, examine_training

__all__ = [
    "Finding",
    "examine_examples",
    "examine_history",
    "examine_l2",
    "examine_left_out",
    "examine_training",
    "expect_from_more",
]
