"""coral_learn/extractor.py: from an image to its embedding."""

import hashlib
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest

from coral_learn import Classifier, EmbeddingPipeline, Extractor, ImprintingHead, image
from coral_learn.errors import GoldenCheckFailed, ImageBroken, ManifestError, ModelFileMissing, ModelFormatError


@pytest.fixture
def with_golden(tiny, tiny_copy, make_picture, encode, tmp_path):
    """with_golden(embedding): an extractor whose manifest has a golden picture, and this embedding for it."""

    def make(embedding):
        (tmp_path / "golden.png").write_bytes(encode(make_picture("red"), "PNG"))
        np.savez(str(tmp_path / "tiny.npz"), golden=embedding)
        facts = {"name": "tiny", "source": "", "licence": "", "sha256": tiny.info.digest, "embedding_size": 64}
        facts["golden"] = {"image": "golden.png", "embedding": "tiny.npz:golden", "min_cosine": 0.99}
        (tmp_path / "tiny.json").write_text(json.dumps(facts))
        return Extractor(tiny_copy, "cpu")

    return make


def test_info(tiny, tiny_model):
    """The extractor says what its embeddings come from."""
    info = tiny.info

    assert (info.name, info.device, info.degraded) == ("tiny", "cpu", False)
    assert info.digest == hashlib.sha256(tiny_model.read_bytes()).hexdigest()
    assert (info.embedding_size, info.input_width, info.input_height) == (64, 32, 32)
    assert info.reason == "the device cpu was asked for"
    assert info.runtime == tiny.runtime.name


@pytest.mark.parametrize("size", [(64, 48), (48, 64), (16, 16), (1, 1), (333, 100)])
def test_embeds_any_size(tiny, make_picture, size):
    """A picture of any size gives D finite numbers."""
    embedding = tiny.embed(make_picture("red", 0, *size))

    assert embedding.shape == (64,)
    assert embedding.dtype == np.float32
    assert np.isfinite(embedding).all()
    assert embedding.any()


def test_same_picture_same_embedding(tiny, make_picture):
    """The embedding depends on the picture alone, not on what was embedded before."""
    red = tiny.embed(make_picture("red"))
    tiny.embed(make_picture("blue"))

    assert tiny.embed(make_picture("red")).tobytes() == red.tobytes()


def test_embed_is_prepare_then_embed_pixels(tiny, make_picture):
    """The two halves can be done apart, with the same result."""
    pixels = tiny.prepare(make_picture("green", 0, 200, 100))

    assert (pixels.shape, pixels.dtype) == ((32, 32, 3), np.uint8)
    assert (tiny.embed_pixels(pixels) == tiny.embed(make_picture("green", 0, 200, 100))).all()


def test_embedding_is_in_real_values(tiny, make_picture):
    """The stored output is turned into real values by the model's own scale and zero point."""
    stored = tiny.runtime.invoke(tiny.prepare(make_picture("green"))[None]).reshape(-1)
    spec = tiny.runtime.output

    assert spec.scale > 0
    np.testing.assert_allclose(
        tiny.embed(make_picture("green")), (stored.astype(float) - spec.zero_point) * spec.scale, rtol=1e-6
    )


def test_prepare_keeps_the_picture(tiny, make_picture):
    """Neither the caller's picture nor the prepared pixels are written to."""
    rgb = make_picture("green", 0, 32, 32)
    before = rgb.copy()
    tiny.embed(rgb)

    assert (rgb == before).all()


@pytest.mark.parametrize(("dtype", "steps"), [("int8", 0.02), ("float32", 1.0)])
def test_input_types_agree(tiny, data, make_picture, dtype, steps):
    """The same network with int8 in and out gives the same embedding, with float32 but for quantisation."""
    extractor = Extractor(data / f"tiny_{dtype}.tflite", "cpu")
    pictures = [make_picture(colour) for colour in ("red", "blue", "grey")]
    differences = np.array([extractor.embed(rgb) - tiny.embed(rgb) for rgb in pictures])

    assert extractor.runtime.input.dtype == extractor.runtime.output.dtype == dtype
    assert np.abs(differences).mean() < steps * tiny.runtime.output.scale


def test_tells_colours_apart(tiny, make_picture):
    """Taught three noisy pictures of each of five colours, more than 95 % of new ones are answered right."""
    colours = ("red", "green", "blue", "yellow", "grey")
    head = ImprintingHead(EmbeddingPipeline(64))
    for colour in colours:
        head.learn_many([tiny.embed(make_picture(colour, seed)) for seed in range(3)], [colour] * 3)
    right = [head.predict(tiny.embed(make_picture(c, seed))) == c for c in colours for seed in range(3, 23)]

    assert np.mean(right) > 0.95


@pytest.mark.parametrize("wrong", [np.zeros((32, 32), np.uint8), np.zeros((32, 32, 3)), None])
def test_refuses_what_is_no_picture(tiny, wrong):
    """What isn't an RGB array is refused before the model sees it."""
    with pytest.raises(ImageBroken):
        tiny.embed(wrong)


