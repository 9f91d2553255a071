"""The device nodes of Edge TPUs: there, and open to this user."""

from service.doctor.check import FAIL, OK, SKIP, WARN, Check
from service.doctor.devices import NEW, Found
from service.doctor.machine import Machine

_GROUPS = {"apex": "apex", "bus": "plugdev"}  # by the first part of the name below /dev
_RULES = ("/etc/udev/rules.d", "/run/udev/rules.d", "/usr/local/lib/udev/rules.d", "/usr/lib/udev/rules.d")
_INSTALL_RULE = (
    "sudo cp systemd/60-coral-learn.rules /etc/udev/rules.d/ && sudo udevadm control --reload && "
    "sudo udevadm trigger, and plug the stick in again"
)
_AFTER = "18d1:9302, a stick after that"


def check_nodes(machine: Machine, found: Found) -> Check:
    """Whether this user may read and write them."""
    if not found.nodes:
        return Check("device nodes", SKIP, "no Edge TPU with a device node")
    for node in found.nodes:
        path = machine.path(node)
        if not path.exists():
            meaning = "the kernel knows the device, its node is missing"
            remedy = "in a container: pass the device in (--device); else sudo udevadm trigger, or reboot"
            return Check("device nodes", FAIL, f"no {node}", meaning, remedy)
        if not machine.may_use(path):
            return Check("device nodes", FAIL, *may_not(machine, node, _GROUPS[node.split("/")[2].split("_")[0]]))
    user, name = machine.user()
    if user == 0:
        meaning = "root may open them in two processes at a time, which breaks both"
        return Check("device nodes", WARN, ", ".join(found.nodes), meaning, "run the daemon as a user of its own")
    return Check("device nodes", OK, f"{', '.join(found.nodes)}, open to {name}")


def may_not(machine: Machine, node: str, usual_group: str) -> tuple:
    """(found, meaning, remedy) of a node this user may not use."""
    _, name = machine.user()
    owner, group, mode = machine.owner(machine.path(node))
    group_name = machine.group_name(group)
    found = f"{node} is {mode}, of user {owner} and group {group_name}"
    if mode[4:6] != "rw" or group == 0:
        meaning = f"the user {name} may not open it: no udev rule gives it to the group {usual_group}"
        return found, meaning, f"{_INSTALL_RULE}; then sudo adduser {name} {usual_group} and log in again"
    if group in machine.groups():
        meaning = f"the user {name} is in {group_name} and may not open it all the same"
        remedy = "a container or systemd unit shuts it out: DeviceAllow= of the unit, --device of the container"
        return found, meaning, remedy
    if machine.is_member(name, group_name):
        meaning = f"the user {name} was added to {group_name} after this login"
        return found, meaning, "log in again, or restart the daemon"
    meaning = f"the user {name} is not in the group {group_name}"
    return found, meaning, f"sudo adduser {name} {group_name}, then log in again"


def check_rules(machine: Machine, found: Found) -> Check:
    """The udev rules that give the nodes to a group."""
    if not found:
        return Check("udev rule", SKIP, "no Edge TPU")
    rules = [
        line
        for folder in (*_RULES, "/lib/udev/rules.d")
        for path in machine.glob(f"{folder}/*.rules")
        for line in (machine.read(machine.shown(path)) or "").splitlines()
        if not line.lstrip().startswith("#")
    ]
    wanted = {}
    if found.apex:
        wanted['SUBSYSTEM=="apex"'] = any("apex" in line and "SUBSYSTEM" in line for line in rules)
    if found.sticks:
        wanted["1a6e:089a, a stick before its firmware is loaded"] = any("1a6e" in line for line in rules)
        wanted[_AFTER] = any("18d1" in line and "9302" in line for line in rules)
    missing = [what for what, there in wanted.items() if not there]
    if not wanted:
        return Check("udev rule", SKIP, "no driver, so no node to give to a group")
    if not missing:
        return Check("udev rule", OK, "there for " + ("PCIe and USB" if len(wanted) == 3 else "what is connected"))
    # A stick that is open to us now shuts us out as soon as its firmware is loaded: it comes back as 18d1:9302.
    shut_out = any(stick.ids == NEW for stick in found.sticks) and _AFTER in missing and machine.user()[0] != 0
    meaning = "once its firmware is loaded only root may open the stick" if shut_out else "only root may open it then"
    return Check("udev rule", FAIL if shut_out else WARN, f"none for {'; '.join(missing)}", meaning, _INSTALL_RULE)
