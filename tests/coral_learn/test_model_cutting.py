"""Cutting the classifiers that people have: real ones, and the topologies of keras.applications, converted to int8."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from coral_learn.runtime.cpu import CpuRuntime
from coral_learn.tflite_file import (
    Layer,
    TfliteModel,
    append_layer,
    cut,
    find_imprinting_tail,
    find_last_layer,
    read_labels,
)

# A Python that has TensorFlow, when this one has none.
TENSORFLOW_PYTHON = "CORAL_LEARN_TENSORFLOW_PYTHON"
STEP = 1 / 256  # of a score, as quantised classifiers give it


@pytest.fixture
def load(tmp_path):
    """load(model): a run-time for the bytes of a model."""

    def load_bytes(model):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.tflite"
        path.write_bytes(model)
        return CpuRuntime(path)

    return load_bytes


@pytest.fixture
def mobilenet_bytes(mobilenet):
    """The bytes of Coral's classifier."""
    return mobilenet.read_bytes()


def smooth_pictures(shape, count, seed=0):
    """Random colours with a gradient and stripes, uint8."""
    random = np.random.RandomState(seed)
    y, x = np.mgrid[0 : shape[1], 0 : shape[2]] / shape[1]
    for _ in range(count):
        colour, slope, stripes = random.uniform(0, 255, 3), random.uniform(-90, 90, (2, 3)), random.uniform(-60, 60, 3)
        wave = np.sin(random.uniform(0, 12) * x + random.uniform(0, 12) * y)[..., None]
        picture = colour + (x - 0.5)[..., None] * slope[0] + (y - 0.5)[..., None] * slope[1] + wave * stripes
        yield picture.clip(0, 255).astype(np.uint8)[None]


def compare(model, layer, classifier, extractor, pictures):
    """Share of pictures with the same top answer, and the largest difference of a score, in steps.

    The classifier rounds its logits, and cuts off what is beyond their range, before it makes scores of
    them, so the layer's are rounded likewise; an answer is the same when it has the highest score of both.
    """
    logits = model.tensor(model.operators[layer.operator].outputs[0])
    limits = np.iinfo(logits.dtype)
    same, worst, answers = [], 0, set()
    for picture in pictures:
        scores = classifier.output.dequantise(classifier.invoke(picture)).ravel()
        exact = layer.weights @ extractor.output.dequantise(extractor.invoke(picture)).ravel() + layer.biases
        stored = np.round(exact / logits.scale + logits.zero_point).clip(limits.min, limits.max)
        ours = np.exp((stored - stored.max()) * logits.scale)
        ours /= ours.sum()
        same.append(scores[exact.argmax()] == scores.max())
        worst = max(worst, np.abs(ours - scores).max() / STEP)
        answers.add(int(exact.argmax()))
    assert len(answers) > 5  # or there was nothing to tell apart
    return np.mean(same), worst


def test_cut_mobilenet(mobilenet_bytes, load):
    """What is cut off a uint8 classifier gives, put behind what is left, the classifier's own answers."""
    model, extractor = TfliteModel(mobilenet_bytes), cut(mobilenet_bytes)
    layer, classifier, runtime = find_last_layer(model), load(mobilenet_bytes), load(extractor)
    same, worst = compare(model, layer, classifier, runtime, smooth_pictures(classifier.input.shape, 50))

    assert layer.weights.shape == (1001, 256)
    assert layer.activation == "softmax"
    assert runtime.output.shape == (1, 1, 1, 256)
    assert same >= 0.95
    assert worst < 3


def test_labels_go_with_the_layer(mobilenet_bytes):
    """A model's labels are read from inside it, and gone with the layer they are for; its weights leave the file."""
    extractor = cut(mobilenet_bytes)

    assert len(read_labels(mobilenet_bytes)) == 1001
    assert read_labels(mobilenet_bytes)[:2] == ["background", "tench, Tinca tinca"]
    assert read_labels(extractor) is None
    assert TfliteModel(extractor).associated_files() == {}
    assert len(extractor) < len(mobilenet_bytes) - 1001 * 256


