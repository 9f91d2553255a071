"""Sensors of a made-up /sys."""

import pytest

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
