"""The review ring: what it wants, what it keeps, what goes first, and what a power cut may leave of it."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coral_learn.classifier import Prediction
from coral_learn.extractor import ExtractorInfo
from coral_learn.heads import EmbeddingPipeline
from service.errors import NotFound, StoreFull
from service.learning import Answer
from service.review import NOVEL, UNCERTAIN, ReviewRing, Sighting

SIZE = 64
INFO = ExtractorInfo("tiny", "e" * 64, "cpu", "", False, "none", SIZE, 32, 32)
PLENTY = 10**7


class Answers:
    """As much of `Answering` as is needed here."""

    def __init__(self):
        self.extractor, self.pipeline = INFO, EmbeddingPipeline(SIZE)


def scene(number):
    """An embedding that is like no other scene's: another direction."""
    embedding = np.zeros(SIZE, np.float32)
    embedding[number % SIZE] = 1.0
    return embedding


def answer(label="a", *scores):
    """An answer with these scores."""
    predictions = [Prediction("abcdef"[place], score) for place, score in enumerate(scores or (0.9, 0.1))]
    return Answer(label, predictions[0].score, predictions, {"version": "live"})


SURE, UNSURE, UNKNOWN = answer(), answer("a", 0.5, 0.45, 0.05), answer(None)


@pytest.fixture
def jpeg(make_picture, encode):
    """A frame."""
    return encode(make_picture("red"))


@pytest.fixture
def answers():
    """What answers, whose extractor can be exchanged."""
    return Answers()


@pytest.fixture
def make_ring(tmp_path, answers):
    """make_ring(budget): a ring in the same folder, as after a restart."""
    return lambda budget=PLENTY, room=lambda _: None: ReviewRing(tmp_path / "review", answers, room, budget)


@pytest.fixture
def ring(make_ring):
    """A ring with plenty of room."""
    return make_ring()


def keep(ring, jpeg, number, reason=NOVEL, now=0.0):
    """Keep a frame of a scene."""
    return ring.keep(jpeg, Sighting(reason, UNSURE, scene(number), 1000.0 + number), now)


def files(ring):
    """The names of the files in a ring's folder."""
    return sorted(path.name for path in ring._folder.glob("*"))


def test_what_is_wanted(ring):
    """Answers that are none of the classes or hardly more likely than the next; and scenes that are new."""
    assert ring.wants(UNSURE, scene(0), 0.0) == UNCERTAIN
    assert ring.wants(UNKNOWN, scene(0), 0.0) == UNCERTAIN
    assert ring.wants(SURE, scene(0), 0.0) == NOVEL
    assert ring.wants(SURE, scene(0), 0.0) is None
    assert ring.wants(SURE, scene(0) + 0.3 * scene(1), 0.0) is None
    assert ring.wants(UNKNOWN, scene(0), 0.0) == UNCERTAIN
    assert ring.wants(answer("a", 1.0), scene(1), 0.0) == NOVEL
    nothing_taught = Answer(None, 0.0, [], {"version": "live"})
    assert ring.wants(nothing_taught, scene(1), 0.0) is None
    assert ring.wants(nothing_taught, scene(2), 0.0) == NOVEL
    assert files(ring) == []


def test_one_each_two_seconds(ring, jpeg):
    """However much there is to see."""
    assert keep(ring, jpeg, 0, now=10.0)
    assert ring.wants(UNKNOWN, scene(1), 11.9) is None
    assert ring.wants(UNKNOWN, scene(1), 12.0) == UNCERTAIN


def test_like_a_kept_frame(ring, jpeg):
    """It is neither wanted nor kept, uncertain or not."""
    name = keep(ring, jpeg, 0)
    near = scene(0) + 0.5 * scene(1)
    assert ring.wants(UNKNOWN, near, 10.0) is None
    assert ring.keep(jpeg, Sighting(UNCERTAIN, UNKNOWN, near, 1.0), 10.0) is None
    ring.remove(name)
    assert ring.wants(UNKNOWN, near, 10.0) is None  # somebody has looked at it
    assert ring.wants(UNKNOWN, scene(1), 10.0) == UNCERTAIN


def test_page_and_picture(ring, jpeg):
    """Newest first, with what was answered; the picture byte for byte."""
    names = [keep(ring, jpeg, number) for number in range(3)]
    found, total = ring.page(0, 2)
    assert ([one.id for one in found], total, len(ring)) == (names[:0:-1], 3, 3)
    facts = found[0].as_dict()
    assert (facts["class"], facts["score"], facts["reason"]) == ("a", 0.5, NOVEL)
    assert facts["predictions"] == [{"class": one.label, "score": one.score} for one in UNSURE.predictions]
    assert (facts["width"], facts["height"]) != (0, 0)
    assert ring.image(names[0]) == jpeg
    assert ring.bytes == sum(path.stat().st_size for path in ring._folder.iterdir())
    assert ring.clear() == 3
    assert (len(ring), ring.bytes, files(ring)) == (0, 0, [])
    for call in (ring.get, ring.image, ring.remove):
        with pytest.raises(NotFound):
            call(names[0])


