"""coral_learn/coral_api.py: what scripts for Coral's learning API rely on."""

import base64
import contextlib
import io
import re
import shutil
import struct

import numpy as np
import pytest
import tiny_models
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from coral_learn import ImprintingEngine, SoftmaxRegression, errors
from coral_learn.heads.base import softmax
from coral_learn.runtime.cpu import CpuRuntime
from coral_learn.runtime.tflite import CPU_ORDER, find_library
from coral_learn.tflite_file import (
    TfliteModel,
    add_labels,
    find_imprinting_tail,
    find_last_layer,
    read_head,
    read_labels,
)

PLAIN = ["tiny", "tiny_int8", "tiny_float32"]
COLOURS = {"red": (220, 20, 20), "green": (20, 200, 30), "blue": (20, 40, 230)}
UNTRAINED = "^Model is not trained\\.$"


@pytest.fixture(scope="session")
def put(tmp_path_factory):
    """put(model): the path of a new file with these bytes."""
    folder = tmp_path_factory.mktemp("models")

    def write(model):
        path = folder / f"{len(list(folder.iterdir()))}.tflite"
        path.write_bytes(model)
        return path

    return write


@pytest.fixture(scope="session")
def run(put):
    """run(model, picture): what the interpreter makes of a picture, (D,) or (C,) real numbers."""
    loaded = {}

    def invoke(model, picture):
        if model not in loaded:
            loaded[model] = CpuRuntime(put(model))
        runtime = loaded[model]
        return runtime.output.dequantise(runtime.invoke(as_input(runtime.input, picture))).ravel()

    return invoke


def as_input(spec, colour):
    """A picture of one colour with a little noise, as a model takes it."""
    noise = np.random.RandomState(0).randint(-5, 6, spec.shape)
    pixels = (np.array(colour) + noise).clip(0, 255)
    return (pixels / 128 - 1).astype("f4") if spec.dtype == "float32" else pixels.astype(np.uint8).view(spec.dtype)


def coral_form(**options):
    """A model in Coral's imprinting form."""
    return tiny_models.imprinting_classifier(**options)[0]


def taught(engine, count=3, seed=0):
    """The engine after one random embedding for each of so many new classes."""
    random = np.random.RandomState(seed)
    for _ in range(count):
        engine.train(random.uniform(0, 1, engine.embedding_dim), engine.num_classes)
    return engine


# Imprinting: which models


@pytest.mark.parametrize("quantize", [True, False])
def test_corals_form(put, quantize):
    """A model in Coral's form starts empty, or with the classes it has."""
    path = put(coral_form(quantize=quantize))

    assert ImprintingEngine(path).embedding_dim == 16
    assert ImprintingEngine(path).num_classes == 0
    assert ImprintingEngine(path, keep_classes=True).num_classes == 4
    assert ImprintingEngine(str(path), True).num_classes == 4


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("name", [*PLAIN, "tiny_edgetpu"])
def test_plain_extractors(data, name, keep):
    """An extractor has no classes, whether they are to be kept or not, and is its own extractor model."""
    path = data / f"{name}.tflite"
    engine = ImprintingEngine(path, keep)

    assert (engine.embedding_dim, engine.num_classes) == (64, 0)
    assert engine.serialize_extractor_model() == path.read_bytes()


@pytest.mark.parametrize("suffix", ["", "_edgetpu"])
def test_corals_own_extractors(coral_models, put, suffix):
    """The extractors that Coral publishes are taught, plain and compiled, and keep what they were."""
    path = coral_models / f"mobilenet_v1_1.0_224_quant_embedding_extractor{suffix}.tflite"
    written = taught(ImprintingEngine(path)).serialize_model()
    before, after = TfliteModel.read(path), TfliteModel(written)

    assert path.read_bytes() in written
    assert [operator.code for operator in after.operators[: len(before.operators)]] == [
        operator.code for operator in before.operators
    ]
    assert after.tensor(after.outputs[0]).shape == (1, 3)
    assert ImprintingEngine(put(written), keep_classes=True).num_classes == 3


def test_compiled_in_corals_form(put):
    """In a model compiled for the Edge TPU only the tail changes: what runs on the device stays."""
    model = coral_form(body=tiny_models.compiled_extractor)
    engine = taught(ImprintingEngine(put(model)))
    extractor, classifier = TfliteModel(engine.serialize_extractor_model()), TfliteModel(engine.serialize_model())

    codes = ["edgetpu-custom-op", "L2_NORMALIZATION", "QUANTIZE"]
    assert [operator.code for operator in extractor.operators] == codes
    assert [operator.code for operator in classifier.operators] == [*codes, "CONV_2D", "MUL", "RESHAPE", "SOFTMAX"]
    assert find_imprinting_tail(classifier).weights.shape == (3, 16)
    assert ImprintingEngine(put(classifier.data), keep_classes=True).num_classes == 3


def test_compiled_plain_extractor(data):
    """Behind what is compiled for the Edge TPU come operators for the CPU."""
    path = data / "tiny_edgetpu.tflite"
    written = TfliteModel(taught(ImprintingEngine(path)).serialize_model())

    tail = ["DEQUANTIZE", "L2_NORMALIZATION", "FULLY_CONNECTED", "SOFTMAX"]
    assert [operator.code for operator in written.operators][-4:] == tail
    assert path.read_bytes() in written.data


