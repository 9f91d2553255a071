"""coral_learn/tflite_file/: models are read, extended, cut and relabelled; broken ones are refused."""

import contextlib
import io
import json
import struct
import zipfile

import flatbuffers
import numpy as np
import pytest
import tflite
import tiny_models
from hypothesis import given, settings
from hypothesis import strategies as st

from coral_learn import errors
from coral_learn.runtime.cpu import CpuRuntime
from coral_learn.runtime.tflite import is_compiled
from coral_learn.tflite_file import (
    Layer,
    TfliteModel,
    add_labels,
    append_layer,
    cut,
    find_imprinting_tail,
    find_last_layer,
    read_head,
    read_labels,
    replace_classes,
)

EXTRACTORS = ["tiny", "tiny_int8", "tiny_float32"]
LAST_LAYERS = [
    (last, stored, by_row, behind)
    for last in ("FULLY_CONNECTED", "CONV_2D")
    for stored, by_row in (("float32", False), ("float16", False), ("uint8", False), ("int8", False), ("int8", True))
    for behind in (("SOFTMAX",), ("MUL", "ADD", "RESHAPE", "SOFTMAX"), ("RESHAPE", "ADD", "MUL"), ())
]


@pytest.fixture(scope="session")
def load(tmp_path_factory):
    """load(model): a run-time for the bytes of a model, or for the path of a file."""
    folder = tmp_path_factory.mktemp("models")

    def load_model(model):
        if not isinstance(model, bytes):
            return CpuRuntime(model)
        path = folder / f"{len(list(folder.iterdir()))}.tflite"
        path.write_bytes(model)
        return CpuRuntime(path)

    return load_model


@pytest.fixture
def tiny(tiny_model):
    """The bytes of the tests' extractor."""
    return tiny_model.read_bytes()


def pictures(spec, count, seed=0):
    """Random pictures for a model's input."""
    random = np.random.RandomState(seed)
    _, height, width, channels = spec.shape
    for _ in range(count):
        colour, noise = (
            random.randint(0, 256, (1, 1, 1, channels)),
            random.randint(-40, 40, (1, height, width, channels)),
        )
        pixels = (colour + noise).clip(0, 255)
        yield (
            (pixels / 128 - 1).astype("float32")
            if spec.dtype == "float32"
            else pixels.astype(np.uint8).view(spec.dtype)
        )


def random_layer(size, classes=20, seed=0, **options):
    """A layer of random numbers, like those of a head that tells classes apart."""
    random = np.random.RandomState(seed)
    weights = random.normal(0, 2, (classes, size)).astype(np.float32)
    return Layer(weights, random.normal(0, 0.3, classes).astype(np.float32), **options)


def names(layer):
    """Labels for a layer."""
    return [f"class {number}" for number in range(len(layer.biases))]


def softmax(logits):
    """Scores, float64."""
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def expected_scores(layer, embedding):
    """What a layer means, in float64."""
    z = embedding.astype(np.float64)
    z = z - (0 if layer.mean is None else layer.mean)
    z = np.sign(z) * np.abs(z) ** layer.power
    if layer.normalize:
        z = z / max(np.linalg.norm(z), 1e-6)
    return softmax(layer.weights.astype(np.float64) @ z + layer.biases)


def embed(runtime, picture):
    """An extractor's embedding, (D,)."""
    return runtime.output.dequantise(runtime.invoke(picture)).ravel()


# Reading


def test_facts(tiny):
    """A model tells its tensors, operators, constants and metadata, as the package tflite sees them."""
    model, other = TfliteModel(tiny), tflite.Model.GetRootAs(tiny)
    graph = other.Subgraphs(0)

    assert model.data == tiny
    assert model.inputs == graph.InputsAsNumpy().tolist()
    assert model.outputs == graph.OutputsAsNumpy().tolist()
    assert [operator.code for operator in model.operators] == [
        "QUANTIZE",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "CONV_2D",
        "MEAN",
        "QUANTIZE",
    ]
    assert sorted(model.metadata) == ["CONVERSION_METADATA", "min_runtime_version"]
    assert model.associated_files() == {}
    for index in range(graph.TensorsLength()):
        tensor, seen = model.tensor(index), graph.Tensors(index)
        assert tensor.name == seen.Name().decode()
        assert tensor.shape == tuple(seen.ShapeAsNumpy().tolist())
        assert tensor.buffer_index == seen.Buffer()
        assert tensor.scale.tolist() == np.ravel(seen.Quantization().ScaleAsNumpy())[: tensor.scale.size].tolist()
        stored = other.Buffers(seen.Buffer()).DataAsNumpy()
        constant = model.constant(index)
        assert (b"" if constant is None else constant.tobytes()) == (stored.tobytes() if np.size(stored) > 1 else b"")


