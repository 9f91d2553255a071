"""The main job on real pictures, over HTTP against a real process with the bundled model."""

import pytest

TEST = range(10, 30)


@pytest.fixture
def pictures(objects20):
    """pictures(name, numbers) -> the bytes of these pictures of a class."""
    return lambda name, numbers: [(objects20 / name / f"{number:02d}.jpg").read_bytes() for number in numbers]


@pytest.fixture
def names(objects20):
    """The 20 classes."""
    return sorted(path.name for path in objects20.iterdir() if path.is_dir())


def accuracy(daemon, names, pictures) -> float:
    """Share of the test pictures answered right."""
    answers = [(name, daemon.classify(data).json["class"]) for name in names for data in pictures(name, TEST)]
    return sum(name == answer for name, answer in answers) / len(answers)


def teach(daemon, names, pictures, numbers) -> None:
    for name in names:
        for data in pictures(name, numbers):
            assert daemon.teach(name, data).status == 201


@pytest.mark.slow
def test_few_pictures_a_class_are_enough_and_more_can_be_trained(start_daemon, names, pictures):
    """1, then 5 a class by imprinting, then softmax on 10: as accurate as was measured for this model."""
    daemon = start_daemon()
    teach(daemon, names, pictures, [0])
    assert accuracy(daemon, names, pictures) >= 0.85

    teach(daemon, names, pictures, [1, 2, 3, 4])
    assert accuracy(daemon, names, pictures) >= 0.95

    teach(daemon, names, pictures, range(5, 10))
    job = daemon.train(head="softmax", activate="always")
    assert job["state"] == "succeeded", job
    assert daemon.get("/v1/status").json["model"]["head"] == "softmax"
    assert accuracy(daemon, names, pictures) >= 0.97


def test_a_class_added_later_is_known_in_the_next_request(start_daemon, names, pictures):
    """No training call stands between a first picture and its answer."""
    daemon = start_daemon()
    teach(daemon, names[:5], pictures, [0, 1])
    for name in names[5:8]:
        taught = pictures(name, [0])[0]
        assert daemon.teach(name, taught).status == 201
        assert daemon.classify(taught).json["class"] == name