@pytest.mark.parametrize("path", ["no such file.tflite", "."])
def test_missing_file(path):
    """A file that isn't there is a ValueError, as with Coral, and a FileNotFoundError."""
    with pytest.raises(FileNotFoundError) as caught:
        ImprintingEngine(path)

    assert isinstance(caught.value, ValueError)
    assert str(caught.value).startswith(("no model file at no such file.tflite", "the model file . can't be read"))


@pytest.mark.parametrize("content", [b"", b"no model at all", coral_form()[:-100]], ids=["empty", "text", "cut off"])
def test_not_a_model(put, content):
    """What is no model is a ValueError."""
    with pytest.raises(errors.ModelFormatError):
        ImprintingEngine(put(content))


def test_whole_classifier(put):
    """A classifier that is no extractor is refused, with the command that makes one of it."""
    with pytest.raises(ValueError, match=r"L2_NORMALIZATION.*FULLY_CONNECTED, SOFTMAX.*`coral-learn models cut`"):
        ImprintingEngine(put(tiny_models.classifier()[0]))


def test_two_outputs(put):
    """With two outputs it isn't known which is the embedding."""
    built = tiny_models.TinyModel()
    image, x = tiny_models.extractor(built, np.random.RandomState(0), 16)
    with pytest.raises(errors.ModelFormatError, match="has 2 outputs"):
        ImprintingEngine(put(built.build([image], [x, x - 1])))


def test_mean_of_the_manifest(data, tmp_path):
    """The mean embedding that a plain extractor's manifest names is subtracted, as everywhere else."""
    path = shutil.copy(str(data / "tiny.tflite"), str(tmp_path / "mean.tflite"))
    facts = (data / "tiny.json").read_text(encoding="utf-8")
    facts = facts.replace("{", '{"mean_embedding": "mean.npz:mean",', 1)
    (tmp_path / "mean.json").write_text(facts, encoding="utf-8")
    np.savez(str(tmp_path / "mean.npz"), mean=np.full(64, 0.25, np.float32))
    written = TfliteModel(taught(ImprintingEngine(path)).serialize_model())

    (subtraction,) = [operator for operator in written.operators if operator.code == "SUB"]
    assert written.constant(subtraction.inputs[1]).ravel().tolist() == [0.25] * 64


# Imprinting: teaching


@pytest.mark.parametrize("model", ["plain", "coral"])
def test_ids(data, put, model):
    """A class id is one that was taught, or the next free number; several sorts of whole numbers will do."""
    engine = ImprintingEngine(data / "tiny.tflite" if model == "plain" else put(coral_form()))
    embedding = np.ones(engine.embedding_dim)
    for class_id in (0, 1, np.int64(2), np.uint8(1), 0, 3):
        engine.train(embedding, class_id)

    assert engine.num_classes == 4
    for class_id in (5, -1, 10**30):
        with pytest.raises(ValueError, match=f"the next free one, 4; got {class_id}"):
            engine.train(embedding, class_id)
    for class_id in (True, 1.0, "1", None, np.array(1)):
        with pytest.raises(ValueError, match="a class id is a whole number, got"):
            engine.train(embedding, class_id)
    assert engine.num_classes == 4


def test_kept_classes_are_protected(put):
    """Pre-trained classes can't be taught; new ones come behind them, and the old weights stay bit by bit."""
    model = coral_form()
    engine = ImprintingEngine(put(model), keep_classes=True)
    for class_id in range(4):
        with pytest.raises(ValueError, match=f"the class {class_id} is pre-trained and can't be changed"):
            engine.train(np.ones(16), class_id)
    engine.train(np.ones(16), 4)
    before, after = (find_imprinting_tail(TfliteModel(data)) for data in (model, engine.serialize_model()))

    assert engine.num_classes == 5
    assert after.weights[:4].tobytes() == before.weights.tobytes()
    assert after.factor == before.factor
    np.testing.assert_allclose(after.weights[4], 0.25, atol=1 / 128)


@pytest.mark.parametrize(
    "embedding",
    [
        pytest.param(np.ones(63), id="short"),
        pytest.param(np.ones((2, 64)), id="two"),
        pytest.param(np.zeros(0), id="none"),
        pytest.param([np.nan] * 64, id="nan"),
        pytest.param([np.inf] * 64, id="infinite"),
        pytest.param(["1"] * 64, id="text"),
        pytest.param(None, id="nothing"),
        pytest.param(np.ones(64, bool), id="truths"),
        pytest.param(np.ones(64, complex), id="complex"),
    ],
)
def test_embeddings_refused(data, embedding):
    """An embedding is D finite numbers; one that is refused leaves no trace."""
    engine = taught(ImprintingEngine(data / "tiny.tflite"))
    before = engine.serialize_model()
    with pytest.raises(errors.EmbeddingMismatch):
        engine.train(embedding, 3)

    assert engine.num_classes == 3
    assert engine.serialize_model() == before


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e300])
@pytest.mark.parametrize("shape", [(64,), (1, 64), (1, 1, 1, 64)])
def test_embeddings_of_any_size_and_shape(data, size, shape):
    """Only the direction of an embedding counts, and not the shape the interpreter gave it."""
    models = []
    for scale, form in ((0.01, (64,)), (size, shape)):
        engine = ImprintingEngine(data / "tiny.tflite")
        engine.train(scale * np.linspace(1, 2, 64).reshape(form), 0)
        models.append(find_last_layer(TfliteModel(engine.serialize_model())))

    np.testing.assert_allclose(models[0].weights, models[1].weights, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.int8])
