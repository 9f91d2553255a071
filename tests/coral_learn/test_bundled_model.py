"""The model that comes with the package, on real pictures."""

import hashlib
import importlib.util

import numpy as np
import pytest

from coral_learn import Classifier, EmbeddingPipeline, Extractor, ImprintingHead, evaluate, image
from coral_learn.catalog import bundled_model, models_folder
from coral_learn.manifest import Manifest

TAUGHT = [f"{number:02}.jpg" for number in range(5)]
ASKED = [f"{number:02}.jpg" for number in range(10, 30)]
# 500 pictures take 3 seconds, and minutes with the run-time of Python 3.7 and 3.8.
OLD_RUNTIME = importlib.util.find_spec("ai_edge_litert") is None
many_pictures = pytest.mark.slow if OLD_RUNTIME else pytest.mark.usefixtures("shared_data")


@pytest.fixture(scope="module")
def extractor():
    """The bundled model, loaded."""
    return Extractor(device="cpu")


def embed(extractor, path):
    """The embedding of a picture file, as the service makes it."""
    side = image.decode_side(extractor.info.input_width, extractor.info.input_height)
    return extractor.embed(image.decode(path.read_bytes(), at_least=side))


@pytest.fixture(scope="module")
def objects(shared_data, extractor):
    """Embeddings of 20 classes of objects: class, file name, embedding."""
    return [
        (folder.name, name, embed(extractor, folder / name))
        for folder in sorted((shared_data / "objects20").iterdir())
        for name in TAUGHT + ASKED
    ]


def test_manifest_fits():
    """The manifest names the file's own sha256, where it comes from and its licence."""
    manifest = Manifest.of(bundled_model())

    assert manifest.digest == hashlib.sha256(bundled_model().read_bytes()).hexdigest()
    assert manifest.name == bundled_model().stem
    assert manifest.licence == "Apache-2.0"
    assert manifest.source


def test_fits_its_manifest(extractor):
    """Embedding and mean embedding are as long as the manifest says."""
    size = extractor.manifest.embedding_size

    assert size == extractor.info.embedding_size == 1280
    assert extractor.manifest.mean_embedding.shape == (size,)
    assert (extractor.info.input_width, extractor.info.input_height) == (224, 224)
    assert extractor.manifest.digest == extractor.info.digest


def test_golden_picture(extractor):
    """This run-time computes the model as it should; the check is there."""
    assert extractor.manifest.golden().min_cosine >= 0.99
    extractor.warm_up()


def test_default_classifier_is_the_bundled_model():
    """Without arguments a classifier takes the bundled model and its mean embedding."""
    classifier = Classifier()

    assert classifier.extractor.info.name == bundled_model().stem
    assert (classifier.head.pipeline.mean == classifier.extractor.manifest.mean_embedding).all()


def test_pretrained_layer(extractor):
    """The pre-trained layer has 1000 classes with names of their own."""
    layer = extractor.manifest.pretrained()

    assert len(layer.names) == len(set(layer.names)) == 1000
    assert all(name and name == name.strip() for name in layer.names)
    assert (layer.weights.shape, layer.biases.shape) == ((1000, 1280), (1000,))
    assert np.isfinite(layer.weights).all()


def test_names_are_in_the_order_of_the_classes(shared_data, extractor):
    """Names go with the class numbers of the measuring pictures, not merely 1000 of them."""
    names = extractor.manifest.pretrained().names
    known = {0: "tench", 4: "hammerhead", 8: "hen"}

    for number, name in known.items():
        assert names[number].lower().startswith(name)
        assert (shared_data / "imagenet500" / f"{number:04}_{name}.jpg").exists()


def test_folder_holds_what_is_bundled():
    """Model, manifest, arrays, names and golden picture lie together."""
    suffixes = {path.suffix for path in models_folder().iterdir()}

    assert {".tflite", ".json", ".npz", ".txt", ".png"} <= suffixes


@many_pictures
@pytest.mark.parametrize("share", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_imagenet(shared_data, extractor, share):
    """Extractor and pre-trained layer answer at least 86 % of 500 ImageNet pictures right, and of every fifth one."""
    layer = extractor.manifest.pretrained()
    right = []
    for path in sorted((shared_data / "imagenet500").glob("*.jpg"))[::share]:
        scores = layer.weights @ embed(extractor, path) + layer.biases
        right.append(int(scores.argmax()) == int(path.name[:4]))

    assert len(right) == 500 // share
    assert np.mean(right) >= 0.86


@many_pictures
@pytest.mark.parametrize(("examples", "accuracy"), [(1, 0.85), (5, 0.95)])
def test_imprinting(objects, extractor, examples, accuracy):
    """A few pictures a class of 20 teach enough to answer new ones."""
    head = ImprintingHead(EmbeddingPipeline(1280, extractor.manifest.mean_embedding))
    for label, name, embedding in objects:
        if name in TAUGHT[:examples]:
            head.learn_one(embedding, label)
    asked = [(embedding, label) for label, name, embedding in objects if name in ASKED]
    figures = evaluate(head, [embedding for embedding, _ in asked], [label for _, label in asked])

    assert set(head.counts.values()) == {examples}
    assert figures.examples == 400
    assert figures.accuracy >= accuracy
