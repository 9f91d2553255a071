"""coral_learn/export.py: a head behind its extractor in one file, tried before it counts as written."""

import contextlib
import json

import numpy as np
import pytest
import tiny_models
from blobs import blobs
from hypothesis import given, settings
from hypothesis import strategies as st

from coral_learn import ImprintingHead, NeighboursHead, Recipe, SoftmaxOptions, calibrate, make_calibrated
from coral_learn.errors import ClassNameInvalid, EmbeddingMismatch, ModelFormatError, OptionError
from coral_learn.export import apply_layer, describe, layer_of, save_model, write_layer
from coral_learn.heads import Calibration, SoftmaxHead
from coral_learn.heads.base import softmax
from coral_learn.runtime.cpu import CpuRuntime
from coral_learn.tflite_file import Layer, TfliteModel, append_layer, begin_at, read_head, read_labels

KINDS = ["imprinting", "lda", "softmax"]
EXTRACTORS = ["tiny", "tiny_int8", "tiny_float32"]
NAMES = ("cat", "dog", "hot dog")


@pytest.fixture(scope="session")
def load(tmp_path_factory):
    """load(model): a run-time for the bytes of a model."""
    folder = tmp_path_factory.mktemp("models")

    def load_model(model):
        path = folder / f"{len(list(folder.iterdir()))}.tflite"
        path.write_bytes(model)
        return CpuRuntime(path)

    return load_model


@pytest.fixture(params=EXTRACTORS)
def extractor(request, data):
    """The bytes of an extractor of 64 numbers: uint8, int8 and float32."""
    return (data / f"{request.param}.tflite").read_bytes()


@pytest.fixture
def tiny(data):
    """The bytes of the tests' extractor."""
    return (data / "tiny.tflite").read_bytes()


def examples(classes=NAMES, seed=0):
    """64 numbers around one point a class, as large as the extractor's."""
    return blobs(classes, per_class=12, size=64, spread=0.4, seed=seed)


def made(kind, mean=True):
    """A head that has learnt and is calibrated."""
    rows, labels = examples()
    options = SoftmaxOptions(epochs=20, learning_rate=0.01)
    return make_calibrated(Recipe(kind, 64, np.full(64, 0.8) if mean else None, options), rows, labels).head


def with_kept():
    """An imprinting head with pre-trained classes in front, and the lead calibration gave them."""
    head, (rows, labels) = ImprintingHead.suited(64, np.full(64, 0.8)), examples()
    head.keep(np.random.RandomState(5).normal(0, 1, (6, 64)), [f"kept {number}" for number in range(6)])
    head.learn_many(rows, labels)
    calibrate(head, rows, labels)
    head.kept_lead += 0.125
    return head


HEADS = {**{kind: (lambda kind=kind: made(kind)) for kind in KINDS}, "kept": with_kept}


def pictures(runtime, count):
    """Random pictures as a model takes them, some bright, some dark."""
    random, shape = np.random.RandomState(1), runtime.input.shape
    for _ in range(count):
        pixels = (random.randint(0, 256, (1, 1, 1, 3)) + random.randint(-40, 41, shape)).clip(0, 255)
        if runtime.input.dtype == "float32":
            yield (pixels / 128 - 1).astype(np.float32)
        else:
            yield pixels.astype(np.uint8).view(runtime.input.dtype)


# The scores of a head


@pytest.mark.parametrize("name", HEADS)
def test_float_layer_gives_the_heads_scores(extractor, load, name):
    """From picture to scores, the written model gives those of the head, kept classes and lead included."""
    head = HEADS[name]()
    before, after = load(extractor), load(write_layer(extractor, layer_of(head), head.classes))
    for picture in pictures(before, 20):
        embedding = before.output.dequantise(before.invoke(picture)).ravel()
        np.testing.assert_allclose(after.invoke(picture).ravel(), head.scores(embedding), atol=1e-5)


@pytest.mark.parametrize("name", HEADS)
def test_quantized_layer_gives_the_heads_answers(extractor, load, name):
    """With weights of 8 bits nearly all answers are the head's, and the file is smaller."""
    head, (rows, _) = HEADS[name](), examples(seed=1)
    exact = write_layer(extractor, layer_of(head), head.classes)
    small = write_layer(extractor, layer_of(head), head.classes, quantized=True, embeddings=rows)
    before, after = load(extractor), load(small)
    same = [
        head.classes[int(after.invoke(picture).argmax())]
        == head.predict(before.output.dequantise(before.invoke(picture)).ravel())
        for picture in pictures(before, 50)
    ]

    assert np.mean(same) >= 0.96
    assert len(small) < len(exact)