def test_stored_numbers_as_embeddings(data, dtype):
    """Stored whole numbers are taken as they are; an embedding of zeros is no error."""
    engine = ImprintingEngine(data / "tiny.tflite")
    engine.train(np.arange(64).astype(dtype), 0)
    engine.train(np.zeros(64, dtype), 1)

    assert read_labels(engine.serialize_model()) == ["0", "1"]


@pytest.mark.parametrize("model", ["plain", "coral"])
def test_inputs_are_not_kept(data, put, model):
    """An embedding that the caller changes afterwards changes nothing here."""
    engine = ImprintingEngine(data / "tiny.tflite" if model == "plain" else put(coral_form()))
    embedding = np.linspace(0, 1, engine.embedding_dim)
    engine.train(embedding, 0)
    before = engine.serialize_model()
    embedding[:] = 7

    assert engine.serialize_model() == before


@pytest.mark.parametrize("model", ["plain", "coral", "kept"])
@settings(max_examples=10)
@given(order=st.permutations(range(9)))
def test_order_does_not_matter(data, put, model, order):
    """Teaching the same examples in any order the ids allow gives the same bytes."""

    def bytes_after(order):
        engine = ImprintingEngine(data / "tiny.tflite" if model == "plain" else put(coral_form()), model == "kept")
        first = engine.num_classes
        rows, waiting = np.random.RandomState(0).uniform(0, 1, (9, engine.embedding_dim)), list(order)
        while waiting:
            number = next(number for number in waiting if first + number % 3 <= engine.num_classes)
            waiting.remove(number)
            engine.train(rows[number], first + number % 3)
        return engine.serialize_model()

    assert bytes_after(order) == bytes_after(range(9))


def test_untrained(data, put):
    """Before anything was trained there is nothing to write; Coral's words say so."""
    for path in (data / "tiny.tflite", put(coral_form())):
        engine = ImprintingEngine(path)
        with pytest.raises(RuntimeError, match=UNTRAINED):
            engine.serialize_model()
        assert engine.num_classes == 0


# Imprinting: what is written


@pytest.mark.parametrize("name", PLAIN)
def test_plain_models_answer_like_numpy(data, run, name):
    """The written model gives each taught picture its class, with softmax(20 x cosine) as its scores."""
    engine = ImprintingEngine(data / f"{name}.tflite")
    extractor = engine.serialize_extractor_model()
    rows = np.stack([run(extractor, colour) for colour in COLOURS.values()]).astype(np.float64)
    for class_id, row in enumerate(rows):
        engine.train(row, class_id)
    classifier, weights = engine.serialize_model(), rows / np.linalg.norm(rows, axis=1, keepdims=True)

    assert read_labels(classifier) == ["0", "1", "2"]
    for class_id, (row, colour) in enumerate(zip(rows, COLOURS.values())):
        scores = run(classifier, colour)
        assert scores.argmax() == class_id
        np.testing.assert_allclose(scores, softmax(20 * weights @ row / np.linalg.norm(row)), atol=1e-5)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("quantize", [True, False])
def test_corals_form_answers_like_numpy(put, run, quantize, keep):
    """In Coral's form as well, but for the 8 bits that cosines have in between; kept classes answer along."""
    engine = ImprintingEngine(put(coral_form(quantize=quantize)), keep)
    extractor, first = engine.serialize_extractor_model(), engine.num_classes
    rows = [run(extractor, colour) for colour in COLOURS.values()]
    for number, row in enumerate(rows):
        engine.train(row, first + number)
    classifier = engine.serialize_model()
    tail = find_imprinting_tail(TfliteModel(classifier))

    assert len(tail.weights) == engine.num_classes == first + 3
    assert read_labels(classifier) == [str(number) for number in range(engine.num_classes)]
    for number, (row, colour) in enumerate(zip(rows, COLOURS.values())):
        scores = run(classifier, colour)
        cosines = np.round(128 * tail.weights @ row).clip(-128, 127) / 128
        assert scores.argmax() == first + number
        np.testing.assert_allclose(scores, softmax(tail.factor * cosines), atol=0.025)


def test_classes_are_mean_directions(put):
    """A class's weight is the sum, of length 1, of its embeddings of length 1."""
    rows = np.random.RandomState(1).uniform(0, 1, (4, 16)) * [[1], [100], [0.01], [7]]
    engine = ImprintingEngine(put(coral_form()))
    for row in rows:
        engine.train(row, 0)
    total = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).sum(axis=0)
    tail = find_imprinting_tail(TfliteModel(engine.serialize_model()))

    np.testing.assert_allclose(tail.weights[0], total / np.linalg.norm(total), atol=0.51 / 128)


@pytest.mark.parametrize("model", ["plain", "coral", "kept"])
def test_saved_models_are_taught_on(data, put, model):
    """What was saved and loaded goes on as if it had never been saved: more examples, more classes."""
    path = data / "tiny.tflite" if model == "plain" else put(coral_form())
    random = np.random.RandomState(0)
    straight = ImprintingEngine(path, model == "kept")
    first, rows = straight.num_classes, random.uniform(0, 1, (8, straight.embedding_dim))
    ids = [first, first + 1, first, first + 1, first + 2, first, first + 2, first + 3]
    resumed = ImprintingEngine(path, model == "kept")
    for number, (row, class_id) in enumerate(zip(rows, ids)):
        straight.train(row, class_id)
        if number in (3, 5):
            resumed = ImprintingEngine(put(resumed.serialize_model()), keep_classes=True)
        resumed.train(row, class_id)

    assert resumed.num_classes == straight.num_classes == first + 4
    weights = [class_weights(engine.serialize_model()) for engine in (straight, resumed)]
    assert weights[0].tobytes() == weights[1].tobytes()
    for class_id in range(first):
        with pytest.raises(errors.ClassPretrained):
            resumed.train(rows[0], class_id)


