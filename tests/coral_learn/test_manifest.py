"""coral_learn/manifest.py: what is known about an extractor beside its file."""

import gc
import hashlib
import json

import numpy as np
import pytest

from coral_learn.errors import ManifestError
from coral_learn.manifest import Manifest, file_digest


@pytest.fixture
def model(tmp_path):
    """A file to write manifests for; a manifest doesn't look inside."""
    path = tmp_path / "net.tflite"
    path.write_bytes(b"a model")
    return path


@pytest.fixture
def write(model):
    """write(**facts): a manifest of `model`, its good facts changed; None leaves a field out."""

    def to_file(**changes):
        facts = {"name": "net", "source": "made up", "licence": "Apache-2.0", "embedding_size": 3}
        facts.update({"sha256": file_digest(model)}, **changes)
        text = json.dumps({field: value for field, value in facts.items() if value is not None})
        model.with_suffix(".json").write_text(text)

    return to_file


@pytest.fixture
def arrays(model):
    """net.npz beside the model, with half-precision arrays."""
    weights, biases = np.arange(6).reshape(2, 3), np.array([0.5, -0.5])
    kept = {"mean": np.array([1, 2, 3]), "weights": weights, "biases": biases}
    np.savez(str(model.with_suffix(".npz")), **{name: array.astype(np.float16) for name, array in kept.items()})
    model.with_name("names.txt").write_text("cat\nz\u00fcrich\n", encoding="utf-8")
    return {"names": "names.txt", "weights": "net.npz:weights", "biases": "net.npz:biases"}


def test_tiny_manifest(tiny_model):
    """The tests' own model has a manifest that fits it."""
    manifest = Manifest.of(tiny_model)

    assert (manifest.name, manifest.licence, manifest.embedding_size) == ("tiny", "Apache-2.0", 64)
    assert manifest.digest == hashlib.sha256(tiny_model.read_bytes()).hexdigest()
    assert (manifest.mean_embedding, manifest.pretrained(), manifest.golden()) == (None, None, None)


def test_bare_model(model):
    """Without a manifest the name is the file's, and there is nothing more."""
    manifest = Manifest.of(model)

    assert (manifest.name, manifest.digest) == ("net", hashlib.sha256(b"a model").hexdigest())
    assert (manifest.source, manifest.licence, manifest.embedding_size) == ("", "", None)
    assert (manifest.mean_embedding, manifest.pretrained(), manifest.golden()) == (None, None, None)


def test_facts(model, write):
    """The manifest's facts are read."""
    write()
    manifest = Manifest.of(str(model))

    assert (manifest.name, manifest.source, manifest.licence) == ("net", "made up", "Apache-2.0")
    assert manifest.embedding_size == 3


@pytest.mark.parametrize("field", ["name", "source", "licence", "sha256", "embedding_size"])
@pytest.mark.parametrize("value", [None, [], 1.5])
def test_needs_every_field(model, write, field, value):
    """A missing field or one of another type is named."""
    write(**{field: value})

    with pytest.raises(ManifestError, match=field):
        Manifest.of(model)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\u00ff"])
def test_refuses_other_files(model, text):
    """A manifest that isn't a JSON object in UTF-8 is refused."""
    model.with_suffix(".json").write_bytes(text.encode("latin-1"))

    with pytest.raises(ManifestError, match=r"net\.json"):
        Manifest.of(model)


def test_refuses_changed_model(model, write):
    """A model that was changed after its manifest was written is refused."""
    write()
    model.write_bytes(b"another model")

    with pytest.raises(ManifestError, match=file_digest(model)):
        Manifest.of(model)


def test_compiled_model_shares_the_manifest(model, write):
    """The plain file's manifest serves the compiled one, which keeps a digest of its own."""
    write()
    compiled = model.with_name("net_edgetpu.tflite")
    compiled.write_bytes(b"compiled")
    manifest = Manifest.of(compiled)

    assert (manifest.name, manifest.digest) == ("net", hashlib.sha256(b"compiled").hexdigest())


