"""coral_learn/inspection.py: what a model file is, without running it."""

import hashlib
import re
import shutil
import subprocess

import flatbuffers
import pytest
import tiny_models
from hypothesis import given, settings
from hypothesis import strategies as st

from coral_learn.catalog import bundled_model, git_blob_id
from coral_learn.errors import ModelFileMissing, ModelFormatError
from coral_learn.inspection import inspect_model, quantisation
from coral_learn.tflite_file import TfliteModel, add_labels, least_runtime
from coral_learn.tflite_file.compiled import _version


@pytest.fixture
def write(tmp_path):
    """write(data, name): the path of a file with these bytes."""

    def to_file(data, name="model.tflite"):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return to_file


def package(version):
    """A package as edgetpu_compiler puts it into the custom options: a map's bytes, then identifier and version."""
    builder = flatbuffers.Builder(64)
    builder.StartObject(8)
    builder.PrependInt32Slot(0, version, 0)
    builder.Finish(builder.EndObject(), b"DWN1")
    return b"\0" * 8 + bytes(builder.Output()) + b"trailing"


def test_bundled_model():
    """All is found of the bundled model, what its manifest has, too."""
    facts = inspect_model(bundled_model())

    assert (facts.extractor, facts.embedding_size, facts.compiled, facts.quantisation) == (True, 1280, False, "8 bit")
    assert facts.catalog == {"name": "efficientnet_lite0", "title": "EfficientNet-Lite0, headless", "file": "plain"}
    assert facts.inputs[0]["shape"] == [1, 224, 224, 3]
    assert (facts.inputs[0]["dtype"], facts.inputs[0]["zero_point"]) == ("uint8", 127)
    assert facts.operators["CONV_2D"] == 33
    assert facts.manifest["mean_embedding"]
    assert facts.manifest["golden"]
    assert facts.manifest["pretrained_classes"] == 1000


