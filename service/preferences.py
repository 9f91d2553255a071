"""The settings as they are now: those of the start, with what was chosen since over HTTP.

A choice is kept in the data folder. At the next start it is stronger than the configuration file and the
default, which know nothing of it, but weaker than a flag and an environment variable: whoever gives
these means this start.
"""

import dataclasses
import json
import logging
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional

from service.addresses import masked, unmasked
from service.errors import Conflict, SettingsInvalid
from service.settings import BY_RELOAD, COMMAND_LINE, ENVIRONMENT, FIELDS, Settings, did_you_mean, parse
from service.store import Store
from service.store.store import database_path

log = logging.getLogger(__name__)

CHOSEN = "chosen over HTTP"  # where a value comes from, beside those of `service.settings`
_STRONGER = (COMMAND_LINE, ENVIRONMENT)
_NOTE = "chosen_settings"

Listener = Callable[[Settings], None]


class Reread(NamedTuple):
    """Settings to which a file, read again, gives other values: taken over, not before a start, hidden by a choice."""

    taken: List[str]
    at_start: List[str]
    hidden: List[str]


class Preferences:
    """Holds the present settings and changes those that can be. Safe from any thread.

    settings, origins : of the start, see `service.settings.Loaded`
    """

    def __init__(self, settings: Settings, origins: Mapping[str, str], store: Store):
        self._start, self._origins, self._store = settings, dict(origins), store
        self._changing = threading.RLock()
        self._listeners: List[Listener] = []
        self._chosen = _usable(_decoded(store.note(_NOTE)))
        self._settings = self._with(self._chosen)

    @property
    def settings(self) -> Settings:
        """The settings as they are now."""
        return self._settings

    def on_change(self, listener: Listener) -> None:
        """Have `listener(settings)` called after each change, in the thread that made it: it must be quick."""
        self._listeners.append(listener)

    def fixed_by(self, name: str) -> Optional[str]:
        """What gave a setting a value that can't be changed here: the command line or the environment; else None."""
        origin = self._origins.get(name)
        return origin if origin in _STRONGER else None

    def origin(self, name: str) -> str:
        """Where a setting's value comes from, in words."""
        if name in self._chosen and self.fixed_by(name) is None:
            return CHOSEN
        return self._origins.get(name, "default")

    def change(self, values: Mapping[str, Any]) -> Settings:
        """Change settings, all of them or none; returns what they are now. None takes a choice back.

        Raises `SettingsInvalid`, `Conflict` for one that a flag or a variable gave, `StoreError`.
        """
        with self._changing:
            found = self._checked(values)
            fixed = [name for name in found if self.fixed_by(name) is not None]
            if fixed:
                raise Conflict(f"{fixed[0]} was set by {self.fixed_by(fixed[0])} and can't be changed", "setting_fixed")
            chosen = {name: value for name, value in {**self._chosen, **found}.items() if value is not None}
            before, now = self._settings, self._with(chosen)
            if chosen != self._chosen:
                with self._store.database.write() as connection:
                    self._store.set_note(connection, _NOTE, json.dumps(chosen))
            self._chosen, self._settings = chosen, now
            if now != before:
                self._tell(now)
            return now

    def take_over(self, settings: Settings, origins: Mapping[str, str]) -> Reread:
        """Take over what the configuration file says now, as far as that can be done. See `service.settings.Loaded`."""
        with self._changing:
            differing = [name for name in FIELDS if getattr(settings, name) != getattr(self._start, name)]
            free = [name for name in differing if _changeable(name) or name in BY_RELOAD]
            hidden = [name for name in free if name in self._chosen]
            self._start = dataclasses.replace(self._start, **{name: getattr(settings, name) for name in free})
            for name in free:
                self._origins.pop(name, None)
                if name in origins:
                    self._origins[name] = origins[name]
            before, self._settings = self._settings, self._with(self._chosen)
            if self._settings != before:
                self._tell(self._settings)
            return Reread(
                [name for name in free if name not in hidden],
                [name for name in differing if name not in free],
                hidden,
            )

    def _with(self, chosen: Mapping[str, Any]) -> Settings:
        return dataclasses.replace(
            self._start, **{name: value for name, value in chosen.items() if self.fixed_by(name) is None}
        )

    def _checked(self, values: Mapping[str, Any]) -> Dict[str, Any]:
        found, errors = {}, []
        for name, value in values.items():
            now = getattr(self._settings, name, None)
            shown = masked(now) if isinstance(now, str) else now
            if value == shown != now:
                continue  # it was shown with its password hidden, and comes back like that
            try:
                if shown != now and isinstance(value, str):
                    value = unmasked(value, now)
                found[name] = None if value is None and _changeable(name) else _checked(name, value)
            except ValueError as error:
                errors.append({"field": name[:50], "detail": str(error)})
        if errors:
            raise SettingsInvalid(errors)
        return found

    def _tell(self, now: Settings) -> None:
        for listener in self._listeners:
            try:
                listener(now)
            except Exception:  # the setting is changed and kept; the others must hear of it, too
                log.exception("a part did not take over the changed settings; a restart does it")


def with_choices(settings: Settings, origins: Mapping[str, str]) -> Settings:
    """The settings that a daemon would have from these, with what was chosen in its data folder. Changes nothing."""
    path = database_path(Path(settings.data_dir).expanduser())
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            row = connection.execute("SELECT value FROM notes WHERE key = ?", (_NOTE,)).fetchone()
    except (sqlite3.Error, OSError) as error:
        if path.exists():
            log.warning("what was chosen in %s can't be read: %s", path, error)
        return settings
    chosen = _usable(_decoded(row[0] if row else None))
    free = {name: value for name, value in chosen.items() if origins.get(name) not in _STRONGER}
    return dataclasses.replace(settings, **free)


def _decoded(note: Optional[str]) -> Dict[str, Any]:
    try:
        found = json.loads(note or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        log.warning("what was chosen before can't be read and is not used")
        return {}
    return found


def _usable(values: Mapping[str, Any]) -> Dict[str, Any]:
    """Those of kept choices that are allowed still: another version may know other settings and bounds."""
    found = {}
    for name, value in values.items():
        try:
            found[name] = _checked(name, value)
        except ValueError as error:
            log.warning("what was chosen before is not used: %s", masked(str(error)))
    return found


def _changeable(name: str) -> bool:
    return name in FIELDS and FIELDS[name].metadata["changeable"]


def _checked(name: str, value: Any) -> Any:
    """A value from JSON as the setting has it. Raises `ValueError`."""
    if not _changeable(name):
        known = [each for each in FIELDS if _changeable(each)]
        if name in FIELDS:
            raise ValueError(f"{name} can't be changed while the daemon runs, only at its start")
        raise ValueError(f"there is no setting {name[:50]!r}{did_you_mean(name, known)}")
    field = FIELDS[name]
    kind = type(field.default)
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)  # to JSON 5.0 is a whole number
    fits = isinstance(value, (int, float) if kind is float else kind) and (kind is bool or not isinstance(value, bool))
    if not fits:
        wanted = {bool: "true or false", str: "text", int: "a whole number", float: "a number"}[kind]
        raise ValueError(f"{name} is {wanted}, got {json.dumps(value)[:50]}")
    try:
        return parse(field, str(value))
    except ValueError as error:
        raise ValueError(f"{name} can't be {json.dumps(value, ensure_ascii=False)[:50]}: {error}") from error
