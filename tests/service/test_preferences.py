"""Settings that are changed while the daemon runs: what is allowed, what is stronger, and who hears of it."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.__main__ import main
from service.errors import Conflict, SettingsInvalid
from service.preferences import CHOSEN, Preferences, with_choices
from service.settings import FIELDS, Settings, load_with_origins
from service.store import Store


@pytest.fixture
def config(tmp_path):
    """A configuration file."""
    path = tmp_path / "coral-learn.conf"
    path.write_text("[coral-learn]\nreview-mb = 7\ndecide-frames = 4\n")
    return str(path)


@pytest.fixture
def start(tmp_path):
    """start(flags={}, environ={}, config=None): the preferences as after a start with these."""
    opened = []

    def begin(flags=(), environ=(), config=None):
        if opened:
            opened.pop().close()
        opened.append(Store(tmp_path / "data"))
        return Preferences(*load_with_origins(dict(flags), dict(environ), config), opened[-1])

    yield begin
    opened.pop().close()


def test_changes_are_kept(start, config):
    """They are there at once and after a restart, stronger than the file and the default."""
    preferences = start(config=config)
    assert (preferences.settings.review_mb, preferences.origin("review_mb")) == (7, "the configuration file")
    assert preferences.change({"review_mb": 20, "decide_threshold": 0.5}) is preferences.settings
    for one in (preferences, start(config=config)):
        assert (one.settings.review_mb, one.settings.decide_threshold, one.settings.decide_frames) == (20.0, 0.5, 4)
        assert [one.origin(name) for name in ("review_mb", "decide_frames", "port")] == [
            CHOSEN,
            "the configuration file",
            "default",
        ]


def test_flags_and_variables_are_stronger(start):
    """They win over what was chosen before, can't be changed, and leave the choice for later starts."""
    start().change({"review_mb": 20, "decide_frames": 9})
    preferences = start({"review_mb": "3"}, {"CORAL_LEARN_DECIDE_FRAMES": "5"})
    assert (preferences.settings.review_mb, preferences.settings.decide_frames) == (3, 5)
    assert preferences.fixed_by("review_mb") == preferences.origin("review_mb") == "the command line"
    assert preferences.fixed_by("decide_frames") == "the environment"
    for name in ("review_mb", "decide_frames"):
        with pytest.raises(Conflict, match="was set by the") as refused:
            preferences.change({"decide_threshold": 0.1, name: 6})
        assert refused.value.code == "setting_fixed"
    assert preferences.settings.decide_threshold == 0
    assert start().settings.review_mb == 20


def test_taken_back(start, config):
    """Null forgets a choice: the file or the default counts again."""
    preferences = start(config=config)
    preferences.change({"review_mb": 20, "decide_threshold": 0.5})
    preferences.change({"review_mb": None, "decide_threshold": None})
    for one in (preferences, start(config=config)):
        assert (one.settings.review_mb, one.settings.decide_threshold) == (7, 0)
        assert one.origin("review_mb") == "the configuration file"


@pytest.mark.parametrize(
    ("name", "value", "detail"),
    [
        ("decide_frames", 0, "allowed is 1 to 1000"),
        ("decide_frames", 2.5, "a whole number"),
        ("decide_frames", True, "a whole number"),
        ("decide_frames", "3", "a whole number"),
        ("decide_threshold", 1.1, "allowed is 0 to 1"),
        ("decide_threshold", float("nan"), "allowed is 0 to 1"),
        ("decide_threshold", [], "is a number"),
        ("camera", 0, "is text"),
        ("camera", "a\0b", "NUL"),
        ("port", 80, "only at its start"),
        ("port", None, "only at its start"),
        ("decide_frame", 3, "did you mean decide_frames?"),
    ],
)
def test_what_is_refused(start, name, value, detail):
    """Each mistake with its field, and nothing is changed."""
    preferences = start()
    before = preferences.settings
    with pytest.raises(SettingsInvalid) as refused:
        preferences.change({"review_mb": 1, name: value, "nothing": 1})
    assert [one["field"] for one in refused.value.errors] == [name, "nothing"]
    assert detail in refused.value.errors[0]["detail"]
    assert preferences.settings is before
    assert start().settings == before


