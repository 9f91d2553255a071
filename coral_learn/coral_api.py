"""Coral's on-device learning API: scripts for it run here by changing their imports.

`ImprintingEngine` is what `pycoral.learn.imprinting.engine` offers, `SoftmaxRegression` what
`pycoral.learn.backprop.softmax_regression` does: the same names, arguments, rules and kinds of errors
(https://coral.ai/docs/reference/py). Neither runs a model: embeddings come from your interpreter.
"""

import base64
import binascii
import io
import zipfile
import zlib
from abc import ABC, abstractmethod
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

from coral_learn.errors import (
    ClassNameInvalid,
    ClassPretrained,
    ClassUnknown,
    EmbeddingMismatch,
    ModelFormatError,
    NothingLearnt,
    OptionError,
    TooFewExamples,
    TrainingDiverged,
)
from coral_learn.export import layer_of, write_layer
from coral_learn.heads import EmbeddingPipeline, ImprintingHead, load_head
from coral_learn.heads.pipeline import check_embeddings
from coral_learn.manifest import Manifest
from coral_learn.tflite_file import (
    ImprintingTail,
    Layer,
    TfliteModel,
    add_labels,
    cut,
    find_imprinting_tail,
    read_head,
    replace_classes,
)
from coral_learn.training.fit import loss_and_gradients

_UNTRAINED = "Model is not trained."  # Coral's words: scripts look for them
_LARGEST = 1e18  # far from where float32 ends, and from any use
_MAKER = "coral-learn imprinting engine"
# What reading a damaged archive of arrays may raise.
_UNREADABLE = (
    AttributeError,
    EOFError,
    KeyError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    binascii.Error,
    zipfile.BadZipFile,
    zlib.error,
)


class ImprintingEngine:
    """Weight imprinting on a .tflite file.

    model_path : a model in Coral's imprinting form (L2_NORMALIZATION [QUANTIZE] CONV_2D MUL RESHAPE
        SOFTMAX at its end), a plain extractor whose output is an embedding, or what
        `serialize_model` made; as it is or compiled for the Edge TPU
    keep_classes : go on with the classes of the model; those taught with this engine can be taught
        more, pre-trained ones can't be changed

    Raises `ModelFileMissing` or `ModelFormatError`, both of them a ValueError.
    """

    def __init__(self, model_path, keep_classes: bool = False):
        model = TfliteModel.read(model_path)
        tail = find_imprinting_tail(model)
        saved = _read_saved(model.data)
        if tail is not None:
            self._form: _Form = _CoralForm(model, tail, keep_classes, saved)
        elif saved is not None:
            self._form = _PlainForm.of_saved(model, saved, keep_classes)
        else:
            self._form = _PlainForm.of_extractor(model, model_path)

    @property
    def embedding_dim(self) -> int:
        """D, the length of an embedding."""
        return self._form.head.pipeline.size

    @property
    def num_classes(self) -> int:
        """Classes, pre-trained ones included; the next free class id."""
        return self._form.kept + len(self._form.head.classes)

    def serialize_extractor_model(self) -> bytes:
        """The model that gives the embeddings to train with."""
        return self._form.extractor()

    def serialize_model(self) -> bytes:
        """The model that gives a score for each class. Raises RuntimeError before anything was trained."""
        if not self.num_classes:
            raise NothingLearnt(_UNTRAINED)
        return self._form.classifier([str(number) for number in range(self.num_classes)])

    def train(self, embedding: np.ndarray, class_id: int) -> None:
        """Teach one embedding, (D,), of a class: one taught before, or the next free number.

        Raises `EmbeddingMismatch`, `ClassPretrained`, `ClassUnknown` or `ClassNameInvalid`, each of them a ValueError.
        """
        if isinstance(class_id, bool) or not isinstance(class_id, (int, np.integer)):
            raise ClassNameInvalid(f"a class id is a whole number, got {class_id!r}")
        if 0 <= class_id < self._form.kept:
            raise ClassPretrained(f"the class {class_id} is pre-trained and can't be changed")
        if not 0 <= class_id <= self.num_classes:
            raise ClassUnknown(
                f"a class id is one that was taught or the next free one, {self.num_classes}; got {class_id}"
            )
        try:
            flat = np.reshape(embedding, -1)
        except ValueError as error:
            raise EmbeddingMismatch(f"an embedding has {self.embedding_dim} numbers: {error}") from error
        self._form.head.learn_one(flat, int(class_id))


