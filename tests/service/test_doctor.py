"""Every check in each of its states, on machines that are made up."""

import errno
import struct
import sys
from pathlib import Path

import pytest
from made_up_machine import GIGABYTE, MadeUpMachine

from service import v4l2
from service.doctor import (
    cameras,
    devices,
    disk,
    driver,
    examination,
    extractor,
    holder,
    library,
    nodes,
    packages,
    port,
    system,
    usb,
)
from service.doctor.attempt import Outcome
from service.doctor.check import FAIL, OK, SKIP, STATES, WARN, Check, report
from service.doctor.daemon import check_asked
from service.doctor.examination import Case
from service.doctor.extractor import Tried
from service.doctor.machine import Holder, Space
from service.doctor.text import line, summary
from service.errors import ProblemError
from service.settings import Settings

FACTS = {
    "name": "tiny",
    "device": "cpu",
    "reason": "no Edge TPU is connected",
    "degraded": False,
    "runtime": "ai-edge-litert 2.3.0",
    "cosine": 0.9991,
    "least": 0.99,
    "milliseconds": 12.34,
}
RULES = """# a comment about 18d1 and 9302
SUBSYSTEM=="apex", GROUP="apex"
SUBSYSTEM=="usb", ATTRS{idVendor}=="1a6e", ATTRS{idProduct}=="089a", GROUP="plugdev"
SUBSYSTEM=="usb", ATTRS{idVendor}=="18d1", ATTRS{idProduct}=="9302", GROUP="plugdev"
"""


@pytest.fixture
def machine(tmp_path):
    """A board with nothing connected."""
    return MadeUpMachine(tmp_path / "root")


def found_on(machine):
    return devices.find(machine)


def assert_says(check, state, *words):
    """The state, words that must be in it, and a remedy where one is due."""
    assert check.state == state, check
    told = f"{check.found} | {check.meaning} | {check.remedy}"
    for word in words:
        assert word in told, told
    if state in (WARN, FAIL):
        assert check.meaning and check.remedy, check
    assert check.found


def install(machine, **without):
    """All packages that are needed."""
    for module, name in (*packages._NEEDED, ("cv2", "opencv-python-headless")):
        if module not in without:
            machine.package(module, "1.26.4" if name == "numpy" else "9.1", name)


# -- a daemon that does not let itself be asked --------------------------------------------


URL = "http://127.0.0.1:8080"


def test_daemon_refuses_without_its_data_folder(machine):
    """The folder that was looked in has no tokens: it is another one's, and the check of the disk is about it."""
    told = assert_asked(machine, 401, "the token is missing", "no tokens.json", "a line data-dir")
    assert str(DATA) in told.meaning


@pytest.mark.parametrize("status", [401, 403])
def test_daemon_refuses_another_user(machine, monkeypatch, status):
    """Tokens that this user can't read, or not even see."""
    machine.write(str(DATA / "tokens.json"), "{}")
    monkeypatch.setattr(type(machine), "read", lambda *_: None)
    assert_asked(machine, status, "sudo -u coral-learn", "CORAL_LEARN_TOKEN")
    monkeypatch.setattr(Path, "stat", raises_permission_error)
    assert_asked(machine, status, "sudo -u coral-learn", "CORAL_LEARN_TOKEN")


def test_daemon_refuses_its_token(machine):
    """Tokens that can be read, and are another daemon's."""
    machine.write(str(DATA / "tokens.json"), "{}")
    assert_asked(machine, 401, "does not fit", "--data-dir")


def test_daemon_refuses_for_another_reason(machine):
    """Nothing about tokens is said where they are not what is wrong."""
    told = assert_asked(machine, 409, "once more")
    assert "token" not in told.remedy


def raises_permission_error(*_, **__):
    raise PermissionError


def assert_asked(machine, status, *words):
    refusal = ProblemError(status, {"detail": "the token is missing or wrong"})
    told = check_asked(machine, URL, refusal, DATA)
    assert_says(told, WARN, URL, "the token is missing", *words)
    return told


# -- Python and packages --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "state"), [((3, 6, 9), FAIL), ((3, 7, 3), OK), ((3, 13, 1), OK), ((3, 14, 0), WARN)]
)
def test_python(machine, version, state):
    """Too old fails, newer than tried warns."""
    assert_says(packages.check_python(machine, version), state, ".".join(map(str, version)), "aarch64")


def test_packages_there(machine):
    """Their versions are told."""
    install(machine)
    assert_says(packages.check_packages(machine), OK, "numpy 1.26.4", "Pillow 9.1", "opencv-python-headless 9.1")


def test_packages_missing(machine):
    """All that are missing are named in the remedy."""
    install(machine, PIL=False, cv2=False)
    assert_says(packages.check_packages(machine), FAIL, "pip install Pillow opencv-python-headless")


def test_package_broken(machine):
    """One that can't be imported, an OpenCV for desktops, one whose import ends the process."""
    install(machine)
    machine.outcomes["imports"] = Outcome({"numpy": "", "PIL": "ImportError: built for another Python"})
    assert_says(packages.check_packages(machine), FAIL, "PIL can't be imported", "--force-reinstall Pillow")
    text = "ImportError: libGL.so.1: cannot open shared object file: No such file or directory"
    machine.outcomes["imports"] = Outcome({"cv2": text})
    assert_says(packages.check_packages(machine), FAIL, "libGL.so.1", "pip install opencv-python-headless")
    machine.outcomes["imports"] = Outcome(None, "numpy", "was ended by SIGILL")
    assert_says(packages.check_packages(machine), FAIL, "importing numpy was ended by SIGILL")


