"""The last layers of a classifier made for Coral's imprinting: cosines to class weights, scaled, then softmax.

L2_NORMALIZATION, perhaps QUANTIZE, CONV_2D with 1 x 1 kernels (one a class, of length 1, uint8 with
scale 1/128 and zero point 128), MUL by a learnt number, RESHAPE, SOFTMAX.
https://coral.ai/docs/edgetpu/retrain-classification-ondevice/
"""

from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from coral_learn.errors import ModelFormatError, OptionError
from coral_learn.tflite_file.cut import producers
from coral_learn.tflite_file.draft import Draft, quantization
from coral_learn.tflite_file.metadata import forget_labels
from coral_learn.tflite_file.model import TfliteModel
from coral_learn.tflite_file.subgraph import Operator
from coral_learn.tflite_file.writer import Options

_RANGES = {"uint8": (0, 255, 128), "int8": (-128, 127, 0)}  # lowest, highest, middle


class ImprintingTail(NamedTuple):
    """Numbers of operators and tensors; scores = softmax(factor * weights @ embedding).

    normalization, quantize (None without), convolution, multiply, reshape, softmax : operators
    extractor_tensor : what goes into the L2_NORMALIZATION
    embedding_tensor : of length 1: what goes into the CONV_2D; D values
    weights_tensor; bias_tensor : -1 without
    scores_tensor : what comes out, score = (stored - scores_zero_point) * scores_scale
    weights : (C, D) float32, the rows of the CONV_2D; factor : what MUL multiplies with
    """

    normalization: int
    quantize: Optional[int]
    convolution: int
    multiply: int
    reshape: int
    softmax: int
    extractor_tensor: int
    embedding_tensor: int
    weights_tensor: int
    bias_tensor: int
    scores_tensor: int
    scores_scale: float
    scores_zero_point: int
    weights: np.ndarray
    factor: float


def find_imprinting_tail(model: TfliteModel) -> Optional[ImprintingTail]:
    """The tail of a model in Coral's imprinting form, None for any other model."""
    chain = _find_chain(model)
    if chain is None:
        return None
    normalization, quantize, convolution, multiply, reshape, softmax = chain
    weights_tensor, *bias = convolution.inputs[1:3]
    factors = [index for index in multiply.inputs if index >= 0 and model.dequantized(index) is not None]
    if weights_tensor < 0 or len(factors) != 1 or model.tensor(factors[0]).count != 1:
        return None
    if not _is_quantized(model, [weights_tensor, convolution.inputs[0], convolution.outputs[0], softmax.outputs[0]]):
        return None
    kernels, factor = model.dequantized(weights_tensor), model.dequantized(factors[0])
    embedding = model.tensor(convolution.inputs[0])
    if kernels is None or kernels.ndim != 4 or kernels.shape[1:] != (1, 1, embedding.count):
        return None
    scores = model.tensor(softmax.outputs[0])
    if _has_other_readers(model, chain) or any(index >= 0 and not _is_bias(model, index) for index in bias):
        return None
    return ImprintingTail(
        normalization.index,
        None if quantize is None else quantize.index,
        convolution.index,
        multiply.index,
        reshape.index,
        softmax.index,
        normalization.inputs[0],
        embedding.index,
        weights_tensor,
        bias[0] if bias else -1,
        scores.index,
        float(scores.scale[0]),
        int(scores.zero_point[0]),
        kernels.reshape(len(kernels), embedding.count),
        float(factor.reshape(-1)[0]),
    )


def replace_classes(model: bytes, weights: np.ndarray) -> bytes:
    """The model with these classes instead of its own, without biases and without the old labels.

    weights : (C, D), rows of length about 1. They are stored with the old scale where they fit into
        it, else with one of their own.

    Raises `ModelFormatError` for a model not in Coral's imprinting form, `OptionError` for weights that don't fit it.
    """
    checked = TfliteModel(model)
    tail = find_imprinting_tail(checked)
    if tail is None:
        raise ModelFormatError(
            "the model doesn't end in L2_NORMALIZATION, CONV_2D, MUL, RESHAPE and SOFTMAX, as those for imprinting do"
        )
    weights = _check_weights(weights, tail.weights.shape[1])
    draft = Draft(checked)
    stored, scale, zero_point = _quantize(checked, tail.weights_tensor, weights)
    classes = len(stored)
    _replace_constant(draft, tail.weights_tensor, stored[:, None, None, :], scale, zero_point)
    if tail.bias_tensor >= 0:
        bias_scale = float(checked.tensor(tail.embedding_tensor).scale[0]) * scale
        _replace_constant(draft, tail.bias_tensor, np.zeros(classes, np.int32), bias_scale, 0)
    for operator in (tail.convolution, tail.multiply, tail.reshape, tail.softmax):
        _resize(draft, checked.operators[operator].outputs[0], classes)
    _replace_shape(draft, checked.operators[tail.reshape], classes)
    forget_labels(draft)
    return draft.write(compact=True)


