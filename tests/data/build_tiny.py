"""Build the tests' extractor: small enough for slow run-times, real enough to tell colours apart.

    pip install tensorflow
    python tests/data/build_tiny.py

Seeded random weights, never trained: 32 x 32 RGB pixels to 64 values. Writes beside itself:

tiny.tflite, tiny.json      full int8, uint8 in and out, and its manifest
tiny_edgetpu.tflite         the same with the mark of a compiled model behind it: no Edge TPU could
                            run it, the fake one can
tiny_int8.tflite            int8 in and out
tiny_float32.tflite         not quantised
grey.tflite, map.tflite, pair.tflite
                            no extractors: one channel in, a feature map out, two inputs
"""

import hashlib
import json
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

SIDE, EMBEDDING_SIZE, SEED = 32, 64, 7
MEAN, SPREAD = 128.0, 128.0  # the network takes (pixel - 128) / 128
MISFITS = {  # function, channels of each input
    "grey": (lambda x: tf.reduce_mean(x, (1, 2)), [1]),
    "map": (lambda x: tf.nn.max_pool2d(x, 4, 4, "VALID"), [3]),
    "pair": (lambda x, y: tf.reduce_mean(x + y, (1, 2)), [3, 3]),
}
HERE = Path(__file__).resolve().parent


def build_network(random: np.random.RandomState) -> keras.Model:
    """(1, 32, 32, 3) float32, normalised, to (1, 64)."""
    picture = keras.layers.Input((SIDE, SIDE, 3))
    x = keras.layers.ReLU(6.0)(keras.layers.Conv2D(16, 3, 2, "same")(picture))
    x = keras.layers.ReLU(6.0)(keras.layers.DepthwiseConv2D(3, 2, "same")(x))
    x = keras.layers.ReLU(6.0)(keras.layers.Conv2D(EMBEDDING_SIZE, 1)(x))
    network = keras.Model(picture, keras.layers.GlobalAveragePooling2D()(x))
    for layer in network.layers:
        # He initialisation; biases as well, or a grey picture would give nothing at all.
        layer.set_weights(
            [
                random.normal(0, 0.3 if array.ndim == 1 else (2 / fan_in(array.shape)) ** 0.5, array.shape)
                for array in layer.get_weights()
            ]
        )
    return network


def fan_in(shape) -> int:
    """Inputs of one output: (height, width, channels in, out), where a depthwise kernel has one out."""
    return shape[0] * shape[1] * (1 if shape[3] == 1 else shape[2])


def smooth_pictures(random: np.random.RandomState, count: int):
    """Random colours, some with stripes, each with a gradient: what the quantisation is calibrated with."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    for _ in range(count):
        colour, slope, stripes = random.uniform(0, 255, 3), random.uniform(-90, 90, (2, 3)), random.uniform(-60, 60, 3)
        wave = np.sin(random.uniform(0, 12) * x + random.uniform(0, 12) * y)[..., None]
        gradient = (x - 0.5)[..., None] * slope[0] + (y - 0.5)[..., None] * slope[1]
        yield (colour + gradient + wave * stripes).clip(0, 255).astype(np.float32)


def convert(network: keras.Model, pictures=(), stored=tf.float32) -> bytes:
    """A .tflite file with inputs and outputs of the type `stored`; uint8 and int8 mean full int8."""
    with tempfile.TemporaryDirectory() as folder:
        signature = [keras.InputSpec(shape=(1, SIDE, SIDE, 3), dtype="float32", name="image")]
        network.export(folder, input_signature=signature, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if stored != tf.float32:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([(p[None] - MEAN) / SPREAD] for p in pictures)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = stored
        return converter.convert()


def main() -> None:
    random = np.random.RandomState(SEED)
    network = build_network(random)
    pictures = list(smooth_pictures(random, 200))
    model = convert(network, pictures, tf.uint8)
    (HERE / "tiny.tflite").write_bytes(model)
    (HERE / "tiny_edgetpu.tflite").write_bytes(model + b"edgetpu-custom-op")
    (HERE / "tiny_int8.tflite").write_bytes(convert(network, pictures, tf.int8))
    (HERE / "tiny_float32.tflite").write_bytes(convert(network))
    for name, (function, channels) in MISFITS.items():
        inputs = [tf.TensorSpec((1, SIDE, SIDE, n), tf.float32) for n in channels]
        concrete = tf.function(function).get_concrete_function(*inputs)
        (HERE / (name + ".tflite")).write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert())
    facts = {
        "name": "tiny",
        "source": f"random weights of seed {SEED}, built by tests/data/build_tiny.py",
        "licence": "Apache-2.0",
        "sha256": hashlib.sha256(model).hexdigest(),
        "embedding_size": EMBEDDING_SIZE,
    }
    (HERE / "tiny.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    print(f"wrote tiny.tflite ({len(model)} bytes) and its relatives to {HERE}")


if __name__ == "__main__":
    main()