def test_operators(tiny):
    """An operator has the tensors it reads and writes, and its version."""
    convolution = TfliteModel(tiny).operators[1]

    assert convolution.version == 3
    assert len(convolution.inputs) == 3
    assert str(convolution) == "operator 1 CONV_2D"


def test_dequantized_by_row():
    """Constants with a scale a row are made real row by row."""
    model, weights, _ = tiny_models.classifier(stored="int8", by_row=True)
    read = TfliteModel(model)
    (constant,) = [i for i, tensor in enumerate(read.graph.tensors) if tensor.scale.size > 1]

    assert np.allclose(read.dequantized(constant), weights, atol=1e-6)
    assert read.constant(constant).dtype == np.int8
    assert read.dequantized(read.outputs[0]) is None


def test_missing_file(tmp_path):
    """A file that isn't there, or is a folder, is told."""
    for path in (tmp_path / "none.tflite", tmp_path):
        with pytest.raises(errors.ModelFileMissing):
            TfliteModel.read(path)


def test_compiled_models(coral_models):
    """A model compiled for the Edge TPU is one operator with a name of its own."""
    path = coral_models / "mobilenet_v1_1.0_224_quant_embedding_extractor_edgetpu.tflite"
    model = TfliteModel.read(path)

    assert [operator.code for operator in model.operators] == ["edgetpu-custom-op"]
    assert model.tensor(model.outputs[0]).shape == (1, 1, 1, 1024)


def test_no_such_tensor(tiny):
    """Tensors and buffers are asked for by numbers in range."""
    model = TfliteModel(tiny)
    for ask in (model.tensor, model.constant, model.buffer):
        for index in (-1, 10**6):
            with pytest.raises(errors.ModelFormatError, match="asked for"):
                ask(index)


# Appending


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("power", [1.0, 0.5, 0.3])
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("name", EXTRACTORS)
def test_append_agrees_with_numpy(data, load, name, centred, power, normalize):
    """The interpreter's scores are those of the layer in numpy to 1e-5, whatever the embedding's type."""
    extractor = (data / (name + ".tflite")).read_bytes()
    mean = np.random.RandomState(3).uniform(0, 1, 64).astype(np.float32) if centred else None
    layer = random_layer(64, mean=mean, power=power, normalize=normalize)
    before, after = load(extractor), load(append_layer(extractor, layer, names(layer)))

    assert after.output.shape == (1, 20)
    assert after.output.dtype == "float32"
    for picture in pictures(before.input, 100):
        scores = after.invoke(picture)[0]
        assert np.abs(scores - expected_scores(layer, embed(before, picture))).max() < 1e-5


@pytest.mark.parametrize("name", EXTRACTORS)
def test_append_quantized(data, load, name):
    """Weights of 8 bits give the same top answer for 99 of 100 pictures, and take a quarter of the bytes."""
    extractor = (data / (name + ".tflite")).read_bytes()
    layer = random_layer(64, classes=100, power=0.5)
    exact = append_layer(extractor, layer, names(layer))
    small = append_layer(extractor, layer, names(layer), quantized=True)
    runtimes = load(exact), load(small)
    same = [
        len({int(runtime.invoke(picture).argmax()) for runtime in runtimes}) == 1
        for picture in pictures(runtimes[0].input, 200)
    ]

    assert np.mean(same) >= 0.99
    weights = layer.weights.nbytes
    assert weights * 0.70 < len(exact) - len(small) < weights * 0.75


def test_append_to_the_bundled_model(load):
    """The extractor that comes with the package takes a layer of 1000 classes."""
    path = tiny_models.BUNDLED
    layer = random_layer(1280, classes=1000, mean=np.full(1280, 0.2, np.float32), power=0.5)
    before, after = load(path), load(append_layer(path.read_bytes(), layer, names(layer)))
    (picture,) = pictures(before.input, 1)

    assert np.abs(after.invoke(picture)[0] - expected_scores(layer, embed(before, picture))).max() < 1e-5


