"""Which frame viewers get."""

import time

import numpy as np
import pytest

from service.camera import CameraState, Frame
from service.camera.supervisor import ONLINE
from service.errors import CameraError
from service.live.viewfinder import Viewfinder

PIXELS = np.zeros((1, 1, 3), np.uint8)


def frame(number, captured, ago, jpeg=b"picture"):
    """A frame that was captured at this time of day, and came so many seconds ago."""
    return Frame(number, captured, time.monotonic() - ago, PIXELS, jpeg)


@pytest.fixture
def viewfinder():
    """That of a camera that is online."""
    return Viewfinder(lambda: CameraState(ONLINE, "", "camera", 0.0))


@pytest.mark.parametrize("hours", [-5, 0, 5])
def test_an_old_picture_is_never_taken_for_a_new_one(viewfinder, hours):
    """Whatever the clock said when it was taken; the newest, and one just taken, are handed out."""
    captured = time.time() + hours * 3600
    viewfinder.put(frame(1, captured, ago=9), time.monotonic() - 9)
    assert viewfinder.frame(0.0).number == 1
    viewfinder.put(frame(2, captured + 60, ago=0, jpeg=None), time.monotonic())
    with pytest.raises(CameraError, match="no new picture"):
        viewfinder.frame(0.01)
    viewfinder.put(frame(3, captured + 60, ago=0.1), time.monotonic())
    viewfinder.put(frame(4, captured + 60, ago=0, jpeg=None), time.monotonic())
    assert viewfinder.frame(0.0).number == 3


@pytest.mark.parametrize(("fps", "newest", "just_taken"), [(None, 10, 1), (30, 10, 1), (0.5, 10, 2), (0.1, 30, 10)])
def test_how_old_the_newest_may_be(fps, newest, just_taken):
    """As old as the camera makes it, if that is slow; what is to be taught is as new as the camera can give."""
    viewfinder = Viewfinder(lambda: CameraState(ONLINE, "", "camera", 0.0, fps=fps))
    for limit, wanted in ((newest, False), (just_taken, True)):
        viewfinder.put(frame(1, 0.0, ago=limit - 0.3), 0.0)
        assert viewfinder.frame(0.0, just_taken=wanted).number == 1
        viewfinder.put(frame(1, 0.0, ago=limit + 0.1), 0.0)
        with pytest.raises(CameraError, match="no new picture"):
            viewfinder.frame(0.0, just_taken=wanted)


def test_nothing_is_left_of_before_a_loss(viewfinder):
    """A frame of a camera that was lost does not come back with it."""
    viewfinder.put(frame(1, 0.0, ago=0), time.monotonic())
    viewfinder.forget()
    with pytest.raises(CameraError, match="no new picture"):
        viewfinder.frame(0.0)
    assert viewfinder.wants(time.monotonic() + 1).plain