class _Form(ABC):
    """How classes lie in a file. head : the classes taught, by id; kept : how many pre-trained ones come first."""

    def __init__(self, head: ImprintingHead, kept: int):
        self.head, self.kept = head, kept

    @abstractmethod
    def extractor(self) -> bytes:
        """The model up to the embedding."""

    @abstractmethod
    def classifier(self, labels: List[str]) -> bytes:
        """The model with the classes of now, which can be loaded and taught on."""


class _CoralForm(_Form):
    """Class weights are the kernels of the CONV_2D behind the L2_NORMALIZATION."""

    def __init__(self, model: TfliteModel, tail: ImprintingTail, keep_classes: bool, saved: Optional[Dict[str, Any]]):
        size, kept, head = tail.weights.shape[1], 0, None
        if keep_classes:
            kept, head = len(tail.weights), None
            if saved is not None:
                head = _load_state(saved, size)
                kept -= len(head.classes)
                _must_be_ids(head, kept)
        super().__init__(head or ImprintingHead(EmbeddingPipeline(size)), kept)
        self._model, self._tail = model, tail

    def extractor(self) -> bytes:
        return cut(self._model.data, self._tail.embedding_tensor)

    def classifier(self, labels: List[str]) -> bytes:
        weights = np.concatenate([self._tail.weights[: self.kept], self.head.weights])
        return add_labels(replace_classes(self._model.data, weights), labels, head=_saved(self.head))


class _PlainForm(_Form):
    """A head of our own behind the output of an extractor."""

    def __init__(self, head: ImprintingHead, extractor: bytes):
        super().__init__(head, 0)
        self._extractor = extractor

    @classmethod
    def of_extractor(cls, model: TfliteModel, path) -> "_PlainForm":
        """A model whose only output is an embedding. Raises `ModelFormatError` for a whole classifier."""
        codes = [operator.code for operator in model.operators]
        if len(model.outputs) != 1 or "SOFTMAX" in codes[-3:]:
            raise ModelFormatError(
                "imprinting needs a model that ends in L2_NORMALIZATION, CONV_2D, MUL, RESHAPE and SOFTMAX, or an "
                f"extractor with one output, the embedding; this one has {len(model.outputs)} outputs and ends in "
                f"{', '.join(codes[-3:])}. `coral-learn models cut` makes an extractor of an image classifier"
            )
        size = model.tensor(model.outputs[0]).count
        return cls(ImprintingHead.suited(size, Manifest.of(path).mean_embedding), model.data)

    @classmethod
    def of_saved(cls, model: TfliteModel, saved: Dict[str, Any], keep_classes: bool) -> "_PlainForm":
        """What `serialize_model` made of an extractor."""
        output = saved.get("embedding_tensor")
        if isinstance(output, bool) or not isinstance(output, int):
            raise ModelFormatError(f"the model says its embedding is in the tensor {output!r}, which is no number")
        head = _load_state(saved, model.tensor(output).count)
        _must_be_ids(head, 0)
        pipeline = head.pipeline
        return cls(head if keep_classes else ImprintingHead(pipeline), cut(model.data, output))

    def extractor(self) -> bytes:
        return self._extractor

    def classifier(self, labels: List[str]) -> bytes:
        saved = _saved(self.head, TfliteModel(self._extractor).outputs[0])
        return write_layer(self._extractor, layer_of(self.head), labels, head=saved)


