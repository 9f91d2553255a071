"""The address the daemon listens on."""

import errno

from service.doctor.check import FAIL, OK, Check
from service.doctor.machine import Machine

_ANOTHER = "--port names another one, for serve and for the commands (CORAL_LEARN_PORT for both)"


def check_port(machine: Machine, host: str, port: int, ours: bool) -> Check:
    """Whether it is free. ours : a daemon of ours answers there"""
    place = f"{host} port {port}"
    if ours:
        return Check("port", OK, f"{place}: the daemon answers there")
    try:
        error = machine.bind_error(host, port)
    except (OSError, OverflowError) as failed:
        error = failed if isinstance(failed, OSError) else OSError(errno.EINVAL, str(failed))
    if error is None:
        return Check("port", OK, f"{place} is free")
    if error.errno == errno.EADDRINUSE:
        holder = machine.listener(port)
        found = f"{place} is taken" + (f" by {holder}" if holder else "")
        return Check("port", FAIL, found, "another program listens there, or a daemon that answers no more", _ANOTHER)
    if error.errno == errno.EACCES:
        remedy = "a port from 1024 on, or AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit"
        return Check("port", FAIL, place, f"the user {machine.user()[1]} may not listen on ports below 1024", remedy)
    if error.errno == errno.EADDRNOTAVAIL:
        return Check("port", FAIL, place, "this machine has no such address", "--host 127.0.0.1, or 0.0.0.0 for all")
    return Check("port", FAIL, f"{place}: {error.strerror or error}", "it can't be listened on", _ANOTHER)
