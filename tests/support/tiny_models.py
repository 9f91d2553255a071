"""Small .tflite files made on the spot, with the accessors of the package tflite and none of our own code.

Weights are random of a fixed seed. Pictures are (1, 8, 8, 3).
"""

from pathlib import Path

import flatbuffers
import numpy as np
import tflite

SIDE = 8
BUNDLED = Path(__file__).resolve().parent.parent.parent / "models" / "efficientnet_lite0.tflite"
TYPES = {"float32": 0, "float16": 1, "int32": 2, "uint8": 3, "int8": 9}


class TinyModel:
    """Collects tensors and operators, then writes them.

    tensor(shape, dtype, scale, zero_point, data, axis) and operator(code, inputs, outputs, options)
    give numbers; options is (number in the union BuiltinOptions, function that writes the table).
    """

    def __init__(self):
        self._builder = flatbuffers.Builder(4096)
        self._buffers, self._tensors, self._operators, self._codes = [b""], [], [], []

    def tensor(self, shape, dtype="uint8", scale=(), zero_point=0, data=None, axis=0):
        """A new tensor; with data it is a constant. A scale may be a number, or one a row of `axis`."""
        buffer = 0
        if data is not None:
            data = np.asarray(data, dtype)
            assert data.shape == tuple(shape)
            self._buffers.append(data.tobytes())
            buffer = len(self._buffers) - 1
        scales = np.atleast_1d(np.asarray(scale, np.float32))
        self._tensors.append((shape, TYPES[dtype], buffer, scales, zero_point, axis))
        return len(self._tensors) - 1

    def operator(self, code, inputs, output, options=None, version=1):
        """A new step with one output; returns the output."""
        number = code if isinstance(code, int) else getattr(tflite.BuiltinOperator, code)
        if (number, version) not in self._codes:
            self._codes.append((number, version))
        self._operators.append((self._codes.index((number, version)), inputs, [output], options))
        return output

    def build(self, inputs, outputs, signature=True, description="tiny", subgraphs=1, metadata=()):
        """The bytes of the file. metadata : pairs of name and bytes."""
        b = self._builder
        entries = []
        for name, content in metadata:
            self._buffers.append(content)
            entries.append(self._metadata(name, len(self._buffers) - 1))
        buffers = self._vector([self._buffer(data) for data in self._buffers])
        graphs = self._vector([self._graph(inputs, outputs) for _ in range(subgraphs)])
        codes = self._vector([self._code(*code) for code in self._codes])
        entries = self._vector(entries)
        signatures = self._vector([self._signature(inputs, outputs)] if signature else [])
        text = b.CreateString(description)
        tflite.ModelStart(b)
        tflite.ModelAddVersion(b, 3)
        tflite.ModelAddOperatorCodes(b, codes)
        tflite.ModelAddSubgraphs(b, graphs)
        tflite.ModelAddDescription(b, text)
        tflite.ModelAddBuffers(b, buffers)
        tflite.ModelAddMetadata(b, entries)
        tflite.ModelAddSignatureDefs(b, signatures)
        b.Finish(tflite.ModelEnd(b), b"TFL3")
        return bytes(b.Output())

    def _vector(self, offsets):
        self._builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self._builder.PrependUOffsetTRelative(offset)
        return self._builder.EndVector()

    def _numbers(self, values, dtype=np.int32):
        return self._builder.CreateNumpyVector(np.asarray(values, dtype))

    def _buffer(self, data):
        b = self._builder
        if data:
            b.Prep(16, len(data))
            vector = b.CreateByteVector(data)
        tflite.BufferStart(b)
        if data:
            tflite.BufferAddData(b, vector)
        return tflite.BufferEnd(b)

    def _metadata(self, name, buffer):
        text = self._builder.CreateString(name)
        tflite.MetadataStart(self._builder)
        tflite.MetadataAddName(self._builder, text)
        tflite.MetadataAddBuffer(self._builder, buffer)
        return tflite.MetadataEnd(self._builder)

    def _code(self, number, version):
        b = self._builder
        custom = b.CreateString("edgetpu-custom-op") if number == tflite.BuiltinOperator.CUSTOM else None
        tflite.OperatorCodeStart(b)
        tflite.OperatorCodeAddDeprecatedBuiltinCode(b, min(number, 127))
        tflite.OperatorCodeAddBuiltinCode(b, number)
        tflite.OperatorCodeAddVersion(b, version)
        if custom is not None:
            tflite.OperatorCodeAddCustomCode(b, custom)
        return tflite.OperatorCodeEnd(b)

    def _graph(self, inputs, outputs):
        b = self._builder
        tensors = self._vector([self._tensor(number, *tensor) for number, tensor in enumerate(self._tensors)])
        operators = self._vector([self._operator(*operator) for operator in self._operators])
        inputs, outputs = self._numbers(inputs), self._numbers(outputs)
        tflite.SubGraphStart(b)
        tflite.SubGraphAddTensors(b, tensors)
        tflite.SubGraphAddInputs(b, inputs)
        tflite.SubGraphAddOutputs(b, outputs)
        tflite.SubGraphAddOperators(b, operators)
        return tflite.SubGraphEnd(b)

    def _tensor(self, number, shape, dtype, buffer, scales, zero_point, axis):
        b = self._builder
        name, shape = b.CreateString(f"tensor{number}"), self._numbers(shape)
        quantization = self._quantization(scales, zero_point, axis) if scales.size else None
        tflite.TensorStart(b)
        tflite.TensorAddShape(b, shape)
        tflite.TensorAddType(b, dtype)
        tflite.TensorAddBuffer(b, buffer)
        tflite.TensorAddName(b, name)
        if quantization is not None:
            tflite.TensorAddQuantization(b, quantization)
        return tflite.TensorEnd(b)

    def _quantization(self, scales, zero_point, axis):
        b = self._builder
        scale = self._numbers(scales, np.float32)
        zero_points = self._numbers([zero_point] * scales.size, np.int64)
        tflite.QuantizationParametersStart(b)
        tflite.QuantizationParametersAddScale(b, scale)
        tflite.QuantizationParametersAddZeroPoint(b, zero_points)
        tflite.QuantizationParametersAddQuantizedDimension(b, axis)
        return tflite.QuantizationParametersEnd(b)

    def _operator(self, code, inputs, outputs, options):
        b = self._builder
        table = options[1](b) if options else None
        inputs, outputs = self._numbers(inputs), self._numbers(outputs)
        tflite.OperatorStart(b)
        tflite.OperatorAddOpcodeIndex(b, code)
        tflite.OperatorAddInputs(b, inputs)
        tflite.OperatorAddOutputs(b, outputs)
        if options:
            tflite.OperatorAddBuiltinOptionsType(b, options[0])
            tflite.OperatorAddBuiltinOptions(b, table)
        return tflite.OperatorEnd(b)

    def _signature(self, inputs, outputs):
        b = self._builder
        maps = [self._vector([self._map(name, numbers[0])]) for name, numbers in (("image", inputs), ("out", outputs))]
        key = b.CreateString("serving_default")
        tflite.SignatureDefStart(b)
        tflite.SignatureDefAddInputs(b, maps[0])
        tflite.SignatureDefAddOutputs(b, maps[1])
        tflite.SignatureDefAddSignatureKey(b, key)
        return tflite.SignatureDefEnd(b)

    def _map(self, name, number):
        text = self._builder.CreateString(name)
        tflite.TensorMapStart(self._builder)
        tflite.TensorMapAddName(self._builder, text)
        tflite.TensorMapAddTensorIndex(self._builder, number)
        return tflite.TensorMapEnd(self._builder)