def class_weights(model):
    """The rows of a written model's last layer."""
    tail = find_imprinting_tail(TfliteModel(model))
    return find_last_layer(TfliteModel(model)).weights if tail is None else tail.weights


@pytest.mark.parametrize("model", ["plain", "coral"])
def test_saved_models_without_their_classes(data, put, run, model):
    """Without `keep_classes` a saved model is the extractor again: no class, the same embeddings."""
    path = data / "tiny.tflite" if model == "plain" else put(coral_form())
    engine = taught(ImprintingEngine(path))
    again = ImprintingEngine(put(engine.serialize_model()))

    assert (again.num_classes, again.embedding_dim) == (0, engine.embedding_dim)
    with pytest.raises(RuntimeError, match=UNTRAINED):
        again.serialize_model()
    extractors = engine.serialize_extractor_model(), again.serialize_extractor_model()
    for colour in COLOURS.values():
        embeddings = [run(extractor, colour) for extractor in extractors]
        assert embeddings[0].tobytes() == embeddings[1].tobytes()
    assert class_weights(taught(again).serialize_model()).tobytes() == class_weights(engine.serialize_model()).tobytes()


GROWS = "the old tail stays in the file each time a saved model is loaded and saved: 38 kB instead of 15 after 6 times"


@pytest.mark.parametrize("model", ["plain", "coral"])
def test_saving_again_does_not_grow_the_file(data, put, model):
    """A model that is loaded and saved every day is as large as one that was saved once."""
    saved = taught(ImprintingEngine(data / "tiny.tflite" if model == "plain" else put(coral_form()))).serialize_model()
    size = len(saved)
    for _ in range(6):
        saved = ImprintingEngine(put(saved), keep_classes=True).serialize_model()

    assert len(saved) <= 1.2 * size


# Imprinting: what is hidden in a saved model


def state_of(model):
    """The file of arrays in which a saved model keeps what was taught."""
    return base64.b64decode(read_head(model)["state"])


def with_head(model, **changes):
    """A saved model whose hidden notes say something else."""
    return add_labels(model, read_labels(model), head=dict(read_head(model), **changes))


def with_state(model, content):
    """A saved model with another file of arrays."""
    return with_head(model, state=base64.b64encode(content).decode("ascii"))


def packed(function, *arguments, **arrays):
    """The bytes that numpy's `save` or `savez` writes."""
    file = io.BytesIO()
    function(file, *arguments, **arrays)
    return file.getvalue()


def changed(model, **arrays):
    """A saved model whose hidden arrays are these where they are named, None takes one away."""
    with np.load(io.BytesIO(state_of(model))) as old:
        new = dict(old, **arrays)
    return with_state(model, packed(np.savez, **{name: array for name, array in new.items() if array is not None}))


def struck(content, place, value, after=b""):
    """The content with one byte changed: so many bytes behind the first place where `after` is."""
    content = bytearray(content)
    content[content.index(after) + place] = value
    return bytes(content)


def first_data(content):
    """Where the compressed bytes of the first file in a ZIP file begin."""
    name, extra = struct.unpack_from("<HH", content, 26)
    return 30 + name + extra


DIRECTORY = b"PK\1\2"  # how an entry of a ZIP file's directory begins
LEAKS = "an error of zlib or zipfile comes out as it is"
UNCHECKED = "the ids hidden in a plain model aren't checked"
DAMAGES = {
    "no text": lambda m: with_head(m, state=7),
    "no state": lambda m: with_head(m, state=None),
    "no base64": lambda m: with_head(m, state="ä!"),
    "empty": lambda m: with_state(m, b""),
    "no archive": lambda m: with_state(m, b"PK\3\4 and no more"),
    "cut off": lambda m: with_state(m, state_of(m)[:-30]),
    "an array missing": lambda m: changed(m, counts=None),
    "another kind": lambda m: changed(m, kind=np.array("knn")),
    "no kind": lambda m: changed(m, kind=np.array("none such")),
    "another size": lambda m: changed(m, pipeline_size=np.array(3)),
    "a huge size": lambda m: changed(m, pipeline_size=np.array(10**12)),
    "sums misshapen": lambda m: changed(m, sums=np.zeros((1, 1), np.int64)),
    "a class without examples": lambda m: changed(m, counts=np.array([1, 0, 1])),
    "a kept class": lambda m: changed(m, kept_classes=np.array([7]), kept_weights=np.ones((1, 64), np.float32)),
    "no fingerprints": lambda m: changed(m, fingerprints=None),
    "a fingerprint too few": lambda m: changed(m, fingerprints=np.zeros(2, np.uint64)),
    "fingerprints of text": lambda m: changed(m, fingerprints=np.array(["x"] * 3)),
    "sums of text": lambda m: changed(m, sums=np.array([["x"] * 64] * 3)),
}
LEAKING = {
    "bytes changed": lambda m: with_state(m, struck(state_of(m), first_data(state_of(m)), 0xFF)),
    "a compression unknown": lambda m: with_state(m, struck(state_of(m), 10, 77, DIRECTORY)),
    "encrypted": lambda m: with_state(m, struck(state_of(m), 8, 1, DIRECTORY)),
}
IDS = {
    "ids with a gap": lambda m: changed(m, classes=np.array([0, 1, 3])),
    "ids below zero": lambda m: changed(m, classes=np.array([-1, 0, 1])),
    "ids of text": lambda m: changed(m, classes=np.array(["0", "1", "2"])),
}
ONE_ARRAY = pytest.param(
    lambda m: with_state(m, packed(np.save, np.arange(3))),
    id="one array",
)


