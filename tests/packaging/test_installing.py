"""The service put into a bare Debian, used, upgraded, rolled back and removed.

    sudo python -m pytest -n 0 -m install tests/packaging/test_installing.py

Needs root, debootstrap and a network: it downloads a Debian and every wheel. CORAL_LEARN_DEBIAN_ROOTS names a
folder to keep them in (amd64, arm64, wheels-amd64, ...), so that the next run downloads nothing. arm64 runs on other
machines under user-mode emulation where binfmt_misc has it (apt-get install qemu-user-static).
"""

import contextlib
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Optional

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
RELEASE, PYTHON = "bookworm", "3.11"
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
PACKAGES = "python3,python3-venv,systemd"
SERVICE = "/opt/coral-learn/current/bin/coral-learn"


class Debian:
    """A root folder, and what runs in it."""

    def __init__(self, folder: Path):
        self.folder = folder

    def popen(self, *command: str, **options) -> subprocess.Popen:
        """Start a program in there; it becomes the process itself, and the mounts end with it."""
        script = 'mount -t proc proc "$0/proc" && mount -t tmpfs tmpfs "$0/dev/shm" && exec chroot "$0" "$@"'
        return subprocess.Popen(
            ["unshare", "-m", "sh", "-c", script, str(self.folder), *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            **options,
        )

    def run(self, *command: str, code: int = 0) -> str:
        """Run one; returns what it printed."""
        process = self.popen(*command)
        text = process.communicate(timeout=1500)[0]
        print("$", *command, "\n" + text)
        assert process.returncode == code, text
        return text

    def install(self, *arguments: str, code: int = 0) -> str:
        """The command, from the sources, before anything of ours is installed."""
        return self.run(
            "sh", "-c", 'cd /mnt/sources && exec python3 -m service.installing "$@"', "sh", *arguments, code=code
        )

    def path(self, name: str) -> Path:
        return self.folder / name.lstrip("/")


class Service:
    """The program, run as the unit says: same user, folders, environment; systemd's part is played by this test."""

    def __init__(self, debian: Debian, port: int):
        self._debian, self._port = debian, port
        unit = debian.path("/etc/systemd/system/coral-learn.service").read_text()
        self._facts = dict(
            re.findall(r"^(ExecStart|User|Environment|StateDirectory|RuntimeDirectory)=(.*)$", unit, re.M)
        )
        user, places = (
            self._facts["User"],
            ("/var/lib/" + self._facts["StateDirectory"], "/run/" + self._facts["RuntimeDirectory"]),
        )
        for place in places:
            debian.run("install", "-d", "-o", user, "-g", user, "-m", "0700", place)
        address = f"coral-learn-{os.getpid()}-{port}"
        self._manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._manager.bind("\0" + address)
        self._manager.settimeout(300)
        environ = [f"NOTIFY_SOCKET=@{address}", f"STATE_DIRECTORY={places[0]}", self._facts["Environment"]]
        self.process = debian.popen(
            *("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--no-new-privs", "--inh-caps=-all"),
            *("env", "-i", "PATH=/usr/bin:/bin", "LANG=C.UTF-8", *environ, *self._facts["ExecStart"].split()),
        )

    def __enter__(self):
        assert b"READY=1" in self._manager.recv(4096)
        ends = time.monotonic() + 300
        while self.ask("/readyz", check=False) is None:
            assert time.monotonic() < ends
            time.sleep(0.2)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        text = self.process.communicate(timeout=60)[0]
        self._manager.close()
        print(text)
        assert self.process.returncode == 0

    def ask(self, path: str, data: Optional[bytes] = None, check: bool = True):
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}{path}", data, {"Content-Type": "image/png"})
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return json.loads(response.read().decode())
        except OSError:
            if check:
                raise
            return None

    def teach(self, name: str, picture: bytes) -> None:
        assert self.ask(f"/v1/examples?class={name}", picture)["accepted"]

    @property
    def version(self) -> str:
        return self.ask("/v1/status")["version"]

    @property
    def classes(self):
        return {one["name"]: one["examples"] for one in self.ask("/v1/classes")["items"]}


