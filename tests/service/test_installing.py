"""The parts of the installer, without a system; tests/packaging/test_installing.py installs into a real one."""

import argparse
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from service.errors import InstallError
from service.installing.command import add_arguments, run
from service.installing.installer import Installer
from service.installing.keeping import copy_database, put_back, schema_of
from service.installing.place import Place
from service.installing.programs import Programs
from service.installing.source import Source, shipped_folder
from service.installing.versions import Versions
from service.settings import load

ROOT = Path(__file__).resolve().parent.parent.parent
TOO_NEW = 1000


class System(Programs):
    """A system in a folder whose programs do what the installer needs of them, and no more; systemd runs there.

    failing : words; a command with one of them fails
    """

    systemd_runs, ours, udev_runs = True, True, True

    def __init__(self, root: Path):
        super().__init__(root)
        self._root, self.done, self.failing, self.active, self.knows = root, [], set(), False, {}

    def has(self, name: str) -> bool:
        return name != "systemd-sysusers"

    def run(self, *command: str, what: str) -> str:
        text = " ".join(command)
        self.done.append(text)
        if any(word in text for word in self.failing):
            raise InstallError(f"{what} failed")
        if "-m venv" in text:
            (self._root / command[-1].lstrip("/")).mkdir(parents=True)
        if text.startswith("systemctl restart"):
            self.active = True
        if text.startswith("systemctl stop"):
            self.active = False
        if "version_info" in text:
            return "3 11"
        if "shipped_folder" in text:
            return "/shipped\n"
        if "MIGRATIONS" in text:
            return str(self.knows.get(Path(command[0]).parent.parent.name, 1))
        return ""

    def succeeds(self, *command: str) -> bool:
        return self.active if "is-active" in command else True


@pytest.fixture
def system(tmp_path):
    """A system with the files of a version, and an installer for it."""
    shutil.copytree(str(shipped_folder()), str(tmp_path / "shipped"))
    return System(tmp_path)


@pytest.fixture
def place(tmp_path):
    """Where it is installed."""
    return Place(tmp_path)


@pytest.fixture
def said():
    """What the installer says."""
    return []


@pytest.fixture
def installer(place, system, said):
    return Installer(place, system, said.append)


@pytest.fixture
def source(tmp_path):
    """A wheel, as far as its name goes."""
    folder = tmp_path / "dist"
    folder.mkdir()
    wheel = folder / "coral_learn-1.2-py3-none-any.whl"
    wheel.write_bytes(b"")
    return Source.find(str(wheel), None, False, "python3")