def test_append_to_a_picture_shaped_embedding(load):
    """An embedding of the shape (1, 1, 1, D) is made flat first."""
    extractor = cut(tiny_models.imprinting_classifier()[0])
    layer = random_layer(16)
    before, after = load(extractor), load(append_layer(extractor, layer, names(layer), quantized=True))

    assert before.output.shape == (1, 1, 1, 16)
    for picture in pictures(before.input, 20):
        assert np.abs(after.invoke(picture)[0] - expected_scores(layer, embed(before, picture))).max() < 0.01


def test_append_keeps_the_old_file(tiny):
    """The old file is whole inside the new one; description, metadata, signatures and versions go along."""
    layer = random_layer(64)
    model = append_layer(tiny, layer, names(layer))
    new, old = tflite.Model.GetRootAs(model), tflite.Model.GetRootAs(tiny)

    assert tiny in model
    assert (new.Version(), new.Description()) == (old.Version(), old.Description())
    entries = {new.Metadata(i).Name(): new.Metadata(i).Buffer() for i in range(new.MetadataLength())}
    assert set(entries) == {b"min_runtime_version", b"CONVERSION_METADATA", b"TFLITE_METADATA"}
    assert new.SignatureDefsLength() == old.SignatureDefsLength() == 1
    (output,) = new.Subgraphs(0).OutputsAsNumpy()
    assert new.SignatureDefs(0).Outputs(0).TensorIndex() == output
    assert new.SignatureDefs(0).Outputs(0).Name() == old.SignatureDefs(0).Outputs(0).Name()
    assert new.SignatureDefs(0).SignatureKey() == old.SignatureDefs(0).SignatureKey()
    assert np.array_equal(new.Subgraphs(0).InputsAsNumpy(), old.Subgraphs(0).InputsAsNumpy())


def starts(model):
    """Where each buffer's bytes begin, None for an empty one."""
    read = TfliteModel(model)
    buffers = [read.flat.fields(ref) for ref in read.refs("buffers")]
    return [buffer["data"].position + 4 if "data" in buffer else None for buffer in buffers]


def test_constants_are_aligned(tiny):
    """What is written begins at a multiple of 16 bytes, as the schema asks; what is kept, begins as before."""
    layer = random_layer(64, mean=np.zeros(64, np.float32), power=0.5)
    old, new = starts(tiny), starts(append_layer(tiny, layer, names(layer), quantized=True))

    assert [start and start % 16 for start in new[: len(old)]] == [start and start % 16 for start in old]
    assert len(new) > len(old)
    assert all(start % 16 == 0 for start in new[len(old) :] + [start for start in starts(cut(tiny, 9)) if start])


def test_operator_codes_are_reused():
    """What the model has in a sufficient version isn't listed twice."""
    model, _, _ = tiny_models.classifier(behind=())
    layer = random_layer(5)
    codes = tflite.Model.GetRootAs(append_layer(model, layer, names(layer)))
    numbers = [codes.OperatorCodes(i).BuiltinCode() for i in range(codes.OperatorCodesLength())]

    assert numbers.count(tflite.BuiltinOperator.FULLY_CONNECTED) == 1
    assert len(set(numbers)) == len(numbers)


def test_append_to_compiled_models(coral_models):
    """A model compiled for the Edge TPU stays what it is; the layer's operators come behind it."""
    path = coral_models / "mobilenet_v1_1.0_224_quant_embedding_extractor_edgetpu.tflite"
    layer = random_layer(1024)
    model = append_layer(path.read_bytes(), layer, names(layer))
    codes = [operator.code for operator in TfliteModel(model).operators]

    assert codes == ["edgetpu-custom-op", "DEQUANTIZE", "RESHAPE", "L2_NORMALIZATION", "FULLY_CONNECTED", "SOFTMAX"]
    assert path.read_bytes() in model
    assert is_compiled(model)