@pytest.fixture
def kept(tmp_path):
    """The folder of what was downloaded before."""
    return Path(os.environ.get("CORAL_LEARN_DEBIAN_ROOTS", str(tmp_path)))


@pytest.fixture
def sources(tmp_path):
    """Two folders with sources: these, and a later version whose database has one step more."""
    now, later = tmp_path / "sources", tmp_path / "later"
    names = subprocess.run(["git", "ls-files"], cwd=str(ROOT), stdout=subprocess.PIPE, check=True, encoding="utf-8")
    for name in names.stdout.splitlines():
        if not name.startswith("tests/") and (ROOT / name).is_file():
            (now / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(ROOT / name), str(now / name))
    shutil.copytree(str(now), str(later))
    rewrite(later / "coral_learn/__init__.py", r'__version__ = "[^"]+"', '__version__ = "9.0"')
    rewrite(later / "service/store/database.py", r"\n\)\n", '\n    "CREATE TABLE later (id INTEGER)",\n)\n')
    return now, later


def rewrite(path: Path, found: str, put: str) -> None:
    """Replace the first match in a file."""
    text, count = re.subn(found, lambda _: put, path.read_text(), count=1)
    assert count == 1
    path.write_text(text)


@pytest.fixture(params=sorted(MACHINES))
def debian(request, kept, tmp_path, sources):
    """A Debian with both sources and a wheelhouse in /mnt."""
    machine = request.param
    if os.geteuid() != 0:
        pytest.skip("only root may make a Debian root: sudo python -m pytest -m install ...")
    if shutil.which("debootstrap") is None and not (kept / machine).is_dir():
        pytest.skip("debootstrap is not installed: apt-get install debootstrap")
    if MACHINES[machine] != os.uname().machine and not emulated(MACHINES[machine]):
        pytest.skip(f"{machine} can't be run here: apt-get install qemu-user-static, with binfmt_misc mounted")
    if not (kept / machine).is_dir():
        command = ["debootstrap", f"--arch={machine}", "--variant=minbase", f"--include={PACKAGES}", RELEASE]
        subprocess.run([*command, str(kept / f"{machine}.part")], check=True, stdout=subprocess.DEVNULL)
        (kept / f"{machine}.part").rename(kept / machine)
    wheels = kept / f"wheels-{machine}"
    if not wheels.is_dir():
        download(sources[0], wheels, MACHINES[machine], tmp_path)
    folder = tmp_path / "root"
    subprocess.run(["cp", "-a", str(kept / machine), str(folder)], check=True)
    for source, name in ((sources[0], "sources"), (sources[1], "later"), (wheels, "wheels")):
        shutil.copytree(str(source), str(folder / "mnt" / name))
    for wheel in (folder / "mnt/wheels").glob("coral_learn-*"):
        wheel.unlink()
    yield Debian(folder)
    subprocess.run(["rm", "-rf", "--one-file-system", str(folder)], check=True)


def emulated(machine: str) -> bool:
    """Whether the kernel runs programs for another machine."""
    entry = Path(f"/proc/sys/fs/binfmt_misc/qemu-{machine}")
    return entry.exists() and "enabled" in entry.read_text()


def download(source: Path, wheels: Path, machine: str, tmp_path: Path) -> None:
    """Get every wheel that is needed there."""
    pip = [sys.executable, "-m", "pip"]
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "-w", str(tmp_path), str(source)], check=True)
    (wheel,) = tmp_path.glob("coral_learn-*.whl")
    shutil.rmtree(str(source / "build"), ignore_errors=True)
    tags = [f"manylinux{name}_{machine}" for name in ("_2_28", "_2_27", "2014", "_2_17")]
    options = [f"--python-version={PYTHON}", "--only-binary=:all:", *(f"--platform={tag}" for tag in tags)]
    part = wheels.with_name(wheels.name + ".part")
    subprocess.run(
        [*pip, "download", "--quiet", *options, "-d", str(part), str(wheel), "pip", "setuptools", "wheel"], check=True
    )
    part.rename(wheels)


