"""The drawn pictures that stand in for a camera."""

import numpy as np
import pytest

from coral_learn import image
from service.assembly import camera_options
from service.camera.sources import AUTO, resolve_camera
from service.camera.sources.folder import FolderSource
from service.demo import DRAWN, FPS, THINGS, draw, draw_demo, picture_of
from service.settings import Settings
from service.store import Store


def test_one_thing_after_the_other(tmp_path):
    """Each is shown several times in a row, in different pictures, and comes again."""
    source = FolderSource(draw_demo(tmp_path / "demo"), 1000.0)
    names = [path.stem.partition("-")[2] for path in sorted((tmp_path / "demo").iterdir())]
    assert names == [thing for _ in range(2) for thing in THINGS for _ in range(4)]
    shown = [source.read().data for _ in names]
    assert len(set(shown)) == len(names)
    expected = draw(THINGS[0], 0)
    np.testing.assert_array_equal(image.decode(shown[0]), expected)


def test_what_was_drawn_stays(tmp_path):
    """A second start draws nothing anew, and takes away what an earlier version drew."""
    folder = draw_demo(tmp_path / "demo")
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    (folder / "0-star.png").write_bytes(b"old")
    draw_demo(folder)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert picture_of("star", 1) in before


def test_its_pace_is_a_setting(tmp_path):
    """Slow enough to record from, or as fast as is asked for."""
    if resolve_camera(AUTO) is not None:
        pytest.skip("a camera is connected")
    store = Store(tmp_path / "data")
    try:
        shown = [camera_options(Settings(demo=True, camera_fps=fps), store) for fps in (0.0, 5.0)]
    finally:
        store.close()
    assert [(one.kind, one.fps) for one in shown] == [(DRAWN, FPS), (DRAWN, 5.0)]
