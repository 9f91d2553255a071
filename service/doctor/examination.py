"""All checks, in the order in which one explains the next."""

import logging
from pathlib import Path
from typing import Callable, Iterator, List, NamedTuple, Optional, Tuple

import coral_learn
from coral_learn.catalog import bundled_model
from coral_learn.errors import ModelError
from coral_learn.runtime.tflite import is_compiled, read_model
from service.doctor import (
    cameras,
    delegate,
    devices,
    disk,
    driver,
    extractor,
    holder,
    library,
    nodes,
    packages,
    port,
    system,
    usb,
)
from service.doctor.check import SKIP, Check
from service.doctor.extractor import Tried
from service.doctor.machine import Machine
from service.settings import Settings

log = logging.getLogger(__name__)

Step = Tuple[str, Callable[[], Check]]


class Case(NamedTuple):
    """What is examined.

    settings : of the daemon; try_extractor : called once, when its turn has come
    running : whether the daemon runs; port_is_ours : whether it answers at its port
    delegate : what the running daemon says of the Edge TPU it wants: empty when it has it; None when it wants none
    child : the process id of its extractor
    busy : why the device can't be tried, empty when it can
    """

    settings: Settings
    try_extractor: Callable[[], Tried]
    running: bool = False
    port_is_ours: bool = False
    delegate: Optional[str] = None
    child: Optional[int] = None
    busy: str = ""


def examine(machine: Machine, case: Case) -> Iterator[Check]:
    """Make the checks, one after another; one that stumbles itself is skipped and says so."""
    done: List[Check] = []
    for name, make in _steps(machine, case, done):
        try:
            check = make()
        except Exception as error:  # a doctor that falls ill helps nobody
            log.warning("the check %s stumbled", name, exc_info=True)
            check = Check(name, SKIP, f"the check itself failed: {type(error).__name__}: {error}")
        done.append(check)
        yield check


def names(machine: Machine, case: Case) -> List[str]:
    """Of the checks that `examine` makes."""
    return [name for name, _ in _steps(machine, case, [])]


def _steps(machine: Machine, case: Case, done: List[Check]) -> List[Step]:
    settings, found = case.settings, devices.find(machine)
    needed = needs_edge_tpu(settings)
    folder, trial = Path(settings.data_dir).expanduser(), _Once(case.try_extractor)
    device = "" if settings.device in ("auto", "cpu", "edgetpu") else settings.device

    def check_delegate() -> Check:
        if case.busy and found:
            return Check("delegate", SKIP, case.busy)
        return delegate.check_delegate(machine, found, device, done, case.delegate)

    return [
        ("python", lambda: packages.check_python(machine)),
        ("packages", lambda: packages.check_packages(machine)),
        ("run-time", lambda: packages.check_run_time(machine)),
        ("pycoral", lambda: packages.check_pycoral(machine)),
        ("edge tpu", lambda: delegate.check_seen(found, needed)),
        ("driver", lambda: driver.check_driver(machine, found)),
        ("edge tpu temperature", lambda: driver.check_temperature(machine, found)),
        ("device nodes", lambda: nodes.check_nodes(machine, found)),
        ("udev rule", lambda: nodes.check_rules(machine, found)),
        ("usb stick", lambda: usb.check_sticks(found)),
        ("usb speed", lambda: usb.check_speed(found)),
        ("power", lambda: usb.check_power(machine)),
        ("held by", lambda: holder.check_holder(machine, found, case.child)),
        ("edge tpu library", lambda: library.check_library(machine, bool(found) or needed)),
        ("run-time fits library", lambda: library.check_fit(machine)),
        ("delegate", check_delegate),
        ("extractor", lambda: extractor.check_extractor(trial.result)),
        ("golden embedding", lambda: extractor.check_golden(trial.result)),
        ("speed", lambda: extractor.check_speed(machine, trial.result)),
        ("cameras", lambda: cameras.check_cameras(machine, settings.camera)),
        ("disk", lambda: disk.check_disk(machine, folder, settings.min_free_mb)),
        ("wear", lambda: disk.check_wear(machine)),
        ("clock", lambda: system.check_clock(machine, installed())),
        ("memory", lambda: system.check_memory(machine, case.running, settings.camera != "none")),
        ("board temperature", lambda: driver.check_board_temperature(machine)),
        ("port", lambda: port.check_port(machine, settings.host, settings.port, case.port_is_ours)),
    ]


def needs_edge_tpu(settings: Settings) -> bool:
    """Whether the extractor can't run without one."""
    if settings.device.startswith("fake") or settings.device == "cpu":
        return False
    if settings.device != "auto":
        return True
    try:
        return is_compiled(read_model(settings.model or bundled_model()))
    except ModelError:  # the check of the extractor says what is wrong with it
        return False


def installed() -> float:
    """When this package came here, in seconds since 1970."""
    return Path(coral_learn.__file__).stat().st_mtime


class _Once:
    """What a function gives, called when it is first wanted."""

    def __init__(self, make: Callable[[], Tried]):
        self._make, self._found = make, Tried(failure="")
        self._made = False

    @property
    def result(self) -> Tried:
        if not self._made:
            self._made, self._found = True, self._make()
        return self._found