def test_who_listens(start):
    """Told once a change, not for none; one that fails keeps nobody else from hearing of it."""
    preferences, told = start(), []
    preferences.on_change(lambda _: 1 / 0)
    preferences.on_change(told.append)
    preferences.change({"decide_frames": 5.0})
    preferences.change({"decide_frames": 5})
    preferences.change({})
    with pytest.raises(SettingsInvalid):
        preferences.change({"decide_frames": 0})
    assert told == [preferences.settings]
    assert told[0].decide_frames == 5


def test_hidden_password_comes_back(start):
    """A page that sends what it was shown does not take the password away."""
    preferences = start()
    preferences.change({"camera": "rtsp://user:secret@camera/1"})
    preferences.change({"camera": "rtsp://user:***@camera/1", "decide_frames": 2})
    assert preferences.settings.camera == "rtsp://user:secret@camera/1"
    assert preferences.settings.decide_frames == 2


@pytest.mark.parametrize(
    ("before", "sent", "now"),
    [
        ("rtsp://me:se:cr/et@camera/1", "rtsp://me:***@camera/2", "rtsp://me:se:cr/et@camera/2"),
        ("rtsp://me:secret@camera/1", " rtsp://me:***@camera/1?x=1", "rtsp://me:secret@camera/1?x=1"),
        ("http://camera/a?key=k1&token=t", "http://camera/b?key=***&token=***", "http://camera/b?key=k1&token=t"),
        ("http://camera/a?key=k1", "http://camera/a?key=k2", "http://camera/a?key=k2"),
        ("rtsp://me:secret@camera/1", "rtsp://me:other@camera/1", "rtsp://me:other@camera/1"),
        ("rtsp://me:secret@camera/1", "0", "0"),
    ],
)
def test_address_that_is_edited_keeps_its_secrets(start, before, sent, now):
    """They were hidden to who edits the rest."""
    preferences = start()
    preferences.change({"camera": before})
    preferences.change({"camera": sent})
    assert preferences.settings.camera.strip() == now


@pytest.mark.parametrize("sent", ["rtsp://me:***@other/1", "rtsp://you:***@camera/1", "http://me:***@camera/1"])
def test_hidden_password_goes_nowhere_else(start, sent):
    """Who does not know it can't have it sent to another host; nor is *** taken for one."""
    preferences = start()
    preferences.change({"camera": "rtsp://me:secret@camera/1"})
    with pytest.raises(SettingsInvalid, match="write it out"):
        preferences.change({"camera": sent})
    assert preferences.settings.camera == "rtsp://me:secret@camera/1"


def test_choices_of_another_version(start, caplog):
    """What is no setting any more, or out of bounds by now, is not used; the rest is."""
    store = start()._store
    with store.database.write() as connection:
        store.set_note(connection, "chosen_settings", json.dumps({"gone": 1, "decide_frames": -1, "review_mb": 2}))
    assert start().settings == Settings(data_dir=start().settings.data_dir, review_mb=2)
    assert "decide_frames" in caplog.text
    store = start()._store
    with store.database.write() as connection:
        store.set_note(connection, "chosen_settings", "[")
    assert start().settings.review_mb == 50


CHANGES = {name: field for name, field in FIELDS.items() if field.metadata["changeable"]}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=20)
@given(st.data())
def test_whatever_is_allowed_is_kept(start, data):
    """Any value within the bounds is taken and there after a restart."""
    name = data.draw(st.sampled_from([name for name, field in CHANGES.items() if field.metadata["range"][1]]))
    lowest, highest = CHANGES[name].metadata["range"]
    kinds = {int: st.integers(lowest, highest), float: st.floats(lowest, highest)}
    value = data.draw(kinds[type(CHANGES[name].default)])
    start().change({name: value})
    assert getattr(start().settings, name) == value


def test_printed_settings(start, tmp_path, capsys, monkeypatch):
    """print-config knows what was chosen in the data folder, whether a daemon runs or not, and makes no folder."""
    for variable in ("CORAL_LEARN_URL", "CORAL_LEARN_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    start().change({"review_mb": 20, "camera": "rtsp://user:secret@camera/1"})
    for flags, expected in (((), "20.0"), (("--review-mb", "3"), "3.0")):
        assert main(["print-config", "--data-dir", str(tmp_path / "data"), *flags]) == 0
        printed = capsys.readouterr().out
        assert f"review-mb = {expected}\n" in printed
        assert "camera = rtsp://user:***@camera/1\n" in printed
    missing = Settings(data_dir=str(tmp_path / "missing"))
    assert with_choices(missing, {}) == missing
    assert not (tmp_path / "missing").exists()
