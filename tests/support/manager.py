"""What systemd is to a service: who listens at its notify socket."""

import socket
import time

SECONDS = 4.0  # of the watchdog; systemd would end the daemon after this without a ping


class Manager:
    """Listens as systemd does."""

    def __init__(self, path):
        self.path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)

    def next(self, seconds=60.0):
        """The next message; None when there is none within this time."""
        self._socket.settimeout(seconds)
        try:
            return self._socket.recv(4096).decode()
        except socket.timeout:
            return None

    def wait_for(self, words, seconds=60.0):
        """The first message with these words; what came before it is forgotten."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            message = self.next(max(0.01, ends - time.monotonic()))
            if message and words in message:
                return message
        raise AssertionError(f"{words} was not said within {seconds} s")

    def pings_stop(self, seconds=60.0):
        """Whether, within this time, no ping comes for as long as systemd would wait."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            if self.next(SECONDS) is None:
                return True
        return False

    def close(self):
        self._socket.close()
