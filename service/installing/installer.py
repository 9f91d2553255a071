"""Installs, upgrades, rolls back and removes."""

import fcntl
import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator, List, Optional

from service.errors import InstallError
from service.installing.keeping import copy_database, put_back, schema_of
from service.installing.place import DEFAULT_PREFIX, GROUPS, UNIT, USER, Place
from service.installing.programs import Programs
from service.installing.source import Source
from service.installing.versions import COMING, Versions

_TRIAL = "import service.daemon, coral_learn; coral_learn.Extractor(device='cpu').warm_up()"
_FILES = "from service.installing.source import shipped_folder; print(shipped_folder())"
_DATA_DIR = re.compile(r"^\s*data[-_]dir\s*[=:]\s*\S", re.MULTILINE)
_SCHEMA = "from service.store.database import MIGRATIONS; print(len(MIGRATIONS))"


class Installer:
    """Works on one system. say : prints a line for people"""

    def __init__(self, place: Place, programs: Programs, say: Callable[[str], None]):
        self._place, self._programs, self._say = place, programs, say
        self._versions = Versions(place.home)

    # -- the three things it does -----------------------------------------------------------------

    def install(self, source: Source, now: bool) -> None:
        """Install, or upgrade what is there. Raises `InstallError`; what ran before then still does."""
        self._check_python(source)
        with self._alone():
            before = self._versions.current
            self._versions.sweep()
            self._versions.prune()
            name = self._build(source)
            copied = before is not None and copy_database(self._place.database, self._copy_of(before))
            try:
                self._put_files(name)
                self._make_user()
                self._versions.switch(name, before)
                self._start(now or (before is not None and self._is_active()))
            except InstallError as error:
                self._take_back(name, before)
                raise InstallError(f"{error}\n{self._what_runs(before)}") from error
            self._forget_copies()
            self._versions.prune()
        self._say(f"coral-learn {name} is installed in {self._place.prefix}")
        if copied:
            self._say(f"the version before, {before}, and a copy of its database are kept: --rollback goes back to it")

    def rollback(self, put_database_back: bool) -> None:
        """Have the version before run again. Raises `InstallError`."""
        with self._alone():
            current, previous = self._versions.current, self._versions.previous
            if previous is None or current is None:
                raise InstallError(
                    "there is no version to go back to: nothing was upgraded, or it was gone back already"
                )
            known, found = self._schema_of_program(previous), schema_of(self._place.database)
            newer = found is not None and found > known
            copy = self._copy_of(previous)
            if newer and not put_database_back:
                raise InstallError(
                    f"{previous} can't read the database any more, which {current} brought to schema {found}; it knows "
                    f"{known}. --put-database-back takes the one from before the upgrade: export what was taught since "
                    "first (coral-learn export all.zip)"
                )
            if put_database_back and not copy.exists():
                raise InstallError(f"there is no copy of the database from before the upgrade ({copy})")
            active = self._is_active()
            self._stop()
            if put_database_back:
                aside = put_back(copy, self._place.database)
                self._say(f"the database of before the upgrade is back; the newer one is kept as {aside}")
            self._put_files(previous)
            self._versions.switch(previous, None)
            self._start(active)
            self._forget_copies()
            self._versions.prune()
        self._say(f"coral-learn {previous} is back in {self._place.prefix}; {current} was removed")

    def uninstall(self, purge: bool) -> None:
        """Remove everything but data and configuration; with purge these, too. Fine where nothing is installed."""
        place = self._place
        self._stop()
        if self._programs.systemd_runs and place.unit.exists():
            self._programs.run("systemctl", "disable", UNIT, what="disabling the service")
        links = [place.root / "etc/systemd/system/multi-user.target.wants" / UNIT]
        for path in (place.unit, place.rules, place.sysusers, place.example, *links):
            if path.is_symlink() or path.exists():
                path.unlink()
        if place.home.is_dir():
            shutil.rmtree(str(place.home))
        if purge:
            self._purge()
        self._tell_managers()
        self._say("coral-learn is removed" + (", with its data" if purge else ""))
        kept = [str(path) for path in (place.state, place.config) if path.exists()]
        if kept:
            self._say(f"kept: {', '.join(kept)}, and the user {USER}; --uninstall --purge removes them")

    # -- steps --------------------------------------------------------------------------------------

    def _check_python(self, source: Source) -> None:
        found = self._programs.run(
            source.python, "-c", "import sys; print(*sys.version_info[:2])", what=f"starting {source.python}"
        )
        if tuple(map(int, found.split())) < (3, 7):
            raise InstallError(f"Python 3.7 or newer is needed, {source.python} is {'.'.join(found.split())}")
        if not self._programs.succeeds(source.python, "-c", "import venv, ensurepip"):
            raise InstallError(f"{source.python} can't make virtual environments: apt-get install python3-venv")

    def _build(self, source: Source) -> str:
        """Make an environment with the new version and try it; nothing uses it yet. Returns its name."""
        name = self._versions.new_name(source.version)
        folder, seen = self._versions.folder(name), self._place.prefix / "versions" / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._say(f"making {seen}; this takes minutes on a board")
        brought = Path(tempfile.mkdtemp(prefix=COMING, dir=str(self._place.home)))
        try:
            near = source.bring(brought)
            self._fill(near, seen)
            self._say("trying it")
            self._programs.run(f"{seen}/bin/coral-learn", "--version", what="the new version's first start")
            self._programs.run(f"{seen}/bin/python", "-c", _TRIAL, what="the new version's trial")
        except BaseException:
            shutil.rmtree(str(folder), ignore_errors=True)
            raise
        finally:
            shutil.rmtree(str(brought), ignore_errors=True)
        return name

    def _fill(self, source: Source, seen: Path) -> None:
        run, pip = self._programs.run, [f"{seen}/bin/python", "-m", "pip", "--disable-pip-version-check"]
        options = ["--system-site-packages"] if source.system_site_packages else []
        run(source.python, "-m", "venv", *options, str(seen), what="making the virtual environment")
        where: List[str] = []
        if source.wheelhouse is not None:
            where = ["--no-index", "--find-links", self._seen(source.wheelhouse)]
            if any(source.wheelhouse.glob("pip-*.whl")):
                run(*pip, "install", *where, "--upgrade", "pip", what="upgrading pip")
        else:
            run(*pip, "install", "--upgrade", "pip", what=f"upgrading pip. {_NO_NETWORK}")
        what = "installing from the wheelhouse" if where else f"installing. {_NO_NETWORK}"
        run(*pip, "install", *where, self._seen(source.path), what=what)

    def _seen(self, path: Path) -> str:
        """A path as the installed system sees it."""
        return str(Path("/") / path.relative_to(self._place.root))

    def _put_files(self, name: str) -> None:
        """Put the files of a version in place: they fit their program, not the one that installs it."""
        place = self._place
        python = f"{place.prefix}/versions/{name}/bin/python"
        folder = place.inside(Path(self._programs.run(python, "-c", _FILES, what="looking for the unit").strip()))
        unit = (folder / UNIT).read_text(encoding="utf-8").replace(str(DEFAULT_PREFIX), str(place.prefix))
        settings = (folder / place.config.name).read_bytes()
        _publish(place.unit, unit.encode())
        _publish(place.sysusers, (folder / "coral-learn.sysusers").read_bytes())
        _publish(place.rules, (folder / place.rules.name).read_bytes())
        _publish(place.example, settings)
        if not place.config.exists():
            _publish(place.config, settings)
        elif not _DATA_DIR.search(place.config.read_text(encoding="utf-8", errors="replace")):
            where = "/" / place.state.relative_to(place.root)
            self._say(
                f"{place.config} doesn't name the data folder: with the line `data-dir = {where}` in it commands "
                "that are given this file find tokens and models, too"
            )

    def _make_user(self) -> None:
        programs = self._programs
        if programs.has("systemd-sysusers"):
            programs.run("systemd-sysusers", f"/etc/sysusers.d/{self._place.sysusers.name}", what="making the user")
            return
        for group in GROUPS:
            if not programs.succeeds("getent", "group", group):
                programs.run("groupadd", "--system", group, what=f"making the group {group}")
        if not programs.succeeds("id", USER):
            options = ["--system", "--user-group", "--home-dir", "/var/lib/coral-learn", "--no-create-home"]
            programs.run("useradd", *options, "--shell", "/usr/sbin/nologin", USER, what="making the user")
        programs.run("usermod", "--append", "--groups", ",".join(GROUPS), USER, what="adding the user to its groups")

    def _start(self, now: bool) -> None:
        self._tell_managers()
        programs = self._programs
        if not programs.systemd_runs:
            if programs.has("systemctl"):
                programs.run("systemctl", "enable", UNIT, what="enabling the service")  # only makes a link
            self._say("systemd does not run here, so nothing was started; the unit starts it at the next boot")
            return
        programs.run("systemctl", "enable", UNIT, what="enabling the service")
        if now:
            programs.run(
                "systemctl", "restart", UNIT, what="starting the service (journalctl -u coral-learn says more)"
            )
        else:
            self._say("it starts with the next boot, or now: systemctl start coral-learn")

    def _tell_managers(self) -> None:
        if self._programs.systemd_runs:
            self._programs.run("systemctl", "daemon-reload", what="telling systemd of the unit")
        if self._programs.udev_runs:
            self._programs.run("udevadm", "control", "--reload", what="telling udev of the rule")
            subsystems = [f"--subsystem-match={name}" for name in ("apex", "usb")]
            self._programs.run("udevadm", "trigger", *subsystems, what="having udev look at devices anew")

    def _stop(self) -> None:
        if self._is_active():
            self._programs.run("systemctl", "stop", UNIT, what="stopping the service")

    def _is_active(self) -> bool:
        return self._programs.systemd_runs and self._programs.succeeds("systemctl", "is-active", "--quiet", UNIT)

    def _take_back(self, name: str, before: Optional[str]) -> None:
        """After an upgrade that did not start: have the version before run again."""
        if before is None:
            return
        self._say(f"{name} does not start; going back to {before}")
        newer = (schema_of(self._place.database) or 0) > self._schema_of_program(before)
        self._stop()
        if newer:  # brought there within the last seconds by what did not even start
            put_back(self._copy_of(before), self._place.database)
        self._put_files(before)
        self._versions.switch(before, None)
        self._start(now=True)
        self._versions.prune()

    @staticmethod
    def _what_runs(before: Optional[str]) -> str:
        return "nothing was installed before" if before is None else f"{before} is in its place again"

    def _schema_of_program(self, name: str) -> int:
        python = f"{self._place.prefix}/versions/{name}/bin/python"
        return int(self._programs.run(python, "-c", _SCHEMA, what=f"asking {name} for its database's schema"))

    def _copy_of(self, name: str) -> Path:
        return self._place.home / "databases" / f"{name}.sqlite"

    def _forget_copies(self) -> None:
        """All but the one that `--rollback` may need."""
        folder, previous = self._place.home / "databases", self._versions.previous
        kept = None if previous is None else self._copy_of(previous)
        for path in folder.glob("*") if folder.is_dir() else ():
            if path != kept:
                path.unlink()

    def _purge(self) -> None:
        for path in (self._place.state, self._place.config):
            if path.is_dir():
                shutil.rmtree(str(path))
            elif path.exists():
                path.unlink()
        if self._programs.succeeds("id", USER):
            program = "userdel" if self._programs.has("userdel") else "deluser"
            self._programs.run(program, USER, what=f"removing the user {USER}")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One installer at a time."""
        self._place.home.mkdir(parents=True, exist_ok=True)
        handle = os.open(str(self._place.home), os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise InstallError(f"another install-service is at work on {self._place.prefix}") from None
        finally:
            os.close(handle)


_NO_NETWORK = "Without a network, --wheelhouse names a folder with every wheel that is needed. It"


def _publish(path: Path, data: bytes) -> None:
    """Write a file whole, readable for all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with open(str(part), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(str(part), 0o644)
    os.replace(str(part), str(path))
