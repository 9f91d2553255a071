"""Cameras of the kernel for real: its virtual camera `vivid`, in a guest whose kernel has it.

docs/camera.md says what is needed.
"""

import json
from pathlib import Path

import pytest
from guest_machine import ROOT, Guest, Kernel, missing

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1500)]

SCRIPT = ROOT / "tests" / "support" / "guest" / "vivid.py"
LONGEST = 1200.0  # seconds; alone on two cores it takes a fraction of that
WAITING = "no camera is connected; waiting for one"


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What the script in the guest found, by its parts."""
    if missing():
        pytest.skip(f"a guest needs qemu and a C compiler: {missing()}")
    try:
        kernel = Kernel.find("vivid")
    except LookupError as error:
        pytest.skip(str(error))
    guest = Guest(kernel, tmp_path_factory.mktemp("guest"), "vivid")
    guest.run(SCRIPT, LONGEST)
    results = Path(guest.shared / "results.json")
    assert results.exists(), guest.said
    return json.loads(results.read_text())


@pytest.fixture
def part(told):
    """part(name): what a part found; it fails with the part's own error."""

    def find(name):
        assert "error" not in told[name], told[name]["error"]
        return told[name]

    return find


def test_nodes(part):
    """Of all that it has, auto takes the one that takes pictures; output, metadata, VBI and radio don't."""
    found = part("nodes")
    assert found["auto"] == "/dev/video0"
    assert found["takes"] == {f"/dev/video{number}": number == 0 for number in range(4)}
    assert len(found["others"]) >= 4
    assert not any(found["others"].values())
    assert found["formats"][0] == "YUYV 320x180, 640x360, 640x480, 1280x720, 1920x1080, 3840x2160"
    assert any(one.startswith("Y16-BE ") for one in found["formats"])


def test_auto_passes_over_an_output(part):
    """Where the first device only shows pictures."""
    found = part("output_first")
    assert (found["nodes"], found["auto"]) == (["/dev/video0", "/dev/video1"], "/dev/video1")


@pytest.mark.parametrize(
    ("wanted", "raw"),
    [
        ("default", [480, 640, 2]),
        ("YUYV", [480, 640, 2]),
        ("NV12", [480, 640, 3]),
        ("1280x720", [720, 1280, 2]),
        ("10 a second", [480, 640, 2]),
    ],
)
def test_formats(part, wanted, raw):
    """YUYV comes as it is, another is converted; pictures move and show the bars."""
    found = part("formats")[wanted]
    assert found["raw"] == raw
    assert found["rgb"] == [*raw[:2], 3]
    assert found["moves"]
    left, right = found["bars"][:2]
    assert left > 150
    assert right < 60


def test_a_size_it_does_not_have(part):
    """The driver's nearest one comes."""
    assert part("formats")["800x600"]["raw"] == [480, 640, 2]


def test_rate(part):
    """It gives no more than it was asked for."""
    assert part("formats")["10 a second"]["rate"] < 13


def test_refusals(part):
    """What isn't there, isn't a camera, or not in this format, each in words."""
    found = part("formats")
    wrong = "/dev/video0 doesn't give the format MJPG, it gives YUYV, UYVY, YVYU, VYUY, 422P, YU12, YV12, NV12 and "
    assert found["MJPG"]["refused"].startswith(wrong)
    assert found["output"]["refused"] == "/dev/video1 (vivid) is not a camera: it gives no pictures of its own"
    assert found["gone"]["refused"] == "there is no /dev/video9"


def test_views(part):
    """Turned, mirrored and cut, by where white and black end up."""
    found = part("views")
    assert [found[name]["size"] for name in ("plain", "turned", "right half", "all")] == [
        [640, 360],
        [360, 640],
        [320, 360],
        [360, 320],
    ]
    left, right, _, _ = found["plain"]["bars"]
    assert left > right + 100
    left, right, _, _ = found["mirrored"]["bars"]
    assert right > left + 100
    _, _, top, bottom = found["turned"]["bars"]
    assert top > bottom + 100
    left, right, _, _ = found["right half"]["bars"]
    assert 160 > left > right  # green to black
    _, _, top, bottom = found["all"]["bars"]
    assert bottom > top + 50  # turned to the left white is below
    assert {tuple(one["input"]) for name, one in found.items() if name != "took"} == {(32, 32, 3)}


def test_planes(part):
    """A camera with the interface for several planes alone gives pictures, and nothing crashes."""
    found = part("planes")
    assert (found["auto"], found["single"]) == ("/dev/video0", False)
    assert found["formats"][0].startswith("YUYV 320x180")
    assert found["read"]["rgb"] == [480, 640, 3]
    assert found["read"]["bars"][0] > 150


def test_doctor(part):
    """It lists the camera and its formats."""
    check = part("doctor")
    assert check["state"] == "ok", check
    assert check["found"].startswith("/dev/video0 vivid (vivid): YUYV 320x180, 640x360, 640x480")
    assert "/dev/video1" not in check["found"]


def test_plugging(part):
    """Connected, pulled out while it is read, back under another number, module removed, and back: all by itself."""
    found = part("plugging")
    stages = found["stages"]
    expected = [
        ("none", None),
        ("online", "/dev/video0"),
        ("lost", "/dev/video0"),
        ("online", "/dev/video1"),
        ("lost", "/dev/video1"),
        ("lost", "/dev/video1"),
        ("online", "/dev/video0"),
    ]
    assert [(one["state"], one["source"]) for one in stages] == expected
    assert stages[0]["reason"] == WAITING
    assert stages[2]["reason"] in ("/dev/video0 delivers no more frames", WAITING)
    assert all(one["reason"] for one in stages if one["state"] == "lost")
    assert all((one["kind"], one["width"], one["height"]) == ("v4l2", 180, 320) for one in stages if not one["reason"])
    assert found["snapshot"] == [320, 180, 3]
    assert found["busy"] == "Resource temporarily unavailable"
    assert (found["gone"], found["code"]) == (True, 0)


def test_what_goes_on_meanwhile(part):
    """The page and /healthz always; /readyz and pictures as the camera is."""
    for one in part("plugging")["stages"]:
        online = one["state"] == "online"
        assert one["answers"]["/healthz"] == one["answers"]["/"] == 200
        assert one["answers"]["/readyz"] == (503 if one["state"] == "lost" else 200)
        assert one["answers"]["/v1/camera/snapshot.jpg"] == (200 if online else 503)
        assert one["frames"] is None or not online or one["frames"] >= 5
