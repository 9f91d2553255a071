"""The learning core in figures: speed side by side in one run, and accuracy on folders of pictures.

    .venv/bin/python tests/benchmarks/learning.py [speed] [scale] [accuracy] [kept] [--pictures FOLDER]
        [--old FOLDER] [--model FILE] [--splits 20]

Without a word all parts run. FOLDER holds a folder a class with at least 30 pictures each (default:
../shared/data/objects20 beside the repository); --old a folder of pictures whose names begin with
the number of one of the model's pre-trained classes (default: ../shared/data/imagenet500).
Embeddings are cached in build/embeddings.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from coral_learn import image  # noqa: E402
from coral_learn.augment import Augmentation  # noqa: E402
from coral_learn.embedding_cache import EmbeddingCache  # noqa: E402
from coral_learn.extractor import Extractor  # noqa: E402
from coral_learn.heads import EmbeddingPipeline, ImprintingHead, LinearDiscriminantHead, SoftmaxHead  # noqa: E402
from coral_learn.training import (  # noqa: E402
    INCREMENTAL,
    KINDS,
    EpochReport,
    HeldOut,
    Recipe,
    SoftmaxOptions,
    auroc,
    calibrate,
    evaluate,
    fit_softmax,
    make_calibrated,
)

SHOTS = (1, 2, 5, 10, 20)
TEST = 10
PARTS = ("speed", "scale", "accuracy", "kept")
TEXTBOOK_RATES = (0.001, 0.003, 0.01, 0.03, 0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--pictures", type=Path, default=ROOT.parent / "shared" / "data" / "objects20")
    parser.add_argument("--old", type=Path, default=ROOT.parent / "shared" / "data" / "imagenet500")
    parser.add_argument("--model", help="extractor, .tflite (default: the bundled one)")
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.one:
        learn_one_scale(wanted.one[0], int(wanted.one[1]), int(wanted.one[2]))
        return
    parts = wanted.parts or PARTS
    if "speed" in parts:
        speed_of_training()
        speed_of_lessons()
    if "scale" in parts:
        scale()
    if "accuracy" in parts or "kept" in parts:
        if not wanted.pictures.is_dir():
            raise SystemExit(f"no folder {wanted.pictures}; name one with --pictures")
        cache = EmbeddingCache(Extractor(wanted.model), ROOT / "build" / "embeddings")
        if "accuracy" in parts:
            accuracy(Pictures(cache, wanted.pictures), wanted.splits)
        if "kept" in parts:
            kept(Pictures(cache, wanted.pictures), wanted.old, wanted.splits)


# -- speed ----------------------------------------------------------------------------------------


def speed_of_training() -> None:
    """Softmax training beside the textbook's loop, at the best of five learning rates for the latter."""
    print("Training on 1024-d embeddings, batches of 100, 500 steps; held-out loss on 500 more")
    for count in (256, 1024):
        for classes in (4, 16):
            material = overlapping(count, classes)
            rate, target, reached, step = min(
                (textbook(*material, rate) for rate in TEXTBOOK_RATES), key=lambda t: t[1]
            )
            ours, our_step = own_training(*material[:4], target)
            text = "not reached" if ours is None else f"{reached / ours:.1f} times as fast"
            print(
                f"  {count:4d} examples, {classes:2d} classes: {text} to the textbook's best loss {target:.3f} "
                f"(its rate {rate:g}); a step takes {our_step / step:.2f} of the textbook's"
            )


def overlapping(count: int, classes: int):
    """Examples whose classes overlap, so that the held-out loss has a bottom."""
    random = np.random.RandomState(0)
    middles = random.uniform(0, 2, (classes, 1024))

    def draw(number):
        labels = random.randint(0, classes, number)
        return np.maximum(middles[labels] + random.normal(0, 6, (number, 1024)), 0).astype(np.float32), labels

    return draw(count) + draw(500) + (classes,)


