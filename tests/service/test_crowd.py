"""Seats for requests with pictures: bounded, and given back."""

import pytest

from service.errors import ExtractorBusy
from service.http.crowd import CLASSIFY, OF_UPLOADS, SEATS, TEACH, Crowd, Seats


class Idle:
    """An extractor that nobody waits for."""

    def must_have_room(self) -> None:
        """There is."""


def test_places_are_counted_within_and_without():
    """A kind has its own limit and takes places of the whole; who is refused takes none; all are given back."""
    every = Seats(3)
    some = Seats(2, every)
    with some, some:
        assert some.full
        assert not every.full
        with pytest.raises(ExtractorBusy), some:
            pass
        with every:
            assert every.full
            with pytest.raises(ExtractorBusy), every:
                pass
        assert not every.full
    with every, every, every:
        assert some.full
        with pytest.raises(ExtractorBusy), some:
            pass
    with some, some, every:
        pass


def test_uploads_leave_places_for_questions():
    """With all places of uploads taken, uploads are refused and questions are not; other requests never are."""
    crowd = Crowd(Idle())
    taken = [crowd._uploads for _ in range(OF_UPLOADS)]
    for places in taken:
        places.__enter__()
    with pytest.raises(ExtractorBusy):
        crowd.check("POST", TEACH)
    crowd.check("POST", CLASSIFY)
    for _ in range(SEATS - OF_UPLOADS):
        crowd._every.__enter__()
    with pytest.raises(ExtractorBusy):
        crowd.check("POST", CLASSIFY)
    for method, path in (("GET", TEACH), ("POST", "/v1/train"), ("DELETE", TEACH + "/1")):
        crowd.check(method, path)
