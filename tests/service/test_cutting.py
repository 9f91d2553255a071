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

from coral_learn import Extractor, ImprintingEngine, ImprintingHead, image
from coral_learn.errors import GoldenCheckFailed, ModelFileMissing, ModelFormatError
from coral_learn.heads.base import softmax
from coral_learn.manifest import Manifest
from coral_learn.runtime.cpu import CpuRuntime
from coral_learn.tflite_file import add_labels
from coral_learn.training import calibrate
from service.__main__ import main
from service.errors import SettingsError
from service.model_files.cutting import _different, cut_model

NAMES = ["cat", "dog", "hot dog", "café", "cat & dog"]
WRITTEN = ["new.json", "new.npz", "new.tflite", "new_classes.txt"]
WITH_PICTURES = sorted([*WRITTEN, "new_golden.png"])


@pytest.fixture
def classifier(tmp_path, monkeypatch):
    """The path of a classifier of five classes for 16 x 16 pixels, alone in a folder."""
    monkeypatch.setattr(tiny_models, "SIDE", 16)
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


@pytest.fixture
def pictures(tmp_path, make_picture, encode):
    """pictures(count): a folder with so many pictures, some in folders in it, and files that are none."""

    def write(count):
        folder = tmp_path / "pictures"
        (folder / "more" / "still more").mkdir(parents=True)
        (folder / "notes.txt").write_text("no picture", encoding="utf-8")
        (folder / "more" / "cut off.jpg").write_bytes(encode(make_picture("red"))[:200])
        (folder / "more" / "empty.png").write_bytes(b"")
        shades = np.random.RandomState(5).randint(0, 256, (count, 3)).tolist()
        for number, shade in enumerate(map(tuple, shades)):
            place = folder / ("", "more", "more/still more")[number % 3]
            if number % 2:
                (place / f"{number}.png").write_bytes(encode(make_picture(shade, number), "PNG"))
            else:
                (place / f"{number}.jpg").write_bytes(encode(make_picture(shade, number, 30, 70)))
        return folder

    return write


def embeddings(extractor, folder):
    """Embeddings of all pictures of a folder that `pictures` wrote, (N, D)."""
    paths = sorted(path for path in folder.rglob("*.*") if path.stem.isdecimal())
    return np.stack([extractor.embed(image.decode(path.read_bytes())) for path in paths])


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


def test_same_bytes_twice(classifier, new, pictures):
    """Cutting again writes the same over what is there, where that is allowed."""
    folder = pictures(20)
    first = {path.name: path.read_bytes() for path in cut_model(classifier, new, None, folder).files}
    again = cut_model(classifier, new, None, folder, replace=True)

    assert {path.name: path.read_bytes() for path in again.files} == first
    assert sorted(first) == contents(new.parent) == WITH_PICTURES


def test_replacing_changes_all(classifier, new, pictures, labels):
    """What replaces a model is whole: nothing of the older manifest counts any more."""
    cut_model(classifier, new, labels("\n".join(NAMES)), pictures(20))
    classifier.write_bytes(tiny_models.classifier(classes=4)[0])
    made = cut_model(classifier, new, replace=True)
    manifest = Manifest.of(new)

    assert (made.classes, made.pictures) == (4, 0)
    assert manifest.pretrained().names == [f"class {number}" for number in range(4)]
    assert (manifest.mean_embedding, manifest.golden(), manifest.radius) == (None, None, None)


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


# Pictures


def test_mean_embedding(classifier, new, pictures):
    """With pictures the manifest has their mean embedding; files that are no pictures are passed over."""
    folder = pictures(24)
    made = cut_model(classifier, new, None, folder)
    extractor = Extractor(new, "cpu")

    assert (made.pictures, made.embedding_size, made.classes) == (24, 16, 5)
    assert sorted(path.name for path in made.files) == contents(new.parent) == WITH_PICTURES
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o644 for path in made.files)
    expected = embeddings(extractor, folder).mean(axis=0)
    np.testing.assert_allclose(extractor.manifest.mean_embedding, expected, rtol=1e-5, atol=1e-6)
    assert extractor.manifest.pretrained().weights.shape == (5, 16)


