"""Wrong tokens slow down the address they come from, and it alone."""

import pytest

from service.errors import TooManyFailures
from service.http.failures import FREE, LONGEST, PLACES, Failures

ADDRESS = "192.0.2.1"


class Clock:
    """A clock that is moved by hand."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    """A clock that stands still."""
    return Clock()


@pytest.fixture
def failures(clock):
    """Failures by that clock."""
    return Failures(clock)


def wrong(failures: Failures, address: str = ADDRESS) -> bool:
    """A try with a wrong token."""
    return failures.attempt(address, lambda: False)


def never() -> bool:
    """What must not be compared."""
    raise AssertionError("compared")


def wait_of(failures: Failures, address: str = ADDRESS) -> int:
    """The seconds that a try is refused for, uncompared."""
    with pytest.raises(TooManyFailures) as caught:
        failures.attempt(address, never)
    return caught.value.retry_after


def test_five_failures_are_free_and_then_waits_double(failures, clock):
    """1, 2, 4 seconds and so on up to a minute, each after one more failure; a try meanwhile costs nothing more."""
    for _ in range(FREE):
        assert wrong(failures) is False
    waits = []
    for _ in range(9):
        waits.append(wait_of(failures))
        assert wait_of(failures) == waits[-1]
        clock.now += waits[-1]
        assert wrong(failures) is False
    assert waits == [1, 2, 4, 8, 16, 32, LONGEST, LONGEST, LONGEST]


def test_a_right_token_resets(failures, clock):
    """After it an address has its free tries again."""
    for _ in range(FREE):
        wrong(failures)
    clock.now += wait_of(failures)
    assert failures.attempt(ADDRESS, lambda: True) is True
    assert len(failures) == 0
    for _ in range(FREE):
        assert wrong(failures) is False
    assert wait_of(failures) == 1


def test_failures_far_apart_are_free(failures, clock):
    """Fewer than five within a minute never make anybody wait; after a quiet minute waits begin small again."""
    for _ in range(30):
        assert wrong(failures) is False
        clock.now += 16.0
    for _ in range(2):
        clock.now += 200.0
        for _ in range(FREE):
            assert wrong(failures) is False
        assert wait_of(failures) == 1


def test_other_addresses_are_not_hindered(failures):
    """One address waits, the next one does not; of IPv6 a /64 is one address; IPv4 in IPv6 is IPv4."""
    for _ in range(FREE):
        wrong(failures)
    assert failures.attempt("192.0.2.2", lambda: True) is True
    assert wait_of(failures, "::ffff:192.0.2.1") == 1
    for number in range(FREE):
        assert wrong(failures, f"2001:db8::{number}") is False
    assert wait_of(failures, "2001:db8::ffff") == 1
    assert wrong(failures, "2001:db8:0:1::1") is False
    assert wrong(failures, "::1") is False
    assert wrong(failures, "no address" * 100) is False


def test_the_table_is_bounded(failures):
    """Of a thousand and some addresses the oldest is forgotten."""
    for _ in range(FREE):
        wrong(failures)
    for number in range(PLACES):
        assert wrong(failures, f"10.0.{number // 250}.{number % 250}") is False
    assert len(failures) == PLACES
    assert wrong(failures) is False