def test_other_subgraphs_and_outputs_stay(load):
    """The layer goes behind the first output of the first subgraph; the rest is kept."""
    built = tiny_models.TinyModel()
    image, x = tiny_models.extractor(built, np.random.RandomState(0), 16)
    model = built.build([image], [x, x - 1], subgraphs=3)
    layer = random_layer(16)
    read = TfliteModel(append_layer(model, layer, names(layer)))

    assert len(read.subgraphs) == 3
    assert read.outputs[1:] == [x - 1]
    assert read.subgraphs[1] == read.subgraphs[2]
    assert read.subgraphs[1].outputs == [x, x - 1]
    assert load(append_layer(model, layer, names(layer))).output.shape == (1, 20)


@pytest.mark.parametrize(
    "options",
    [
        {"weights": np.zeros((3, 64, 1))},
        {"weights": np.zeros((2, 64))},
        {"weights": np.full((3, 64), np.nan)},
        {"weights": np.full((3, 64), 1e300)},
        {"biases": np.zeros((3, 1))},
        {"mean": np.zeros(63)},
        {"power": 0},
        {"power": float("nan")},
    ],
)
def test_misshapen_layers(tiny, options):
    """A layer whose parts don't fit each other, or aren't finite, is refused."""
    layer = Layer(np.zeros((3, 64)), np.zeros(3))._replace(**options)
    with pytest.raises(errors.OptionError):
        append_layer(tiny, layer, ["a", "b", "c"])


def test_layer_for_another_model(tiny):
    """A layer for embeddings of another size, or a model without an embedding to take, is refused."""
    layer = random_layer(65)
    with pytest.raises(errors.ModelFormatError, match="takes 65 numbers"):
        append_layer(tiny, layer, names(layer))
    with pytest.raises(errors.OptionError, match="2 labels"):
        append_layer(tiny, random_layer(64), ["a", "b"])


# Labels


@settings(max_examples=15)
@given(st.lists(st.text(min_size=1), min_size=1, max_size=20), st.text())
def test_labels_come_back(labels, description):
    """Labels are read as they were written, or refused for a line break."""
    model = tiny_models.imprinting_classifier()[0]
    lines = all(label.splitlines() == [label] for label in labels)
    if not lines:
        with pytest.raises(errors.ClassNameInvalid):
            add_labels(model, labels)
        return
    labelled = add_labels(model, labels, description, {"head": "imprinting"})

    assert read_labels(labelled) == labels
    assert read_head(labelled) == {"head": "imprinting"}
    assert add_labels(model, labels, description, {"head": "imprinting"}) == labelled


@pytest.mark.parametrize("label", ["", "two\nlines", "two\rlines", "two\u2028lines", "\ud800", 7, None])
def test_labels_refused(tiny, label):
    """A label is one line of text."""
    with pytest.raises(errors.ClassNameInvalid, match="one line"):
        add_labels(tiny, ["fine", label])


def test_labels_as_tensorflows_tools_expect_them(tiny, load):
    """The archive opens with any ZIP reader, the metadata name its files, and the model still runs."""
    labelled = add_labels(tiny, ["ä", "b c"], "what it does", {"power": 0.5})
    with zipfile.ZipFile(io.BytesIO(labelled)) as archive:
        assert archive.testzip() is None
        assert archive.read("labels.txt").decode("utf-8") == "ä\nb c\n"
        assert json.loads(archive.read("head.json").decode("utf-8")) == {"power": 0.5}
    model = TfliteModel(labelled)
    described = model.buffer(model.metadata["TFLITE_METADATA"])

    assert described[4:8] == b"M001"
    for text in (b"labels.txt", b"head.json", b"what it does"):
        assert text in described
    assert load(labelled).output.shape == (1, 64)


def test_labels_are_replaced(tiny):
    """New labels take the place of the old ones; nothing piles up."""
    once = add_labels(tiny, ["a"], "first", {"n": 1})
    twice = add_labels(once, ["b", "c"])

    assert read_labels(twice) == ["b", "c"]
    assert read_head(twice) is None
    assert list(TfliteModel(twice).associated_files()) == ["labels.txt"]
    assert list(TfliteModel(twice).metadata).count("TFLITE_METADATA") == 1
    assert b"first" in TfliteModel(twice).buffer(TfliteModel(twice).metadata["TFLITE_METADATA"])