@pytest.fixture(scope="session")
def saved(data):
    """A plain extractor with three classes taught."""
    return taught(ImprintingEngine(data / "tiny.tflite")).serialize_model()


@pytest.mark.parametrize(
    "damage",
    [
        *(pytest.param(damage, id=name) for name, damage in DAMAGES.items()),
        ONE_ARRAY,
        *(pytest.param(damage, id=name) for name, damage in LEAKING.items()),
        *(pytest.param(damage, id=name) for name, damage in IDS.items()),
    ],
)
def test_damaged_notes(saved, put, damage):
    """Damage to what is hidden in a saved model is a ModelFormatError, which is a ValueError."""
    with pytest.raises(errors.ModelFormatError):
        ImprintingEngine(put(damage(saved)), keep_classes=True)


def test_damaged_notes_by_chance(saved, put):
    """Whatever bytes are changed, nothing but a ModelFormatError comes out."""
    for seed in range(60):
        random, content = np.random.RandomState(seed), bytearray(state_of(saved))
        for _ in range(3):
            content[random.randint(len(content))] = random.randint(256)
        with contextlib.suppress(errors.ModelFormatError):
            ImprintingEngine(put(with_state(saved, bytes(content))), keep_classes=True)


@pytest.mark.parametrize("tensor", [-1, 10**9, True, None, "5", 5.0, [5], {}])
def test_damaged_tensor_number(saved, put, tensor):
    """So is a number that is none of a tensor."""
    for keep in (True, False):
        with pytest.raises(errors.ModelFormatError):
            ImprintingEngine(put(with_head(saved, embedding_tensor=tensor)), keep)


def test_another_tensor(saved, put):
    """So is each tensor that isn't an embedding of the right size."""
    model = TfliteModel(saved)
    for index, tensor in enumerate(model.graph.tensors):
        if tensor.count != 64:
            with pytest.raises(errors.ModelFormatError):
                ImprintingEngine(put(with_head(saved, embedding_tensor=index)), keep_classes=True)


@pytest.mark.parametrize("classes", [[0, 1], [1, 2, 3], [0, 1, 2, 3], [0, 2, 3]])
def test_notes_that_do_not_fit_corals_form(put, classes):
    """Classes in Coral's form that the hidden notes know nothing of, or too much, are refused."""
    saved = taught(ImprintingEngine(put(coral_form()))).serialize_model()
    sums, counts = np.zeros((len(classes), 16), np.int64), np.ones(len(classes), np.int64)
    prints = np.arange(len(classes), dtype=np.uint64)
    model = changed(saved, classes=np.array(classes), sums=sums, counts=counts, fingerprints=prints)
    with pytest.raises(errors.ModelFormatError, match="are not its class ids"):
        ImprintingEngine(put(model), keep_classes=True)


def test_notes_of_others_are_left_alone(data, put):
    """A model whose head.json another program wrote is an extractor like any other."""
    model = add_labels((data / "tiny.tflite").read_bytes(), ["x"], head={"maker": "someone else", "state": 5})

    assert ImprintingEngine(put(model), keep_classes=True).num_classes == 0


# A script


def make_interpreter(model_content):
    """What pycoral.utils.edgetpu.make_interpreter gives, on a CPU."""
    interpreter = find_library(CPU_ORDER).module.Interpreter(model_content=model_content)
    interpreter.allocate_tensors()
    return interpreter


def get_scores(interpreter):
    """What pycoral.adapters.classify.get_scores gives."""
    details = interpreter.get_output_details()[0]
    stored = interpreter.get_tensor(details["index"]).flatten()
    if not np.issubdtype(details["dtype"], np.integer):
        return stored
    scale, zero_point = details["quantization"]
    return scale * (stored.astype(np.int64) - zero_point)


def show(interpreter, picture):
    """Set a picture, run, and give the output."""
    details = interpreter.get_input_details()[0]
    _, height, width, _ = details["shape"]
    pixels = np.asarray(Image.fromarray(picture).resize((int(width), int(height)), Image.NEAREST))
    interpreter.set_tensor(details["index"], pixels[None].view(details["dtype"]))
    interpreter.invoke()
    return get_scores(interpreter)


@pytest.mark.parametrize("model", ["plain", "coral"])
def test_a_script_as_corals(data, put, make_picture, model):
    """Extract, train, serialise, classify, teach on: as Coral's examples/imprinting_learning.py does."""
    path = data / "tiny.tflite" if model == "plain" else put(coral_form())
    names = ["red", "green", "blue"]
    engine = ImprintingEngine(str(path), keep_classes=False)
    extractor = make_interpreter(engine.serialize_extractor_model())
    for class_id, name in enumerate(names[:2]):
        for seed in range(3):
            embedding = show(extractor, make_picture(name, seed))
            assert len(embedding) == engine.embedding_dim
            engine.train(embedding, class_id=class_id)
    first = put(engine.serialize_model())

    engine = ImprintingEngine(str(first), keep_classes=True)
    extractor = make_interpreter(engine.serialize_extractor_model())
    for seed in range(3):
        engine.train(show(extractor, make_picture("blue", seed)), class_id=engine.num_classes if not seed else 2)
    classifier = make_interpreter(engine.serialize_model())
    assert len(classifier.get_output_details()) == 1

    answers = [names[int(show(classifier, make_picture(name, seed)).argmax())] for name in names for seed in (7, 8)]
    assert answers == [name for name in names for _ in (7, 8)]