def test_run_time(machine):
    """None; one that works; one that works slowly on a PC."""
    machine.package("numpy", "1.26.4")
    assert_says(packages.check_run_time(machine), FAIL, "none installed")
    machine.package("tflite_runtime", "2.11.0", "tflite-runtime")
    assert_says(packages.check_run_time(machine), OK, "tflite-runtime 2.11.0", "numpy 1.26.4")
    machine.says["architecture"] = "x86_64"
    assert_says(packages.check_run_time(machine), WARN, "many times slower")
    machine.package("ai_edge_litert", "2.1.0", "ai-edge-litert")
    assert_says(packages.check_run_time(machine), OK, "ai-edge-litert 2.1.0, tflite-runtime 2.11.0")


def test_numpy_2_under_the_old_run_time(machine):
    """It fails alone, and warns where the other run-time works."""
    machine.package("numpy", "2.0.1")
    machine.package("tflite_runtime", "2.14.0", "tflite-runtime")
    assert_says(packages.check_run_time(machine), FAIL, "numpy 2.0.1 under tflite-runtime 2.14.0", '"numpy<2"')
    machine.package("ai_edge_litert", "2.1.0", "ai-edge-litert")
    machine.outcomes["imports"] = Outcome(
        {"tflite_runtime.interpreter": "ImportError", "ai_edge_litert.interpreter": ""}
    )
    assert_says(packages.check_run_time(machine), WARN, "pip uninstall tflite-runtime")


def test_run_time_broken(machine):
    """One that can't be imported or crashes fails; with another that works it warns."""
    machine.package("numpy", "1.26.4")
    machine.package("ai_edge_litert", "2.1.0", "ai-edge-litert")
    name = "ai_edge_litert.interpreter"
    machine.outcomes["imports"] = Outcome({name: "ImportError: GLIBC_2.34 not found"})
    assert_says(packages.check_run_time(machine), FAIL, "GLIBC_2.34", "--force-reinstall ai-edge-litert")
    machine.outcomes["imports"] = Outcome(None, name, "was ended by SIGILL")
    assert_says(packages.check_run_time(machine), FAIL, "the import was ended by SIGILL")
    machine.package("tflite_runtime", "2.11.0", "tflite-runtime")
    machine.outcomes["imports"] = Outcome({name: "ImportError: no", "tflite_runtime.interpreter": ""})
    assert_says(packages.check_run_time(machine), WARN, "ImportError: no")


def test_pycoral(machine):
    """Not there; the reef atlas of that name; Coral's; Coral's for another Python."""
    assert_says(packages.check_pycoral(machine), OK, "not installed")
    folder = machine.package("pycoral", "0.3.1")
    assert_says(packages.check_pycoral(machine), WARN, "reef atlas", "pip uninstall pycoral")
    (folder / "utils").mkdir()
    (folder / "utils" / "edgetpu.py").write_text("")
    assert_says(packages.check_pycoral(machine), OK, "pycoral 0.3.1")
    (folder / "pybind").mkdir()
    built = folder / "pybind" / "_pywrap_coral.cpython-36m-aarch64-linux-gnu.so"
    built.write_text("")
    assert_says(packages.check_pycoral(machine), WARN, "another Python", "cpython-36m")
    ours = "".join(map(str, sys.version_info[:2]))
    built.rename(built.with_name(f"_pywrap_coral.cpython-{ours}-aarch64-linux-gnu.so"))
    assert_says(packages.check_pycoral(machine), OK)


# -- library --------------------------------------------------------------------------------


def test_library(machine):
    """Missing with and without a device; damaged; for another architecture; right."""
    assert_says(library.check_library(machine, needed=False), SKIP, "no libedgetpu.so.1")
    assert_says(library.check_library(machine, needed=True), FAIL, "install libedgetpu1-std")
    machine.library(62)
    assert_says(library.check_library(machine, needed=True), FAIL, "built for x86_64", "this system is aarch64")
    machine.library(21)
    assert_says(library.check_library(machine, needed=True), FAIL, "built for machine 21")
    machine.library(183, "16.0")
    assert_says(library.check_library(machine, needed=True), OK, "/usr/lib/aarch64-linux-gnu/", "16.0")
    machine.write("/usr/lib/aarch64-linux-gnu/libedgetpu.so.1", "text")
    assert_says(library.check_library(machine, needed=True), FAIL, "damaged")


def test_library_where_the_variable_says(machine):
    """LD_LIBRARY_PATH goes before the system's folders, also of a 32-bit system."""
    machine.library(183)
    path = machine.write("/opt/edgetpu/libedgetpu.so.1")
    path.write_bytes(b"\x7fELF\x01\x01" + bytes(12) + struct.pack("<H", 40))
    machine.environ["LD_LIBRARY_PATH"] = ":/opt/edgetpu"
    assert_says(library.check_library(machine, needed=True), FAIL, "/opt/edgetpu", "armv7l")
    machine.says["architecture"] = "armv7l"
    assert_says(library.check_library(machine, needed=True), OK)


@pytest.mark.parametrize(
    ("module", "version", "libedgetpu", "state", "word"),
    [
        ("tflite_runtime", "2.5.0.post1", "16.0", OK, "2.5.0.post1"),
        ("tflite_runtime", "2.11.0", "16.0", OK, ""),
        ("tflite_runtime", "2.14.0", "16.0", FAIL, "crash together"),
        ("ai_edge_litert", "2.1.0", "16.0", FAIL, "crash together"),
        ("tflite_runtime", "2.17.1", "16.0TF2.17.1-1", OK, ""),
        ("tflite_runtime", "2.14.0", "16.0TF2.17.1-1", WARN, "TensorFlow Lite 2.17"),
        ("ai_edge_litert", "2.1.0", "16.0TF2.19.1-1", OK, ""),
        ("tflite_runtime", "2.11.0", "", WARN, "unknown version"),
    ],
)
def test_pair(machine, module, version, libedgetpu, state, word):
    """Run-times and builds of libedgetpu that fit, crash, or were made for another version."""
    machine.package(module, version, module.replace("_", "-"))
    machine.library(version=libedgetpu)
    assert_says(library.check_fit(machine), state, word)