def _find_chain(model: TfliteModel) -> Optional[Tuple]:
    """The operators of the tail in order of running, with None in the place of a QUANTIZE left away."""
    made_by, found = producers(model), []
    operator = made_by.get(model.outputs[0]) if len(model.outputs) == 1 else None
    for code in ("SOFTMAX", "RESHAPE", "MUL", "CONV_2D", "QUANTIZE", "L2_NORMALIZATION"):
        if code == "QUANTIZE" and operator is not None and operator.code != code:
            found.append(None)
            continue
        if operator is None or operator.code != code or not operator.inputs or len(operator.outputs) != 1:
            return None
        found.append(operator)
        if operator.inputs[0] < 0:
            return None
        operator = _computed_input(made_by, operator)
    tables = {"MUL": "MulOptions", "CONV_2D": "Conv2DOptions"}
    steps = [step for step in found if step is not None and step.code in tables]
    if any(model.options(step, tables[step.code]).get("fused_activation_function", 0) for step in steps):
        return None
    return tuple(reversed(found))


def _computed_input(made_by: Dict[int, Operator], operator: Operator) -> Optional[Operator]:
    """What computes an operator's only computed input."""
    makers = [made_by[index] for index in operator.inputs if index in made_by]
    if len(makers) != 1 or (operator.code != "MUL" and operator.inputs[0] not in made_by):
        return None
    return makers[0] if operator.code != "CONV_2D" or len(operator.inputs) in (2, 3) else None


def _is_quantized(model: TfliteModel, indexes: List[int]) -> bool:
    tensors = [model.tensor(index) for index in indexes]
    return all(
        tensor.dtype in _RANGES and tensor.scale.size == 1 and 0 < tensor.scale[0] < np.inf for tensor in tensors
    )


def _is_bias(model: TfliteModel, index: int) -> bool:
    return model.tensor(index).dtype == "int32" and model.constant(index) is not None


def _has_other_readers(model: TfliteModel, chain: Tuple) -> bool:
    """Whether anything but the tail uses what replacing classes changes."""
    convolution, reshape = chain[2], chain[4]
    changed = {*convolution.inputs[1:], *reshape.inputs[1:]} - {-1}
    changed.update(output for step in chain[2:] for output in step.outputs)
    own = {step.index for step in chain[2:]}
    others = [operator for operator in model.operators if operator.index not in own]
    return any(changed & {*operator.inputs, *operator.outputs} for operator in others)


def _check_weights(weights: np.ndarray, size: int) -> np.ndarray:
    weights = np.asarray(weights, np.float32)
    if weights.ndim != 2 or not len(weights) or weights.shape[1] != size:
        raise OptionError(f"the weights of this model's classes have the shape (C, {size}), got {weights.shape}")
    if not np.isfinite(weights).all():
        raise OptionError("weights are finite numbers, these have NaN or infinity in them")
    return weights


def _quantize(model: TfliteModel, index: int, weights: np.ndarray) -> Tuple[np.ndarray, float, int]:
    """Stored weights, their scale and zero point."""
    tensor = model.tensor(index)
    lowest, highest, middle = _RANGES[tensor.dtype]
    scale, zero_point = float(tensor.scale[0]), int(tensor.zero_point[0])
    # One step beyond is fine: 1.0 is stored as 127/128, as Coral does.
    with np.errstate(over="ignore"):
        exact = weights.astype(np.float64) / scale + zero_point
    if exact.min() < lowest - 1 or exact.max() > highest + 1:
        scale, zero_point = float(np.float32(np.abs(weights).max() / 127)), middle
        exact = weights / scale + zero_point
    return np.round(exact).clip(lowest, highest).astype(tensor.dtype), scale, zero_point


def _replace_constant(draft: Draft, index: int, array: np.ndarray, scale: Optional[float] = None, zero_point: int = 0):
    """Give a constant tensor other numbers; its buffer stays for who else uses it."""
    tensor, table = draft.model.tensor(index), draft.table("tensors", index)
    table["shape"] = np.array(array.shape, np.int32)
    table.pop("shape_signature", None)
    if scale is not None:
        table["quantization"] = quantization(scale, zero_point)
    users = [other for graph in draft.model.subgraphs for other in graph.tensors]
    shared = sum(other.buffer_index == tensor.buffer_index for other in users) > 1
    table["buffer"] = draft.add_buffer(array.tobytes())
    if not shared and tensor.buffer_index not in draft.model.metadata.values():
        draft.fields["buffers"][tensor.buffer_index] = draft.fields["buffers"].pop()
        table["buffer"] = tensor.buffer_index


def _resize(draft: Draft, index: int, classes: int) -> None:
    """Give a computed tensor another number of classes."""
    shape = draft.model.tensor(index).shape
    table = draft.table("tensors", index)
    table["shape"] = np.array([*shape[:-1], classes], np.int32)
    table.pop("shape_signature", None)


def _replace_shape(draft: Draft, reshape: Operator, classes: int) -> None:
    """Change the number of classes that RESHAPE has in a constant and in its options."""
    shape = np.array([*draft.model.tensor(reshape.outputs[0]).shape[:-1], classes], np.int32)
    for index in reshape.inputs[1:2]:
        if index >= 0 and draft.model.constant(index) is not None:
            _replace_constant(draft, index, shape)
    if "new_shape" in draft.model.options(reshape, "ReshapeOptions"):
        draft.table("operators", reshape.index)["builtin_options"] = Options("ReshapeOptions", {"new_shape": shape})