def test_corals_pictures(coral_models):
    """Coral's own test: a cat, a dog and hot dogs are learnt from a picture or two and recognised."""
    path = coral_models / "mobilenet_v1_1.0_224_quant_embedding_extractor.tflite"

    def picture(name):
        with Image.open(str(coral_models / "imprinting" / f"{name}.png")) as file:
            return np.asarray(file.convert("RGB"))

    engine = ImprintingEngine(str(path))
    extractor = make_interpreter(engine.serialize_extractor_model())
    lessons = [("cat_train_0", 0), ("dog_train_0", 1), ("hotdog_train_0", 2), ("hotdog_train_1", 2)]
    for name, class_id in lessons:
        engine.train(show(extractor, picture(name)), class_id)
    classifier = make_interpreter(engine.serialize_model())

    for class_id, name in enumerate(["cat_test_0", "dog_test_0", "hotdog_test_0"]):
        scores = show(classifier, picture(name))
        assert scores.argmax() == class_id
        assert scores.max() > 0.8


# Softmax regression


def clusters(classes=3, per_class=20, size=64, seed=0, spread=0.3):
    """Embeddings around a point a class, and class ids."""
    centres = np.random.RandomState(99).uniform(0, 2, (classes, size))
    labels = np.repeat(np.arange(classes), per_class)
    return (centres[labels] + np.random.RandomState(seed).normal(0, spread, (len(labels), size))).astype("f4"), labels


def lessons(**changes):
    """The data of `train_with_sgd`."""
    (train, labels), (val, labels_val) = clusters(), clusters(seed=1)
    return dict({"data_train": train, "labels_train": labels, "data_val": val, "labels_val": labels_val}, **changes)


def trained(num_iter=100, learning_rate=0.1, **options):
    """A model that has learnt `lessons`."""
    model = SoftmaxRegression(64, 3, **options)
    model.train_with_sgd(lessons(), num_iter, learning_rate, batch_size=10, print_every=0)
    return model


def test_learns_clusters():
    """Classes that can be told apart are learnt, and examples not seen are answered right."""
    model = trained()
    rows, labels = clusters(seed=2)

    assert model.get_accuracy(rows, labels) == 1.0
    assert model.run_inference(rows).tolist() == labels.tolist()


def test_same_seed_same_bytes(data):
    """The same seed gives the same weights and the same file twice, another seed gives others."""
    models = [trained(seed=seed) for seed in (3, 3, 4)]
    files = [model.serialize_model(data / "tiny.tflite") for model in models]

    assert models[0].params["mat_w"].tobytes() == models[1].params["mat_w"].tobytes()
    assert files[0] == files[1]
    assert files[0] != files[2]


def test_ignores_the_global_random_state():
    """Training neither uses nor moves numpy's global generator."""
    weights = []
    for seed in (1, 2):
        np.random.seed(seed)
        weights.append(trained(num_iter=3).params["mat_w"].tobytes())
        moved = np.random.randint(1 << 30)
        np.random.seed(seed)
        assert np.random.randint(1 << 30) == moved

    assert weights[0] == weights[1]


def test_weights_at_the_start():
    """Weights are (D, C) of the deviation asked for, biases are zeros."""
    params = SoftmaxRegression(500, 10, weight_scale=0.05).params

    assert params["mat_w"].shape == (500, 10)
    assert params["vec_b"].tolist() == [0] * 10
    assert abs(params["mat_w"].std() - 0.05) < 0.002
    assert not SoftmaxRegression(5, 2, weight_scale=0).params["mat_w"].any()


@pytest.mark.parametrize("reg", [0.0, 0.7])
def test_gradients_equal_finite_differences(reg):
    """Each gradient is the slope of the loss, with the regularisation in both."""
    model = SoftmaxRegression(4, 3, weight_scale=1.0, reg=reg)
    # In float64 slopes can be measured; Coral's names let a script put its own numbers in.
    model.params = {name: array.astype(np.float64) for name, array in model.params.items()}
    rows, labels = np.random.RandomState(0).normal(size=(6, 4)), [0, 1, 2, 2, 1, 0]
    _, gradients = model.get_loss(rows, labels)
    for name, gradient in gradients.items():
        slopes, parameter = np.zeros_like(model.params[name]), model.params[name]
        for place in np.ndindex(*parameter.shape):
            kept, losses = parameter[place], []
            for shift in (1e-5, -1e-5):
                parameter[place] = kept + shift
                losses.append(model.get_loss(rows, labels)[0])
            parameter[place] = kept
            slopes[place] = (losses[0] - losses[1]) / 2e-5
        np.testing.assert_allclose(gradient, slopes, atol=1e-6)


def test_loss_by_hand():
    """With weights of zeros the loss is log C; with others half their squares times reg come on top."""
    model = SoftmaxRegression(2, 4, weight_scale=0, reg=0.5)
    assert abs(model.get_loss(np.ones((3, 2)), [0, 1, 3])[0] - np.log(4)) < 1e-6
    model.params["mat_w"][:] = 2

    assert abs(model.get_loss(np.ones((3, 2)), [0, 1, 3])[0] - np.log(4) - 0.25 * 8 * 4) < 1e-5