def test_no_pair(machine):
    """Without a library or without a run-time there is nothing to compare."""
    assert_says(library.check_fit(machine), SKIP)
    machine.library()
    assert_says(library.check_fit(machine), SKIP)


# -- driver, temperature --------------------------------------------------------------------


def test_driver_not_needed(machine):
    """USB has none."""
    machine.stick()
    assert_says(driver.check_driver(machine, found_on(machine)), SKIP)


def test_driver_there(machine):
    """With its version; and a Raspberry Pi 5 with large pages."""
    machine.card()
    machine.write("/sys/class/apex/apex_0/driver_version", "1.2\n")
    assert_says(driver.check_driver(machine, found_on(machine)), OK, "apex 1.2", "6.1.0-28-arm64")
    machine.says["page_size"] = 16384
    assert_says(driver.check_driver(machine, found_on(machine)), FAIL, "16384", "kernel8.img")


def test_driver_missing(machine):
    """Not installed; installed for another kernel; not loaded; loaded and no use. New kernels get a remark."""
    machine.bare_card()
    found = found_on(machine)
    assert_says(driver.check_driver(machine, found), FAIL, "0000:01:00.0", "not installed", "gasket-dkms")
    assert "6.12" not in driver.check_driver(machine, found).remedy
    machine.write("/lib/modules/6.1.0-9-arm64/updates/dkms/apex.ko.xz")
    machine.says["kernel"] = "6.12.5+rpt"
    assert_says(driver.check_driver(machine, found), FAIL, "built for 6.1.0-9-arm64", "dkms autoinstall", "patched")
    machine.says["kernel"] = "6.1.0-9-arm64"
    assert_says(driver.check_driver(machine, found), FAIL, "not loaded", "sudo modprobe apex")
    machine.write("/sys/module/gasket/refcnt")
    machine.write("/sys/module/apex/refcnt")
    assert_says(driver.check_driver(machine, found), FAIL, "did not take the card", "dmesg")


@pytest.mark.parametrize(
    ("text", "state", "word"),
    [
        ("48800\n", OK, "48.8 C"),
        ("85000", WARN, "cooling"),
        ("-89700", FAIL, "dead"),
        ("131000", FAIL, "dead"),
        ("", SKIP, "no sensor"),
        ("?", SKIP, "no sensor"),
    ],
)
def test_temperature(machine, text, state, word):
    """Cool, slowed down, a dead link, and drivers without a sensor."""
    machine.card(text)
    assert_says(driver.check_temperature(machine, found_on(machine)), state, word)


def test_temperature_of_a_stick(machine):
    """It has no sensor."""
    machine.stick()
    assert_says(driver.check_temperature(machine, found_on(machine)), SKIP, "USB")


@pytest.mark.parametrize(("text", "state"), [("51250", OK), ("80000", WARN), ("warm", SKIP)])
def test_board_temperature(machine, text, state):
    """The processor's sensor."""
    machine.write("/sys/class/thermal/thermal_zone0/temp", text)
    assert_says(driver.check_board_temperature(machine), state)


# -- nodes, rules, usb ----------------------------------------------------------------------


def test_nodes(machine):
    """None; open; missing; and root, who may break things."""
    assert_says(nodes.check_nodes(machine, found_on(machine)), SKIP)
    machine.card()
    machine.stick()
    assert_says(nodes.check_nodes(machine, found_on(machine)), OK, "/dev/apex_0, /dev/bus/usb/002/003", "pi")
    machine.says["user"] = (0, "root")
    assert_says(nodes.check_nodes(machine, found_on(machine)), WARN, "user of its own")
    machine.path("/dev/apex_0").unlink()
    assert_says(nodes.check_nodes(machine, found_on(machine)), FAIL, "no /dev/apex_0")


@pytest.mark.parametrize(
    ("owner", "groups", "members", "words"),
    [
        ((0, 0, "crw-------"), [1000], "", ("no udev rule", "group apex", "sudo adduser pi apex")),
        ((0, 998, "crw-rw----"), [1000], "", ("not in the group apex", "sudo adduser pi apex, then log in again")),
        ((0, 998, "crw-rw----"), [1000], "pi,eva", ("after this login", "log in again")),
        ((0, 998, "crw-rw----"), [1000, 998], "pi", ("in apex and may not", "DeviceAllow=")),
        ((0, 997, "crw-rw----"), [1000], "", ("not in the group 997",)),
    ],
)
def test_closed_node(machine, owner, groups, members, words):
    """No rule; not in the group; added since the login; shut out by a container; a group without a name."""
    machine.card()
    machine.closed, machine.owners = {"/dev/apex_0"}, {"/dev/apex_0": owner}
    machine.write("/etc/group", f"root:x:0:\napex:x:998:{members}\nodd line\n")
    machine.says["groups"] = groups
    assert_says(nodes.check_nodes(machine, found_on(machine)), FAIL, "/dev/apex_0", *words)


def test_closed_stick(machine):
    """A stick's group is plugdev."""
    machine.stick()
    machine.closed = {"/dev/bus/usb/002/003"}
    machine.owners = {"/dev/bus/usb/002/003": (0, 0, "crw-rw-r--")}
    assert_says(nodes.check_nodes(machine, found_on(machine)), FAIL, "adduser pi plugdev")


