"""Wrong tokens slow their sender down: nobody guesses one by trying."""

import ipaddress
import threading
import time
from collections import OrderedDict
from typing import Callable, NamedTuple, Tuple

from service.errors import TooManyFailures

FREE = 5  # failures within `WINDOW` that cost nothing
WINDOW = 60.0  # seconds
LONGEST = 60.0  # seconds between two tries, at most
PLACES = 1000  # addresses


class _Record(NamedTuple):
    """What is known of an address. rounds : waits it was given so far; until : when the last one ends."""

    failed: Tuple[float, ...] = ()
    rounds: int = 0
    until: float = 0.0


class Failures:
    """Counts wrong tokens by address.

    After `FREE` failures within a minute the next try is taken a second later, after one more
    failure two seconds later, and so on up to a minute. A try before that is not even compared.

    now : a clock that never runs back, in seconds
    """

    def __init__(self, now: Callable[[], float] = time.monotonic):
        self._now = now
        self._records: OrderedDict[str, _Record] = OrderedDict()
        self._lock = threading.Lock()

    def attempt(self, address: str, compare: Callable[[], bool]) -> bool:
        """What `compare` says of a token from this address, remembered. Raises `TooManyFailures`, uncompared."""
        name, now = _network(address), self._now()
        with self._lock:  # held while comparing, so that tries at the same moment are counted, too
            record = self._records.get(name, _Record())
            if now < record.until:
                seconds = max(1, int(record.until - now + 0.999))
                detail = f"too many wrong tokens came from {address[:50]}; the next one is looked at in {seconds} s"
                raise TooManyFailures(detail, seconds)
            if compare():
                self._records.pop(name, None)
                return True
            self._records[name] = _after_failure(record, now)
            self._records.move_to_end(name)
            while len(self._records) > PLACES:
                self._records.popitem(last=False)
            return False

    def __len__(self) -> int:
        return len(self._records)


def _after_failure(record: _Record, now: float) -> _Record:
    failed = (*(when for when in record.failed[1 - FREE :] if now - when < WINDOW), now)
    insists = record.rounds > 0 and now - record.until < WINDOW
    if not insists and len(failed) < FREE:
        return _Record(failed)
    rounds = record.rounds + 1 if insists else 1
    return _Record(failed, rounds, now + min(LONGEST, 2.0 ** min(rounds - 1, 16)))


def _network(address: str) -> str:
    """What counts as one address: of IPv6 a /64, because a single client has that many to choose from."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:100]
    if parsed.version == 6 and parsed.ipv4_mapped is None:
        return str(ipaddress.IPv6Network((int(parsed), 64), strict=False))
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)