def test_the_last_few_that_were_taught_can_come_back(make_ring, jpeg):
    """Each once, as it was; those taught longer ago are gone, and so is one for which there is no room."""
    ring = make_ring()
    names = [keep(ring, jpeg, number) for number in range(12)]
    before, size = ring.page(0, 20), ring.bytes
    for step, name in enumerate(names):
        ring.take_out(name, jpeg, step)
    assert (len(ring), files(ring)) == (0, [])
    for step in [*range(12), *range(12)]:
        ring.put_back(step)
    assert [one.id for one in ring.page(0, 20)[0]] == names[:1:-1]
    assert ring.page(0, 20)[0][0] == before[0][0]
    assert (ring.bytes, ring.image(names[5])) == (size // 12 * 10, jpeg)
    ring.take_out(names[5], jpeg, None)
    ring.set_budget(1)
    ring.put_back(5)
    assert len(ring) == 0
    again = make_ring()
    assert len(again) == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(reasons=st.lists(st.sampled_from([NOVEL, UNCERTAIN]), max_size=20), room=st.integers(1, 6))
def test_never_more_than_the_budget(make_ring, jpeg, reasons, room):
    """When it is full the oldest of the commoner reason goes; the newest frame is always there."""
    probe = make_ring()
    probe.clear()
    keep(probe, jpeg, 63, UNCERTAIN)
    budget = probe.bytes * room + room * 20
    probe.clear()
    ring = make_ring(budget)
    for number, reason in enumerate(reasons):
        before = ring.page(0, 100)[0]
        name = keep(ring, jpeg, number, reason)
        now = ring.page(0, 100)[0]
        assert now[0].id == name
        assert ring.bytes <= budget
        assert ring.bytes == sum(path.stat().st_size for path in ring._folder.iterdir())
        gone = [one for one in before if one not in now]
        for one in gone:
            same = [other for other in before if other.reason == one.reason]
            assert len(same) * 2 >= len(before)
            assert one == same[-1]


def test_smaller_budget(ring, jpeg):
    """What is too much goes at once; with none nothing is wanted any more, and nothing kept."""
    for number in range(5):
        keep(ring, jpeg, number)
    ring.set_budget(ring.bytes // 2)
    assert len(ring) == 2
    ring.set_budget(0)
    assert files(ring) == []
    assert ring.wants(UNKNOWN, scene(9), 100.0) is None
    assert keep(ring, jpeg, 9) is None


def test_after_a_restart(make_ring, jpeg, ring):
    """The frames are there, and what is like them is known."""
    names = [keep(ring, jpeg, number) for number in range(3)]
    again = make_ring()
    assert [one.id for one in again.page(0, 10)[0]] == names[::-1]
    assert again.bytes == ring.bytes
    assert [one.as_dict() for one in again.page(0, 10)[0]] == [one.as_dict() for one in ring.page(0, 10)[0]]
    assert again.wants(UNKNOWN, scene(1), 100.0) is None
    assert len(make_ring(0)) == 0
    assert files(ring) == []


def test_another_extractor(make_ring, jpeg, ring, answers):
    """Embeddings of another one say nothing of likeness; the frames stay."""
    keep(ring, jpeg, 0)
    assert ring.wants(SURE, scene(0), 100.0) is None
    answers.extractor = INFO._replace(digest="f" * 64)
    for one in (ring, make_ring()):
        assert one.wants(SURE, scene(0), 100.0) == NOVEL
        assert len(one) == 1
    answers.extractor = INFO._replace(digest="d" * 64, embedding_size=SIZE * 2)
    answers.pipeline = EmbeddingPipeline(SIZE * 2)
    assert ring.wants(SURE, scene(0), 100.0) is None
    assert ring.wants(SURE, np.ones(SIZE * 2, np.float32), 100.0) == NOVEL
    answers.extractor = None
    assert ring.wants(UNKNOWN, scene(0), 100.0) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file(".jpg").write_bytes(file(".jpg").read_bytes()[:-7]),
        lambda file: file(".jpg").write_bytes(b"\0" * file(".jpg").stat().st_size),
        lambda file: file(".jpg").unlink(),
        lambda file: file(".json").unlink(),
        lambda file: file(".json").write_bytes(b""),
        lambda file: file(".json").write_bytes(file(".json").read_bytes()[:100]),
        lambda file: file(".json").write_bytes(b"[]"),
        lambda file: file(".json").write_text(file(".json").read_text().replace('"direction": "', '"direction": "A')),
        lambda file: file(".json").rename(file(".part")),
    ],
)
def test_half_written_files(make_ring, ring, jpeg, damage):
    """They are swept at the next start, and nothing else is."""
    whole, broken = keep(ring, jpeg, 0), keep(ring, jpeg, 1)
    damage((ring._folder / broken).with_suffix)
    (ring._folder / "notes.txt").write_text("somebody's own")
    again = make_ring()
    assert [one.id for one in again.page(0, 10)[0]] == [whole]
    assert files(ring) == sorted(["notes.txt", f"{whole}.jpg", f"{whole}.json"])


def test_disk_that_fails(make_ring, jpeg, caplog):
    """It is said once, and again after it went well in between; nothing is half there, and nothing raised."""
    full = [True]

    def room(_):
        if full[0]:
            raise StoreFull("no room")

    ring = make_ring(room=room)
    assert keep(ring, jpeg, 0) is None
    assert keep(ring, jpeg, 1) is None
    (told,) = [one.message for one in caplog.records]
    assert told.startswith("frames can't be kept for review: no room")
    assert files(ring) == []
    full[0] = False
    assert keep(ring, jpeg, 2)
    full[0] = True
    keep(ring, jpeg, 3)
    assert len(caplog.records) == 2
    full[0] = False
    ring.clear()
    ring._folder.rmdir()
    ring._folder.write_text("a file where the folder should be")
    assert keep(ring, jpeg, 4) is None
    assert ring._folder.read_text()


def test_no_picture(ring):
    """What is no JPEG is not kept."""
    assert keep(ring, b"nothing", 0) is None
    assert files(ring) == []
