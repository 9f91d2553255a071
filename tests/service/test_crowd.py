"""Seats for requests with pictures: bounded, and given back."""

import logging
from contextlib import ExitStack

import pytest

from service.errors import ExtractorBusy
from service.http.crowd import CLASSIFY, OF_UPLOADS, SEATS, TEACH, Crowd, Seats

INFER = "/v2/models/live/versions/3/infer"


class Queue:
    """The extractor's. full : whether it takes no more"""

    full = False

    def must_have_room(self) -> None:
        """Raise when it is full."""
        if self.full:
            raise ExtractorBusy("full")


@pytest.fixture
def queue():
    """An extractor's queue with room."""
    return Queue()


@pytest.fixture
def crowd(queue):
    """A crowd of nobody."""
    return Crowd(queue)


def admit(crowd: Crowd, path: str, method: str = "POST") -> ExitStack:
    """The stay of one request."""
    stay = ExitStack()
    crowd.admit(method, path, stay)
    return stay


def refused(crowd: Crowd, path: str) -> bool:
    """Whether one more is; it stays no longer than that takes."""
    try:
        admit(crowd, path).close()
    except ExtractorBusy:
        return True
    return False


def test_seats_are_counted_within_and_without():
    """A kind has its own limit and takes places of the whole; who is refused takes none; all are given back."""
    every = Seats(3)
    some = Seats(2, every)
    with some, some:
        with pytest.raises(ExtractorBusy), some:
            pass
        with every, pytest.raises(ExtractorBusy), every:
            pass
    with every, every, every, pytest.raises(ExtractorBusy), some:
        pass
    with some, some, every:
        pass


def test_uploads_leave_seats_for_questions(crowd):
    """With all seats of uploads taken, uploads are refused and questions are not; other requests never are."""
    stays = [admit(crowd, TEACH) for _ in range(OF_UPLOADS)]
    assert refused(crowd, TEACH)
    assert not refused(crowd, CLASSIFY)
    stays += [admit(crowd, path) for path in (CLASSIFY, INFER) * ((SEATS - OF_UPLOADS) // 2)]
    assert [refused(crowd, path) for path in (TEACH, CLASSIFY, INFER)] == [True] * 3
    for method, path in (("GET", TEACH), ("POST", "/v1/train"), ("DELETE", TEACH + "/1"), ("GET", INFER[:-6])):
        admit(crowd, path, method)
    stays[0].close()
    stays[0].close()
    assert [refused(crowd, path) for path in (TEACH, CLASSIFY, INFER)] == [False] * 3
    admit(crowd, TEACH)
    assert refused(crowd, CLASSIFY)


def test_a_full_queue_gives_no_seats(crowd, queue):
    """What would be refused by the extractor is refused before, and takes no seat."""
    queue.full = True
    assert all(refused(crowd, CLASSIFY) for _ in range(SEATS + 1))
    queue.full = False
    stays = [admit(crowd, CLASSIFY) for _ in range(SEATS)]
    assert len(stays) == SEATS


def test_refusals_are_told_once_a_while(crowd, queue, caplog):
    """A thousand refusals are one line in the log."""
    queue.full = True
    with caplog.at_level(logging.WARNING):
        assert all(refused(crowd, TEACH) for _ in range(1000))
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["requests with pictures are refused, 1 since the last such line: full"]