def make_database(path: Path, schema: int) -> None:
    """A database in write-ahead mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(str(path))
    connection.executescript(f"PRAGMA journal_mode = WAL; CREATE TABLE t (v); INSERT INTO t VALUES ({schema});")
    connection.execute(f"PRAGMA user_version = {schema}")
    connection.close()


def test_first_installation_is_enabled_and_started_when_asked(installer, system, place, source, said):
    """Unit, user, rule and configuration are there; without --now it says how to start it."""
    installer.install(source, now=False)
    assert "systemctl enable coral-learn.service" in system.done
    assert not [line for line in system.done if "restart" in line]
    assert any("systemctl start" in line for line in said)
    assert place.unit.read_text() == (shipped_folder() / "coral-learn.service").read_text()
    for path in (place.config, place.example, place.rules, place.sysusers):
        assert path.exists()
    assert any(line.startswith("usermod") and "apex,video,plugdev" in line for line in system.done)
    installer.install(source, now=True)
    assert system.active


def test_configuration_is_never_overwritten(installer, place, source, said):
    """The new one lies beside it; that one's own doesn't name the data folder is said."""
    place.config.parent.mkdir()
    place.config.write_text("mine\n#data-dir =\n")
    installer.install(source, False)
    assert place.config.read_text() == "mine\n#data-dir =\n"
    assert "port" in place.example.read_text()
    assert [line for line in said if "`data-dir = /var/lib/coral-learn`" in line]


def test_data_folder_of_the_configuration_is_known(installer, place, source, said):
    """Nothing is said of a data folder where the configuration names one, as the one that comes with it does."""
    installer.install(source, False)
    installer.install(source, False)
    assert load({}, {}, str(place.config)).data_dir == "/var/lib/coral-learn"
    assert not [line for line in said if "data-dir" in line]


def test_upgrade_restarts_what_runs_and_keeps_one_version(installer, system, place, source):
    """The link is switched; older ones than the one before are removed, numbers are not used again."""
    for _ in range(3):
        installer.install(source, now=True)
    versions = Versions(place.home)
    assert (versions.current, versions.previous) == ("1.2-3", "1.2-2")
    assert sorted(path.name for path in (place.home / "versions").iterdir()) == ["1.2-2", "1.2-3"]
    system.active = False
    installer.install(source, now=False)
    assert not system.active  # it was stopped on purpose


@pytest.mark.parametrize("step", ["-m venv", "pip", "--version", "warm_up"])
def test_version_that_can_not_be_made_changes_nothing(installer, system, place, source, step):
    """What ran goes on; nothing of the new one is left."""
    installer.install(source, now=True)
    system.done.clear()
    system.failing.add(step)
    with pytest.raises(InstallError):
        installer.install(source, now=True)
    assert Versions(place.home).current == "1.2-1"
    assert [path.name for path in (place.home / "versions").iterdir()] == ["1.2-1"]
    assert not list(place.home.glob(".coming-*"))
    assert not [line for line in system.done if "systemctl" in line]


def test_version_that_does_not_start_is_taken_back(installer, system, place, source):
    """Also when it brought the database to a schema that the one before can't read."""
    make_database(place.database, 1)
    installer.install(source, now=True)
    system.knows["1.2-1"] = 1
    restart, stumbled = system.run, []

    def stumble(*command, what):
        if command[:2] == ("systemctl", "restart") and not stumbled:
            stumbled.append(True)
            with sqlite3.connect(str(place.database)) as connection:
                connection.execute(f"PRAGMA user_version = {TOO_NEW}")
            connection.close()
            raise InstallError(f"{what} failed")
        return restart(*command, what=what)

    system.run = stumble
    with pytest.raises(InstallError, match=r"starting the service.* failed\n1\.2-1 is in its place again"):
        installer.install(source, now=True)
    assert Versions(place.home).current == "1.2-1"
    assert schema_of(place.database) == 1
    assert system.active


def test_rollback_keeps_a_database_that_can_be_read(installer, system, place, source):
    """Nothing that was taught since the upgrade is lost."""
    make_database(place.database, 1)
    for _ in range(2):
        installer.install(source, now=True)
    with sqlite3.connect(str(place.database)) as connection:
        connection.execute("INSERT INTO t VALUES (77)")
    connection.close()
    installer.rollback(False)
    assert Versions(place.home).current == "1.2-1"
    assert system.active
    with sqlite3.connect(str(place.database)) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (2,)
    connection.close()
    with pytest.raises(InstallError, match="no version to go back to"):
        installer.rollback(False)


def test_rollback_to_one_that_can_not_read_the_database(installer, system, place, source):
    """It is refused with what to do; with the word for it, the copy from before the upgrade comes back."""
    make_database(place.database, 1)
    for _ in range(2):
        installer.install(source, now=True)
    with sqlite3.connect(str(place.database)) as connection:
        connection.execute(f"PRAGMA user_version = {TOO_NEW}")
    connection.close()
    with pytest.raises(InstallError, match=r"schema 1000; it knows 1\. --put-database-back.*export"):
        installer.rollback(False)
    assert system.active
    assert Versions(place.home).current == "1.2-2"
    installer.rollback(True)
    assert schema_of(place.database) == 1
    assert schema_of(place.database.with_name("coral-learn.sqlite.newer")) == TOO_NEW
    assert Versions(place.home).current == "1.2-1"