def test_put_back(mobilenet_bytes, load):
    """The layer that was cut off can be appended again, and found again exactly."""
    layer, extractor = find_last_layer(TfliteModel(mobilenet_bytes)), cut(mobilenet_bytes)
    labels = read_labels(mobilenet_bytes)
    whole = append_layer(extractor, Layer(layer.weights, layer.biases, normalize=False), labels)
    again = find_last_layer(TfliteModel(whole))

    assert again.weights.tobytes() == layer.weights.tobytes()
    assert again.biases.tobytes() == layer.biases.tobytes()
    assert read_labels(whole) == labels
    picture = next(smooth_pictures((1, 128, 128, 3), 1))
    logits = layer.weights @ np.float32(load(extractor).output.dequantise(load(extractor).invoke(picture)).ravel())
    assert load(whole).invoke(picture).argmax() == (logits + layer.biases).argmax()


# Conversions

CONVERT = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
import numpy as np
import tensorflow as tf

name, side, classes, target = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
random = np.random.RandomState(0)
keras.utils.set_random_seed(0)
pictures = np.load(sys.argv[5])["pictures"].astype(np.float32)
network = getattr(keras.applications, name)(weights=None, input_shape=(side, side, 3), classes=classes)
takes_pixels = name.startswith(("EfficientNet", "MobileNetV3"))
inputs = pictures if takes_pixels else pictures / 127.5 - 1

# Random weights answer the same to everything; logits that differ make it a classifier.
# Convolutions with training statistics of their own keep activations in a usable range.
for layer in network.layers:
    if isinstance(layer, keras.layers.BatchNormalization):
        layer.momentum = 0.0
network(inputs[:32], training=True)
last = [layer for layer in network.layers if isinstance(layer, (keras.layers.Dense, keras.layers.Conv2D))][-1]
embeddings = np.asarray(keras.Model(network.input, last.input)(inputs, training=False)).reshape(len(inputs), -1)
centre = embeddings.mean(0)
rows = random.normal(0, 1, (embeddings.shape[1], classes))
rows *= 3 / ((embeddings - centre) @ rows).std()
kernel = last.get_weights()[0]
last.set_weights([rows.reshape(kernel.shape), -(centre @ rows)])

network.export(target + ".saved", verbose=False)
converter = tf.lite.TFLiteConverter.from_saved_model(target + ".saved")
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = lambda: ([picture[None]] for picture in inputs[:40])
converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
converter.inference_input_type = converter.inference_output_type = tf.uint8
with open(target, "wb") as file:
    file.write(converter.convert())
"""
TOPOLOGIES = [
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "MobileNetV3Large",
    "ResNet50",
    "InceptionV3",
    "EfficientNetB0",
    "DenseNet121",
]


def python_with_tensorflow():
    """A command that runs a Python with TensorFlow, or None."""
    named = os.environ.get(TENSORFLOW_PYTHON)
    if named is None and importlib.util.find_spec("tensorflow") is not None:
        return sys.executable
    return named


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_cut_a_converted_classifier(topology, tmp_path, load):
    """Int8 models of the usual topologies are cut, and their last layer in numpy gives their own answers."""
    python = python_with_tensorflow()
    if python is None:
        pytest.skip(f"TensorFlow is not installed; {TENSORFLOW_PYTHON} may name a Python that has it")
    side, classes, target = 96, 50, tmp_path / "classifier.tflite"
    calibration = np.concatenate(list(smooth_pictures((1, side, side, 3), 64, seed=1)))
    np.savez(str(tmp_path / "pictures.npz"), pictures=calibration)
    arguments = [topology, str(side), str(classes), str(target), str(tmp_path / "pictures.npz")]
    converted = subprocess.run([python, "-c", CONVERT, *arguments], stderr=subprocess.PIPE, check=False)
    assert converted.returncode == 0, converted.stderr[-3000:].decode("utf-8", "replace")

    model = TfliteModel.read(target)
    layer, extractor = find_last_layer(model), cut(model.data)
    classifier, runtime = load(model.data), load(extractor)
    same, worst = compare(model, layer, classifier, runtime, smooth_pictures(classifier.input.shape, 60, seed=2))
    codes = sorted({operator.code for operator in model.operators})
    print(json.dumps([topology, len(model.data), len(extractor), float(same), float(worst), codes]))

    assert layer.weights.shape[0] == classes
    assert find_imprinting_tail(model) is None
    assert len(extractor) < len(model.data)
    assert same >= 0.95
    assert worst < 3
