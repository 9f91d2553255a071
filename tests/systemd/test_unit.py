"""The systemd unit, checked by systemd itself."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from service.installing.place import GROUPS, Place
from service.settings import load
from service.watchdog import Watchdog

UNIT = Path(__file__).resolve().parent.parent.parent / "systemd" / "coral-learn.service"
MOST_EXPOSED = 2.2
# The Dev Board's Mendel has systemd 241. Directives that came later, by their version (systemd's NEWS); each only
# hardens, so that the service works without: an unknown one is named in the log and ignored.
LATER = {
    "ProtectHostname": 242,
    "RestrictSUIDSGID": 242,
    "ProtectKernelLogs": 244,
    "ProtectClock": 245,
    "ProtectProc": 247,
}
KNOWN = """Description After Wants StartLimitIntervalSec Type NotifyAccess ExecStart ExecReload User Group
    SupplementaryGroups StateDirectory StateDirectoryMode Environment RuntimeDirectory WatchdogSec Restart RestartSec
    TimeoutStartSec TimeoutStopSec KillMode DevicePolicy DeviceAllow RestrictAddressFamilies NoNewPrivileges
    CapabilityBoundingSet AmbientCapabilities ProtectSystem ReadWritePaths ProtectHome PrivateTmp ProtectKernelTunables
    ProtectKernelModules ProtectControlGroups RestrictNamespaces RestrictRealtime LockPersonality
    SystemCallArchitectures SystemCallFilter SystemCallErrorNumber UMask WantedBy"""


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
        "SupplementaryGroups=video apex plugdev",
        "Type=notify",
        "StartLimitIntervalSec=0",
        "Restart=always",
        'ExecReload=/bin/sh -c "kill -HUP $MAINPID"',
    ):
        assert needed in text


def test_unit_is_understood_by_the_boards_systemd():
    """Every directive is one of systemd 241 or one that may be missing there."""
    used = re.findall(r"^([A-Za-z]+)=", UNIT.read_text(), re.MULTILINE)
    assert set(used) - set(LATER) <= set(KNOWN.split())
    assert all(version > 241 for version in LATER.values())
    assert set(LATER) <= set(used)


def test_groups_of_the_unit_are_those_that_are_made():
    """systemd starts no service with a group that isn't there; the fall-back without sysusers makes the same."""
    made = (UNIT.parent / "coral-learn.sysusers").read_text()
    (named,) = re.findall(r"^SupplementaryGroups=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert sorted(named.split()) == sorted(GROUPS)
    assert sorted(re.findall(r"^m coral-learn (\S+)$", made, re.MULTILINE)) == sorted(GROUPS)


def test_data_folder_is_the_one_everywhere():
    """What systemd makes is what the installed configuration names to commands, and what --purge removes."""
    (made,) = re.findall(r"^StateDirectory=(\S+)$", UNIT.read_text(), re.MULTILINE)
    named = load({}, {}, str(UNIT.parent / "coral-learn.conf")).data_dir
    assert named == f"/var/lib/{made}" == str(Place(Path("/")).state)


def test_watchdog_has_time_for_several_looks():
    """One that fails on a busy machine must not end the service."""
    (seconds,) = re.findall(r"^WatchdogSec=(\d+)$", UNIT.read_text(), re.MULTILINE)
    watchdog = Watchdog(float(seconds), [])
    assert watchdog.interval * 4 <= int(seconds)