def _saved(head: ImprintingHead, embedding_tensor: Optional[int] = None) -> Dict[str, Any]:
    """What is written into a model beside its weights, so that teaching can go on."""
    file = io.BytesIO()
    np.savez_compressed(file, **head.state())
    state = base64.b64encode(file.getvalue()).decode("ascii")
    return {"maker": _MAKER, "head": head.kind, "embedding_tensor": embedding_tensor, "state": state}


def _read_saved(data: bytes) -> Optional[Dict[str, Any]]:
    saved = read_head(data)
    return saved if saved is not None and saved.get("maker") == _MAKER else None


def _load_state(saved: Dict[str, Any], size: int) -> ImprintingHead:
    try:
        content = base64.b64decode(saved["state"], validate=True)
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            head = load_head(dict(arrays))
    except _UNREADABLE as error:
        raise ModelFormatError(f"what was taught can't be read from the model: {error}") from error
    if not isinstance(head, ImprintingHead) or head.pipeline.size != size:
        raise ModelFormatError("what was taught doesn't fit the model it is kept in")
    return head


def _must_be_ids(head: ImprintingHead, first: int) -> None:
    if first < 0 or head.kept or head.classes != list(range(first, first + len(head.classes))):
        raise ModelFormatError("the taught classes kept in the model are not its class ids")


