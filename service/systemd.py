"""Telling systemd how it goes (sd_notify(3)); says nothing where systemd does not listen."""

import os
import socket


def notify(message: str) -> bool:
    """Send READY=1, STOPPING=1, STATUS=... Returns whether somebody was told."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):  # abstract socket
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.connect(address)
            sender.sendall(message.encode())
    except OSError:
        return False
    return True
