"""The newest event of each kind, for readers of any speed."""

import json
import threading

import pytest

from service.errors import TooManyStreams
from service.live import Places, Watchers


def test_slow_reader_gets_the_newest_of_each_kind():
    """What was missed stays missed; nothing is told twice; the order is that of the events."""
    watchers = Watchers(1)
    for number in range(5):
        watchers.publish("classification", {"frame": number})
    watchers.publish("camera", {"state": "online"})
    news = watchers.wait(0, 0)
    assert [(one.kind, json.loads(one.data)) for one in news] == [
        ("classification", {"frame": 4}),
        ("camera", {"state": "online"}),
    ]
    assert watchers.wait(news[-1].number, 0) == []


def test_reader_is_woken():
    """By an event, and by the end."""
    watchers, seen = Watchers(1), []
    reader = threading.Thread(target=lambda: seen.extend([watchers.wait(0, 30), watchers.wait(1, 30)]))
    reader.start()
    watchers.publish("model", {"version": "live"})
    watchers.close()
    reader.join(10)
    assert not reader.is_alive()
    assert [len(news) for news in seen] == [1, 0]
    assert watchers.closed


def test_places():
    """No more than there are; one given back is one more."""
    places = Places(2, "look")
    places.enter()
    places.enter()
    with pytest.raises(TooManyStreams, match="2 clients look"):
        places.enter()
    places.leave()
    places.enter()
    assert places.taken == 2