@pytest.fixture
def port():
    """A port that is free now."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.install
@pytest.mark.timeout(3600)
def test_the_life_of_an_installation(debian, port, make_picture, encode):  # noqa: PLR0915
    """Install, teach, install again, upgrade, roll back, uninstall, install again, purge."""
    red, green = (encode(make_picture(colour, 1, 320, 240), "PNG") for colour in ("red", "green"))
    house = ("--wheelhouse", "/mnt/wheels")

    said = debian.install(*house)
    assert "0.1.0-1 is installed" in said
    assert "systemd does not run here" in said
    config = debian.path("/etc/coral-learn.conf")
    assert config.read_text() == debian.path("/etc/coral-learn.conf.example").read_text()
    assert debian.path("/etc/udev/rules.d/60-coral-learn.rules").exists()
    assert "coral-learn" in debian.run("id", "-nG", "coral-learn")
    for group in ("apex", "plugdev", "video"):
        assert group in debian.run("id", "-nG", "coral-learn").split()
    config.write_text(f"[coral-learn]\nport = {port}\ncamera = none\n")
    ours = config.read_text()
    with Service(debian, port) as service:
        service.teach("red", red)
        assert service.ask("/v1/classify", red)["class"] == "red"
        assert service.version == "0.1.0"
        # while it runs: the same once more
        assert "0.1.0-2 is installed" in debian.install(*house)
        assert service.ask("/v1/classify", red)["class"] == "red"
    assert config.read_text() == ours
    assert os.readlink(str(debian.path("/opt/coral-learn/current"))) == "versions/0.1.0-2"

    said = debian.run(SERVICE, "install-service", "--from", "/mnt/later", *house)  # the installed one upgrades itself
    assert "9.0-3 is installed" in said
    assert sorted(os.listdir(str(debian.path("/opt/coral-learn/versions")))) == ["0.1.0-2", "9.0-3"]
    with Service(debian, port) as service:
        assert (service.version, service.classes) == ("9.0", {"red": 1})
        service.teach("green", green)
    database = debian.path("/var/lib/coral-learn/coral-learn.sqlite")
    owner = database.stat().st_uid
    assert owner != 0
    assert {path.stat().st_uid for path in database.parent.glob("coral-learn.sqlite*")} == {owner}

    assert "can't read the database any more" in debian.install("--rollback", code=1)
    copies = debian.path("/opt/coral-learn/databases")
    assert [path.name for path in copies.iterdir()] == ["0.1.0-2.sqlite"]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in copies.iterdir())
    said = debian.install("--rollback", "--put-database-back")
    assert "0.1.0-2 is back" in said
    with Service(debian, port) as service:
        assert (service.version, service.classes) == ("0.1.0", {"red": 1})
    assert "no version to go back to" in debian.install("--rollback", code=1)

    assert "broken" in break_and_install(debian, house)  # an upgrade that fails leaves what was there
    with Service(debian, port) as service:
        assert (service.version, service.classes) == ("0.1.0", {"red": 1})

    said = debian.install("--uninstall")
    assert "kept: /var/lib/coral-learn, /etc/coral-learn.conf" in said
    assert not debian.path("/opt/coral-learn").exists()
    assert not list(debian.path("/etc/systemd").rglob("coral-learn*"))
    debian.install("--uninstall")  # once more does no harm
    debian.install(*house)
    assert config.read_text() == ours
    with Service(debian, port) as service:
        assert service.ask("/v1/classify", red)["class"] == "red"
    debian.install("--uninstall", "--purge")
    assert not config.exists()
    assert not database.parent.exists()
    debian.run("id", "coral-learn", code=1)


def break_and_install(debian: Debian, house) -> str:
    """Try to upgrade to a version that can't be imported."""
    with debian.path("/mnt/later/service/daemon.py").open("a") as file:
        file.write("\nraise RuntimeError('broken')\n")
    return debian.install("--from", "/mnt/later", *house, code=1)