def test_reg_shrinks_the_weights():
    """A larger reg gives smaller weights."""
    sizes = [np.linalg.norm(trained(reg=reg).params["mat_w"]) for reg in (0.0, 0.1, 1.0)]

    assert sizes[0] > sizes[1] > sizes[2]


def test_results_have_corals_shapes():
    """One embedding gives one whole number, several give an array of them; accuracy is a float."""
    model, (rows, labels) = trained(), clusters()
    one, many = model.run_inference(rows[0]), model.run_inference(rows[:5])

    assert isinstance(one, (int, np.integer))
    assert one == labels[0]
    assert many.shape == (5,)
    assert many.dtype.kind == "i"
    assert model.run_inference(rows[:1]).shape == (1,)
    assert isinstance(model.get_accuracy(rows, labels), float)
    assert model.get_accuracy(rows, (labels + 1) % 3) == 0.0
    assert model.get_accuracy(rows.tolist(), labels.tolist()) == 1.0


def test_accuracy_by_hand():
    """Accuracy is the share of right answers."""
    model = SoftmaxRegression(2, 2)
    model.params["mat_w"][:] = np.eye(2)

    assert model.get_accuracy([[1, 0], [0, 1], [1, 0], [0, 1]], [0, 1, 1, 1]) == 0.75


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        pytest.param({"labels_train": np.full(60, 3)}, errors.OptionError, "from 0 to 2", id="label too high"),
        pytest.param({"labels_train": np.full(60, -1)}, errors.OptionError, "from 0 to 2", id="label below 0"),
        pytest.param({"labels_val": np.zeros(60)}, errors.OptionError, "labels of data_val", id="float labels"),
        pytest.param({"labels_train": ["a"] * 60}, errors.OptionError, "whole numbers", id="text labels"),
        pytest.param({"labels_train": [True] * 60}, errors.OptionError, "whole numbers", id="truths"),
        pytest.param({"labels_train": np.zeros(59, int)}, errors.TooFewExamples, "60 embeddings", id="too few labels"),
        pytest.param({"labels_train": np.eye(60, 3)}, errors.TooFewExamples, "60 embeddings", id="one-hot labels"),
        pytest.param({"data_train": None}, errors.TooFewExamples, "data_train has no", id="no data"),
        pytest.param({"labels_val": None}, errors.TooFewExamples, "data_val has no", id="no labels"),
        pytest.param({"data_val": [], "labels_val": []}, errors.TooFewExamples, "data_val has no", id="empty"),
        pytest.param({"data_train": np.ones((60, 63))}, errors.EmbeddingMismatch, "64 numbers", id="another size"),
        pytest.param({"data_val": np.full((60, 64), np.nan)}, errors.EmbeddingMismatch, "finite", id="nan"),
        pytest.param({"data_train": [["x"] * 64] * 60}, errors.EmbeddingMismatch, "64 numbers", id="text"),
        pytest.param(
            {"labels_train": 3},
            errors.TooFewExamples,
            "labels",
            id="one number as labels",
        ),
        pytest.param(
            {"data_train": np.full((60, 64), 1e200)},
            errors.EmbeddingMismatch,
            "beyond",
            id="too large for float32",
        ),
    ],
)
def test_data_refused(changes, error, words):
    """Data that don't fit are refused by a ValueError that says which and why, and nothing is changed."""
    model = SoftmaxRegression(64, 3)
    before = model.params["mat_w"].copy()
    with pytest.raises(error, match=words) as caught:
        model.train_with_sgd(lessons(**changes), 5, 0.1, print_every=0)

    assert isinstance(caught.value, ValueError)
    assert (model.params["mat_w"] == before).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"num_iter": 0},
        {"num_iter": 1.5},
        {"batch_size": 0},
        {"batch_size": True},
        {"print_every": -1},
        {"learning_rate": -0.1},
        {"learning_rate": float("nan")},
        {"learning_rate": float("inf")},
        {"learning_rate": "fast"},
        {"learning_rate": None},
    ],
)
def test_training_options_refused(changes):
    """What is no number in its range is refused by name."""
    (name,) = changes
    with pytest.raises(errors.OptionError, match=f"^{name} must be a"):
        SoftmaxRegression(64, 3).train_with_sgd(lessons(), **dict({"num_iter": 1, "learning_rate": 0.1}, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"feature_dim": None},
        {"feature_dim": 0},
        {"num_classes": None},
        {"num_classes": 2.0},
        {"weight_scale": -1},
        {"weight_scale": float("inf")},
        {"reg": float("nan")},
        {"reg": True},
        {"seed": -1},
        pytest.param(
            {"seed": 1 << 32},
        ),
        pytest.param(
            {"weight_scale": 1e39},
        ),
    ],
)
def test_options_refused(changes):
    """Coral's defaults of None and other non-numbers are refused by name."""
    (name,) = changes
    with pytest.raises(errors.OptionError, match=f"^{name} must be a"):
        SoftmaxRegression(**dict({"feature_dim": 64, "num_classes": 3}, **changes))


def test_divergence_restores_the_weights():
    """Training that diverges is told, and the weights are as before, whatever was learnt until then."""
    model = trained(reg=1.0)
    before = {name: array.tobytes() for name, array in model.params.items()}
    with pytest.raises(ArithmeticError, match=r"diverged in step \d+; try a learning rate below 1e\+06") as caught:
        model.train_with_sgd(lessons(), 50, 1e6, print_every=0)

    assert isinstance(caught.value, errors.TrainingDiverged)
    assert {name: array.tobytes() for name, array in model.params.items()} == before
    assert model.get_accuracy(*clusters(seed=2)) == 1.0