def test_the_lead_of_kept_classes_counts(tiny, load):
    """Kept classes come first among the labels, and with a great lead one of them is always the answer."""
    head = with_kept()
    head.kept_lead = 2.0
    written = write_layer(tiny, layer_of(head), head.classes)
    runtime = load(written)

    assert read_labels(written) == [f"kept {number}" for number in range(6)] + sorted(NAMES)
    assert all(runtime.invoke(picture).argmax() < 6 for picture in pictures(runtime, 10))


@pytest.mark.parametrize("name", HEADS)
def test_layer_in_numpy(name):
    """What is compared with is the head itself: the same scores for any embedding."""
    head, (rows, _) = HEADS[name](), examples(seed=2)

    np.testing.assert_allclose(apply_layer(layer_of(head), rows), head.scores(rows), atol=1e-6)


@settings(max_examples=30)
@given(st.floats(0.05, 1.0), st.booleans(), st.booleans())
def test_layer_in_numpy_by_hand(power, centred, normalize):
    """A layer without normalisation too is what its docstring says."""
    random = np.random.RandomState(0)
    mean = random.normal(0, 1, 5).astype(np.float32) if centred else None
    layer = Layer(random.normal(0, 1, (3, 5)), random.normal(0, 1, 3), mean, power, normalize)
    row = random.normal(0, 2, 5)
    z = row - (mean if centred else 0)
    z = np.sign(z) * np.abs(z) ** power
    z = z / np.linalg.norm(z) if normalize else z

    np.testing.assert_allclose(apply_layer(layer, row[None])[0], softmax(layer.weights @ z + layer.biases), rtol=1e-6)


def test_calibration_is_in_the_layer():
    """The scale that calibration found is worked into weights and biases; the threshold can't be."""
    head = with_kept()
    head.calibration = Calibration(7.0, 0.5)
    layer = layer_of(head)

    np.testing.assert_allclose(layer.weights, 7 * head.weights, rtol=1e-6)
    np.testing.assert_allclose(layer.biases, 7 * head.biases, rtol=1e-6)
    assert layer.weights.dtype == layer.biases.dtype == np.float32


TOO_STRICT = "scores of a scale in the hundreds differ by 3e-5 for rounding alone, which 1e-5 doesn't allow"


@pytest.mark.parametrize("classes", [2, 3])
def test_sharply_calibrated_heads(tiny, load, classes):
    """A large common part, as behind a ReLU, gives a steep scale; the head can be written all the same."""
    rows, labels = blobs([f"class {number}" for number in range(classes)], per_class=30, size=64, spread=0.05)
    head = make_calibrated(Recipe("imprinting", 64), 0.3 * rows + np.linspace(0, 5, 64), labels).head
    written = write_layer(tiny, layer_of(head), head.classes)

    assert head.calibration.scale > 200
    assert load(written).output.shape == (1, classes)


# What is written


def test_labels_description_and_notes(tiny):
    """Labels, a description and notes for programs go into the file; the same twice gives the same bytes."""
    layer, notes = layer_of(made("lda")), {"head": "lda", "power": 0.75}
    written = [write_layer(tiny, layer, list(NAMES), "three things", notes) for _ in range(2)]

    assert written[0] == written[1]
    assert read_labels(written[0]) == list(NAMES)
    assert read_head(written[0]) == notes
    assert b"three things" in written[0]
    assert json.dumps(notes, indent=2, sort_keys=True).encode() in written[0]
    assert tiny in written[0]


def test_it_is_what_append_layer_writes(tiny):
    """Trying the layer changes nothing in the file."""
    layer = layer_of(made("lda"))

    assert write_layer(tiny, layer, list(NAMES)) == append_layer(tiny, layer, list(NAMES))


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_behind_a_compiled_model(data, kind, quantized):
    """A compiled model can't run here, the new part of it can, and is tried."""
    compiled, head, (rows, _) = (data / "tiny_edgetpu.tflite").read_bytes(), made(kind), examples(seed=1)
    written = write_layer(compiled, layer_of(head), head.classes, quantized=quantized, embeddings=rows)

    assert compiled in written
    assert TfliteModel(written).operators[-1].code == "SOFTMAX"


