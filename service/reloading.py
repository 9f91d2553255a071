"""What SIGHUP does: the configuration file is read again, and what can be changed is."""

import logging
import threading
import time
from typing import Callable

from service import systemd
from service.addresses import masked
from service.errors import SettingsError
from service.preferences import Preferences, Reread
from service.settings import Loaded

log = logging.getLogger(__name__)


class Reloading:
    """Takes over what changed in the configuration file, in a thread of its own: a file may be slow to come.

    read : reads flags, environment and file; raises `SettingsError`
    """

    def __init__(self, preferences: Preferences, read: Callable[[], Loaded]):
        self._preferences, self._read, self._reading = preferences, read, threading.Lock()

    def begin(self) -> None:
        """Reload without waiting for it."""
        threading.Thread(target=self.reload, name="reloading", daemon=True).start()

    def reload(self) -> str:
        """Read, take over, and say in the log and to systemd what could not be changed; returns what was said."""
        with self._reading:
            systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={int(time.monotonic() * 1e6)}")
            level = logging.WARNING
            try:
                reread = self._preferences.take_over(*self._read())
            except SettingsError as error:
                said = f"nothing was reloaded: {masked(str(error))}"
            except Exception:  # systemd waits for READY=1
                log.exception("the configuration file could not be taken over")
                said = "the reload failed; the log has the details"
            else:
                logging.getLogger().setLevel(self._preferences.settings.log_level.upper())
                said = _in_words(reread)
                level = logging.WARNING if reread.at_start or reread.hidden else logging.INFO
            log.log(level, said)
            one_line = " ".join(said.split())  # a message to systemd has a line for each fact
            systemd.notify(f"READY=1\nSTATUS={one_line}")
            return said


def _in_words(reread: Reread) -> str:
    taken, at_start, hidden = (", ".join(names) for names in reread)
    said = [f"reloaded, changed: {taken or 'no setting'}"]
    if at_start:
        said.append(f"changed in the file, but taken over by a restart only: {at_start}")
    if hidden:
        said.append(f"changed in the file, but chosen otherwise over HTTP: {hidden}")
    return "; ".join(said)