def convolution(activation=0, stride=1):
    """Options of CONV_2D."""

    def write(b):
        tflite.Conv2DOptionsStart(b)
        tflite.Conv2DOptionsAddStrideW(b, stride)
        tflite.Conv2DOptionsAddStrideH(b, stride)
        tflite.Conv2DOptionsAddFusedActivationFunction(b, activation)
        tflite.Conv2DOptionsAddDilationWFactor(b, 1)
        tflite.Conv2DOptionsAddDilationHFactor(b, 1)
        return tflite.Conv2DOptionsEnd(b)

    return tflite.BuiltinOptions.Conv2DOptions, write


def pool(side):
    """Options of AVERAGE_POOL_2D over a whole picture."""

    def write(b):
        tflite.Pool2DOptionsStart(b)
        tflite.Pool2DOptionsAddPadding(b, 1)
        tflite.Pool2DOptionsAddStrideW(b, 1)
        tflite.Pool2DOptionsAddStrideH(b, 1)
        tflite.Pool2DOptionsAddFilterWidth(b, side)
        tflite.Pool2DOptionsAddFilterHeight(b, side)
        return tflite.Pool2DOptionsEnd(b)

    return tflite.BuiltinOptions.Pool2DOptions, write


def reshape(shape):
    """Options of RESHAPE."""

    def write(b):
        vector = b.CreateNumpyVector(np.asarray(shape, np.int32))
        tflite.ReshapeOptionsStart(b)
        tflite.ReshapeOptionsAddNewShape(b, vector)
        return tflite.ReshapeOptionsEnd(b)

    return tflite.BuiltinOptions.ReshapeOptions, write


