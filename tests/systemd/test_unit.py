"""The systemd unit, checked by systemd itself."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).resolve().parent.parent.parent / "systemd" / "coral-learn.service"
MOST_EXPOSED = 2.2


@pytest.fixture(scope="module")
def analyze():
    """Runs systemd-analyze."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: apt-get install systemd")

    def run(*arguments: str) -> str:
        done = subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    return run


def test_unit_has_no_mistake(analyze, tmp_path):
    """`verify` finds nothing to complain about once the program is there."""
    unit = tmp_path / UNIT.name
    program = tmp_path / "coral-learn"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit.write_text(UNIT.read_text().replace("/opt/coral-learn/current/bin/coral-learn", str(program)))
    assert UNIT.name not in analyze("verify", str(unit))


def test_unit_is_hardened(analyze):
    """The exposure level stays at or below what was reached."""
    text = analyze("security", "--offline=true", str(UNIT))
    if "Unknown option" in text or "unrecognized option" in text:
        pytest.skip("this systemd-analyze is older than 250 and can't judge a unit offline")
    found = re.search(r"exposure level for \S+: ([\d.]+)", text)
    assert found, text
    assert float(found.group(1)) <= MOST_EXPOSED


def test_unit_lets_the_devices_through():
    """Camera, PCIe and USB accelerators, and the socket libedgetpu finds USB devices with."""
    text = UNIT.read_text()
    for needed in (
        "char-apex",
        "char-usb_device",
        "char-video4linux",
        "AF_NETLINK",
        "Type=notify",
        "StartLimitIntervalSec=0",
    ):
        assert needed in text
