"""Taking the last layer off a classifier: what is left is an extractor."""

from typing import Dict, List, NamedTuple, Optional, Set

import numpy as np

from coral_learn.errors import ModelFormatError
from coral_learn.tflite_file.draft import Draft
from coral_learn.tflite_file.metadata import forget_labels
from coral_learn.tflite_file.model import TfliteModel
from coral_learn.tflite_file.subgraph import Operator

# Operators that may follow the last layer. Those with numbers of their own must have them constant.
_PLAIN_FOLLOWERS = ("RESHAPE", "SQUEEZE", "DEQUANTIZE", "QUANTIZE")
_ACTIVATIONS = ("SOFTMAX", "LOGISTIC")
_MAX_TAIL = 16  # operators behind it, and then some
_NEEDED = (
    "what can be cut off is a last FULLY_CONNECTED or 1 x 1 CONV_2D with constant weights, with nothing but "
    "RESHAPE, SQUEEZE, DEQUANTIZE, QUANTIZE, MUL or ADD by a constant, SOFTMAX or LOGISTIC behind it"
)


class LastLayer(NamedTuple):
    """activation(weights @ embedding + biases) are the classifier's scores.

    operator : the number of the operator; embedding_tensor : what goes into it
    weights : (C, D) float32; biases : (C,) float32; a MUL and an ADD behind the operator are worked in
    activation : "softmax", "logistic" or "none"
    """

    operator: int
    embedding_tensor: int
    weights: np.ndarray
    biases: np.ndarray
    activation: str


def find_last_layer(model: TfliteModel) -> LastLayer:
    """The last layer of an image classifier, whatever type its numbers are stored in.

    Raises `ModelFormatError` that says what is needed and what came.
    """
    search = _Search(model)
    try:
        return search.run()
    except ModelFormatError as error:
        raise ModelFormatError(f"the model has no last layer to cut off: {error}; {_NEEDED}") from error


def cut(model: bytes, tensor: Optional[int] = None) -> bytes:
    """A model that ends with the embedding: with what goes into the last layer, or with the given tensor.

    Operators that aren't needed for it go, and with them their constants; the numbers of tensors and
    buffers stay. A model with operators whose options aren't known here keeps the dead constants in its bytes.
    Outputs but this one go from the signatures, and the labels from the metadata. Raises `ModelFormatError`.
    """
    checked = TfliteModel(model)
    tensor = find_last_layer(checked).embedding_tensor if tensor is None else tensor
    kept = needed_operators(checked, tensor)
    draft = Draft(checked)
    draft.replace_first_output(tensor, others=False)
    draft.graph["operators"] = [draft.graph["operators"][operator.index] for operator in kept]
    drop_dead_constants(draft, kept)
    forget_labels(draft)
    drop_dead_end(draft, kept)
    return draft.write(compact=True)


def producers(model: TfliteModel) -> Dict[int, Operator]:
    """The operator that computes each tensor."""
    return {output: operator for operator in model.operators for output in operator.outputs}


def needed_operators(model: TfliteModel, tensor: int) -> List[Operator]:
    """The operators that must run for a tensor, in order. Raises `ModelFormatError` for one nothing computes."""
    made_by = producers(model)
    if tensor not in made_by:
        raise ModelFormatError(f"the model can't end with {model.tensor(tensor)}, no operator computes it")
    needed: Set[int] = set()
    waiting = [tensor]
    while waiting:
        operator = made_by.get(waiting.pop())
        if operator is not None and operator.index not in needed:
            needed.add(operator.index)
            waiting.extend(operator.inputs)
    return [operator for operator in model.operators if operator.index in needed]


def drop_dead_constants(draft: Draft, kept: List[Operator]) -> None:
    """Empty the buffers that only dropped operators of subgraph 0 read."""
    model = draft.model
    gone = {index for operator in model.operators for index in operator.inputs if index >= 0}
    alive = {index for operator in kept for index in operator.inputs + operator.outputs if index >= 0}
    others = [tensor for graph in model.subgraphs[1:] for tensor in graph.tensors]
    used = {model.tensor(index).buffer_index for index in set(range(len(model.graph.tensors))) - (gone - alive)}
    used.update(tensor.buffer_index for tensor in others)
    used.update(model.metadata.values())
    for index in {model.tensor(index).buffer_index for index in gone} - used:
        draft.fields["buffers"][index] = {}


def drop_dead_end(draft: Draft, kept: List[Operator]) -> None:
    """Take away the last tensors and buffers where nothing uses them; the numbers of others stay."""
    model = draft.model
    alive = {index for operator in kept for index in operator.inputs + operator.outputs}
    alive.update(model.inputs, draft.outputs)
    for signature in range(len(draft.fields["signature_defs"])):
        for side in ("inputs", "outputs"):
            maps = draft.table("signature_defs", signature).get(side)
            maps = model.flat.refs(maps) if maps is not None and not isinstance(maps, list) else maps or []
            tables = [one if isinstance(one, dict) else model.flat.fields(one) for one in maps]
            alive.update(table.get("tensor_index", 0) for table in tables)
    tensors, buffers = draft.graph["tensors"], draft.fields["buffers"]
    while len(tensors) - 1 > max(alive):
        tensors.pop()
    used = {model.tensor(index).buffer_index for index in range(len(tensors))}
    used.update(tensor.buffer_index for graph in model.subgraphs[1:] for tensor in graph.tensors)
    entries = [draft.table("metadata", index) for index in range(len(draft.fields["metadata"]))]
    used.update(entry.get("buffer", 0) for entry in entries)
    while len(buffers) - 1 > max(used):
        buffers.pop()