def softmax(beta=1.0):
    """Options of SOFTMAX."""

    def write(b):
        tflite.SoftmaxOptionsStart(b)
        tflite.SoftmaxOptionsAddBeta(b, beta)
        return tflite.SoftmaxOptionsEnd(b)

    return tflite.BuiltinOptions.SoftmaxOptions, write


def plain(name):
    """Options with nothing but their defaults: "MulOptions", "FullyConnectedOptions"..."""

    def write(b):
        getattr(tflite, name + "Start")(b)
        return getattr(tflite, name + "End")(b)

    return getattr(tflite.BuiltinOptions, name), write


def extractor(model, random, dimension):
    """Adds (1, 8, 8, 3) uint8 to (1, 1, 1, D) uint8; returns both tensors' numbers."""
    image = model.tensor((1, SIDE, SIDE, 3), scale=1 / 128, zero_point=128)
    kernels = model.tensor(
        (dimension, 1, 1, 3), scale=1 / 64, zero_point=128, data=random.randint(0, 256, (dimension, 1, 1, 3))
    )
    biases = model.tensor((dimension,), "int32", 1 / (128 * 64), data=random.randint(0, 9000, dimension))
    features = model.tensor((1, SIDE, SIDE, dimension), scale=4 / 255)
    model.operator("CONV_2D", [image, kernels, biases], features, convolution(activation=1))
    pooled = model.tensor((1, 1, 1, dimension), scale=4 / 255)
    return image, model.operator("AVERAGE_POOL_2D", [features], pooled, pool(SIDE))


def compiled_extractor(model, _random, dimension):
    """The same as one step that only an Edge TPU runs."""
    image = model.tensor((1, SIDE, SIDE, 3), scale=1 / 128, zero_point=128)
    return image, model.operator("CUSTOM", [image], model.tensor((1, 1, 1, dimension), scale=4 / 255))


def imprinting_classifier(classes=4, dimension=16, quantize=True, factor=10.0, seed=0, body=extractor):
    """A uint8 classifier in Coral's imprinting form, and the (C, D) float32 weights in it.

    quantize : with a QUANTIZE between L2_NORMALIZATION and CONV_2D; body : what gives the embedding
    """
    random, model = np.random.RandomState(seed), TinyModel()
    image, x = body(model, random, dimension)
    x = model.operator(
        "L2_NORMALIZATION",
        [x],
        model.tensor((1, 1, 1, dimension), scale=1 / 128, zero_point=128),
        plain("L2NormOptions"),
    )
    if quantize:
        x = model.operator("QUANTIZE", [x], model.tensor((1, 1, 1, dimension), scale=1 / 255), plain("QuantizeOptions"))
    rows = random.normal(0, 1, (classes, dimension))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    stored = np.round(rows * 128 + 128).clip(0, 255)
    kernels = model.tensor((classes, 1, 1, dimension), scale=1 / 128, zero_point=128, data=stored[:, None, None])
    biases = model.tensor((classes,), "int32", 1 / (255 * 128 if quantize else 128 * 128), data=np.zeros(classes))
    cosines = model.tensor((1, 1, 1, classes), scale=1 / 128, zero_point=128)
    model.operator("CONV_2D", [x, kernels, biases], cosines, convolution())
    learnt = model.tensor((), scale=factor / 255, data=255)
    scaled = model.tensor((1, 1, 1, classes), scale=factor / 128, zero_point=128)
    model.operator("MUL", [cosines, learnt], scaled, plain("MulOptions"))
    shape = model.tensor((2,), "int32", data=[1, classes])
    flat = model.tensor((1, classes), scale=factor / 128, zero_point=128)
    model.operator("RESHAPE", [scaled, shape], flat, reshape([1, classes]))
    scores = model.operator("SOFTMAX", [flat], model.tensor((1, classes), scale=1 / 256), softmax())
    return model.build([image], [scores]), ((stored - 128) / 128).astype(np.float32)