def test_description_of_the_input_stays(coral_models):
    """What a model's metadata say of its input is kept, the labels of its old output go."""
    path = coral_models / "mobilenet_v1_0.25_128_quant.tflite"
    model = TfliteModel(add_labels(path.read_bytes(), ["x"] * 1001, "new"))
    old = TfliteModel.read(path)
    before, after = (m.buffer(m.metadata["TFLITE_METADATA"]) for m in (old, model))

    assert before in after  # the older bytes are behind the new tables, which refer to the input's
    assert list(model.associated_files()) == ["labels.txt"]
    assert list(old.associated_files()) == ["imagenet_labels.txt"]


def test_broken_metadata_are_replaced():
    """A description that can't be read doesn't keep a model from getting labels."""
    built = tiny_models.TinyModel()
    image, x = tiny_models.extractor(built, np.random.RandomState(0), 16)
    model = built.build([image], [x], metadata=[("TFLITE_METADATA", b"nonsense"), ("other", b"kept")])
    labelled = add_labels(model, ["a"])

    assert read_labels(model) is None
    assert read_labels(labelled) == ["a"]
    assert TfliteModel(labelled).buffer(TfliteModel(labelled).metadata["other"]) == b"kept"


def test_archives_that_are_bombs(tiny):
    """An archive that unpacks to more than any labels, or is broken, is refused without unpacking it."""
    for content, damage in ((bytes(64 << 20), None), (b"x", b"PK\x01\x02")):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("labels.txt", content)
        packed = file.getvalue().replace(damage, b"PK\x09\x09") if damage else file.getvalue()
        model = TfliteModel(tiny + packed)
        with pytest.raises(errors.ModelFormatError, match="archive"):
            model.associated_files()
        with pytest.raises(errors.ModelFormatError, match="archive"):
            add_labels(tiny + packed, ["a"])


def test_no_head(tiny):
    """A model without head.json has none; one with another sort of file there is refused."""
    assert read_head(tiny) is None
    for content in ("[1]", "{"):
        file = io.BytesIO(tiny)
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr("head.json", content)
        with pytest.raises(errors.ModelFormatError, match="head"):
            read_head(file.getvalue())


# Cutting


@pytest.mark.parametrize(("last", "stored", "by_row", "behind"), LAST_LAYERS)
def test_cut_and_last_layer(load, last, stored, by_row, behind):
    """The layer found, put behind the model cut, gives the classifier's own answers."""
    model, weights, biases = tiny_models.classifier(last, stored, by_row, behind)
    layer, classifier, extractor = find_last_layer(TfliteModel(model)), load(model), load(cut(model))

    assert np.abs(layer.weights - weights).max() < 1e-5
    assert np.abs(layer.biases - biases).max() < 1e-5
    assert layer.activation == ("softmax" if "SOFTMAX" in behind else "none")
    for picture in pictures(classifier.input, 5):
        logits = layer.weights @ embed(extractor, picture) + layer.biases
        scores = softmax(logits) if "SOFTMAX" in behind else logits
        assert np.abs(scores - classifier.invoke(picture).ravel()).max() < 1e-4


@pytest.mark.parametrize("quantized", [False, True])
def test_cut_undoes_append(tiny, load, quantized):
    """A layer that was appended is found and cut off again: the same answers as before."""
    layer = random_layer(64, normalize=False)
    model = append_layer(tiny, layer, names(layer), quantized=quantized)
    found, extractor = find_last_layer(TfliteModel(model)), cut(model)
    before, after = load(tiny), load(extractor)

    assert np.abs(found.weights - layer.weights).max() < (0.05 if quantized else 1e-9)
    assert np.array_equal(found.biases, layer.biases)
    assert len(extractor) < len(tiny) + 1600  # the numbers of the layer's tensors stay, its weights don't
    assert read_labels(extractor) is None
    for picture in pictures(before.input, 5):
        assert np.allclose(embed(before, picture), embed(after, picture))


def test_cut_anywhere(tiny, load):
    """A model may be made to end with any tensor that an operator computes; the rest leaves the file."""
    model = TfliteModel(tiny)
    for operator in model.operators:
        shorter = cut(tiny, operator.outputs[0])
        read = TfliteModel(shorter)
        runtime = load(shorter)
        (picture,) = pictures(runtime.input, 1)

        assert [step.code for step in read.operators] == [step.code for step in model.operators[: operator.index + 1]]
        assert runtime.invoke(picture).shape == model.tensor(operator.outputs[0]).shape
        signature = tflite.Model.GetRootAs(shorter).SignatureDefs(0)
        assert [signature.Outputs(i).TensorIndex() for i in range(signature.OutputsLength())] in ([], read.outputs)
        assert len(shorter) < len(tiny) + 300


