"""What the process of a training job does: read embeddings, measure, train, write a version folder.

Measured is a head that saw the training part only; kept is one trained on everything. The model
that answers now is measured the same way beside it: its recipe, trained on those of the training
part that it knew, answers the same held-out examples. So neither has seen them.

On the channel: ("progress", share, metrics), then ("finished", FinishedModel, comparison) or
("failed", code, text).
"""

from pathlib import Path
from typing import Any, Dict, Tuple

import numpy as np

from coral_learn.errors import CoralLearnError, TooFewExamples
from coral_learn.heads import SoftmaxHead
from coral_learn.training import (
    NO_EVALUATION,
    EpochReport,
    Recipe,
    SoftmaxOptions,
    evaluate,
    stratified_split,
)
from service.errors import ServiceError
from service.jobs.options import AUTO, TrainOptions
from service.jobs.workshop import Material, Workshop
from service.report import measured
from service.store.classes import Classes
from service.store.database import Database
from service.store.examples import Examples
from service.store.models import FinishedModel, write_version
from service.store.store import database_path

# The figures of a report are not all from the same examples.
_MEASURED_ON = {
    "held_out": "examples set aside before training, which neither this head nor the baseline has seen",
    "baseline": "the same examples as held_out",
    "history": "held-out figures by epoch: a fifth of the rest, set aside to know when to stop",
    "calibration": "all examples, each left out in turn; the final head has learnt all of them",
}
# What a running job shows of an epoch.
_SHOWN = ("epoch", "epochs", "loss", "accuracy", "held_out_loss", "learning_rate")


def run(channel, arguments: Dict[str, Any]) -> None:
    """Do one job. arguments : space, version_folder, extractor, size, mean, rates, options, baseline."""
    try:
        finished, comparison = _train(channel, arguments)
    except (CoralLearnError, ServiceError) as error:
        channel.send(("failed", getattr(error, "code", "training_failed"), str(error)))
    except MemoryError:
        channel.send(("failed", "out_of_memory", "there was not enough memory to train on all examples"))
    else:
        channel.send(("finished", finished, comparison))


def _train(channel, arguments: Dict[str, Any]):
    options = TrainOptions.from_dict(arguments["options"])
    material, disabled = _read_material(arguments["space"].folder, arguments["extractor"], arguments["size"])
    if not material.ids:
        raise TooFewExamples("there is nothing to train on: no class that is enabled has examples")
    split = stratified_split(material.labels, options.held_out, options.seed, material.groups)
    train, held_out = material.pick(split.train), material.pick(split.held_out)
    workshop = Workshop(Recipe(options.head, arguments["size"], arguments["mean"], options.softmax), arguments["rates"])

    choice = search = None
    if options.head == AUTO:
        choice = workshop.choose(train, options.seed, _share(channel, 0.0, 0.25))
    if workshop.recipe.kind == SoftmaxHead.kind and options.search_seconds:
        search = workshop.search(train, options, _share(channel, 0.25, 0.4))
    measurable = workshop.make(train, _epochs(channel, 0.4, 0.6))
    evaluation = evaluate(measurable.head, held_out.embeddings, held_out.labels)
    metrics = {"held_out_accuracy": evaluation.accuracy, "held_out_examples": evaluation.examples}
    if disabled["classes"]:
        metrics.update(disabled_classes=len(disabled["classes"]), disabled_examples=disabled["examples"])
    channel.send(("progress", 0.6, metrics))
    baseline = _baseline(workshop, arguments["baseline"], train, held_out)
    made = workshop.make(material, _epochs(channel, 0.6, 0.8))
    channel.send(("progress", 0.8, {}))

    report = {
        "head": workshop.recipe.kind,
        "options": dict(options.as_dict(), softmax=dict(workshop.recipe.softmax._asdict())),
        "choice": None if choice is None else choice.as_dict(),
        "search": None if search is None else search.as_dict(),
        "examples": {
            "all": len(material.ids),
            "trained_before_measuring": len(train.ids),
            "held_out": len(held_out.ids),
        },
        "disabled": disabled,
        "measured_on": _MEASURED_ON,
        "held_out": measured(evaluation, held_out.ids, held_out.labels),
        "calibration": made.calibrated.as_dict(),
        "history": measurable.history.as_rows(),
        "findings": workshop.findings(material, made, measurable.history),
        "baseline": baseline,
    }
    folder, head = Path(arguments["version_folder"]), made.head
    write_version(folder, head, material.ids, report, arguments["space"].must_have_room)
    finished = FinishedModel(
        str(folder), head.kind, arguments["extractor"], len(head.classes), len(material.ids), evaluation.accuracy
    )
    return tuple(finished), baseline


def _read_material(data_folder: Path, extractor: str, size: int) -> Tuple[Material, Dict[str, Any]]:
    """What to train on, and what is left out because its class is disabled: the classes' numbers, how many examples."""
    database = Database(database_path(data_folder))
    try:
        disabled = {one.id: one.examples for one in Classes(database).all() if not one.enabled}
        examples = Examples(database)
        outline = examples.outline(extractor)
        rows = [row for row, class_id in zip(outline.rows, outline.classes) if class_id not in disabled]
        ids, labels, groups = [], [], []
        embeddings = np.empty((len(rows), size), np.float32)  # filled as they are read: there may be room for one only
        found = (one for some in examples.learnt_in_rows(extractor, rows) for one in some)
        for one in found:
            if one.class_id in disabled:  # by now
                continue
            embeddings[len(ids)] = one.embedding
            ids.append(one.id)
            labels.append(one.class_id)
            groups.append(one.capture)
    finally:
        database.close()
    material = Material(ids, labels, embeddings[: len(ids)], groups)
    return material, {"classes": list(disabled), "examples": sum(disabled.values())}


def _baseline(workshop: Workshop, recipe: Dict[str, Any], train: Material, held_out: Material) -> Dict[str, Any]:
    """How the recipe that answers now does on the same held-out examples."""
    known = train
    if recipe["examples"] is not None:
        seen = set(recipe["examples"])
        known = train.pick(index for index, example in enumerate(train.ids) if example in seen)
    now = workshop.recipe._replace(kind=recipe["head"], softmax=SoftmaxOptions(**recipe["softmax"]))
    evaluation = NO_EVALUATION
    if len(set(known.labels)) >= now.least_classes:
        head = now.make(known.embeddings, known.labels)
        evaluation = evaluate(head, held_out.embeddings, held_out.labels)
    return {"version": recipe["version"], "head": recipe["head"], "accuracy": evaluation.accuracy}


def _share(channel, start: float, end: float):
    def report(share: float) -> None:
        channel.send(("progress", start + (end - start) * share, {}))

    return report


def _epochs(channel, start: float, end: float):
    def report(epoch: EpochReport) -> None:
        share = start + (end - start) * epoch.epoch / epoch.epochs
        metrics = {field: getattr(epoch, field) for field in _SHOWN}
        channel.send(("progress", share, metrics))

    return report