def textbook(rows, labels, check, check_labels, classes, rate):
    """Choice, forward, softmax, backward, update. Returns (rate, lowest loss, seconds to it, seconds a step)."""
    random = np.random.RandomState(0)
    weights, biases = random.normal(0, 0.01, (rows.shape[1], classes)), np.zeros(classes)
    spent, log = 0.0, []
    for _ in range(500):
        started = time.perf_counter()
        chosen = random.choice(len(rows), 100)
        scores = rows[chosen] @ weights + biases
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        scores /= scores.sum(axis=1, keepdims=True)
        scores[np.arange(100), labels[chosen]] -= 1
        scores /= 100
        weights -= rate * rows[chosen].T @ scores
        biases -= rate * scores.sum(axis=0)
        spent += time.perf_counter() - started
        logits = check @ weights + biases
        logits -= logits.max(axis=1, keepdims=True)
        own = logits[np.arange(len(check)), check_labels]
        log.append((spent, float((np.log(np.exp(logits).sum(axis=1)) - own).mean())))
    lowest = min(loss for _, loss in log)
    return rate, lowest, next(at for at, loss in log if loss <= lowest), spent / 500


def own_training(rows, labels, check, check_labels, target):
    """Seconds to the textbook's loss (None: never), everything included, and seconds a step."""
    reached, last = [], []
    started = time.perf_counter()

    def note(report: EpochReport) -> None:
        last.append((report.step, time.perf_counter() - started))
        if report.held_out_loss is not None and report.held_out_loss <= target:
            reached.append(last[-1][1])

    options = SoftmaxOptions(batch_size=100, patience=0, epochs=500 // -(-len(rows) // 100))
    pipeline = EmbeddingPipeline(rows.shape[1])
    fit_softmax(pipeline, rows, labels.tolist(), options, note, held_out=HeldOut(check, check_labels.tolist()))
    started = time.perf_counter()
    fit_softmax(pipeline, rows, labels.tolist(), options, note)
    step, seconds = last[-1]
    return (reached[0] if reached else None), seconds / step


def speed_of_lessons() -> None:
    """What a lesson costs beside the embedding of its picture."""
    extractor, random = Extractor(), np.random.RandomState(0)
    picture = random.randint(0, 256, (480, 640, 3)).astype(np.uint8)
    extractor.embed(picture)
    embedding = seconds(lambda: extractor.embed(picture), 20)
    size, labels = extractor.info.embedding_size, [number % 100 for number in range(500)]
    rows = random.uniform(0, 2, (500, size)).astype(np.float32)
    print(f"Lessons, 100 classes, {size}-d; an embedding is 1")
    for kind, head_class in INCREMENTAL.items():
        head = head_class.suited(size)
        head.learn_many(rows, labels)
        head.logits(rows[0])
        one = seconds(lambda head=head: head.learn_one(rows[0], 0), 20)

        def lesson_and_answer(head=head):
            head.learn_one(rows[0], 0)
            head.logits(rows[1])

        both, answer = seconds(lesson_and_answer, 20), seconds(lambda head=head: head.logits(rows[1]), 50)
        print(
            f"  {kind:10s} a lesson {one / embedding:.3f}, lesson and next answer {both / embedding:.3f}, "
            f"an answer {answer / embedding:.3f}"
        )
    head = LinearDiscriminantHead.suited(size)
    head.learn_many(rows, labels)
    solving = seconds(lambda: (head.merge(0, 0), head.logits(rows[0])), 3)
    print(f"  lda        solving anew {solving / embedding:.1f}")
    fresh = ImprintingHead.suited(size)
    whole = seconds(lambda: [fresh.learn_one(row, label) for row, label in zip(rows[:200], labels)], 1)
    print(f"  200 lessons of imprinting take {whole / (200 * embedding):.2%} of the time of their embeddings")


def seconds(action, times: int) -> float:
    """The median time of an action."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        action()
        taken.append(time.perf_counter() - started)
    return float(np.median(taken))


# -- scale ----------------------------------------------------------------------------------------


def scale() -> None:
    """Each head at growing numbers, in a process of its own: seconds and peak memory."""
    print("Scale, 1280-d: seconds to learn all, first answer, an answer; peak memory above numpy and the embeddings")
    for kind in KINDS:
        for examples, classes in ((10000, 100), (100000, 100), (100000, 1000)):
            command = [sys.executable, __file__, "--one", kind, str(examples), str(classes)]
            print(
                "  " + subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode().strip(), flush=True
            )


def learn_one_scale(kind: str, examples: int, classes: int) -> None:
    """One line of the table."""
    random = np.random.RandomState(0)
    middles = random.uniform(0, 2, (classes, 1280)).astype(np.float32)
    labels = random.randint(0, classes, examples)
    rows = np.empty((examples, 1280), np.float32)
    for start in range(0, examples, 1000):
        some = slice(start, start + 1000)
        rows[some] = middles[labels[some]] + random.normal(0, 0.5, (len(labels[some]), 1280))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    if kind == SoftmaxHead.kind:
        head = Recipe(kind, 1280, None, SoftmaxOptions(epochs=5)).make(rows, labels.tolist())
    else:
        head = INCREMENTAL[kind].suited(1280)
        for start in range(0, examples, 1000):
            head.learn_many(rows[start : start + 1000], labels[start : start + 1000].tolist())
    learnt = time.perf_counter()
    head.logits(rows[0])
    first = time.perf_counter() - learnt
    answer = seconds(lambda: head.logits(rows[1]), 10)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    note = " (5 epochs)" if kind == SoftmaxHead.kind else ""
    print(
        f"{kind:10s} {examples:6d} examples, {classes:4d} classes: {learnt - started:6.1f} s{note}, "
        f"{first * 1000:6.0f} ms, {answer * 1000:5.1f} ms; {peak:4.0f} MB"
    )


# -- accuracy -------------------------------------------------------------------------------------


class Pictures:
    """Embeddings of a folder of classes. labels : (N,) class numbers; of : {variation: (N, 1 + copies, D)}."""

    def __init__(self, cache: EmbeddingCache, folder: Path):
        self.names = sorted(path.name for path in folder.iterdir() if path.is_dir())
        self._files = [
            (number, file) for number, name in enumerate(self.names) for file in sorted((folder / name).iterdir())
        ]
        self.labels = np.array([number for number, _ in self._files])
        self.cache = cache
        self.mean = cache.extractor.manifest.mean_embedding
        self.pretrained, self.radius = cache.extractor.manifest.pretrained(), cache.extractor.manifest.radius
        self.plain = self.varied(None)[:, 0]

    def varied(self, augmentation) -> np.ndarray:
        """Embeddings with variations behind them."""
        return np.stack([embed(self.cache, file, augmentation) for _, file in self._files])

    def split(self, seed: int, shots: int):
        """Indices to teach and to test with: as many of each class."""
        random, teach, test = np.random.RandomState(seed), [], []
        for number in range(len(self.names)):
            order = random.permutation(np.flatnonzero(self.labels == number))
            test.extend(order[:TEST])
            teach.extend(order[TEST : TEST + shots])
        return np.array(teach), np.array(test)


def embed(cache: EmbeddingCache, file: Path, augmentation=None) -> np.ndarray:
    return cache.embed(image.decode(file.read_bytes()), augmentation)


def accuracy(pictures: Pictures, splits: int) -> None:
    """Tables over random splits: mean and standard deviation, in per cent."""
    size, mean = pictures.plain.shape[1], pictures.mean
    print(f"{len(pictures.names)} classes, {splits} splits, {TEST} test pictures a class; per cent right (spread)")
    print(f"  {'':34s}" + "".join(f"{shots:>13d}" for shots in SHOTS))
    for kind in KINDS:
        table_row(pictures, splits, f"{kind}, as it is by default", Recipe(kind, size, mean))
    for kind in ("imprinting", "lda", "softmax"):
        for title, middle in (("not centred", None), ("centred", mean)):
            for power in (1.0, 0.75, 0.5):
                table_row(pictures, splits, f"{kind}, {title}, power {power:g}", PlainRecipe(kind, size, middle, power))
    varied = pictures.varied(Augmentation(("crop", "mirror"), 2))
    for kind in ("imprinting", "lda", "softmax"):
        table_row(pictures, splits, f"{kind}, crops and mirrored", Recipe(kind, size, mean), varied)
    glorot = SoftmaxOptions(initial="glorot")
    table_row(pictures, splits, "softmax, Glorot's initial weights", Recipe("softmax", size, mean, glorot))
    print("Calibration error of the scores, per cent (all classes taught)")
    for kind in KINDS:
        print(f"  {kind:34s}" + "".join(f"{100 * calibration(pictures, kind, s, splits):13.1f}" for s in SHOTS[1:]))
    print("Half the classes taught, half of them strangers: AUROC; at a false-accept rate of 5 per cent:")
    print("strangers that got a class, and taught ones that got none")
    for kind in KINDS:
        for shots in SHOTS[1:]:
            area, accepted, refused = strangers(pictures, kind, shots, splits)
            print(f"  {kind:10s} {shots:2d} a class: {area:.3f}   {accepted:.1%} accepted   {refused:.1%} refused")


class PlainRecipe:
    """A recipe with another pipeline than the one that suits its head."""

    def __init__(self, kind, size, mean, power):
        self._kind, self._pipeline = kind, EmbeddingPipeline(size, mean, power)

    def make(self, embeddings, labels):
        if self._kind == SoftmaxHead.kind:
            return fit_softmax(self._pipeline, embeddings, labels)
        head = INCREMENTAL[self._kind](self._pipeline)
        head.learn_many(embeddings, labels)
        return head


def table_row(pictures: Pictures, splits: int, title: str, recipe, varied=None) -> None:
    cells = []
    for shots in SHOTS:
        shares = []
        for seed in range(splits):
            teach, test = pictures.split(seed, shots)
            rows, labels = pictures.plain[teach], pictures.labels[teach]
            if varied is not None:
                rows, labels = varied[teach].reshape(-1, rows.shape[1]), np.repeat(labels, varied.shape[1])
            head = recipe.make(rows, labels.tolist())
            shares.append(100 * evaluate(head, pictures.plain[test], pictures.labels[test].tolist()).accuracy)
        cells.append(f"{np.mean(shares):7.1f} ({np.std(shares):3.1f})")
    print(f"  {title:34s}" + "".join(cells), flush=True)


def calibration(pictures: Pictures, kind: str, shots: int, splits: int) -> float:
    errors = []
    for seed in range(splits):
        teach, test = pictures.split(seed, shots)
        recipe = Recipe(kind, pictures.plain.shape[1], pictures.mean)
        head = make_calibrated(recipe, pictures.plain[teach], pictures.labels[teach].tolist()).head
        errors.append(evaluate(head, pictures.plain[test], pictures.labels[test].tolist()).calibration_error)
    return float(np.mean(errors))


def strangers(pictures: Pictures, kind: str, shots: int, splits: int):
    figures = []
    for seed in range(splits):
        teach, test = pictures.split(seed, shots)
        taught = np.random.RandomState(seed).permutation(len(pictures.names))[: len(pictures.names) // 2]
        teach, known = teach[np.isin(pictures.labels[teach], taught)], np.isin(pictures.labels[test], taught)
        recipe = Recipe(kind, pictures.plain.shape[1], pictures.mean)
        head = make_calibrated(recipe, pictures.plain[teach], pictures.labels[teach].tolist()).head
        familiar = head.familiarity(pictures.plain[test])
        accepted = familiar >= head.calibration.threshold
        figures.append((auroc(familiar[known], familiar[~known]), accepted[~known].mean(), 1 - accepted[known].mean()))
    return np.mean(figures, axis=0)


# -- kept classes ---------------------------------------------------------------------------------


def kept(pictures: Pictures, folder: Path, splits: int) -> None:
    """Pre-trained classes beside taught ones."""
    if pictures.pretrained is None or not folder.is_dir():
        raise SystemExit("keeping classes needs a model with pre-trained classes, and pictures of them (--old)")
    files = sorted(folder.iterdir())
    old = np.stack([embed(pictures.cache, file)[0] for file in files])
    numbers = np.array([int(file.name[:4]) for file in files])
    layer = pictures.pretrained
    own = ((old @ layer.weights.T + layer.biases).argmax(axis=1) == numbers).mean()
    count = len(layer.names)
    print(f"{count} pre-trained classes beside {len(pictures.names)} taught ones; the model's own layer: {own:.1%}")
    for shots in SHOTS:
        figures = []
        for seed in range(splits):
            teach, test = pictures.split(seed, shots)
            recipe = Recipe("imprinting", pictures.plain.shape[1], pictures.mean)
            labels = (count + pictures.labels[teach]).tolist()
            alone = recipe.make(pictures.plain[teach], labels)
            both = ImprintingHead.suited(pictures.plain.shape[1], pictures.mean)
            both.keep(layer.weights, list(range(count)), layer.biases, pictures.radius)
            both.learn_many(pictures.plain[teach], labels)
            calibrate(both, pictures.plain[teach], labels)
            truth = (count + pictures.labels[test]).tolist()
            figures.append(
                (
                    evaluate(both, old, numbers.tolist()).accuracy,
                    evaluate(both, pictures.plain[test], truth).accuracy,
                    evaluate(alone, pictures.plain[test], truth).accuracy,
                )
            )
        kept_right, taught_right, alone_right = np.mean(figures, axis=0)
        print(f"  {shots:2d} a class: old {kept_right:.1%}, new {taught_right:.1%} (new ones alone {alone_right:.1%})")


if __name__ == "__main__":
    main()