def test_cut_nowhere(tiny):
    """A model can't end with a tensor it doesn't have, with its input or with a constant."""
    for tensor in (-1, 999, 0, 1):
        with pytest.raises(errors.ModelFormatError):
            cut(tiny, tensor)


def test_no_last_layer(tiny, coral_models):
    """A model without a last layer is told what is needed, and what it has."""
    compiled = coral_models / "mobilenet_v1_1.0_224_quant_embedding_extractor_edgetpu.tflite"
    for model, found in ((tiny, "MEAN"), (compiled.read_bytes(), "edgetpu-custom-op")):
        with pytest.raises(errors.ModelFormatError, match=f"(?s){found}.*FULLY_CONNECTED or 1 x 1 CONV_2D"):
            find_last_layer(TfliteModel(model))
        with pytest.raises(errors.ModelFormatError):
            cut(model)


def test_unknown_operators_stay_in_place():
    """A model with options that aren't known here is cut all the same, its bytes kept as they are."""
    built = tiny_models.TinyModel()
    image, x = tiny_models.extractor(built, np.random.RandomState(0), 16)
    gathered = built.operator(
        tflite.BuiltinOperator.CUMSUM, [x], built.tensor((1, 1, 1, 16)), tiny_models.plain("CumsumOptions")
    )
    model = built.build([image], [gathered])

    assert model in cut(model, gathered)
    assert model not in cut(model, x)


# The imprinting form


@pytest.mark.parametrize("quantize", [True, False])
@pytest.mark.parametrize(("classes", "dimension"), [(1, 8), (4, 16), (30, 32)])
def test_imprinting_tail(load, quantize, classes, dimension):
    """The tail's facts, in numpy, give the model's own scores; embeddings have the length 1."""
    model, weights = tiny_models.imprinting_classifier(classes, dimension, quantize)
    tail = find_imprinting_tail(TfliteModel(model))
    classifier, extractor = load(model), load(cut(model, tail.embedding_tensor))

    assert np.array_equal(tail.weights, weights)
    assert (tail.quantize is not None) == quantize
    assert tail.scores_scale == 1 / 256
    assert TfliteModel(model).operators[tail.normalization].code == "L2_NORMALIZATION"
    assert cut(model) == cut(model, tail.embedding_tensor)
    for picture in pictures(classifier.input, 20):
        embedding = embed(extractor, picture)
        scores = classifier.output.dequantise(classifier.invoke(picture))[0]
        assert abs(np.linalg.norm(embedding) - 1) < 0.03
        assert np.abs(softmax(tail.factor * tail.weights @ embedding) - scores).max() < 0.03


@pytest.mark.parametrize("quantize", [True, False])
@pytest.mark.parametrize("classes", [1, 3, 9])
def test_replace_classes(load, quantize, classes):
    """New classes take the place of the old ones: the model answers with the class whose embedding it was taught."""
    model, _ = tiny_models.imprinting_classifier(4, 16, quantize)
    extractor = load(cut(model, find_imprinting_tail(TfliteModel(model)).embedding_tensor))
    taught = list(pictures(extractor.input, classes, seed=5))
    rows = np.array([embed(extractor, picture) for picture in taught])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    changed = replace_classes(model, rows)
    tail, runtime = find_imprinting_tail(TfliteModel(changed)), load(changed)

    assert runtime.output.shape == (1, classes)
    assert np.abs(tail.weights - rows).max() <= 1 / 128
    assert TfliteModel(changed).tensor(tail.weights_tensor).scale == np.float32(1 / 128)
    assert np.all(TfliteModel(changed).constant(tail.bias_tensor) == 0)
    for number, picture in enumerate(taught):
        stored = runtime.invoke(picture)[0].astype(int)
        assert stored[number] >= stored.max() - 2
    assert len(replace_classes(changed, tail.weights)) == len(changed)
    assert tiny_models.imprinting_classifier(4, 16, quantize)[0] == model


