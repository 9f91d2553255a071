"""A part of a picture, in shares of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import SettingsError
from service.region import Region
from service.settings import load


@given(st.tuples(*[st.floats(0, 1, exclude_max=True)] * 4), st.integers(1, 4000), st.integers(1, 4000))
def test_what_is_accepted_lies_in_every_picture(numbers, width, height):
    """At least a pixel, and none beyond the edges; what is not accepted says why."""
    try:
        region = Region.parse(",".join(f"{number:.6f}" for number in numbers))
    except ValueError as error:
        assert str(error)
        return
    left, top, right, bottom = region.within(width, height)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


def test_shares_become_pixels():
    """Of the width across and of the height down."""
    assert Region.parse("0.25, 0.5, 0.5, 0.25").within(640, 480) == (160, 240, 480, 360)
    assert Region.parse(" ") is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("1,2", "x,y,width,height"),
        ("a,b,c,d", "x,y,width,height"),
        ("0,0,nan,1", "x,y,width,height"),
        ("1,0,0.5,0.5", "below 1"),
        ("0,-0.1,0.5,0.5", "at least 0"),
        ("0,0,0,1", "0.01 to 1"),
        ("0.6,0,0.5,1", "beyond the picture"),
    ],
)
def test_what_is_no_region(text, complaint):
    """A mistake that says what is wanted, also among the settings."""
    with pytest.raises(SettingsError, match=complaint):
        load({"camera_roi": text}, {})


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("camera_rotate", "45", "0, 90, 180, 270"),
        ("camera_format", "MJPEG", "four letters"),
        ("camera_format", "MJ\u00dfG", "four letters"),
        ("camera_width", "0", "16 to 8192"),
        ("camera_frozen_s", "-1", "0 to 3600"),
        ("camera_mirror", "left", "true and false"),
    ],
)
def test_other_mistakes_about_the_camera(name, text, complaint):
    """Each says what is allowed."""
    with pytest.raises(SettingsError, match=complaint):
        load({name: text}, {})


def test_formats_are_written_in_capitals():
    """As the kernel writes them."""
    assert load({"camera_format": "mjpg"}, {}).camera_format == "MJPG"
