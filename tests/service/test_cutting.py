"""service/cutting.py: an extractor out of a classifier, with what lets its classes be kept."""

import hashlib
import json
import os
import stat

import numpy as np
import pytest
import tiny_models
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from coral_learn import Extractor, ImprintingEngine, ImprintingHead
from coral_learn.errors import ModelFileMissing, ModelFormatError
from coral_learn.heads.base import softmax
from coral_learn.manifest import Manifest
from coral_learn.runtime.cpu import CpuRuntime
from coral_learn.tflite_file import add_labels
from service.__main__ import main
from service.cutting import _different, cut_model
from service.errors import SettingsError

NAMES = ["cat", "dog", "hot dog", "café", "cat & dog"]
WRITTEN = ["new.json", "new.npz", "new.tflite", "new_classes.txt"]


@pytest.fixture
def classifier(tmp_path):
    """The path of a classifier of five classes, alone in a folder."""
    path = tmp_path / "there" / "classifier.tflite"
    path.parent.mkdir()
    path.write_bytes(tiny_models.classifier()[0])
    return path


@pytest.fixture
def new(tmp_path):
    """Where the extractor goes: a folder of its own."""
    (tmp_path / "here").mkdir()
    return tmp_path / "here" / "new.tflite"


@pytest.fixture
def labels(tmp_path):
    """labels(lines): the path of a file with this text, or these bytes."""

    def write(text):
        path = tmp_path / "labels.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
        return path

    return write


def contents(folder):
    """Names of the files in a folder."""
    return sorted(path.name for path in folder.iterdir())


# What is written


def test_files(classifier, new):
    """The extractor, its manifest, the last layer and the names are written, whole and for everyone to read."""
    made = cut_model(classifier, new)

    assert (made.embedding_size, made.classes) == (16, 5)
    assert sorted(path.name for path in made.files) == contents(new.parent) == WRITTEN
    assert made.files[0] == new
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o644 for path in made.files)
    facts = json.loads((new.parent / "new.json").read_text(encoding="utf-8"))
    assert facts["name"] == "new"
    assert facts["embedding_size"] == 16
    assert facts["sha256"] == hashlib.sha256(new.read_bytes()).hexdigest()
    assert (
        facts["source"] == f"cut from classifier.tflite, sha256 {hashlib.sha256(classifier.read_bytes()).hexdigest()}"
    )
    assert contents(classifier.parent) == ["classifier.tflite"]


def test_same_bytes_twice(classifier, new):
    """Cutting again writes the same over what is there."""
    first = {path.name: path.read_bytes() for path in cut_model(classifier, new).files}

    assert {path.name: path.read_bytes() for path in cut_model(classifier, new).files} == first
    assert contents(new.parent) == WRITTEN


@pytest.mark.parametrize("last", ["FULLY_CONNECTED", "CONV_2D"])
@pytest.mark.parametrize(
    ("stored", "by_row"), [("float32", False), ("float16", False), ("uint8", False), ("int8", True)]
)
def test_the_classifiers_own_answers(tmp_path, new, stored, by_row, last):
    """The extractor loads with its manifest, and with the layer in it gives the classifier's own scores."""
    behind = ("RESHAPE", "SOFTMAX") if last == "CONV_2D" else ("MUL", "ADD", "SOFTMAX")
    model, weights, biases = tiny_models.classifier(last, stored, by_row, behind)
    source = tmp_path / "classifier.tflite"
    source.write_bytes(model)
    cut_model(source, new)
    extractor, whole = Extractor(new, "cpu"), CpuRuntime(source)
    layer = extractor.manifest.pretrained()

    assert extractor.info.name == "new"
    assert extractor.info.embedding_size == 16
    np.testing.assert_allclose(layer.weights, weights, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.biases, biases, rtol=1e-5)
    for seed in range(5):
        picture = np.random.RandomState(seed).randint(0, 256, (8, 8, 3)).astype(np.uint8)
        scores = softmax(layer.weights @ extractor.embed_pixels(picture) + layer.biases)
        np.testing.assert_allclose(whole.invoke(picture[None]).ravel(), scores, atol=1e-5)


def test_a_classifier_in_corals_form(tmp_path, new):
    """A classifier made for imprinting is cut behind its embedding of length 1."""
    source = tmp_path / "imprinting.tflite"
    source.write_bytes(tiny_models.imprinting_classifier()[0])
    made = cut_model(source, new)
    picture = np.random.RandomState(0).randint(0, 256, (8, 8, 3)).astype(np.uint8)
    embedding = Extractor(new, "cpu").embed_pixels(picture)

    assert (made.embedding_size, made.classes) == (16, 4)
    assert abs(np.linalg.norm(embedding) - 1) < 0.05