def test_rules(machine):
    """Not needed, there, and commented out."""
    assert_says(nodes.check_rules(machine, found_on(machine)), SKIP)
    machine.bare_card()
    assert_says(nodes.check_rules(machine, found_on(machine)), SKIP, "no driver")
    machine.card()
    machine.stick()
    path = "/etc/udev/rules.d/60-coral-learn.rules"
    machine.write(path, RULES)
    assert_says(nodes.check_rules(machine, found_on(machine)), OK, "PCIe and USB")
    machine.write(path, "".join("#" + rule for rule in RULES.splitlines(True)))
    assert_says(nodes.check_rules(machine, found_on(machine)), WARN, "apex", "1a6e:089a", "18d1:9302")


def test_rule_for_the_second_id(machine):
    """Without one a new stick shuts its user out as soon as it has its firmware; one that has it works now."""
    machine.write("/lib/udev/rules.d/60-x.rules", RULES.rpartition("SUBSYSTEM")[0])
    machine.stick("1a6e:089a")
    assert_says(nodes.check_rules(machine, found_on(machine)), FAIL, "18d1:9302", "firmware", "udevadm")
    machine.says["user"] = (0, "root")
    assert_says(nodes.check_rules(machine, found_on(machine)), WARN, "18d1:9302")
    machine.says["user"] = (1000, "pi")
    machine.stick("18d1:9302")
    assert_says(nodes.check_rules(machine, found_on(machine)), WARN, "18d1:9302")


def test_stick(machine):
    """Before and after its firmware is loaded, and none."""
    assert_says(usb.check_sticks(found_on(machine)), SKIP)
    machine.stick("1a6e:089a")
    assert_says(usb.check_sticks(found_on(machine)), OK, "1a6e:089a", "not loaded yet")
    machine.stick()
    assert_says(usb.check_sticks(found_on(machine)), OK, "18d1:9302", "firmware is loaded")
    machine.stick("1d6b:0003")
    assert not found_on(machine)


@pytest.mark.parametrize(("speed", "state"), [("5000", OK), ("10000", OK), ("480", WARN), ("12", WARN), ("", SKIP)])
def test_usb_speed(machine, speed, state):
    """USB 3, USB 2, and a kernel that says nothing."""
    machine.stick(speed=speed)
    assert_says(usb.check_speed(found_on(machine)), state)