def test_golden_picture_makes_compiled_and_plain_one_extractor(model, write, arrays):
    """Where each has to agree with the same golden picture, embeddings of one are of use to the other."""
    write(golden={"image": "golden.png", "embedding": arrays["weights"]})
    compiled = model.with_name("net_edgetpu.tflite")
    compiled.write_bytes(b"compiled")

    assert Manifest.of(compiled).digest == Manifest.of(model).digest == file_digest(model)


def test_compiled_models_own_manifest_comes_first(model, write):
    """A manifest of the compiled file's own name is preferred, and checked."""
    write()
    compiled = model.with_name("net_edgetpu.tflite")
    compiled.write_bytes(b"compiled")
    model.with_suffix(".json").rename(compiled.with_suffix(".json"))

    with pytest.raises(ManifestError, match="net_edgetpu"):
        Manifest.of(compiled)


def test_mean_embedding(model, write, arrays):
    """The mean embedding is read from the .npz file, as float32."""
    write(mean_embedding="net.npz:mean", pretrained=arrays)
    mean = Manifest.of(model).mean_embedding

    assert mean.dtype == np.float32
    assert mean.tolist() == [1, 2, 3]


def test_pretrained(model, write, arrays):
    """The pre-trained layer is read: names, weights and biases, as float32."""
    write(pretrained=arrays)
    layer = Manifest.of(model).pretrained()

    assert layer.names == ["cat", "z\u00fcrich"]
    assert layer.weights.dtype == layer.biases.dtype == np.float32
    assert layer.weights.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert layer.biases.tolist() == [0.5, -0.5]


def test_pretrained_must_fit(model, write, arrays):
    """Names, weights and biases must be as many."""
    model.with_name("names.txt").write_text("cat\n")
    write(pretrained=arrays)

    with pytest.raises(ManifestError, match="1 names, 2 weights and 2 biases"):
        Manifest.of(model).pretrained()


def test_golden(model, write, arrays):
    """The golden picture is read as the bytes of its file."""
    model.with_name("golden.png").write_bytes(b"a picture")
    write(golden={"image": "golden.png", "embedding": "net.npz:mean", "min_cosine": 1}, pretrained=arrays)
    golden = Manifest.of(model).golden()

    assert (golden.image, golden.embedding.tolist(), golden.min_cosine) == (b"a picture", [1, 2, 3], 1.0)


@pytest.mark.parametrize("place", ["none.npz:mean", "net.npz:none", "net.npz", "net.npz:objects"])
def test_missing_arrays(model, write, arrays, place):
    """An array that isn't there, or is a pickled object, is named."""
    np.savez(str(model.with_suffix(".npz")), objects=np.array([{}], object))
    write(mean_embedding=place, pretrained=arrays)

    with pytest.raises(ManifestError, match=place):
        assert Manifest.of(model).mean_embedding


@pytest.mark.parametrize("broken", ["no names file", "no weights field", "no golden picture"])
def test_what_it_points_to_must_be_there(model, write, arrays, broken):
    """Whatever a manifest points to that can't be read, the error is a `ManifestError`."""
    if broken == "no names file":
        arrays["names"] = "none.txt"
    if broken == "no weights field":
        del arrays["weights"]
    write(pretrained=arrays, golden={"image": "none.png", "embedding": "net.npz:mean", "min_cosine": 1})

    with pytest.raises(ManifestError):
        if broken == "no golden picture":
            Manifest.of(model).golden()
        else:
            Manifest.of(model).pretrained()


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # numpy leaves a broken .npz open
def test_cut_arrays(model, write, arrays):
    """Arrays of a file that was cut off can't be read."""
    write(mean_embedding="net.npz:mean", pretrained=arrays)
    path = model.with_suffix(".npz")
    path.write_bytes(path.read_bytes()[:100])
    try:
        raised = Manifest.of(model).mean_embedding
    except Exception as error:
        raised = type(error)
    gc.collect()

    assert raised is ManifestError
