"""What training did, epoch by epoch."""

import csv
import importlib
import io
from typing import Any, Dict, List, Optional

from coral_learn.errors import OptionError
from coral_learn.training.fit import EpochReport

_WRITERS = ("tensorboardX", "torch.utils.tensorboard")


class History:
    """Collects the reports of `fit_softmax`: pass it as `on_epoch`."""

    def __init__(self):
        self.epochs: List[EpochReport] = []

    def __call__(self, report: EpochReport) -> None:
        self.epochs.append(report)

    @property
    def best(self) -> Optional[EpochReport]:
        """The epoch with the lowest held-out loss, or the last one without held-out examples."""
        measured = [report for report in self.epochs if report.held_out_loss is not None]
        if measured:
            return min(measured, key=lambda report: report.held_out_loss)
        return self.epochs[-1] if self.epochs else None

    def as_rows(self) -> List[Dict[str, Any]]:
        """For JSON: a dictionary an epoch."""
        return [dict(report._asdict()) for report in self.epochs]

    def as_csv(self) -> str:
        """A table with a heading; empty where a figure is missing."""
        text = io.StringIO()
        writer = csv.DictWriter(text, EpochReport._fields, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.as_rows())
        return text.getvalue()

    def write_tensorboard(self, folder) -> None:
        """Write the figures as TensorBoard events. Raises `OptionError` without a package that writes them."""
        writer = _summary_writer()(str(folder))
        try:
            for report in self.epochs:
                for name, value in report._asdict().items():
                    if name not in ("epoch", "epochs", "step") and value is not None:
                        writer.add_scalar(name, value, report.step)
        finally:
            writer.close()


def _summary_writer():
    for name in _WRITERS:
        try:
            return importlib.import_module(name).SummaryWriter
        except ImportError:
            continue
    raise OptionError("TensorBoard events need one of these packages: {}".format(", ".join(_WRITERS)))
