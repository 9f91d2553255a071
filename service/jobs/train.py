"""What the process of a training job does: read embeddings, measure, train, write a version folder.

Measured is a head that saw the training part only; kept is one trained on everything. The model
that answers now is measured the same way beside it: its recipe, trained on those of the training
part that it knew, answers the same held-out examples. So neither has seen them.

On the channel: ("progress", share, metrics), then ("finished", FinishedModel, comparison) or
("failed", code, text).
"""

import math
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np

from coral_learn.errors import CoralLearnError
from coral_learn.heads import EmbeddingPipeline, Head, ImprintingHead, SoftmaxHead
from coral_learn.training import EpochReport, Evaluation, SoftmaxOptions, evaluate, fit_softmax, stratified_split
from service.errors import ServiceError
from service.jobs.options import TrainOptions
from service.store.database import Database
from service.store.examples import Examples
from service.store.models import FinishedModel, write_version
from service.store.store import database_path


class Material(NamedTuple):
    """The examples to train on: ids, classes' numbers, embeddings (N, D), capture groups."""

    ids: List[str]
    labels: List[int]
    embeddings: np.ndarray
    groups: List[Optional[str]]

    def pick(self, indices) -> "Material":
        """Some of them."""
        chosen = list(indices)
        return Material(
            [self.ids[i] for i in chosen],
            [self.labels[i] for i in chosen],
            self.embeddings[chosen],
            [self.groups[i] for i in chosen],
        )


def run(channel, arguments: Dict[str, Any]) -> None:
    """Do one job. arguments : data_folder, version_folder, extractor, mean, options, baseline."""
    try:
        finished, comparison = _train(channel, arguments)
    except (CoralLearnError, ServiceError) as error:
        channel.send(("failed", getattr(error, "code", "training_failed"), str(error)))
    except MemoryError:
        channel.send(("failed", "out_of_memory", "there is not enough memory to train on all examples"))
    else:
        channel.send(("finished", finished, comparison))


def _train(channel, arguments: Dict[str, Any]):
    options = TrainOptions.from_dict(arguments["options"])
    material = _read_material(Path(arguments["data_folder"]), arguments["extractor"], arguments["size"])
    pipeline = EmbeddingPipeline(arguments["size"], arguments["mean"])
    split = stratified_split(material.labels, options.held_out, options.seed, material.groups)
    train, held_out = material.pick(split.train), material.pick(split.held_out)

    measured = _fit(pipeline, options.head, train, options.softmax, _reporter(channel, 0.0, 0.5))
    evaluation = evaluate(measured, held_out.embeddings, held_out.labels)
    channel.send(
        ("progress", 0.5, {"held_out_accuracy": evaluation.accuracy, "held_out_examples": evaluation.examples})
    )
    baseline = _baseline(pipeline, arguments["baseline"], train, held_out)
    head = _fit(pipeline, options.head, material, options.softmax, _reporter(channel, 0.5, 0.95))

    report = {
        "head": options.head,
        "options": options.as_dict(),
        "examples": {
            "all": len(material.ids),
            "trained_before_measuring": len(train.ids),
            "held_out": len(held_out.ids),
        },
        "held_out": evaluation.as_dict(),
        "baseline": baseline,
    }
    folder = Path(arguments["version_folder"])
    write_version(folder, head, material.ids, report)
    finished = FinishedModel(
        str(folder), options.head, arguments["extractor"], len(head.classes), len(material.ids), evaluation.accuracy
    )
    return tuple(finished), baseline


def _read_material(data_folder: Path, extractor: str, size: int) -> Material:
    database = Database(database_path(data_folder))
    try:
        rows = list(Examples(database).learnt(extractor))
    finally:
        database.close()
    embeddings = np.array([row.embedding for row in rows], np.float32).reshape(len(rows), size)
    return Material([row.id for row in rows], [row.class_id for row in rows], embeddings, [row.capture for row in rows])


def _fit(pipeline: EmbeddingPipeline, kind: str, material: Material, softmax: SoftmaxOptions, on_epoch=None) -> Head:
    if kind == SoftmaxHead.kind:
        return fit_softmax(pipeline, material.embeddings, material.labels, softmax, on_epoch)
    head = ImprintingHead(pipeline)
    if material.labels:
        head.learn_many(material.embeddings, material.labels)
    return head


def _baseline(pipeline, recipe: Dict[str, Any], train: Material, held_out: Material) -> Dict[str, Any]:
    """How the recipe that answers now does on the same held-out examples."""
    known = train
    if recipe["examples"] is not None:
        seen = set(recipe["examples"])
        known = train.pick(index for index, example in enumerate(train.ids) if example in seen)
    enough = len(set(known.labels)) >= (2 if recipe["head"] == SoftmaxHead.kind else 1)
    evaluation = Evaluation(0, None, None, [], [], [])
    if enough:
        head = _fit(pipeline, recipe["head"], known, SoftmaxOptions(**recipe["softmax"]))
        evaluation = evaluate(head, held_out.embeddings, held_out.labels)
    return {"version": recipe["version"], "head": recipe["head"], "accuracy": evaluation.accuracy}


def _reporter(channel, start: float, end: float):
    def report(epoch: EpochReport) -> None:
        share = start + (end - start) * epoch.epoch / epoch.epochs
        # JSON has no NaN; training that diverges is told apart at its end.
        loss = epoch.loss if math.isfinite(epoch.loss) else None
        metrics = {"epoch": epoch.epoch, "epochs": epoch.epochs, "loss": loss, "accuracy": epoch.accuracy}
        channel.send(("progress", share, metrics))

    return report