def test_golden_picture(classifier, new, pictures, make_picture, encode):
    """One of the pictures, as far from the mean as is usual, is what the extractor is checked by when it starts."""
    folder = pictures(24)
    cut_model(classifier, new, None, folder)
    extractor, manifest = Extractor(new, "cpu"), Manifest.of(new)
    extractor.warm_up()
    distances = np.linalg.norm(embeddings(extractor, folder) - manifest.mean_embedding, axis=1)

    assert image.decode(manifest.golden().image).shape == (16, 16, 3)
    assert manifest.radius > 0
    assert np.abs(distances - manifest.radius).min() < 1e-5
    assert 0.4 <= np.mean(distances < manifest.radius) <= 0.6

    embedded = extractor.embed(image.decode(manifest.golden().image))
    np.testing.assert_allclose(manifest.golden().embedding, embedded, rtol=1e-5)
    others = [make_picture(shade) for shade in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    unlike = min(others, key=lambda other: cosine(extractor.embed(other), embedded))
    (new.parent / "new_golden.png").write_bytes(encode(unlike, "PNG"))
    with pytest.raises(GoldenCheckFailed):
        Extractor(new, "cpu").warm_up()


def cosine(one, other):
    """How alike two embeddings are."""
    return one @ other / (np.linalg.norm(one) * np.linalg.norm(other))


def test_too_few_pictures(classifier, new, pictures):
    """Twenty pictures are the least; with fewer nothing is written."""
    folder = pictures(20)
    (folder / "0.jpg").rename(folder / "0.txt")
    assert cut_model(classifier, new, None, folder).pictures == 20, "what counts is what is in a file"
    before = {path: path.read_bytes() for path in new.parent.iterdir()}
    (folder / "0.txt").unlink()
    with pytest.raises(SettingsError, match="needs 20 pictures of all sorts or more, got 19"):
        cut_model(classifier, new, None, folder, replace=True)
    with pytest.raises(SettingsError, match="got 19"):
        cut_model(classifier, new.with_name("other.tflite"), None, folder)

    assert {path: path.read_bytes() for path in new.parent.iterdir()} == before


@pytest.mark.parametrize("name", ["none", "file.jpg"])
def test_pictures_that_are_no_folder(classifier, new, tmp_path, make_picture, encode, name):
    """Pictures come in a folder, which has to be there."""
    (tmp_path / "file.jpg").write_bytes(encode(make_picture("red")))
    with pytest.raises(SettingsError, match="--pictures needs a folder with 20 pictures"):
        cut_model(classifier, new, None, tmp_path / name)

    assert contents(new.parent) == []


@pytest.mark.parametrize(("with_pictures", "least", "usual"), [(True, 0.75, 0.9), (False, 0.3, 0.6)])
def test_kept_classes_survive_the_first_taught_ones(mobilenet, new, shared_data, with_pictures, least, usual):
    """Few answers of kept classes are lost to two taught ones of five examples, whichever those are."""
    folder = shared_data / "imagenet500"
    cut_model(mobilenet, new, None, folder if with_pictures else None)
    extractor = Extractor(new, "cpu")
    pretrained, files = extractor.manifest.pretrained(), sorted(folder.glob("*.jpg"))
    asked = np.stack([extractor.embed(image.decode(path.read_bytes())) for path in files])
    truths = [pretrained.names[int(path.name[:4]) + 1] for path in files]
    left, objects = [], sorted(path for path in (shared_data / "objects20").iterdir() if path.is_dir())
    for first, second in zip(objects[::2], objects[1::2]):
        head = ImprintingHead.suited(256, extractor.manifest.mean_embedding)
        head.keep(pretrained.weights, pretrained.names, pretrained.biases, extractor.manifest.radius)
        before = answered_right(head, asked, truths)
        lessons = [(f"my {one.name}", path) for one in (first, second) for path in sorted(one.glob("*.jpg"))[:5]]
        taught = np.stack([extractor.embed(image.decode(path.read_bytes())) for _, path in lessons])
        head.learn_many(taught, [name for name, _ in lessons])
        calibrate(head, taught, [name for name, _ in lessons])
        left.append(answered_right(head, asked, truths)[before].mean())
        assert before.mean() >= 0.4
        assert np.mean(answered_right(head, taught, [name for name, _ in lessons])) >= 0.9

    assert len(left) == 10
    assert min(left) >= least
    assert np.mean(left) >= usual


def answered_right(head, asked, truths):
    """For which of (N, D) embeddings the class with the highest score is the right one, N truths."""
    return np.array([head.classes[place] == name for place, name in zip(head.logits(asked).argmax(axis=1), truths)])


# Names


def test_names_from_a_file(classifier, new, labels):
    """Names are the lines of a file, whatever ends them."""
    for ending in ("\n", "\r\n"):
        cut_model(classifier, new, labels(ending.join(NAMES) + ending), replace=True)
        assert Manifest.of(new).pretrained().names == NAMES
    cut_model(classifier, new, labels("\n".join(NAMES)), replace=True)

    assert (new.parent / "new_classes.txt").read_bytes() == "".join(name + "\n" for name in NAMES).encode("utf-8")


def test_names_inside_the_model(classifier, new):
    """Without a file the labels inside the model are taken, and numbers where there are none that fit."""
    cut_model(classifier, new)
    assert Manifest.of(new).pretrained().names == [f"class {number}" for number in range(5)]
    for inside, expected in ((NAMES, NAMES), (NAMES[:4], [f"class {number}" for number in range(5)])):
        classifier.write_bytes(add_labels(tiny_models.classifier()[0], inside))
        cut_model(classifier, new, replace=True)
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


@pytest.mark.parametrize("name", WITH_PICTURES)
def test_files_that_are_there(classifier, new, pictures, name):
    """What is there isn't written over unless that is asked for, and the refusal says what it is."""
    (new.parent / name).write_bytes(b"mine")
    folder = pictures(20)
    with pytest.raises(SettingsError) as refused:
        cut_model(classifier, new, None, folder)

    assert str(refused.value).startswith(f"{name} in {new.parent} would be written over")
    assert "--replace" in str(refused.value)
    assert contents(new.parent) == [name]
    assert (new.parent / name).read_bytes() == b"mine"
    cut_model(classifier, new, None, folder, replace=True)
    assert contents(new.parent) == WITH_PICTURES
    assert (new.parent / name).read_bytes() != b"mine"
    Extractor(new, "cpu").warm_up()


def test_all_files_that_are_there_are_named(classifier, new):
    """A second cut is refused with the names of all that it would write over."""
    cut_model(classifier, new)
    with pytest.raises(SettingsError) as refused:
        cut_model(classifier, new)

    assert all(name in str(refused.value) for name in WRITTEN)


def test_no_folder_to_write_into(classifier, new):
    """A folder that isn't there isn't made: it may be a typing mistake."""
    with pytest.raises(SettingsError, match=r"there is no folder .*nowhere to write new\.tflite into"):
        cut_model(classifier, new.parent / "nowhere" / "new.tflite", replace=True)

    assert contents(new.parent) == []


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
    """The command says what it made and where, and that without pictures something is missing."""
    code = main(["models", "cut", str(classifier), str(new), "--labels", str(labels("\n".join(NAMES)))])
    out, err = capsys.readouterr()

    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"{new} gives embeddings of 16 numbers; 5 classes can be kept",
        "  beside it: new.json",
        "  beside it: new.npz",
        "  beside it: new_classes.txt",
        "  it has no mean embedding: many answers of kept classes are lost to the first taught ones.",
        "  --pictures FOLDER, with a hundred pictures of all sorts or more, makes one.",
    ]
    assert Extractor(new, "cpu").manifest.pretrained().names == NAMES