def test_behind_a_model_that_only_an_edge_tpu_runs():
    """So it is with a real compiled model, of which the interpreter here knows no operator."""
    built = tiny_models.TinyModel()
    image, embedding = tiny_models.compiled_extractor(built, None, 16)
    rows, labels = blobs(size=16)
    head = Recipe("lda", 16).make(rows, labels)
    written = write_layer(built.build([image], [embedding]), layer_of(head), head.classes, embeddings=rows)

    assert TfliteModel(written).operators[0].code == "edgetpu-custom-op"


# What is refused


def test_neighbours_are_no_layer():
    """Nearest neighbours can't be written, and the error says what can."""
    with pytest.raises(OptionError, match="train another head"):
        layer_of(NeighboursHead.suited(64))


def test_nothing_learnt(tiny):
    """A head without a class is no layer."""
    with pytest.raises(OptionError, match=r"\(0, 64\)"):
        write_layer(tiny, layer_of(ImprintingHead.suited(64)), [])


def test_labels_refused(tiny):
    """There are as many labels as classes, a line each."""
    layer = layer_of(made("lda"))
    with pytest.raises(OptionError, match="3 classes, got 2 labels"):
        write_layer(tiny, layer, ["a", "b"])
    with pytest.raises(ClassNameInvalid):
        write_layer(tiny, layer, ["a", "b", "c\nd"])


def test_another_extractor(data):
    """A head for other embeddings is refused."""
    with pytest.raises(ModelFormatError, match="takes 64 numbers"):
        write_layer((data / "grey.tflite").read_bytes(), layer_of(made("lda")), list(NAMES))


def test_rows_that_8_bits_cannot_hold(data):
    """One weight of a thousand leaves nothing of the others in 8 bits: told, and a float layer is the remedy."""
    extractor = (data / "tiny_float32.tflite").read_bytes()
    weights = np.random.RandomState(0).normal(0, 1, (10, 64)).astype(np.float32)
    weights[:, 0] = 1000
    layer, rows = Layer(weights, np.zeros(10, np.float32)), np.random.RandomState(1).normal(0, 1, (200, 64))
    rows[:, 0] = 0
    with pytest.raises(ModelFormatError, match=r"only \d+\.\d% of answers stay the same; write a float layer"):
        write_layer(extractor, layer, [str(number) for number in range(10)], quantized=True, embeddings=rows)

    assert write_layer(extractor, layer, [str(number) for number in range(10)], embeddings=rows)


def test_scores_that_float32_cannot_hold(tiny):
    """Logits in the millions, which float32 rounds to the next half, are no layer that can be trusted."""
    weights = 1e6 * np.random.RandomState(0).normal(0, 1, (1, 64)).repeat(2, axis=0)
    weights[1] *= 1 + 1e-7
    layer = Layer(weights.astype(np.float32), np.zeros(2, np.float32), normalize=False)
    with pytest.raises(ModelFormatError, match="gives other scores than the head, by 0"):
        write_layer(tiny, layer, ["a", "b"])


def test_layers_with_nan(tiny):
    """A layer with NaN in it, and trial embeddings with NaN in them, are refused."""
    layer = layer_of(made("lda"))
    with pytest.raises(OptionError, match="finite"):
        write_layer(tiny, layer._replace(biases=np.full(3, np.nan)), list(NAMES))
    with pytest.raises(EmbeddingMismatch, match="finite"):
        write_layer(tiny, layer, list(NAMES), embeddings=np.full((2, 64), np.nan))
    with pytest.raises(EmbeddingMismatch, match="64 numbers"):
        write_layer(tiny, layer, list(NAMES), embeddings=np.ones((2, 63)))


def test_one_trial_embedding(tiny):
    """One embedding to try the layer with is enough."""
    assert write_layer(tiny, layer_of(made("lda")), list(NAMES), embeddings=np.ones(64))


def test_no_trial_embeddings(tiny):
    """Without an embedding to try it with, the layer is tried with random ones, or the call is refused by name."""
    with contextlib.suppress(EmbeddingMismatch):
        assert write_layer(tiny, layer_of(made("lda")), list(NAMES), embeddings=np.zeros((0, 64)))