def test_replace_classes_with_longer_rows():
    """Rows that don't fit the old scale get one of their own."""
    model, weights = tiny_models.imprinting_classifier()
    tail = find_imprinting_tail(TfliteModel(replace_classes(model, weights * 3)))

    assert np.abs(tail.weights - weights * 3).max() < 3 / 128


def test_replace_classes_refuses(tiny):
    """Only models in the imprinting form, and only finite weights of its size."""
    model, weights = tiny_models.imprinting_classifier()
    with pytest.raises(errors.ModelFormatError, match="L2_NORMALIZATION"):
        replace_classes(tiny, weights)
    for bad in (weights[:, :-1], weights[0], weights[:0], weights * np.nan):
        with pytest.raises(errors.OptionError):
            replace_classes(model, bad)


@pytest.mark.parametrize("name", EXTRACTORS)
def test_other_models_have_no_imprinting_tail(data, name):
    """Any other model has none."""
    assert find_imprinting_tail(TfliteModel.read(data / (name + ".tflite"))) is None
    assert find_imprinting_tail(TfliteModel(tiny_models.classifier("CONV_2D")[0])) is None


# Broken and hostile files


def use(model):
    """Everything that can be done with a file. Lets nothing but `ModelFormatError` through, and no broken file out."""
    read = TfliteModel(model)
    vector = np.zeros(2, np.float32)
    tries = [
        read.associated_files,
        lambda: [read.dequantized(index) for index in range(len(read.graph.tensors))],
        lambda: find_last_layer(read),
        lambda: find_imprinting_tail(read),
        lambda: read_labels(model),
        lambda: read_head(model),
        lambda: cut(model),
        lambda: cut(model, read.operators[0].outputs[0]) if read.operators and read.operators[0].outputs else b"",
        lambda: replace_classes(model, np.eye(3, 16)),
        lambda: append_layer(model, Layer(np.ones((2, 64)), vector), ["a", "b"]),
        lambda: append_layer(model, Layer(np.ones((2, 4)), vector, np.ones(4), 0.5), ["a", "b"], quantized=True),
    ]
    for attempt in tries:
        try:
            written = attempt()
        except errors.ModelFormatError:
            continue
        if isinstance(written, bytes) and written:
            TfliteModel(written)


def survives(model):
    """Use a file that may be broken."""
    with contextlib.suppress(errors.ModelFormatError):
        use(model)


BASES = {
    "labelled": add_labels(tiny_models.imprinting_classifier()[0], ["a", "b", "c", "d"], "fuzzed", {"n": 1}),
    "classifier": tiny_models.classifier("CONV_2D", "int8", True, ("MUL", "ADD", "RESHAPE", "SOFTMAX"))[0],
}
VALUES = st.one_of(
    st.sampled_from([0, 1, 4, 2**31 - 1, 2**31, 2**32 - 4, 2**32 - 1]), st.integers(0, 64), st.integers(0, 2**32 - 1)
)


@pytest.mark.parametrize("name", BASES)
def test_truncated(name):
    """A file that ends early is refused or whole enough."""
    for length in range(0, len(BASES[name]), 29):
        survives(BASES[name][:length])