def test_power(machine):
    """Nothing told, nothing wrong, under-voltage, over-current."""
    assert_says(usb.check_power(machine), SKIP)
    port_file = "/sys/bus/usb/devices/2-0:1.0/usb2-port2/over_current_count"
    machine.write(port_file, "0\n")
    assert_says(usb.check_power(machine), OK)
    machine.write("/sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    machine.write("/sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n")
    assert_says(usb.check_power(machine), WARN, "voltage")
    machine.write(port_file, "3\n")
    assert_says(usb.check_power(machine), WARN, "usb2-port2: 3 times", "900 mA")


# -- holder ---------------------------------------------------------------------------------


def test_nobody_holds_it(machine):
    """No device; a device that nobody has open; one our own daemon has open."""
    assert_says(holder.check_holder(machine, found_on(machine)), SKIP)
    machine.card()
    machine.process(800, "bash", "/dev/null")
    assert_says(holder.check_holder(machine, found_on(machine)), OK, "nobody")
    machine.process(801, "python3", "/dev/apex_0")
    assert_says(holder.check_holder(machine, found_on(machine), ours=801), OK, "nobody else")


def test_held_by_an_open_file(machine):
    """The process is named with its id."""
    machine.stick()
    machine.process(812, "frigate", "/dev/null", "/dev/bus/usb/002/003")
    assert_says(holder.check_holder(machine, found_on(machine)), FAIL, "process 812 (frigate)", "kill 812")


def test_held_by_coral_learn(machine):
    """It is known by its command line."""
    machine.card()
    machine.process(813, "python3", "/dev/apex_0")
    machine.write("/proc/813/cmdline", "python3\0-c\0from service.children import run_child\0")
    assert_says(holder.check_holder(machine, found_on(machine)), FAIL, "process 813 (coral-learn)", "systemctl stop")


def test_held_by_the_lock(machine):
    """The lock file of this program, by /proc/locks."""
    machine.card()
    path = machine.write("/run/lock/coral-learn-edgetpu.lock")
    found = path.stat()
    place = f"{found.st_dev >> 8 & 0xFFF:02x}:{found.st_dev & 0xFF:02x}:{found.st_ino}"
    machine.write("/proc/locks", f"1: POSIX ADVISORY WRITE 5 {place} 0 EOF\n2: FLOCK ADVISORY WRITE 77 {place} 0 EOF\n")
    assert_says(holder.check_holder(machine, found_on(machine)), FAIL, "process 77")


def test_held_as_the_drivers_say(machine):
    """Another user's process: its id from the PCIe driver, or only that there is one from USB."""
    machine.card()
    machine.write("/sys/class/apex/apex_0/is_device_owned", "1\n")
    machine.write("/sys/class/apex/apex_0/device_owner", "444\n")
    assert_says(holder.check_holder(machine, found_on(machine)), FAIL, "process 444")
    machine.write("/sys/class/apex/apex_0/is_device_owned", "0\n")
    assert_says(holder.check_holder(machine, found_on(machine)), OK)
    machine.stick()
    driver_link = machine.path("/sys/bus/usb/devices/2-2:1.0/driver")
    driver_link.parent.mkdir(parents=True)
    machine.path("/sys/bus/usb/drivers/usbfs").mkdir(parents=True)
    driver_link.symlink_to(machine.path("/sys/bus/usb/drivers/usbfs"))
    assert_says(holder.check_holder(machine, found_on(machine)), FAIL, "another user", "sudo coral-learn doctor")


# -- delegate -------------------------------------------------------------------------------


def diagnosis(machine, settings=None, tried=None, **case):
    """All checks of a machine, by name."""
    settings = settings or Settings(data_dir="/data", camera="none")
    made = Case(settings, lambda: tried or Tried(FACTS), **case)
    return {one.name: one for one in examination.examine(machine, made)}


@pytest.fixture
def board(machine):
    """A board with an Edge TPU on PCIe on which everything is right."""
    install(machine)
    machine.package("tflite_runtime", "2.11.0", "tflite-runtime")
    machine.library(version="16.0")
    machine.card()
    machine.write("/etc/udev/rules.d/60-coral-learn.rules", RULES)
    machine.write("/proc/meminfo", "MemTotal: 1000000 kB\nMemAvailable: 700000 kB\n")
    machine.outcomes["delegate"] = Outcome({"runtime": "tflite-runtime 2.11.0"})
    return machine


def test_everything_right(board):
    """Nothing fails or warns, and the delegate was really opened."""
    checks = diagnosis(board)
    assert [one for one in checks.values() if one.state in (WARN, FAIL)] == []
    assert_says(checks["delegate"], OK, "opened through tflite-runtime 2.11.0")
    assert ("delegate", {"device": ""}) in board.attempts


def test_no_device_at_all(machine):
    """On auto the CPU answers, and nothing failed to load; asked for, the missing device is the cause."""
    checks = diagnosis(machine)
    assert checks["edge tpu"].state == checks["delegate"].state == checks["edge tpu library"].state == SKIP
    checks = diagnosis(machine, Settings(device="usb", data_dir="/data"))
    assert checks["edge tpu"].state == FAIL
    assert_says(checks["delegate"], FAIL, "Failed to load delegate: none on PCIe or USB", "plug it in")


def break_library(machine):
    machine.path("/usr/lib/aarch64-linux-gnu/libedgetpu.so.1").unlink()


def break_architecture(machine):
    machine.library(62)


def break_pair(machine):
    machine.library(version="16.0")
    machine.package("tflite_runtime", "2.14.0", "tflite-runtime")
    machine.path("/packages/tflite_runtime-2.11.0.dist-info/METADATA").unlink()
    machine.path("/packages/tflite_runtime-2.11.0.dist-info").rmdir()


def break_node(machine):
    machine.closed, machine.owners = {"/dev/apex_0"}, {"/dev/apex_0": (0, 998, "crw-rw----")}
    machine.write("/etc/group", "apex:x:998:\n")


def break_hold(machine):
    machine.process(812, "frigate", "/dev/apex_0")


def break_driver(machine):
    machine.path("/sys/class/apex/apex_0/temp").unlink()
    machine.path("/sys/class/apex/apex_0").rmdir()


def break_link(machine):
    machine.card("-89700")


def break_rule(machine):
    break_driver(machine)
    machine.path("/sys/bus/pci/devices/0000:01:00.0/vendor").unlink()
    machine.write("/etc/udev/rules.d/60-coral-learn.rules", RULES.rpartition("SUBSYSTEM")[0])
    machine.stick("1a6e:089a")


@pytest.mark.parametrize(
    ("fault", "cause", "word"),
    [
        (break_library, "edge tpu library", "no libedgetpu.so.1"),
        (break_architecture, "edge tpu library", "built for x86_64"),
        (break_pair, "run-time fits library", "crash together"),
        (break_node, "device nodes", "sudo adduser pi apex"),
        (break_hold, "held by", "process 812 (frigate)"),
        (break_driver, "driver", "not installed"),
        (break_link, "edge tpu temperature", "link to it is dead"),
        (break_rule, "udev rule", "18d1:9302"),
    ],
)
def test_failed_to_load_delegate_has_one_cause(board, fault, cause, word):
    """One fault, one failing check, which the delegate names; the device is not even tried."""
    fault(board)
    checks = diagnosis(board)
    assert [name for name, one in checks.items() if one.state == FAIL] == [cause, "delegate"]
    assert_says(checks["delegate"], FAIL, "Failed to load delegate: ", word)
    assert "delegate" not in [name for name, _ in board.attempts]


@pytest.mark.parametrize(
    ("ids", "outcome", "words"),
    [
        (
            None,
            Outcome(None, "opening", "was ended by SIGSEGV", "Fatal"),
            ("SIGSEGV (Fatal)", "not built for each other"),
        ),
        (None, Outcome({"error": "ValueError", "text": ""}), ("ValueError", "does not answer", "dmesg")),
        (None, Outcome(None, "opening", "gave no answer within 90 s"), ("opening: the process gave no answer",)),
        ("1a6e:089a", Outcome({"error": "ValueError", "text": ""}), ("firmware was not loaded", "18d1:9302")),
        ("18d1:9302", Outcome({"error": "ValueError", "text": ""}), ("the stick answers no more", "unplug")),
    ],
)
def test_what_only_trying_tells(board, ids, outcome, words):
    """Nothing is wrong from outside, and it doesn't open: how the process ended is the finding."""
    if ids:
        board.stick(ids)
    board.outcomes["delegate"] = outcome
    assert_says(diagnosis(board)["delegate"], FAIL, "Failed to load delegate: ", *words)


def test_delegate_beside_a_daemon(board):
    """Open there; lost there, with its reason; not to be tried because it runs."""
    assert_says(diagnosis(board, delegate="")["delegate"], OK, "running daemon")
    lost = diagnosis(board, delegate="its process was ended by SIGABRT while it loaded the model")["delegate"]
    assert_says(lost, FAIL, "SIGABRT", "not built for each other")
    assert_says(diagnosis(board, busy="the running daemon holds it")["delegate"], SKIP, "daemon holds it")
    assert "delegate" not in [name for name, _ in board.attempts]


def test_a_device_of_its_own(board):
    """What is asked for is what is tried."""
    diagnosis(board, Settings(device="pci:0", data_dir="/data"))
    assert ("delegate", {"device": "pci:0"}) in board.attempts


# -- extractor ------------------------------------------------------------------------------


def test_extractor():
    """Fine, degraded, failed, not tried."""
    assert_says(extractor.check_extractor(Tried(FACTS)), OK, "tiny on cpu, ai-edge-litert 2.3.0")
    degraded = Tried(dict(FACTS, degraded=True, reason="no compiled file lies beside the model"))
    assert_says(
        extractor.check_extractor(degraded), WARN, "no compiled file", "models fetch mobilenet_v1", "edgetpu_compiler"
    )
    assert_says(extractor.check_extractor(Tried(failure="the file is missing")), FAIL, "the file is missing")
    assert_says(extractor.check_extractor(Tried(skipped="busy")), SKIP, "busy")


def test_golden():
    """Right, wrong, not a number, without a picture, without an extractor."""
    assert_says(extractor.check_golden(Tried(FACTS)), OK, "0.9991")
    for wrong in (0.5, float("nan")):
        assert_says(extractor.check_golden(Tried(dict(FACTS, cosine=wrong))), FAIL, "computes this model wrongly")
    without = {name: value for name, value in FACTS.items() if name != "cosine"}
    assert_says(extractor.check_golden(Tried(without)), SKIP, "no golden picture")
    assert_says(extractor.check_golden(Tried(failure="gone")), SKIP)


@pytest.mark.parametrize(
    ("board", "device", "name", "milliseconds", "state", "word"),
    [
        ("Freescale i.MX8MQ Phanbell\0", "edgetpu", "mobilenet_v1_1.0_224_quant", 2.4, OK, "Dev Board should take 2.2"),
        ("Freescale i.MX8MQ Phanbell\0", "edgetpu", "mobilenet_v1_1.0_224_quant", 7.0, WARN, "should take 2.2 ms"),
        ("Raspberry Pi 4 Model B Rev 1.1", "edgetpu", "mobilenet_v1_1.0_224_quant", 7.0, OK, "4.2 ms"),
        (
            "Raspberry Pi 4 Model B Rev 1.1",
            "edgetpu",
            "efficientnet_lite0",
            70.0,
            OK,
            "for the model efficientnet_lite0",
        ),
        ("Raspberry Pi 4 Model B Rev 1.1", "cpu", "mobilenet_v1_1.0_224_quant", 70.0, OK, "is known for a CPU"),
        ("Radxa Zero", "edgetpu", "mobilenet_v1_1.0_224_quant", 70.0, OK, "is known for this board"),
    ],
)
def test_speed(machine, board, device, name, milliseconds, state, word):
    """Beside what the board should do where that is known, else the measurement alone."""
    machine.write("/proc/device-tree/model", board)
    tried = Tried(dict(FACTS, device=device, name=name, milliseconds=milliseconds))
    assert_says(extractor.check_speed(machine, tried), state, f"{milliseconds:.1f} ms", word)


def test_speed_of_a_fake(machine):
    """A fake Edge TPU computes on the CPU: no figure of a real one is a reference for it."""
    machine.says["architecture"] = "x86_64"
    facts = dict(FACTS, device="edgetpu", name="mobilenet_v1_1.0_224_quant", milliseconds=12.3)
    assert_says(extractor.check_speed(machine, Tried(facts)), WARN, "a PC should take 2.2 ms")
    fake = extractor.check_speed(machine, Tried(dict(facts, runtime="fake, through ai-edge-litert 2.3.0")))
    assert_says(fake, OK, "12.3 ms", "no reference is known for a fake Edge TPU")
    assert "should take" not in fake.meaning


def test_speed_unknown(machine):
    """Without an extractor nothing is measured."""
    assert_says(extractor.check_speed(machine, Tried(failure="gone")), SKIP)
    assert_says(extractor.check_speed(machine, Tried(skipped="busy")), SKIP, "busy")


# -- cameras --------------------------------------------------------------------------------

CAMERA = {"card": "HD Webcam", "driver": "uvcvideo", "captures": True, "formats": ["YUYV 640x480", "MJPG", "H264", "X"]}
METADATA = dict(CAMERA, captures=False, formats=[])


def answer(machine, **facts):
    """What the nodes tell, by their names."""
    for name in facts:
        machine.write(f"/dev/{name}")
    machine.outcomes["cameras"] = Outcome({str(machine.path(f"/dev/{name}")): one for name, one in facts.items()})


def test_no_camera(machine):
    """Nothing to check; or one that was asked for is missing."""
    assert_says(cameras.check_cameras(machine, "auto"), SKIP)
    assert_says(cameras.check_cameras(machine, "none"), SKIP)
    assert_says(cameras.check_cameras(machine, "1"), FAIL, "no /dev/video1")
    answer(machine, video0=CAMERA)
    assert_says(cameras.check_cameras(machine, "/dev/video7"), FAIL, "no /dev/video7", "there is /dev/video0")


def test_cameras(machine):
    """Card, driver and formats of those that capture."""
    answer(machine, video0=CAMERA, video1=METADATA)
    check = cameras.check_cameras(machine, "auto")
    assert_says(check, OK, "/dev/video0 HD Webcam (uvcvideo): YUYV 640x480 | MJPG | H264 and 1 more")
    assert "video1" not in check.found


def test_cameras_of_no_use(machine):
    """One that was asked for captures nothing or fails; all of them do."""
    answer(machine, video0=CAMERA, video1=METADATA, video2={"error": "Device or resource busy"})
    assert_says(cameras.check_cameras(machine, "1"), FAIL, "captures nothing", "/dev/video0")
    assert_says(cameras.check_cameras(machine, "/dev/video2"), FAIL, "Device or resource busy")
    machine.path("/dev/video0").unlink()
    answer(machine, video1=METADATA, video2={"error": "Device or resource busy"})
    assert_says(cameras.check_cameras(machine, "auto"), WARN, "/dev/video1: captures nothing")


def test_camera_not_permitted(machine):
    """The group video is named."""
    answer(machine, video0=CAMERA)
    machine.closed, machine.owners = {"/dev/video0"}, {"/dev/video0": (0, 44, "crw-rw----")}
    machine.write("/etc/group", "video:x:44:\n")
    assert_says(cameras.check_cameras(machine, "auto"), FAIL, "sudo adduser pi video")
    answer(machine, video0=CAMERA, video1=CAMERA)
    assert_says(cameras.check_cameras(machine, "auto"), WARN, "sudo adduser pi video")


def test_camera_that_hangs(machine):
    """The node that was asked last is named."""
    answer(machine, video0=CAMERA)
    machine.outcomes["cameras"] = Outcome(None, "/dev/video0", "gave no answer within 5 s")
    assert_says(cameras.check_cameras(machine, "auto"), FAIL, "/dev/video0", "driver hangs")


class Driver:
    """Answers ioctls as a driver would. formats : (four letters, sizes) with sizes of widths and heights"""

    def __init__(self, capabilities, of_node, formats):
        self.capabilities, self.of_node, self.formats = capabilities, of_node, formats

    def __call__(self, _, request, data):
        number = request & 0xFF
        assert request >> 16 & 0x3FFF == len(data)
        assert chr(request >> 8 & 0xFF) == "V"
        if number == 0:
            head = struct.pack("=16s32s32s", b"uvcvideo", b"HD Webcam", b"usb-1")
            return head + struct.pack("=6I", 1, self.capabilities, self.of_node, 0, 0, 0)
        index, code = struct.unpack("=2I", data[:8])
        codes = [struct.unpack("<I", name)[0] for name, _ in self.formats]
        if number == 2 and index < len(codes):
            return data[:44] + struct.pack("=5I", codes[index], 0, 0, 0, 0)
        if number == 74:
            sizes = self.formats[codes.index(code)][1]
            if index < len(sizes):
                return data[:8] + struct.pack("=9I", *sizes[index], *[0] * (9 - len(sizes[index])))
        raise OSError(errno.EINVAL, "Invalid argument")


@pytest.mark.parametrize(
    ("driver", "captures", "formats"),
    [
        (Driver(0x84A00001, 0x04200001, [(b"YUYV", [(1, 640, 480), (1, 1280, 720)]), (b"MJPG", [])]), True, None),
        (Driver(0x84A00001, 0x04A00000, [(b"YUYV", [])]), False, []),
        (Driver(0x04008000 | 0x1, 0, [(b"H264", [])]), False, []),
        (Driver(0x04000001, 0, [(b"Y16\xa0", [])]), True, ["Y16-BE"]),
        (Driver(0x04001000, 0, [(b"NV12", [(3, 32, 4096, 2, 16, 2160, 2)])]), True, ["NV12 32x16 to 4096x2160"]),
    ],
)
def test_asking_a_node(driver, captures, formats):
    """A webcam with two formats, its metadata node, a codec, numbers the other way round, and planes of any size."""
    facts = v4l2.describe(Path("/dev/null"), driver)
    expected = ["YUYV 640x480, 1280x720", "MJPG"] if formats is None else formats
    assert facts == ("HD Webcam", "uvcvideo", captures, expected)


def test_asking_what_is_no_camera():
    """Another device answers with an error."""
    with pytest.raises(OSError):
        v4l2.describe(Path("/dev/null"))


# -- disk, clock, memory, port --------------------------------------------------------------

DATA = Path("/data")


def test_disk(machine):
    """Room, little room, none, read-only, not ours, not there."""
    assert_says(disk.check_disk(machine, DATA, 100), OK, "8192 MB free of 16384")
    machine.disk = Space(300 << 20, GIGABYTE, False)
    assert_says(disk.check_disk(machine, DATA, 100), WARN, "300 MB")
    machine.disk = Space(50 << 20, GIGABYTE, False)
    assert_says(disk.check_disk(machine, DATA, 100), FAIL, "min-free-mb")
    machine.closed = {"/data"}
    assert_says(disk.check_disk(machine, DATA, 100), FAIL, "may not write", "chown -R pi")
    machine.disk = Space(GIGABYTE, GIGABYTE, True)
    assert_says(disk.check_disk(machine, DATA, 100), FAIL, "takes no writes")
    machine.disk = OSError(errno.EIO, "Input/output error")
    assert_says(disk.check_disk(machine, DATA, 100), FAIL, "Input/output error")


@pytest.mark.parametrize(
    ("life_time", "reserve", "state", "word"),
    [
        ("0x01 0x02", "0x01", OK, "10 to 20 %"),
        ("0x09 0x01", "0x01", WARN, "80 to 90 %"),
        ("0x01 0x01", "0x02", WARN, "80 % of the reserve"),
        ("0x0b 0x01", "0x03", FAIL, "more than its life time"),
        ("0x00 0x00", "0x00", SKIP, "tells nothing"),
        ("", "", SKIP, "SD cards don't"),
    ],
)
def test_wear(machine, life_time, reserve, state, word):
    """What an eMMC tells, and SD cards, which tell nothing."""
    machine.write("/sys/block/mmcblk0/device/name", "8GTF4R")
    if life_time:
        machine.write("/sys/block/mmcblk0/device/life_time", life_time + "\n")
        machine.write("/sys/block/mmcblk0/device/pre_eol_info", reserve + "\n")
    machine.write("/sys/block/mmcblk0boot0/device/life_time", "0x0b 0x0b\n")
    assert_says(disk.check_wear(machine), state, word)


def test_no_card(machine):
    """A machine with other disks."""
    assert_says(disk.check_wear(machine), SKIP, "no eMMC")


def test_clock(machine):
    """Kept by systemd, by another, by none, not to be known, and years behind."""
    built = machine.now() - 1000
    assert_says(system.check_clock(machine, built), OK, "synchronised")
    machine.says["clock_is_set"] = False
    assert_says(system.check_clock(machine, built), WARN, "no time server", "timedatectl")
    machine.write("/run/systemd/timesync/synchronized")
    assert_says(system.check_clock(machine, built), OK, "synchronised")
    machine.says["now"] = 0.0
    assert_says(system.check_clock(machine, built), FAIL, "1970-01-01")
    machine.path("/run/systemd/timesync/synchronized").unlink()
    machine.says.update(clock_is_set=None, now=built)
    assert_says(system.check_clock(machine, built), SKIP)


@pytest.mark.parametrize(
    ("megabytes", "running", "camera", "state"),
    [
        (800, False, True, OK),
        (450, False, True, WARN),
        (450, False, False, OK),
        (220, False, True, FAIL),
        (220, False, False, WARN),
        (180, False, False, FAIL),
        (100, True, True, OK),
        (50, True, True, WARN),
        (20, True, False, FAIL),
    ],
)
def test_memory(machine, megabytes, running, camera, state):
    """What is needed before the daemon starts, with and without a camera, and beside one that runs."""
    machine.write("/proc/meminfo", f"MemTotal: 1024000 kB\nMemAvailable: {megabytes * 1024} kB\nHugePages_Total: 0\n")
    assert_says(system.check_memory(machine, running, camera), state, f"{megabytes} MB available of 1000")


def test_memory_unknown(machine):
    """Kernels before 3.14 don't say."""
    assert_says(system.check_memory(machine, False, True), SKIP)


@pytest.mark.parametrize(
    ("error", "ours", "state", "word"),
    [
        (None, False, OK, "is free"),
        (None, True, OK, "the daemon answers"),
        (OSError(errno.EADDRINUSE, "in use"), False, FAIL, "taken by process 90 (nginx)"),
        (OSError(errno.EACCES, "denied"), False, FAIL, "ports below 1024"),
        (OSError(errno.EADDRNOTAVAIL, "no"), False, FAIL, "no such address"),
        (OSError(errno.ENOBUFS, "No buffer space"), False, FAIL, "No buffer space"),
    ],
)
def test_port(machine, error, ours, state, word):
    """Free, ours, another's, not permitted, of another machine, and broken."""
    machine.says["bind_error"] = error
    row = "0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 1000 0 4711 1 0 100 0 0 10 0"
    machine.write("/proc/net/tcp", f"sl local rem st\n{row}\n")
    machine.process(90, "nginx", "socket:[4711]")
    assert_says(port.check_port(machine, "127.0.0.1", 8080, ours), state, word)


def test_port_of_another_users_process(machine):
    """It is known that there is one; who, is not."""
    machine.says["bind_error"] = OSError(errno.EADDRINUSE, "in use")
    machine.write("/proc/net/tcp6", "head\n0: 0:1F90 0:0 0A 0 0 0 0 0 99 1\n")
    assert machine.listener(8080) == Holder(0, "")
    assert machine.listener(8081) is None
    assert_says(port.check_port(machine, "::", 8080, False), FAIL, "a process of another user")


# -- as a whole -----------------------------------------------------------------------------


def test_names_are_those_of_the_checks(machine):
    """Each check has the name it is listed under, once."""
    case = Case(Settings(data_dir="/data"), lambda: Tried(FACTS))
    names = examination.names(machine, case)
    assert [one.name for one in examination.examine(machine, case)] == names
    assert len(set(names)) == len(names)


def test_a_check_that_stumbles(machine, monkeypatch):
    """It is skipped and says so; the others are made."""

    def stumble(_):
        raise LookupError("nothing there")

    monkeypatch.setattr(disk, "check_wear", stumble)
    checks = diagnosis(machine)
    assert_says(checks["wear"], SKIP, "the check itself failed: LookupError: nothing there")
    assert checks["port"].state == OK


def test_report():
    """One failure, and the report is not ok; warnings and what was skipped leave it so."""
    checks = [Check("a", OK, "found"), Check("b", WARN, "found", "means", "do"), Check("c", SKIP, "found")]
    assert report(checks)["ok"] is True
    made = report([*checks, Check("d", FAIL, "found", "means", "do")])
    assert made["ok"] is False
    assert made["checks"][3] == {"name": "d", "state": "fail", "found": "found", "meaning": "means", "remedy": "do"}
    assert summary(made) == "1 of 4 checks failed, 1 warn"
    assert summary(report(checks)) == "nothing failed, 1 of 3 checks warn"
    assert summary(report(checks[:1])) == "nothing failed"


@pytest.mark.parametrize("state", STATES)
def test_lines(state):
    """A line a check, the remedy below where there is something to do; colours only where they are wanted."""
    check = Check("disk", state, "two\nlines", "means", "do this")._asdict()
    lines = line(check, colours=False).splitlines()
    assert lines[0].split(None, 1)[0].lower() == state
    assert lines[0].endswith("two lines: means")
    assert [text.strip() for text in lines[1:]] == (["-> do this"] if state in (WARN, FAIL) else [])
    assert "\033[" not in "".join(lines)
    assert "\033[" in line(check, colours=True)
