"""What the extractor is asked: order, what happens to requests whose process is lost, and who is refused."""

from concurrent.futures import Future
from typing import List

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.errors import ExtractorBusy, ExtractorFailed, ExtractorUnavailable
from service.extraction.requests import QUEUE_LENGTH, TRIES, Requests


@pytest.fixture
def requests():
    """Nobody asks yet."""
    return Requests()


def ask(requests: Requests, number: int) -> Future:
    """Ask for a picture that is only this number."""
    return requests.submit(np.array([number]))


def give(requests: Requests) -> List[int]:
    """What is sent to the process when it is given the next one."""
    sent = []
    requests.give(lambda pixels: sent.append(int(pixels[0])))
    return sent


def gone() -> ExtractorUnavailable:
    """Why those who wait are refused."""
    return ExtractorUnavailable("gone")


def test_answers_go_to_the_oldest(requests):
    """Two are given to the process at a time; answers and complaints come in that order."""
    asked = [ask(requests, number) for number in range(3)]
    assert give(requests) + give(requests) == [0, 1]
    assert (requests.given, requests.waiting) == (2, 1)
    requests.answer("zero")
    requests.refuse("it is torn")
    assert asked[0].result(0) == "zero"
    with pytest.raises(ExtractorFailed, match="it is torn"):
        asked[1].result(0)
    assert give(requests) == [2]
    assert give(requests) == []


def test_only_the_oldest_is_to_blame(requests):
    """On whose picture two processes end is refused; the one given ahead is asked again as often as need be."""
    first, second = ask(requests, 1), ask(requests, 2)
    for _ in range(TRIES):
        assert give(requests) + give(requests) == [1, 2]
        requests.lose()
    with pytest.raises(ExtractorFailed, match="more than once"):
        first.result(0)
    assert not second.done()
    assert (give(requests), requests.given) == ([2], 1)


def test_taking_back_blames_nobody(requests):
    """When the process is let go for another reason, all are asked again, before those who came later."""
    asked = [ask(requests, number) for number in range(3)]
    for _ in range(2 * TRIES):
        assert give(requests) + give(requests) == [0, 1]
        requests.take_back()
    assert [give(requests) for _ in asked] == [[0], [1], [2]]


def test_who_went_is_passed_over(requests):
    """A request that was given up while it waited is never sent."""
    assert ask(requests, 1).cancel()
    ask(requests, 2)
    assert give(requests) + give(requests) == [2]


def test_what_can_not_be_sent_is_not_lost(requests):
    """When the process takes nothing any more, the request is asked again."""

    def break_off(_) -> None:
        raise BrokenPipeError

    ask(requests, 1)
    with pytest.raises(BrokenPipeError):
        requests.give(break_off)
    requests.lose()
    assert give(requests) == [1]


def test_the_queue_is_bounded(requests):
    """Who comes to a full queue is refused at once."""
    for number in range(QUEUE_LENGTH):
        requests.must_have_room()
        ask(requests, number)
    for refused in (requests.must_have_room, lambda: ask(requests, 99)):
        with pytest.raises(ExtractorBusy, match=f"{QUEUE_LENGTH} pictures"):
            refused()


def test_waking_sends_nothing(requests):
    """A wake-up ends the wait and is no request; where the queue is full it isn't needed."""
    requests.wake()
    assert give(requests) == []
    for number in range(QUEUE_LENGTH):
        ask(requests, number)
    requests.wake()
    assert give(requests) == [0]


class Asking(RuleBasedStateMachine):
    """Any order of events: each request is answered once, with its own answer, or refused."""

    def __init__(self) -> None:
        super().__init__()
        self.requests, self.futures, self.process = Requests(), [], []

    @rule()
    def asks(self) -> None:
        """Somebody asks."""
        try:
            self.futures.append(ask(self.requests, len(self.futures)))
        except ExtractorBusy:
            assert self.requests.waiting == QUEUE_LENGTH

    @precondition(lambda self: self.futures)
    @rule(data=st.data())
    def goes(self, data) -> None:
        """Somebody doesn't want to know any more."""
        data.draw(st.sampled_from(self.futures)).cancel()

    @precondition(lambda self: len(self.process) < 2)
    @rule()
    def gives(self) -> None:
        """The process gets one."""
        self.process += give(self.requests)

    @precondition(lambda self: self.process)
    @rule()
    def answers(self) -> None:
        """The process answers the oldest."""
        number = self.process.pop(0)
        self.requests.answer(number)
        assert self.futures[number].result(0) == number

    @rule()
    def ends(self) -> None:
        """The process is lost."""
        self.requests.lose()
        self.process = []

    @rule()
    def is_let_go(self) -> None:
        """The process is exchanged."""
        self.requests.take_back()
        self.process = []

    @rule()
    def refuses(self) -> None:
        """There will be no process for a while."""
        self.requests.take_back()
        self.process = []
        self.requests.refuse_all(gone)
        assert all(future.done() for future in self.futures)

    @invariant()
    def agrees(self) -> None:
        """Both sides count the same, and what is answered was answered rightly."""
        assert self.requests.given == len(self.process)
        answered = [
            (future.result(0), number)
            for number, future in enumerate(self.futures)
            if future.done() and not future.cancelled() and future.exception(0) is None
        ]
        assert all(answer == number for answer, number in answered)

    def teardown(self) -> None:
        """Nobody is forgotten."""
        self.refuses()


TestAsking = Asking.TestCase
