"""Sessions: in memory, in a file, and over when they have to be."""

import stat

import pytest

from service.store import sessions as store_sessions
from service.store.sessions import SECONDS, SESSION_FILE, Sessions

TOKENS = {"manage": "m" * 32, "classify": "c" * 32}


@pytest.fixture
def clock():
    """The time: a list of one number."""
    return [1_000_000.0]


@pytest.fixture
def started(tmp_path, clock):
    """started(tokens=TOKENS): the sessions of a daemon that starts on the same data folder."""
    return lambda tokens=TOKENS: Sessions(tmp_path, tokens, lambda: clock[0])


def test_a_session_has_the_scope_of_its_token_until_it_is_closed(started):
    """Each its own; unknown ids, also odd ones, have none."""
    sessions = started()
    manage, classify = sessions.open("manage"), sessions.open("classify")
    assert manage != classify
    assert (sessions.scope(manage), sessions.scope(classify)) == ("manage", "classify")
    for odd in ("", "x", manage + "x", "\ud800", "é" * 1000):
        assert sessions.scope(odd) is None
    sessions.close(manage)
    sessions.close(manage)
    assert (sessions.scope(manage), sessions.scope(classify)) == (None, "classify")
    assert started().scope(manage) is None


def test_sessions_outlive_a_restart(started, tmp_path):
    """The file has no id and no token in it, and is its owner's alone."""
    name = started().open("manage")
    assert started().scope(name) == "manage"
    file = tmp_path / SESSION_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text()
    assert name not in text
    assert not any(token in text for token in TOKENS.values())


def test_a_session_ends_with_its_token(started):
    """A changed token ends its sessions and no others, for good; without tokens there are none."""
    sessions = started()
    manage, classify = sessions.open("manage"), sessions.open("classify")
    changed = started({**TOKENS, "manage": "n" * 32})
    assert (changed.scope(manage), changed.scope(classify)) == (None, "classify")
    changed.open("manage")
    assert started().scope(manage) is None
    assert started({}).scope(classify) is None


def test_a_session_ends_after_thirty_days(started, clock):
    """And not a second before."""
    sessions = started()
    name = sessions.open("manage")
    clock[0] += SECONDS - 1
    assert sessions.scope(name) == started().scope(name) == "manage"
    clock[0] += 1
    assert sessions.scope(name) is None
    sessions.open("manage")
    assert len(sessions) == 1


def test_the_oldest_makes_room(started, clock, monkeypatch):
    """There are not more than so many, also after a new start."""
    monkeypatch.setattr(store_sessions, "PLACES", 20)
    sessions, names = started(), []
    for _ in range(21):
        clock[0] += 1
        names.append(sessions.open("manage"))
    for known in (sessions, started()):
        assert len(known) == 20
        assert [known.scope(name) for name in names[:2]] == [None, "manage"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"x": 1}', '{"x": {"scope": "manage"}}', '{"x": {"expires": []}}'])
def test_a_broken_file_signs_everybody_out(started, tmp_path, text):
    """And nothing more: the daemon starts, and people sign in again."""
    name = started().open("manage")
    (tmp_path / SESSION_FILE).write_text(text)
    sessions = started()
    assert sessions.scope(name) is None
    again = sessions.open("manage")
    assert started().scope(again) == "manage"


def test_a_full_disk_keeps_nobody_from_signing_in(started, tmp_path):
    """Who can't sign in can't make room either: the session holds until the daemon ends."""
    (tmp_path / SESSION_FILE).mkdir()
    sessions = started()
    assert sessions.scope(sessions.open("manage")) == "manage"