def test_divergence_is_no_training(data):
    """A model whose only training diverged is untrained."""
    model = SoftmaxRegression(64, 3, reg=1.0)
    with pytest.raises(errors.TrainingDiverged):
        model.train_with_sgd(lessons(), 50, 1e6, print_every=0)

    with pytest.raises(RuntimeError, match=UNTRAINED):
        model.serialize_model(data / "tiny.tflite")


def test_rates_beyond_all_use():
    """A rate that would make the weights infinite in one step is refused before."""
    with pytest.raises(errors.OptionError, match="learning_rate"):
        SoftmaxRegression(64, 3).train_with_sgd(lessons(), 1, 1e300, print_every=0)


def test_prints_progress(capsys):
    """A line is printed every so many steps, from the first on, with loss and both accuracies."""
    SoftmaxRegression(64, 3).train_with_sgd(lessons(), 25, 0.1, 10, print_every=10)
    lines = capsys.readouterr().out.splitlines()
    form = r"step (\d+): loss (\d\.\d{4}), accuracy (\d\.\d{4}) in training, (\d\.\d{4}) in validation"
    figures = [re.match(form + "$", line).groups() for line in lines]

    assert [int(step) for step, *_ in figures] == [0, 10, 20]
    assert abs(float(figures[0][1]) - np.log(3)) < 0.2
    assert float(figures[2][1]) < float(figures[0][1])


def test_prints_by_default(capsys):
    """Coral's default is a line every hundred steps."""
    SoftmaxRegression(64, 3).train_with_sgd(lessons(), 101, 0.1)

    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["step 0", "step 100"]


def test_prints_nothing(capsys):
    """With `print_every=0` training is silent, and printing changes no weight."""
    silent = trained().params["mat_w"].tobytes()
    assert capsys.readouterr() == ("", "")
    model = SoftmaxRegression(64, 3)
    model.train_with_sgd(lessons(), 100, 0.1, batch_size=10, print_every=1)

    assert model.params["mat_w"].tobytes() == silent


@pytest.mark.parametrize("name", PLAIN)
def test_written_model_answers_like_numpy(data, run, name):
    """The extractor with the trained layer behind it gives softmax(weights x embedding + biases)."""
    path, model = data / f"{name}.tflite", SoftmaxRegression(64, 3)
    rows = np.stack([run(path.read_bytes(), colour) for colour in COLOURS.values()])
    data_ = {"data_train": rows, "labels_train": [0, 1, 2], "data_val": rows, "labels_val": [0, 1, 2]}
    model.train_with_sgd(data_, 300, 0.05, print_every=0)
    written = model.serialize_model(str(path))
    layer = find_last_layer(TfliteModel(written))

    assert read_labels(written) == ["0", "1", "2"]
    assert layer.weights.tobytes() == np.ascontiguousarray(model.params["mat_w"].T).tobytes()
    assert layer.biases.tobytes() == model.params["vec_b"].tobytes()
    for class_id, (row, colour) in enumerate(zip(rows, COLOURS.values())):
        scores = run(written, colour)
        assert scores.argmax() == class_id == model.run_inference(row)
        np.testing.assert_allclose(
            scores, softmax(row @ model.params["mat_w"] + model.params["vec_b"].astype("f8")), atol=1e-5
        )


def test_written_behind_a_compiled_model(data):
    """A layer goes behind a model compiled for the Edge TPU as well, and Coral's engine takes it for a classifier."""
    path = data / "tiny_edgetpu.tflite"
    written = trained().serialize_model(path)
    codes = [operator.code for operator in TfliteModel(written).operators]

    assert path.read_bytes() in written
    assert codes[-3:] == ["DEQUANTIZE", "FULLY_CONNECTED", "SOFTMAX"]


def test_serialising_refused(data):
    """Untrained there is nothing to write; a model that is missing or doesn't fit is a ValueError."""
    with pytest.raises(RuntimeError, match=UNTRAINED):
        SoftmaxRegression(64, 3).serialize_model(data / "tiny.tflite")
    model = trained()
    with pytest.raises(FileNotFoundError):
        model.serialize_model("no such file.tflite")
    with pytest.raises(errors.ModelFormatError, match="takes 64 numbers"):
        model.serialize_model(data / "grey.tflite")
    with pytest.raises(ValueError, match="not a whole TensorFlow Lite model"):
        model.serialize_model(data / "tiny.json")


def test_fast_training_on_embeddings_of_usual_size(put):
    """A layer trained at a rate of 1 on a thousand numbers from 0 to 6, as MobileNet gives, can be written."""
    built, random = tiny_models.TinyModel(), np.random.RandomState(2)
    image, embedding = tiny_models.extractor(built, random, 1024)
    path, random = put(built.build([image], [embedding])), np.random.RandomState(2)
    centres, labels = 6 * random.rand(10, 1024) * (random.rand(10, 1024) < 0.3), np.repeat(np.arange(10), 30)
    rows, model = centres[labels] + 0.5 * random.rand(300, 1024), SoftmaxRegression(1024, 10)
    examples = {"data_train": rows, "labels_train": labels, "data_val": rows, "labels_val": labels}
    model.train_with_sgd(examples, 200, 1.0, print_every=0)

    assert model.get_accuracy(rows, labels) == 1.0
    assert len(model.serialize_model(path)) > 0
