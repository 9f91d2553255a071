"""The main job on real pictures, over HTTP against a real process with the bundled model."""

from importlib.util import find_spec

import pytest

TEST, FEWER = range(10, 30), range(10, 18)
# The run-time of Python 3.7 takes most of a second a picture on x86.
many_pictures = pytest.mark.slow if find_spec("ai_edge_litert") is None else pytest.mark.usefixtures("shared_data")


@pytest.fixture
def pictures(objects20):
    """pictures(name, numbers) -> the bytes of these pictures of a class."""
    return lambda name, numbers: [(objects20 / name / f"{number:02d}.jpg").read_bytes() for number in numbers]


@pytest.fixture
def names(objects20):
    """The 20 classes."""
    return sorted(path.name for path in objects20.iterdir() if path.is_dir())


def accuracy(daemon, names, pictures, asked) -> float:
    """Share of the test pictures answered right."""
    answers = [(name, daemon.classify(data).json["class"]) for name in names for data in pictures(name, asked)]
    return sum(name == answer for name, answer in answers) / len(answers)


def teach(daemon, names, pictures, numbers) -> None:
    for name in names:
        for data in pictures(name, numbers):
            assert daemon.teach(name, data).status == 201


@many_pictures
@pytest.mark.parametrize("asked", [FEWER, pytest.param(TEST, marks=pytest.mark.slow)])
def test_few_pictures_a_class_are_enough_and_more_can_be_trained(start_daemon, names, pictures, asked):
    """1, then 5 a class by imprinting, then softmax on 10: as accurate as was measured for this model."""
    daemon = start_daemon()
    teach(daemon, names, pictures, [0])
    assert accuracy(daemon, names, pictures, asked) >= 0.85

    teach(daemon, names, pictures, [1, 2, 3, 4])
    assert accuracy(daemon, names, pictures, asked) >= 0.95

    teach(daemon, names, pictures, range(5, 10))
    job = daemon.train(head="softmax", activate="always")
    assert job["state"] == "succeeded", job
    assert daemon.get("/v1/status").json["model"]["head"] == "softmax"
    assert accuracy(daemon, names, pictures, asked) >= 0.97


def test_a_class_added_later_is_known_in_the_next_request(start_daemon, names, pictures):
    """No training call stands between a first picture and its answer."""
    daemon = start_daemon()
    teach(daemon, names[:5], pictures, [0, 1])
    for name in names[5:8]:
        taught = pictures(name, [0])[0]
        assert daemon.teach(name, taught).status == 201
        assert daemon.classify(taught).json["class"] == name