@pytest.mark.parametrize(
    "extra",
    [
        "the same picture",
        pytest.param(
            "one of its own",
        ),
    ],
)
def test_extractors_with_a_second_output(load, extra):
    """A second output of the extractor stays, and the layer behind the first is tried nonetheless."""
    built = tiny_models.TinyModel()
    image, embedding = tiny_models.extractor(built, np.random.RandomState(0), 16)
    second = embedding - 1
    if extra == "one of its own":
        real, options = built.tensor((1, 8, 8, 16), "float32"), tiny_models.plain("DequantizeOptions")
        second = built.operator("DEQUANTIZE", [second], real, options)
    rows, labels = blobs(size=16)
    head = Recipe("imprinting", 16).make(rows, labels)
    written = write_layer(built.build([image], [embedding, second]), layer_of(head), head.classes)

    assert TfliteModel(written).outputs[1] == second
    assert load(written).output.shape == (1, 3)


# The tail alone


@pytest.mark.parametrize("kind", KINDS)
def test_begin_at(extractor, load, kind):
    """The tail on its own takes embeddings as the extractor stores them, and gives the scores of the whole."""
    head = made(kind)
    whole = write_layer(extractor, layer_of(head), head.classes)
    embedding = TfliteModel(extractor).outputs[0]
    tail, before, after = load(begin_at(whole, embedding)), load(extractor), load(whole)

    assert (tail.input, tail.output) == (before.output, after.output)
    for picture in pictures(before, 10):
        assert tail.invoke(before.invoke(picture)).tobytes() == after.invoke(picture).tobytes()


def test_begin_at_leaves_the_extractor_out(tiny):
    """Its operators go, and with them metadata, signatures and labels, which speak of a picture."""
    head = made("imprinting")
    tail = begin_at(write_layer(tiny, layer_of(head), head.classes, head={"x": 1}), TfliteModel(tiny).outputs[0])
    model = TfliteModel(tail)

    codes = ["DEQUANTIZE", "SUB", "L2_NORMALIZATION", "FULLY_CONNECTED", "SOFTMAX"]
    assert [operator.code for operator in model.operators] == codes
    assert model.inputs == [TfliteModel(tiny).outputs[0]]
    assert (model.metadata, model.associated_files(), model.refs("signature_defs")) == ({}, {}, [])


def test_begin_at_drops_constants(load):
    """Constants that only the front reads leave the file."""
    model, weights, biases = tiny_models.classifier(classes=3, dimension=400)
    embedding = next(o for o in TfliteModel(model).operators if o.code == "DEQUANTIZE").inputs[0]
    tail = begin_at(model, embedding)
    stored = np.arange(400).astype(np.uint8).reshape(1, 1, 1, 400)
    real = load(tail).input.dequantise(stored).ravel()

    assert len(tail) < len(model) - 400 * 3
    np.testing.assert_allclose(load(tail).invoke(stored)[0], softmax(weights @ real + biases), atol=1e-5)


@pytest.mark.parametrize("index", [0, -1, 10**6])
def test_begin_at_refuses(tiny, index):
    """A model can't begin at its input, at a constant, or at a tensor it doesn't have."""
    with pytest.raises(ModelFormatError):
        begin_at(tiny, index)


def test_softmax_heads_of_several_powers(tiny, load):
    """A head over any pipeline is written with its power, whatever the usual one of its kind is."""
    rows, labels = examples()
    for power in (0.3, 0.5):
        head = Recipe("softmax", 64).make(rows, labels)
        state = dict(head.state(), pipeline_power=np.array(power))
        head = SoftmaxHead.from_state(state)
        runtime = load(write_layer(tiny, layer_of(head), head.classes))

        assert layer_of(head).power == power
        assert runtime.output.shape == (1, 3)


def test_saved_with_its_texts_beside_it(tiny, tmp_path):
    """Labels and the head's description are inside the file, and beside it as text; nothing else is left behind."""
    head = made("lda")
    written = write_layer(tiny, layer_of(head), list(NAMES), head=describe(head))
    files = save_model(tmp_path / "things.tflite", written)

    assert [file.name for file in files] == ["things.tflite", "things.labels.txt", "things.head.json"]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert files[0].read_bytes() == written
    assert files[1].read_text(encoding="utf-8").splitlines() == list(NAMES)
    described = json.loads(files[2].read_text(encoding="utf-8"))
    assert (described["head"], described["classes"], described["power"]) == ("lda", 3, 0.75)
    assert described["none_of_these_below"] is None or described["none_of_these_below"] < 10

    assert [file.name for file in save_model(tmp_path / "bare.tflite", tiny)] == ["bare.tflite"]