def classifier(last="FULLY_CONNECTED", stored="float32", by_row=False, behind=("SOFTMAX",), classes=5, dimension=16):
    """A classifier on float32 embeddings: its bytes, and the real weights (C, D) and biases (C,) of its last layer.

    The uint8 extractor, DEQUANTIZE, the last layer and what is `behind` it ("SOFTMAX", "RESHAPE", "MUL", "ADD").
    stored : type of the weights; small ones are made float by a DEQUANTIZE; by_row : with a scale a class
    """
    random, model = np.random.RandomState(1), TinyModel()
    image, x = extractor(model, random, dimension)
    x = model.operator("DEQUANTIZE", [x], model.tensor((1, 1, 1, dimension), "float32"), plain("DequantizeOptions"))
    if last == "FULLY_CONNECTED":
        shape = model.tensor((2,), "int32", data=[1, dimension])
        x = model.operator("RESHAPE", [x, shape], model.tensor((1, dimension), "float32"), reshape([1, dimension]))
    rows, biases = random.normal(0, 1, (classes, dimension)), random.normal(0, 1, classes).astype(np.float32)
    weights, rows = _stored_weights(model, rows, last, stored, by_row)
    lead = (1, 1, 1) if last == "CONV_2D" else (1,)
    inputs = [x, weights, model.tensor((classes,), "float32", data=biases)]
    options = convolution() if last == "CONV_2D" else plain("FullyConnectedOptions")
    x = model.operator(last, inputs, model.tensor((*lead, classes), "float32"), options)
    for code in behind:
        if code == "RESHAPE":
            lead, shape = (1,), model.tensor((2,), "int32", data=[1, classes])
            x = model.operator(code, [x, shape], model.tensor((1, classes), "float32"), reshape([1, classes]))
        elif code == "SOFTMAX":
            x = model.operator(code, [x], model.tensor((*lead, classes), "float32"), softmax())
        else:
            values = random.uniform(1, 2, classes).astype(np.float32)
            constant = model.tensor((classes,), "float32", data=values)
            options = plain(code.capitalize() + "Options")
            x = model.operator(code, [x, constant], model.tensor((*lead, classes), "float32"), options)
            rows = rows * values[:, None] if code == "MUL" else rows
            biases = biases * values if code == "MUL" else biases + values
    return model.build([image], [x]), rows, biases


def _stored_weights(model, rows, last, stored, by_row):
    """The tensor of the weights as float32, and their real values."""
    shape = (rows.shape[0], 1, 1, rows.shape[1]) if last == "CONV_2D" else rows.shape
    if stored == "float32":
        return model.tensor(shape, "float32", data=rows.reshape(shape)), rows
    if stored == "float16":
        small = rows.astype(np.float16)
        constant = model.tensor(shape, "float16", data=small.reshape(shape))
        version = 3
    else:
        zero_point, version = (128, 1) if stored == "uint8" else (0, 5 if by_row else 2)
        scales = np.abs(rows).max(axis=1, keepdims=True) / 127 if by_row else np.full((1, 1), np.abs(rows).max() / 127)
        scales = scales.astype(np.float32)
        small = np.round(rows / scales)
        constant = model.tensor(shape, stored, scales.ravel(), zero_point, (small + zero_point).reshape(shape))
        small = small * scales
    real = model.tensor(shape, "float32")
    model.operator("DEQUANTIZE", [constant], real, plain("DequantizeOptions"), version)
    return real, small
