"""Sources of frames, and what a --camera setting means."""

import numpy as np
import pytest

from service.camera import CameraOptions
from service.camera.sources import open_source, resolve_camera
from service.camera.sources.folder import FolderSource
from service.errors import CameraError


@pytest.mark.parametrize(
    ("setting", "meaning"),
    [
        ("none", None),
        ("", None),
        ("0", "/dev/video0"),
        ("12", "/dev/video12"),
        ("/dev/video1", "/dev/video1"),
        ("pictures", "pictures"),
        ("rtsp://camera/1", "rtsp://camera/1"),
    ],
)
def test_settings(setting, meaning):
    """A number is a device, none is none, the rest is taken as it is."""
    assert resolve_camera(setting) == meaning


def test_auto_takes_the_first_device(tmp_path):
    """By number, not by name; none when there is none, and what takes no pictures is passed over."""
    assert resolve_camera("auto", tmp_path) is None
    for name in ("video10", "video2", "video1", "video", "videoX", "null"):
        (tmp_path / name).touch()
    assert resolve_camera("auto", tmp_path) is None  # files, no devices
    assert resolve_camera("auto", tmp_path, lambda path: path.name != "video1") == str(tmp_path / "video2")


@pytest.mark.parametrize("name", ["/nonexistent", "/dev/video99", "ftp://camera/1", "/dev/null"])
def test_what_is_not_there(name):
    """A CameraError that names it."""
    with pytest.raises(CameraError, match=name):
        open_source(CameraOptions(name))


def test_file_that_is_no_video(tmp_path):
    """Refused when it is opened."""
    path = tmp_path / "notes.mp4"
    path.write_bytes(b"no video")
    with pytest.raises(CameraError, match="can't be opened"):
        open_source(CameraOptions(str(path)))


def test_folder_in_order_again_and_again(tmp_path, make_picture, encode):
    """By name; what can't be decoded is passed over; new pictures are seen in the next round."""
    (tmp_path / "b.png").write_bytes(encode(make_picture("blue"), "PNG"))
    (tmp_path / "c.jpg").write_bytes(b"damaged")
    (tmp_path / "a.png").write_bytes(encode(make_picture("red"), "PNG"))
    source = FolderSource(tmp_path, 1000.0)
    first = [source.read().decode()[0] for _ in range(4)]
    assert np.array_equal(first[0], make_picture("red"))
    assert np.array_equal(first[1], make_picture("blue"))
    assert np.array_equal(first[0], first[2])
    assert np.array_equal(first[1], first[3])
    (tmp_path / "d.png").write_bytes(encode(make_picture("green"), "PNG"))
    later = [source.read().decode()[0] for _ in range(3)]
    assert np.array_equal(later[2], make_picture("green"))


def test_folder_without_a_picture(tmp_path):
    """An error when it is opened, and one when all pictures turn out damaged."""
    with pytest.raises(CameraError, match="holds no picture"):
        FolderSource(tmp_path, 1.0)
    (tmp_path / "a.png").write_bytes(b"damaged")
    with pytest.raises(CameraError, match="can be decoded"):
        FolderSource(tmp_path, 1.0).read()