def test_command_with_pictures(classifier, new, pictures, capsys):
    """With pictures it says how many the mean embedding is from; --replace writes over what is there."""
    command = ["models", "cut", str(classifier), str(new), "--pictures", str(pictures(21))]
    for flags in ([], ["--replace"]):
        code = main(command + flags)
        out, err = capsys.readouterr()
        assert (code, err) == (0, "")
        assert out.splitlines() == [
            f"{new} gives embeddings of 16 numbers; 5 classes can be kept",
            "  beside it: new.json",
            "  beside it: new.npz",
            "  beside it: new_classes.txt",
            "  beside it: new_golden.png",
            "  its mean embedding is that of 21 pictures",
        ]
    assert Manifest.of(new).radius > 0


def test_command_refuses(classifier, new, labels, pictures, capsys, data):
    """Wrong use ends with code 2 and one line that says what was wrong, without a stack trace."""
    few = pictures(19)
    there = classifier.with_name("there.tflite")
    there.write_bytes(b"mine")
    for arguments, words in (
        ([classifier, there], "there.tflite in"),
        ([classifier, there], "--replace allows it"),
        ([classifier, new.parent / "nowhere" / "new.tflite"], "there is no folder"),
        ([classifier, new, "--pictures", few], "needs 20 pictures of all sorts or more, got 19"),
        ([classifier, new, "--pictures", few / "none"], "--pictures needs a folder"),
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
    assert there.read_bytes() == b"mine"


@pytest.mark.parametrize("arguments", [["models"], ["models", "cut"], ["models", "cut", "one"], ["models", "sew"]])
def test_command_line_refused(arguments, capsys):
    """A command line that isn't whole ends with code 2 and how it is used."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2
    assert "usage: coral-learn models" in capsys.readouterr().err


def test_a_target_that_cannot_be_written(classifier, tmp_path, capsys):
    """A folder that is a file is told in one line."""
    (tmp_path / "file").write_text("x", encoding="utf-8")
    code = main(["models", "cut", str(classifier), str(tmp_path / "file" / "new.tflite")])
    err = capsys.readouterr().err

    assert code == 2
    assert err.startswith("coral-learn: ")
    assert len(err.splitlines()) == 1