def test_digests(write):
    """sha256 and git's blob id are the file's; git itself agrees."""
    path = write(tiny_models.classifier()[0])
    facts = inspect_model(path)

    assert facts.bytes == path.stat().st_size
    assert facts.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert git_blob_id(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    if shutil.which("git"):
        said = subprocess.run(["git", "hash-object", str(path)], stdout=subprocess.PIPE, check=True).stdout
        assert facts.blob == said.decode().strip()


def test_twins(data):
    """A plain model knows its compiled file, a compiled one its plain file and that one's manifest."""
    plain, compiled = (inspect_model(data / name) for name in ("tiny.tflite", "tiny_edgetpu.tflite"))

    assert (plain.compiled, compiled.compiled) == (False, True)
    assert (plain.twin, compiled.twin) == (str(data / "tiny_edgetpu.tflite"), str(data / "tiny.tflite"))
    assert plain.manifest["path"] == compiled.manifest["path"] == str(data / "tiny.json")
    assert inspect_model(data / "tiny_int8.tflite").twin is None


@pytest.mark.parametrize(
    ("name", "kind"), [("tiny", "8 bit"), ("tiny_int8", "8 bit"), ("tiny_float32", "float"), ("grey", "float")]
)
def test_quantisation(data, name, kind):
    """Eight bits or float is what flows between the operators."""
    assert inspect_model(data / f"{name}.tflite").quantisation == kind


def test_mixed_quantisation():
    """A float layer behind an 8 bit extractor is neither; types at the model's edges alone don't count."""
    assert quantisation(TfliteModel(tiny_models.classifier()[0])) == "mixed"
    assert quantisation(TfliteModel(tiny_models.imprinting_classifier()[0])) == "8 bit"


@pytest.mark.parametrize(
    ("name", "words"),
    [("grey", r"shape \(1, height, width, 3\)"), ("map", r"gives \(1, 8, 8, 3\)"), ("pair", "this one has 2")],
)
def test_no_extractor(data, name, words):
    """Of what is no extractor it says why."""
    facts = inspect_model(data / f"{name}.tflite")

    assert re.search(words, facts.verdict)
    assert (facts.extractor, facts.embedding_size) == (False, None)


def test_classifiers(write):
    """A classifier can be cut, one in Coral's form serves ImprintingEngine as well; its labels are counted."""
    plain = inspect_model(write(add_labels(tiny_models.classifier()[0], list("abcde"))))
    corals = inspect_model(write(tiny_models.imprinting_classifier()[0]))

    assert (plain.extractor, plain.embedding_size, plain.labels) == (False, None, 5)
    assert plain.verdict.startswith("a classifier of 5 classes behind 16 values")
    assert not corals.extractor
    assert "ImprintingEngine" in corals.verdict
    assert corals.labels is None


def test_a_broken_manifest(write):
    """A manifest that can't be used is no reason to say nothing about the model."""
    path = write(tiny_models.classifier()[0])
    path.with_suffix(".json").write_text("[]", encoding="utf-8")

    assert "needs the field 'name'" in inspect_model(path).manifest["error"]


def test_corals_models(coral_models):
    """Coral's own: plain and compiled file of one extractor, and the run-time that the compiled one needs."""
    name = "mobilenet_v1_1.0_224_quant_embedding_extractor"
    plain, compiled = (inspect_model(coral_models / f"{name}{end}.tflite") for end in ("", "_edgetpu"))

    assert plain.operators == {"CONV_2D": 14, "DEPTHWISE_CONV_2D": 13, "AVERAGE_POOL_2D": 1}
    assert compiled.operators == {"edgetpu-custom-op": 1}
    assert (plain.least_runtime, compiled.least_runtime) == (None, 12)
    assert plain.embedding_size == compiled.embedding_size == 1024
    assert (plain.catalog["file"], compiled.catalog["file"]) == ("plain", "compiled")
    assert not inspect_model(coral_models / "model_invoking_error.tflite").extractor


# The version in a compiled model


@pytest.mark.parametrize("version", [1, 13, 2**31 - 1])
def test_version(version):
    """The version in the compiler's package is read."""
    assert _version(package(version)) == version


def test_no_version():
    """Where there is no package, or none with a version, none is claimed."""
    assert _version(b"") is None
    assert _version(b"DWN1") is None
    assert _version(package(0)) is None
    assert _version(package(-5)) is None
    compiled = tiny_models.imprinting_classifier(body=tiny_models.compiled_extractor)[0]
    assert least_runtime(TfliteModel(compiled)) is None


@given(st.binary(max_size=64), st.integers(0, 40))
def test_broken_packages(noise, place):
    """Whatever the package's bytes are, the answer is a version or none."""
    whole = package(13)
    for options in (noise, whole[:place], whole[:place] + noise + whole[place + len(noise) :], b"\0" * 4 + noise):
        version = _version(options)
        assert version is None or version > 0


# Hostile files


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 7000), st.integers(0, 255)), min_size=1, max_size=8), st.integers(0, 7808))
def test_broken_models(tmp_path_factory, data, changes, length):
    """Of a file with wrong bytes, or one cut off, something is said, or that it is no model; nothing else happens."""
    content = bytearray((data / "tiny.tflite").read_bytes())
    for place, value in changes:
        content[place] = value
    path = tmp_path_factory.mktemp("broken") / "model.tflite"
    for broken in (bytes(content), bytes(content[:length])):
        path.write_bytes(broken)
        try:
            assert inspect_model(path).bytes == len(broken)
        except ModelFormatError as error:
            assert str(error)


@pytest.mark.parametrize("content", [b"", b"x", b"\0" * 100, b"PK\x03\x04" + b"\0" * 60])
def test_no_models(write, content):
    """Other files are refused."""
    with pytest.raises(ModelFormatError):
        inspect_model(write(content))


def test_no_file(tmp_path):
    """So are folders, and files that aren't there."""
    for path in (tmp_path, tmp_path / "none.tflite"):
        with pytest.raises(ModelFileMissing):
            inspect_model(path)