def test_mobilenet(mobilenet, new, shared_data):
    """Of a real classifier, extractor and layer give its own answers to real pictures."""
    made = cut_model(mobilenet, new)
    extractor, whole = Extractor(new, "cpu"), CpuRuntime(mobilenet)
    layer, same = extractor.manifest.pretrained(), []
    for picture in real_pictures(shared_data):
        pixels = extractor.prepare(picture)
        stored = whole.invoke(pixels[None])[0]
        logits = layer.weights @ extractor.embed_pixels(pixels) + layer.biases
        same.append(stored[logits.argmax()] == stored.max())
        assert np.abs(softmax(logits) - whole.output.dequantise(stored)).max() < 0.1

    assert same
    assert (made.embedding_size, made.classes) == (256, 1001)
    assert layer.names[:2] == ["background", "tench, Tinca tinca"]
    assert np.mean(same) >= 0.9
    assert len(set(layer.names)) == 1001


def real_pictures(folder):
    """A few of the real pictures, RGB."""
    for path in sorted((folder / "imagenet500").glob("*.jpg"))[:200:20]:
        with Image.open(str(path)) as file:
            yield np.asarray(file.convert("RGB"))


def test_kept_classes_of_a_cut_model(classifier, new):
    """The layer in the manifest can be kept by a head, and the model can be taught on with Coral's API."""
    cut_model(classifier, new)
    pretrained = Manifest.of(new).pretrained()
    head, engine = ImprintingHead.suited(16), ImprintingEngine(new)
    head.keep(pretrained.weights, pretrained.names)
    engine.train(np.ones(16), 0)

    assert head.classes == pretrained.names
    assert engine.serialize_model()


# Names


def test_names_from_a_file(classifier, new, labels):
    """Names are the lines of a file, whatever ends them."""
    for ending in ("\n", "\r\n"):
        cut_model(classifier, new, labels(ending.join(NAMES) + ending))
        assert Manifest.of(new).pretrained().names == NAMES
    cut_model(classifier, new, labels("\n".join(NAMES)))

    assert (new.parent / "new_classes.txt").read_bytes() == "".join(name + "\n" for name in NAMES).encode("utf-8")


def test_names_inside_the_model(classifier, new):
    """Without a file the labels inside the model are taken, and numbers where there are none that fit."""
    cut_model(classifier, new)
    assert Manifest.of(new).pretrained().names == [f"class {number}" for number in range(5)]
    for inside, expected in ((NAMES, NAMES), (NAMES[:4], [f"class {number}" for number in range(5)])):
        classifier.write_bytes(add_labels(tiny_models.classifier()[0], inside))
        cut_model(classifier, new)
        assert Manifest.of(new).pretrained().names == expected


def test_a_file_beats_the_model(classifier, new, labels):
    """Names from a file are taken before those inside the model."""
    classifier.write_bytes(add_labels(tiny_models.classifier()[0], list("abcde")))
    cut_model(classifier, new, labels("\n".join(NAMES)))

    assert Manifest.of(new).pretrained().names == NAMES


def test_names_that_come_again_are_numbered(classifier, new, labels):
    """ImageNet has two cranes: the second gets a number, and so on."""
    cut_model(classifier, new, labels("crane\nmaillot\ncrane\ncrane\nmaillot\n"))

    assert Manifest.of(new).pretrained().names == ["crane", "maillot", "crane (2)", "crane (3)", "maillot (2)"]


@given(st.lists(st.sampled_from(["a", "b", "b (x)", "c(2)", "(3)", "a a"]), max_size=12))
def test_numbered_names_differ(names):
    """However often names come again, afterwards all differ, and the first of each keeps its own."""
    different = _different(names)

    assert len(set(different)) == len(names)
    assert all(different[names.index(name)] == name for name in names)


@pytest.mark.parametrize("names", [["a", "a", "a (2)"], ["a (2)", "a", "a"]])
def test_numbered_names_differ_from_names_with_numbers(names):
    """A number isn't given where a name has it already."""
    assert len(set(_different(names))) == 3


def test_labels_with_a_byte_order_mark(classifier, new, labels):
    """A labels file that Windows' editor wrote begins with a mark that is no part of the first name."""
    cut_model(classifier, new, labels("\ufeff" + "\n".join(NAMES)))

    assert Manifest.of(new).pretrained().names == NAMES


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a\nb\nc\nd\n", "must be 5 lines with a name each, got 4"),
        ("a\nb\nc\nd\ne\nf\n", "must be 5 lines with a name each, got 6"),
        ("", "must be 5 lines with a name each, got 0"),
        (b"\xff\xfea", "labels.txt can't be read"),
        pytest.param(
            "a\nb\n \nd\ne\n",
            "got 5 lines with 4 names",
        ),
    ],
)
def test_labels_refused(classifier, new, labels, text, words):
    """Labels that aren't one a class are refused, and nothing is written."""
    with pytest.raises(SettingsError, match=words):
        cut_model(classifier, new, labels(text))

    assert contents(new.parent) == []


