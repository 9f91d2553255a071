"""Long runs: kills and power cuts under load, and the clients' own books afterwards."""

import fcntl
import os
import random
import shutil
import struct
import subprocess
import threading

import pytest
from client_books import Books, check_books, let_work

CLIENTS, KILLS, POWER_CUTS = 3, 25, 10
# Shut a file system down without writing its log: what was not synced is gone (linux/fs.h, ext4).
FS_IOC_SHUTDOWN, NOLOGFLUSH = 0x8004587D, 2


@pytest.fixture
def pictures(make_picture, encode):
    """200 pictures for each client."""
    return [
        [encode(make_picture((60 * client, 90, 30), 1000 * client + number), "PNG") for number in range(200)]
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
        subprocess.run(["umount", str(folder)], check=True)
        subprocess.run(mount, check=True)

    yield folder, cut
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.slow
def test_books_agree_after_many_kills(tiny_daemon, pictures):
    """25 times killed with -9 at a random moment: every acknowledged upload is there, no deleted one is."""
    books, dice = [Books() for _ in range(CLIENTS)], random.Random(7)
    for kill in range(KILLS):
        clients = let_work(tiny_daemon, books, 100 * kill, pictures)
        threading.Event().wait(dice.uniform(0.05, 0.8))
        tiny_daemon.kill()
        for client in clients:
            client.join(60)
        tiny_daemon.start()
        tiny_daemon.wait_ready()
        check_books(tiny_daemon, books)


@pytest.mark.slow
def test_books_agree_after_power_cuts(start_daemon, disk, tiny_model, pictures):
    """10 times the power of the disk is cut at a random moment: what was acknowledged is there after the next start."""
    folder, cut = disk
    books, dice = [Books() for _ in range(CLIENTS)], random.Random(11)
    daemon = start_daemon("--model", str(tiny_model), data_dir=folder / "data")
    for power_cut in range(POWER_CUTS):
        clients = let_work(daemon, books, 100 * power_cut, pictures)
        threading.Event().wait(dice.uniform(0.2, 1.2))
        cut(daemon.kill)
        for client in clients:
            client.join(60)
        daemon.start()
        daemon.wait_ready()
        check_books(daemon, books)
    assert any(book.stored for book in books)
    daemon.stop()
