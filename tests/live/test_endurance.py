"""Long runs: kills and power cuts under load, and the clients' own books afterwards.

CORAL_LEARN_LONG=1 makes them many times as long: pytest -m slow tests/live/test_endurance.py
"""

import fcntl
import os
import random
import shutil
import struct
import subprocess
import threading
import time

import pytest
from client_books import LONG, Load, Teacher, Trainer, check_books, check_start_changes_nothing

CLIENTS = 3
KILLS, POWER_CUTS = (200, 100) if LONG else (25, 10)
HOURS = 3600.0
# Shut a file system down without writing its log: what was not synced is gone (linux/fs.h, ext4).
FS_IOC_SHUTDOWN, NOLOGFLUSH = 0x8004587D, 2


@pytest.fixture(scope="module")
def pictures(make_picture, encode):
    """60 pictures for each client."""
    return [
        [encode(make_picture((60 * client, 90, 30), 1000 * client + number), "PNG") for number in range(60)]
        for client in range(CLIENTS)
    ]


@pytest.fixture
def disk(tmp_path):
    """A small ext4 file system of its own: (its folder, what cuts its power and gives it back)."""
    image, folder = tmp_path / "disk", tmp_path / "mounted"
    folder.mkdir()
    mount = ["mount", "-o", "loop", str(image), str(folder)]
    with open(str(image), "wb") as file:
        file.truncate(200 * 1024 * 1024)
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("cutting a file system's power needs root and mkfs.ext4")
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    if subprocess.run(mount, check=False).returncode:
        pytest.skip("this machine mounts no loop devices")

    def cut(then) -> None:
        handle = os.open(str(folder), os.O_RDONLY)
        fcntl.ioctl(handle, FS_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
        os.close(handle)
        then()
        unmount(folder)
        subprocess.run(mount, check=True)

    yield folder, cut
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def unmount(folder) -> None:
    """Unmount once nobody uses it: children of a killed daemon end a moment after it."""
    for _ in range(200):
        if subprocess.run(["umount", str(folder)], check=False, stderr=subprocess.DEVNULL).returncode == 0:
            return
        threading.Event().wait(0.05)
    subprocess.run(["umount", str(folder)], check=True)


def restart(daemon) -> None:
    """Kill it and start it again."""
    daemon.kill()
    daemon.start()
    daemon.wait_ready()


def endure(daemon, pictures, rounds, longest, end, seed) -> int:
    """Let clients work, `end` the daemon, start it, check the books, and so on.

    Returns how many answers were 500 or 507, and prints what was done.
    """
    teachers, trainer = [Teacher(number, own) for number, own in enumerate(pictures)], Trainer()
    clients, dice, started = [*teachers, trainer], random.Random(seed), time.monotonic()
    for number in range(rounds):
        load = Load(daemon, clients, 100 * seed + 1000 * number)
        # Now and then long enough for training to be done.
        threading.Event().wait(dice.uniform(0.05, longest) if number % 4 else 2 * longest)
        end()
        load.rest()
        daemon.start()
        daemon.wait_ready()
        check_books(daemon, teachers, trainer, pictures[0][0])
    load = Load(daemon, clients, 7)
    threading.Event().wait(longest)
    load.rest()
    check_books(daemon, teachers, trainer, pictures[0][0])
    check_start_changes_nothing(daemon, [own[0] for own in pictures], lambda: restart(daemon))
    changes, failed = sum(client.changes for client in clients), sum(client.failed for client in clients)
    assert changes >= rounds
    seconds = time.monotonic() - started
    done = f"{rounds} ends, {changes} acknowledged changes, {trainer.trained} of them versions that were trained"
    print(f"{done}, {failed} answers 500 or 507, {seconds:.0f} s")
    return failed


def test_books_agree_after_a_kill(tiny_daemon, pictures):
    """Killed with -9 in the middle of all kinds of changes: what was acknowledged is there, as it was."""
    assert endure(tiny_daemon, pictures, 1, 0.3, tiny_daemon.kill, 3) == 0


@pytest.mark.slow
@pytest.mark.timeout(HOURS)
def test_books_agree_after_many_kills(tiny_daemon, pictures):
    """Killed with -9 at random moments, 25 or 200 times: every acknowledged change is there, and nothing else."""
    assert endure(tiny_daemon, pictures, KILLS, 1.5, tiny_daemon.kill, 7) == 0


@pytest.mark.slow
@pytest.mark.timeout(HOURS)
def test_books_agree_after_power_cuts(start_daemon, disk, tiny_model, pictures):
    """The disk's power cut at random moments, 10 or 100 times: every acknowledged change is there, nothing else."""
    folder, cut = disk
    daemon = start_daemon("--model", str(tiny_model), data_dir=folder / "data")
    # A client that is answered 500 because its disk is gone can't know what was made of its change, and stops.
    assert endure(daemon, pictures, POWER_CUTS, 1.5, lambda: cut(daemon.kill), 11) <= POWER_CUTS * (CLIENTS + 1)
    daemon.stop()