@pytest.mark.parametrize("name", BASES)
@given(st.data())
def test_bits_flipped(name, data):
    """Bits turned over anywhere."""
    model = bytearray(BASES[name])
    for _ in range(data.draw(st.integers(1, 8))):
        model[data.draw(st.integers(0, len(model) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    survives(bytes(model))


@pytest.mark.parametrize("name", BASES)
@given(st.data())
def test_offsets_replaced(name, data):
    """Numbers of four bytes replaced, by huge ones and by small ones."""
    model = bytearray(BASES[name])
    for _ in range(data.draw(st.integers(1, 4))):
        struct.pack_into("<I", model, 4 * data.draw(st.integers(0, len(model) // 4 - 1)), data.draw(VALUES))
    survives(bytes(model))


@pytest.mark.parametrize("name", BASES)
@given(st.data())
def test_ranges_zeroed(name, data):
    """A stretch of zeros, as a lost block of a memory card leaves."""
    model = bytearray(BASES[name])
    start = data.draw(st.integers(0, len(model) - 1))
    size = data.draw(st.integers(1, len(model) - start))
    model[start : start + size] = bytes(size)
    survives(bytes(model))


@given(st.binary(max_size=300), st.booleans())
def test_random_bytes(content, marked):
    """Noise, with and without the mark of a model in its place."""
    with pytest.raises(errors.ModelFormatError):
        use(content[:4] + b"TFL3" + content[4:] if marked else content)


@pytest.mark.parametrize("word", [4, 8, 100_000, 250_000])
def test_one_number_everywhere(word):
    """A file that repeats one number: each vector overlaps the next. It's refused before that costs time."""
    survives(struct.pack("<I4s", 8, b"TFL3") + struct.pack("<I", word) * 250_000)


def hostile_model(vectors):
    """A model whose root table has these vectors of offsets: field number to the table's builder."""
    builder = flatbuffers.Builder(1024)
    fields = {field: make(builder) for field, make in vectors.items()}
    builder.StartObject(8)
    builder.PrependUint32Slot(0, 3, 0)
    for field, offset in fields.items():
        builder.PrependUOffsetTRelativeSlot(field, offset, 0)
    builder.Finish(builder.EndObject(), b"TFL3")
    return bytes(builder.Output())


def repeated(table, count):
    """A vector that points to one table over and over."""

    def make(builder):
        target = table(builder)
        builder.StartVector(4, count, 4)
        for _ in range(count):
            builder.PrependUOffsetTRelative(target)
        return builder.EndVector()

    return make


def graph_of(tensors):
    """A subgraph that lists one tensor over and over."""

    def make(builder):
        vector = repeated(empty_table, tensors)(builder)
        builder.StartObject(6)
        builder.PrependUOffsetTRelativeSlot(0, vector, 0)
        return builder.EndObject()

    return make


def empty_table(builder):
    """A table without fields."""
    builder.StartObject(0)
    return builder.EndObject()


@pytest.mark.slow
def test_lists_of_one_thing():
    """A file can't make us read one subgraph of many tensors many times."""
    with pytest.raises(errors.ModelFormatError, match="more than 100000"):
        TfliteModel(hostile_model({2: repeated(graph_of(3000), 3000)}))
    assert len(TfliteModel(hostile_model({2: repeated(graph_of(3), 3)})).subgraphs) == 3
    for field, count in ((1, 250_000), (1, 150_000), (4, 150_000), (6, 150_000), (7, 150_000)):
        with pytest.raises(
            errors.ModelFormatError, match="more than 200000" if count > 200_000 else "more than 100000"
        ):
            TfliteModel(hostile_model({field: repeated(empty_table, count)}))


def test_models_that_contradict_themselves():
    """Indexes out of range, wrong sizes of constants, scales that fit no shape, another schema: all are told."""
    spoilt = [
        (lambda m: m.operator("RELU", [99], m.tensor((1,))), "inputs name tensors outside"),
        (lambda m: m.operator("RELU", [-2], m.tensor((1,))), "inputs name tensors outside"),
        (lambda m: m.operator("RELU", [0], -1), "outputs name tensors outside"),
        (lambda m: m.tensor((3,), scale=[1, 2]), "scales"),
        (lambda m: m.tensor((3,), scale=[1, 2, 3], axis=1), "scales"),
        (lambda m: m.tensor((-3,)), "can't have the shape"),
        (lambda m: m.tensor((1,) * 17), "can't have the shape"),
        (lambda m: m._tensors.append(((2, 2), 0, len(m._buffers) - 1, np.zeros(0), 0, 0)), "can't be a constant of"),
        (lambda m: m._tensors.append(((2, 2), 0, 99, np.zeros(0), 0, 0)), "is in buffer 99"),
        (lambda m: m._operators.append((7, [0], [0], None)), "has the code 7"),
    ]
    for spoil, message in spoilt:
        built = tiny_models.TinyModel()
        built.tensor((2,), data=[1, 2])
        spoil(built)
        with pytest.raises(errors.ModelFormatError, match=message):
            TfliteModel(built.build([0], [0]))
    for model, message in ((b"", "TFL3"), (b"\0" * 7, "TFL3"), (hostile_model({}), "no subgraph")):
        with pytest.raises(errors.ModelFormatError, match=message):
            TfliteModel(model)


def test_models_without_buffers(coral_models):
    """Coral's model that fails in the interpreter is whole as a file: it has no constants and no buffers."""
    model = TfliteModel.read(coral_models / "model_invoking_error.tflite")

    assert len(model.operators) == 1
    assert model.constant(0) is None