@pytest.mark.parametrize(
    ("model", "complaint"), [("grey", "one RGB image"), ("map", "one embedding"), ("pair", "2 inputs")]
)
def test_refuses_what_is_no_extractor(data, model, complaint):
    """A model of other inputs or outputs is refused, and the message says what is wrong."""
    with pytest.raises(ModelFormatError, match=complaint):
        Extractor(data / (model + ".tflite"), "cpu")


def test_missing_model(tmp_path):
    """A missing file is named, and an OSError as well as a ModelError."""
    with pytest.raises(ModelFileMissing, match=r"nowhere\.tflite") as caught:
        Extractor(tmp_path / "nowhere.tflite", "cpu")

    assert isinstance(caught.value, FileNotFoundError)


def test_path_may_be_text(tiny, tiny_model):
    """A model is named by a path or by a string."""
    assert Extractor(str(tiny_model), "cpu").info == tiny.info


def test_works_without_manifest(tiny, tiny_copy, make_picture):
    """A model alone works: it is called by its file name and has no mean embedding."""
    extractor = Extractor(tiny_copy, "cpu")

    assert extractor.info == tiny.info
    assert extractor.manifest.mean_embedding is None
    assert (extractor.embed(make_picture("red")) == tiny.embed(make_picture("red"))).all()


def test_fake_edge_tpu_embeds_alike(tiny, on_fake, make_picture):
    """On another device the embedding of this model is the same, and the extractor says where it ran."""
    extractor = on_fake()

    assert extractor.info.device == "edgetpu"
    assert (extractor.embed(make_picture("red")) == tiny.embed(make_picture("red"))).all()
    assert extractor.info.name == "tiny"
    assert extractor.info.digest != tiny.info.digest


def test_warm_up_runs_the_model(on_fake):
    """Without a golden picture warming up is one run: a device that fails in its first run fails here."""
    extractor = on_fake("fake:fail=1")

    with pytest.raises(RuntimeError, match="run 1"):
        extractor.warm_up()
    extractor.warm_up()


def test_golden_check_passes(tiny, with_golden, make_picture):
    """The golden picture's own embedding passes, also when slightly off."""
    embedding = tiny.embed(make_picture("red"))

    with_golden(embedding).warm_up()
    with_golden(embedding * 1.01 + 0.001).warm_up()


@pytest.mark.parametrize("wrong", ["blue", "short", "nan", "zero"])
def test_golden_check_fails(tiny, with_golden, make_picture, wrong):
    """Another embedding than the golden one is refused, whatever is wrong with it."""
    embedding = tiny.embed(make_picture("red"))
    golden = {
        "blue": tiny.embed(make_picture("blue")),
        "short": embedding[:10],
        "nan": embedding * np.nan,
        "zero": embedding * 0,
    }[wrong]

    with pytest.raises(GoldenCheckFailed, match="cosine"):
        with_golden(golden).warm_up()


def test_close_twice(tiny_model):
    """Closing is safe to repeat."""
    extractor = Extractor(tiny_model, "cpu")
    extractor.close()
    extractor.close()


def test_failing_lets_the_device_go(tiny_model, tmp_path, monkeypatch):
    """An extractor that could not be made doesn't hold its device."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # a lock file of its own
    for name in ("tiny.tflite", "tiny_edgetpu.tflite"):
        (tmp_path / name).write_bytes(tiny_model.with_name(name).read_bytes())
    (tmp_path / "tiny.json").write_text("not a manifest")

    with pytest.raises(ManifestError):
        Extractor(tmp_path / "tiny.tflite", "fake")
    (tmp_path / "tiny.json").unlink()
    Extractor(tmp_path / "tiny.tflite", "fake").close()


def test_manifest_of_another_size_is_refused(tiny, tiny_copy):
    """A manifest that says something else than the model is refused."""
    facts = {"name": "tiny", "source": "", "licence": "", "sha256": tiny.info.digest, "embedding_size": 65}
    Path(tiny_copy).with_suffix(".json").write_text(json.dumps(facts))

    with pytest.raises(ManifestError, match="65"):
        Extractor(tiny_copy, "cpu")


def test_corals_extractor(shared_data):
    """Coral's MobileNet extractor (uint8, 1024 values) tells cat, dog and hot dog apart from a picture or two."""
    extractor = Extractor(shared_data / "coral" / "mobilenet_v1_1.0_224_quant_embedding_extractor.tflite", "cpu")
    classifier = Classifier(extractor)
    pictures = {path.stem: image.decode(path.read_bytes()) for path in shared_data.glob("coral/imprinting/*.png")}
    for name in sorted(pictures):
        if "train" in name:
            classifier.teach(pictures[name], name.split("_")[0])

    assert extractor.info.embedding_size == 1024
    for kind in ("cat", "dog", "hotdog"):
        assert classifier.classify(pictures[kind + "_test_0"])[0].label == kind
