"""coral_learn/classifier.py: pictures in, answers out."""

import json

import numpy as np
import pytest

from coral_learn import (
    Classifier,
    EmbeddingPipeline,
    Extractor,
    ImprintingHead,
    Prediction,
    SoftmaxHead,
    evaluate,
    fit_softmax,
)
from coral_learn.classifier import rank
from coral_learn.errors import ImageBroken, NothingLearnt
from coral_learn.manifest import file_digest

COLOURS = ("red", "green", "blue")


@pytest.fixture
def classifier(tiny):
    """A classifier that has learnt nothing."""
    return Classifier(tiny)


def test_teach_and_classify(classifier, make_picture):
    """One picture a colour is enough to answer other pictures of them, best first."""
    for colour in COLOURS:
        classifier.teach(make_picture(colour), colour)

    for colour in COLOURS:
        answers = classifier.classify(make_picture(colour, seed=1, width=30, height=50))
        assert answers[0].label == colour
        assert isinstance(answers[0], Prediction)
        assert sorted(answer.label for answer in answers) == sorted(COLOURS)
        scores = [answer.score for answer in answers]
        assert scores == sorted(scores, reverse=True)
        assert all(type(score) is float for score in scores)
        assert abs(sum(scores) - 1) < 1e-12


@pytest.mark.parametrize(("top_k", "count"), [(None, 3), (0, 0), (1, 1), (2, 2), (99, 3)])
def test_top_k(classifier, make_picture, top_k, count):
    """The first `top_k` answers are those of the whole list; none means all, 0 means none."""
    for colour in COLOURS:
        classifier.teach(make_picture(colour), colour)
    everything = classifier.classify(make_picture("red"))

    assert classifier.classify(make_picture("red"), top_k) == everything[:count]
    assert len(everything[:count]) == count


def test_equal_scores_keep_the_order_of_classes():
    """What scores the same is answered in the order of classes, so that answers don't flicker."""
    answers = rank(np.array([0.005, 0.015] * 50), list(range(100)))

    assert [answer.label for answer in answers] == [*range(1, 100, 2), *range(0, 100, 2)]


def test_nothing_learnt(classifier, make_picture):
    """Before anything is taught there is no answer, and a bad picture teaches nothing."""
    with pytest.raises(ImageBroken):
        classifier.teach(np.zeros((20, 20)), "red")
    with pytest.raises(NothingLearnt):
        classifier.classify(make_picture("red"))


def test_new_class_any_time(classifier, make_picture):
    """A class may come after answers were given."""
    classifier.teach(make_picture("red"), "red")
    assert classifier.classify(make_picture("blue"))[0] == ("red", 1.0)
    classifier.teach(make_picture("blue"), "blue")

    assert classifier.classify(make_picture("blue"))[0].label == "blue"


def test_given_head(tiny, make_picture):
    """Any head can answer: here a trained one."""
    rows = np.array([tiny.embed(make_picture(colour, seed)) for colour in COLOURS for seed in range(4)])
    labels = [colour for colour in COLOURS for _ in range(4)]
    head = fit_softmax(EmbeddingPipeline(64), rows, labels)

    assert isinstance(head, SoftmaxHead)
    assert evaluate(head, rows, labels).accuracy == 1
    assert Classifier(tiny, head).classify(make_picture("green", seed=9), 1)[0].label == "green"


def test_empty_head_is_kept(tiny, make_picture):
    """A head without a class yet is used, not replaced."""
    head = ImprintingHead(EmbeddingPipeline(64))
    Classifier(tiny, head).teach(make_picture("red"), "red")

    assert head.counts == {"red": 1}


def test_mean_embedding_centres(tiny, tiny_copy, tmp_path):
    """The extractor's mean embedding, where it is known, centres the default head."""
    assert Classifier(tiny).head.pipeline.mean is None
    mean = np.linspace(0, 1, 64).astype(np.float32)
    np.savez(str(tmp_path / "tiny.npz"), mean=mean)
    facts = {"name": "tiny", "source": "", "licence": "", "sha256": file_digest(tiny_copy), "embedding_size": 64}
    (tmp_path / "tiny.json").write_text(json.dumps(dict(facts, mean_embedding="tiny.npz:mean")))

    assert (Classifier(Extractor(tiny_copy, "cpu")).head.pipeline.mean == mean).all()