@pytest.mark.parametrize("purge", [False, True])
def test_uninstall(installer, system, place, source, said, purge):
    """Programs and unit go; data and configuration only with purge. Once more does no harm."""
    make_database(place.database, 1)
    installer.install(source, now=True)
    installer.uninstall(purge)
    assert not system.active
    assert not place.home.exists()
    for path in (place.unit, place.rules, place.sysusers, place.example):
        assert not path.exists()
    assert place.database.exists() != purge
    assert place.config.exists() != purge
    assert any(line.startswith("userdel") for line in system.done) == purge
    assert any(str(place.state) in line for line in said) != purge
    installer.uninstall(purge)


def test_two_at_a_time_are_refused(installer, system, place, source):
    """The second says so."""
    other = Installer(place, system, print)
    before = system.run

    def interrupted(*command, what):
        if "-m" in command and "venv" in command:
            with pytest.raises(InstallError, match="another install-service is at work"):
                other.install(source, False)
        return before(*command, what=what)

    system.run = interrupted
    installer.install(source, False)


def test_database_is_copied_while_it_is_written(tmp_path):
    """What is in its log only is in the copy as well; the copy is its owner's alone."""
    path, copy = tmp_path / "one.sqlite", tmp_path / "copies" / "one.sqlite"
    make_database(path, 3)
    writer = sqlite3.connect(str(path), isolation_level=None)
    writer.execute("INSERT INTO t VALUES (4)")
    assert copy_database(path, copy)
    assert copy.stat().st_mode & 0o777 == 0o600
    assert schema_of(copy) == 3
    with sqlite3.connect(str(copy)) as connection:
        assert connection.execute("SELECT v FROM t").fetchall() == [(3,), (4,)]
    connection.close()
    writer.close()
    aside = put_back(copy, path)
    assert schema_of(aside) == 3
    assert not copy_database(tmp_path / "none.sqlite", copy)
    assert schema_of(tmp_path / "none.sqlite") is None
    path.write_bytes(b"no database at all, but long enough to be looked at" * 20)
    with pytest.raises(InstallError, match="can't be"):
        copy_database(path, copy)


def test_sources_are_checked(tmp_path):
    """A wheel or a folder of ours; anything else is named."""
    assert Source.find(str(ROOT), None, False, "python3").version == Source.find(None, None, False, "python3").version
    stranger = tmp_path / "flask-3.0-py3-none-any.whl"
    stranger.write_bytes(b"")
    for path, words in (
        (tmp_path, "holds no sources"),
        (stranger, "is not coral-learn"),
        (tmp_path / "none.whl", "neither a wheel nor a folder"),
    ):
        with pytest.raises(InstallError, match=words):
            Source.find(str(path), None, False, "python3")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InstallError, match="holds no wheel"):
        Source.find(str(ROOT), str(tmp_path / "empty"), False, "python3")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--purge"], "goes with --uninstall"),
        (["--put-database-back"], "goes with --rollback"),
        (["--prefix", "opt"], "absolute path"),
        (["--root", "/nowhere/at/all"], "is no folder"),
    ],
)
def test_wrong_use_is_explained(arguments, words, monkeypatch):
    """Before anything is touched."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(InstallError, match=words):
        run(parser.parse_args(arguments))


def test_only_root_may(monkeypatch):
    """Others are told to use sudo."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(InstallError, match="sudo"):
        run(parser.parse_args([]))


def test_failed_program_is_quoted():
    """Its last words, and what it was for."""
    programs = Programs(Path("/"))
    with pytest.raises(InstallError, match=r"counting failed .*exit code 3\)\n  far"):
        programs.run("sh", "-c", "echo far; exit 3", what="counting")
    with pytest.raises(InstallError, match="no program no-such-program"):
        programs.run("no-such-program", what="counting")
    assert not programs.has("no-such-program")
    assert programs.has("sh")