class SoftmaxRegression:
    """A fully-connected layer with softmax, trained by gradient descent on embeddings.

    feature_dim : D, the length of an embedding; num_classes : C
    weight_scale : deviation of the random weights at the start; reg : factor of half the squared
        weights in the loss; seed : of the weights and of the batches

    Raises `OptionError`, a ValueError.
    """

    def __init__(
        self,
        feature_dim: Optional[int] = None,
        num_classes: Optional[int] = None,
        weight_scale: float = 0.01,
        reg: float = 0.0,
        seed: int = 0,
    ):
        self.feature_dim = _whole("feature_dim", feature_dim, 1)
        self.num_classes = _whole("num_classes", num_classes, 1)
        self.reg = _number("reg", reg)
        self._random = np.random.RandomState(_whole("seed", seed, 0, 2**32 - 1))
        scale = _number("weight_scale", weight_scale)
        weights = self._random.normal(size=(self.feature_dim, self.num_classes)) * scale
        # Coral's names: (D, C) and (C,), for who looks into them.
        self.params = {"mat_w": weights.astype(np.float32), "vec_b": np.zeros(self.num_classes, np.float32)}
        self._trained = False

    def get_loss(self, mat_x: np.ndarray, labels: Sequence[int]) -> Tuple[float, Dict[str, np.ndarray]]:
        """Loss and its gradients, {"mat_w": (D, C), "vec_b": (C,)}, on (N, D) embeddings of N class ids."""
        rows, targets = self._check(mat_x, labels, "data")
        loss, weights, biases, _ = loss_and_gradients(*self._layer(), rows, targets, np.ones(len(rows), "f4"), self.reg)
        return loss, {"mat_w": weights, "vec_b": biases}

    def run_inference(self, mat_x: np.ndarray) -> Union[int, np.ndarray]:
        """The id of the likeliest class for one embedding (D,), or an array of ids (N,) for (N, D)."""
        weights, biases = self._layer()
        ids = (check_embeddings(mat_x, self.feature_dim) @ weights + biases).argmax(axis=1)
        return ids if np.ndim(mat_x) == 2 else ids[0]

    def get_accuracy(self, mat_x: np.ndarray, labels: Sequence[int]) -> float:
        """Share of (N, D) embeddings given their class id, 0..1."""
        rows, targets = self._check(mat_x, labels, "data")
        return float((self.run_inference(rows) == targets).mean())

    def train_with_sgd(
        self,
        data: Dict[str, np.ndarray],
        num_iter: int,
        learning_rate: float,
        batch_size: int = 100,
        print_every: int = 100,
    ) -> None:
        """Train by mini-batches drawn at random.

        data : `data_train` (N, D) and `labels_train` (N,), `data_val` (M, D) and `labels_val` (M,)
        num_iter : steps; print_every : steps between lines on the standard output, 0 for none

        Raises `OptionError`, `EmbeddingMismatch`, `TooFewExamples`, each of them a ValueError, or
        `TrainingDiverged`, an ArithmeticError; then the weights are as they were before.
        """
        num_iter, batch_size = _whole("num_iter", num_iter, 1), _whole("batch_size", batch_size, 1)
        print_every, learning_rate = _whole("print_every", print_every, 0), _number("learning_rate", learning_rate)
        rows, targets = self._check(data.get("data_train"), data.get("labels_train"), "data_train")
        check = self._check(data.get("data_val"), data.get("labels_val"), "data_val")
        before = {name: array.copy() for name, array in self.params.items()}
        ones = np.ones(min(batch_size, len(rows)), np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # judged by the loss
            for step in range(num_iter):
                batch = self._random.randint(len(rows), size=len(ones))
                loss, *gradients, _ = loss_and_gradients(*self._layer(), rows[batch], targets[batch], ones, self.reg)
                for array, gradient in zip(self._layer(), gradients):
                    array -= np.float32(learning_rate) * gradient
                if not all(np.isfinite(array).all() for array in self._layer()):
                    self.params = before
                    raise TrainingDiverged(
                        f"training diverged in step {step}; try a learning rate below {learning_rate:g}"
                    )
                if print_every and step % print_every == 0:
                    train, val = self.get_accuracy(rows, targets), self.get_accuracy(*check)
                    print(f"step {step}: loss {loss:.4f}, accuracy {train:.4f} in training, {val:.4f} in validation")
        self._trained = True

    def serialize_model(self, in_model_path) -> bytes:
        """The extractor at this path with the trained layer behind it, plain or compiled for the Edge TPU.

        Raises RuntimeError before training, `ModelFileMissing` or `ModelFormatError`, both of them a ValueError.
        """
        if not self._trained:
            raise NothingLearnt(_UNTRAINED)
        weights, biases = self._layer()
        layer = Layer(weights.T, biases, normalize=False)
        labels = [str(number) for number in range(self.num_classes)]
        return write_layer(TfliteModel.read(in_model_path).data, layer, labels)

    def _layer(self) -> Tuple[np.ndarray, np.ndarray]:
        return self.params["mat_w"], self.params["vec_b"]

    def _check(self, mat_x, labels, name: str) -> Tuple[np.ndarray, np.ndarray]:
        """Embeddings (N, D) float32 and class ids (N,), or the error that says what is wrong with them."""
        if mat_x is None or labels is None or not np.size(labels):
            raise TooFewExamples(f"{name} has no examples")
        rows, targets = check_embeddings(mat_x, self.feature_dim), np.asarray(labels)
        if np.abs(rows).max() > _LARGEST:
            raise EmbeddingMismatch(f"the embeddings of {name} have numbers beyond {_LARGEST:g}")
        rows = rows.astype(np.float32)
        if targets.ndim != 1 or len(targets) != len(rows):
            raise TooFewExamples(f"{name} has {len(rows)} embeddings with labels of shape {targets.shape}")
        if targets.dtype.kind not in "iu" or targets.min() < 0 or targets.max() >= self.num_classes:
            raise OptionError(
                f"the labels of {name} are whole numbers from 0 to {self.num_classes - 1}, got {labels!r}"
            )
        return rows, targets.astype(np.int64)


def _whole(name: str, value, lowest: int, highest: int = 2**31 - 1) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not lowest <= value <= highest:
        raise OptionError(f"{name} must be a whole number from {lowest} to {highest}, got {value!r}")
    return int(value)


def _number(name: str, value) -> float:
    whole_or_not = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not whole_or_not or not 0 <= value <= _LARGEST:
        raise OptionError(f"{name} must be a number from 0 to {_LARGEST:g}, got {value!r}")
    return float(value)