def test_labels_that_are_not_there(classifier, new, tmp_path):
    """So is a file that isn't there."""
    with pytest.raises(SettingsError, match=r"none\.txt can't be read"):
        cut_model(classifier, new, tmp_path / "none.txt")

    assert contents(new.parent) == []


# What is refused


def test_the_same_file(classifier):
    """The classifier isn't overwritten, by whatever name it is called."""
    before = classifier.read_bytes()
    link = classifier.parent / "link.tflite"
    os.symlink(str(classifier), str(link))
    roundabout = classifier.parent / ".." / "there" / "classifier.tflite"
    for source, target in ((classifier, classifier), (classifier, roundabout), (link, classifier), (classifier, link)):
        with pytest.raises(SettingsError, match="must be another one"):
            cut_model(source, target)

    assert classifier.read_bytes() == before
    assert contents(classifier.parent) == ["classifier.tflite", "link.tflite"]


@pytest.mark.parametrize("name", ["new.onnx", "new", ".tflite"])
def test_other_endings(classifier, new, name):
    """The new file ends in .tflite."""
    with pytest.raises(SettingsError, match=r"end in \.tflite"):
        cut_model(classifier, new.with_name(name))


def test_no_classifier(new, tmp_path, data):
    """A file that isn't there, is no model, or has no last layer to cut off, is refused and leaves nothing behind."""
    with pytest.raises(ModelFileMissing):
        cut_model(tmp_path / "none.tflite", new)
    with pytest.raises(ModelFormatError):
        cut_model(data / "tiny.json", new)
    with pytest.raises(ModelFormatError, match="no last layer to cut off"):
        cut_model(data / "tiny.tflite", new)

    assert contents(new.parent) == []


def test_a_changed_extractor_is_noticed(classifier, new):
    """The manifest belongs to the bytes that were written, and to no others."""
    cut_model(classifier, new)
    new.write_bytes(new.read_bytes() + b"x")
    with pytest.raises(ValueError, match="belongs to another manifest"):
        Extractor(new, "cpu")


# The command


def test_command(classifier, new, labels, capsys):
    """The command says what it made and where."""
    code = main(["models", "cut", str(classifier), str(new), "--labels", str(labels("\n".join(NAMES)))])
    out, err = capsys.readouterr()

    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"{new} gives embeddings of 16 numbers; 5 classes can be kept",
        "  beside it: new.json",
        "  beside it: new.npz",
        "  beside it: new_classes.txt",
    ]
    assert Extractor(new, "cpu").manifest.pretrained().names == NAMES


def test_command_refuses(classifier, new, labels, capsys, data):
    """Wrong use ends with code 2 and one line that says what was wrong, without a stack trace."""
    for arguments, words in (
        ([classifier, new, "--labels", labels("a\nb")], "the labels must be 5 lines with a name each, got 2"),
        ([classifier, new, "--labels", new.parent / "none"], "can't be read"),
        ([classifier, classifier], "must be another one"),
        ([classifier, new.with_suffix(".bin")], "end in .tflite"),
        ([classifier.parent / "none.tflite", new], "no model file at"),
        ([data / "tiny.json", new], "not a whole TensorFlow Lite model"),
        ([data / "tiny.tflite", new], "no last layer to cut off"),
    ):
        code = main(["models", "cut", *map(str, arguments)])
        out, err = capsys.readouterr()
        assert (code, out) == (2, "")
        assert err.startswith("coral-learn: ")
        assert words in err
        assert len(err.splitlines()) == 1
    assert contents(new.parent) == []


@pytest.mark.parametrize("arguments", [["models"], ["models", "cut"], ["models", "cut", "one"], ["models", "sew"]])
def test_command_line_refused(arguments, capsys):
    """A command line that isn't whole ends with code 2 and how it is used."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2
    assert "usage: coral-learn models" in capsys.readouterr().err


def test_a_target_that_cannot_be_written(classifier, tmp_path, capsys):
    """A folder that is a file is told in one line, and ends with another code than success."""
    (tmp_path / "file").write_text("x", encoding="utf-8")
    code = main(["models", "cut", str(classifier), str(tmp_path / "file" / "new.tflite")])
    err = capsys.readouterr().err

    assert code in (1, 2)
    assert err.startswith("coral-learn: ")
    assert len(err.splitlines()) == 1