class _Search:
    """Walks from the output back to the last layer, collecting what its numbers are multiplied with."""

    def __init__(self, model: TfliteModel):
        self._model, self._made_by = model, producers(model)
        self._activation = "none"
        self._factor, self._added = np.ones(1, np.float32), np.zeros(1, np.float32)

    def run(self) -> LastLayer:
        if not self._model.outputs:
            raise ModelFormatError("it has no output")
        tensor = self._model.outputs[0]
        for _ in range(_MAX_TAIL):
            operator = self._made_by.get(tensor)
            if operator is None:
                break
            if operator.code in ("FULLY_CONNECTED", "CONV_2D"):
                return self._layer(operator)
            tensor = self._follow(operator)
        raise ModelFormatError(f"there is {self._model.tensor(tensor)}")

    def _follow(self, operator: Operator) -> int:
        """The tensor that an operator behind the last layer works on."""
        if operator.code in _ACTIVATIONS and self._activation == "none" and self._is_neutral():
            self._activation = operator.code.lower()
            if operator.code == "SOFTMAX":
                self._factor = np.float32([self._model.options(operator, "SoftmaxOptions").get("beta", 0)])
        elif operator.code in ("MUL", "ADD"):
            return self._follow_arithmetic(operator)
        elif operator.code not in _PLAIN_FOLLOWERS:
            raise ModelFormatError(f"there is {operator}")
        return _first_input(operator)

    def _is_neutral(self) -> bool:
        return bool((self._factor == 1).all() and (self._added == 0).all())

    def _follow_arithmetic(self, operator: Operator) -> int:
        model, inputs = self._model, operator.inputs
        constants = [index for index in inputs if index >= 0 and self._constant(index) is not None]
        if len(inputs) != 2 or len(constants) != 1 or _has_activation(model, operator):
            raise ModelFormatError(f"there is {operator}, not with one constant")
        value = self._constant(constants[0]).reshape(-1)
        # The search runs backwards: what is multiplied here works on what an ADD in front of it adds.
        if operator.code == "MUL":
            self._factor = _combine(self._factor, value, np.multiply)
        else:
            self._added = _combine(self._added, _combine(self._factor, value, np.multiply), np.add)
        return next(index for index in inputs if index != constants[0])

    def _layer(self, operator: Operator) -> LastLayer:
        model, embedding = self._model, _first_input(operator)
        weights = self._constant(operator.inputs[1]) if len(operator.inputs) > 1 and operator.inputs[1] >= 0 else None
        if weights is None or _has_activation(model, operator):
            raise ModelFormatError(f"{operator} has no constant weights, or an activation")
        rows = weights.reshape(len(weights), -1) if weights.size else np.zeros((0, 0), np.float32)
        if weights.ndim != (4 if operator.code == "CONV_2D" else 2) or rows.shape[1] != weights.shape[-1]:
            raise ModelFormatError(f"{operator} has weights of the shape {list(weights.shape)}")
        if not rows.size or model.tensor(embedding).count != rows.shape[1]:
            raise ModelFormatError(
                f"{operator} with {rows.shape[1]} weights a class works on {model.tensor(embedding)}"
            )
        return self._result(operator, embedding, rows, self._biases(operator, len(rows)))

    def _biases(self, operator: Operator, classes: int) -> np.ndarray:
        if len(operator.inputs) < 3 or operator.inputs[2] < 0:
            return np.zeros(classes, np.float32)
        biases = self._constant(operator.inputs[2])
        if biases is None or biases.shape != (classes,):
            raise ModelFormatError(f"{operator} has no {classes} constant biases")
        return biases

    def _result(self, operator: Operator, embedding: int, rows: np.ndarray, biases: np.ndarray) -> LastLayer:
        if not {self._factor.size, self._added.size} <= {1, len(rows)}:
            raise ModelFormatError(f"what is behind {operator} doesn't fit its {len(rows)} classes")
        with np.errstate(all="ignore"):
            weights = (rows * self._factor[:, None]).astype(np.float32)
            biases = (biases * self._factor + self._added).astype(np.float32)
        if not (np.isfinite(weights).all() and np.isfinite(biases).all()):
            raise ModelFormatError(f"{operator} has weights that are no finite numbers")
        return LastLayer(operator.index, embedding, weights, biases, self._activation)

    def _constant(self, index: int) -> Optional[np.ndarray]:
        """A constant's real numbers, also of one that is stored small and made float by a DEQUANTIZE."""
        real = self._model.dequantized(index)
        operator = self._made_by.get(index)
        if real is None and operator is not None and operator.code == "DEQUANTIZE":
            return self._model.dequantized(_first_input(operator))
        return real


def _first_input(operator: Operator) -> int:
    if not operator.inputs or operator.inputs[0] < 0:
        raise ModelFormatError(f"{operator} has no input")
    return operator.inputs[0]


def _combine(first: np.ndarray, second: np.ndarray, function) -> np.ndarray:
    if first.size != second.size and 1 not in (first.size, second.size):
        raise ModelFormatError(f"constants of {first.size} and {second.size} numbers don't fit each other")
    with np.errstate(all="ignore"):
        return function(first, second)


_OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "MUL": "MulOptions",
    "ADD": "AddOptions",
}

# Fields that are 0 where the numbers are multiplied and added in the plain way and nothing follows.
_PLAIN_OPTIONS = ("fused_activation_function", "weights_format")


def _has_activation(model: TfliteModel, operator: Operator) -> bool:
    return any(model.options(operator, _OPTIONS[operator.code]).get(name, 0) for name in _PLAIN_OPTIONS)
