"""Sensors of a made-up /sys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.temperature import Temperature


@pytest.fixture
def sysfs(tmp_path):
    """write(path, text): a file below a made-up /sys; returns the root."""

    def write(path: str, text: str):
        file = tmp_path / "class" / path / "temp"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return tmp_path

    return write


def test_nothing_to_read(tmp_path):
    """A machine without sensors has no temperatures, and that is no error."""
    assert Temperature(tmp_path).read() == {}


def test_every_edge_tpu_and_the_board(sysfs):
    """Milli-degrees become degrees, by the sensor's name."""
    sysfs("apex/apex_0", "48800\n")
    sysfs("apex/apex_1", "-5500\n")
    root = sysfs("thermal/thermal_zone0", "51250\n")
    sysfs("thermal/thermal_zone1", "1000\n")
    assert Temperature(root).read() == {"apex_0": 48.8, "apex_1": -5.5, "thermal_zone0": 51.25}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-40000", -40.0),
        ("130000", 130.0),
        ("-40001", None),
        ("130001", None),
        ("-89700\n", None),
        ("", None),
        ("unknown", None),
    ],
)
def test_what_can_not_be_true(sysfs, text, expected):
    """A value beyond -40 to 130 degrees, or no number at all, is a dead link: no temperature."""
    root = sysfs("apex/apex_0", text)
    assert Temperature(root).read().get("apex_0") == expected


def test_a_sensor_that_fails(sysfs):
    """One that can't be read is left out, the others are read."""
    root = sysfs("thermal/thermal_zone0", "40000")
    (root / "class" / "apex" / "apex_0" / "temp").mkdir(parents=True)
    assert Temperature(root).read() == {"thermal_zone0": 40.0}


# -- a dead link --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sensors", "dead"),
    [
        ({}, False),
        ({"apex_0": "50000"}, False),
        ({"apex_0": "-89700"}, True),
        ({"apex_0": "-40001"}, True),
        ({"apex_0": "131000"}, True),
        ({"apex_0": "-40000"}, False),
        ({"apex_0": "130000"}, False),
        ({"apex_0": "nothing"}, False),
        ({"apex_0": "-89700", "apex_1": "50000"}, False),
        ({"apex_0": "-89700", "apex_1": "-89700"}, True),
    ],
)
def test_dead_link(sysfs, tmp_path, sensors, dead):
    """An Edge TPU whose temperature can't be true is lost; one without a sensor, or beside one that works, isn't."""
    for name, text in sensors.items():
        sysfs(f"apex/{name}", text)
    sysfs("thermal/thermal_zone0", "-89700")
    found = Temperature(tmp_path).dead_link()
    assert (found is not None) == dead
    assert not dead or ("apex_0 reports" in found and "PCIe" in found)


# -- too warm -----------------------------------------------------------------------------------


class Stage:
    """A sensor, a clock, and what is asked of them."""

    def __init__(self, sysfs, limit):
        self.sysfs, self.now = sysfs, 0.0
        self.temperature = Temperature(sysfs("apex/apex_0", "0"), limit, lambda: self.now)

    def at(self, degrees):
        """The pause two seconds later, at this temperature."""
        self.sysfs("apex/apex_0", str(round(degrees * 1000)))
        self.now += 2.0
        return self.temperature.pause()


def test_slows_down_and_goes_on(sysfs, caplog):
    """From the limit on it pauses, longer the warmer, until it is five degrees below; both are logged, once."""
    stage = Stage(sysfs, 85.0)
    assert [stage.at(degrees) for degrees in (60, 84.9, 85, 87, 130, 84, 80.1, 80, 84.9, 20)] == [
        *(0, 0, 0.5, 1.5, 5.0, 0.5, 0.5),
        *(0, 0, 0),
    ]
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "slow-down-at is 85" in caplog.text
    assert "no longer slowed down" in caplog.text


def test_says_that_it_slows_down(sysfs):
    """For status: which sensor, how warm, and what follows."""
    stage = Stage(sysfs, 70.0)
    stage.at(69)
    assert stage.temperature.slowed is None
    stage.at(72)
    assert (
        stage.temperature.slowed
        == "apex_0 is at 72 degrees (slow-down-at is 70): the camera rests 1.5 s before each frame"
    )


def test_looks_once_a_second(sysfs):
    """Asked for each frame, it doesn't read the sensors each time."""
    stage = Stage(sysfs, 85.0)
    assert stage.at(90) > 0
    sysfs("apex/apex_0", "20000")
    stage.now += 0.9
    assert stage.temperature.pause() > 0
    stage.now += 0.2
    assert stage.temperature.pause() == 0


def test_sensor_that_goes_away(sysfs, tmp_path):
    """What can't be read is not too warm: a device that fell off must not slow the camera for ever."""
    stage = Stage(sysfs, 85.0)
    assert stage.at(90) > 0
    (tmp_path / "class" / "apex" / "apex_0" / "temp").unlink()
    stage.now += 2
    assert stage.temperature.pause() == 0


@given(st.lists(st.floats(-60, 150), max_size=20), st.sampled_from([0.0, 40.0, 85.0]))
def test_pause_is_bounded(tmp_path_factory, degrees, limit):
    """Whatever the sensor says, the pause is 0 to 5 seconds, and with the limit 0 it is 0."""
    root, now = tmp_path_factory.mktemp("sys"), [0.0]
    sensor = root / "class" / "apex" / "apex_0" / "temp"
    sensor.parent.mkdir(parents=True)
    temperature = Temperature(root, limit, lambda: now[0])
    for one in degrees:
        sensor.write_text(str(round(one * 1000)))
        now[0] += 1.5
        pause = temperature.pause()
        assert 0 <= pause <= 5
        assert pause == 0 or (limit and one >= limit - 5)
        assert (pause > 0) == (temperature.slowed is not None)
