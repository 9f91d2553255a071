"""When systemd's watchdog is fed, and when not."""

import http.server
import os
import sqlite3
import threading
import time

import pytest

from service.errors import StoreError
from service.extraction import ExtractorSupervisor
from service.extraction import supervisor as supervising
from service.store.database import Database
from service.watchdog import Sign, Watchdog, answers, moves, watchdog_seconds

SECONDS = 40.0


class Signs:
    """Signs of life that can be taken away."""

    def __init__(self):
        self.wrong, self.sent = {}, []

    def watchdog(self) -> Watchdog:
        return Watchdog(SECONDS, [Sign(name, self._check(name)) for name in ("a", "b", "c")], self.sent.append)

    def _check(self, name):
        def check(patience):
            assert patience == SECONDS / 4
            found = self.wrong.get(name)
            if isinstance(found, Exception):
                raise found
            return found

        return check


def test_fed_while_every_sign_is_there():
    """Each pass sends one ping."""
    signs = Signs()
    watchdog = signs.watchdog()
    assert watchdog.look()
    assert watchdog.look()
    assert signs.sent == ["WATCHDOG=1"] * 2


@pytest.mark.parametrize("name", ["a", "b", "c"])
@pytest.mark.parametrize("wrong", ["hangs", StoreError("hangs")])
def test_any_missing_sign_ends_it(name, wrong, caplog):
    """One that hangs is enough; it is said once by name, and once more when it is over."""
    signs = Signs()
    watchdog = signs.watchdog()
    signs.wrong[name] = wrong
    caplog.set_level("INFO", "service.watchdog")
    assert not watchdog.look()
    assert not watchdog.look()
    assert signs.sent == []
    signs.wrong.clear()
    assert watchdog.look()
    assert [record.getMessage() for record in caplog.records] == [
        f"systemd's watchdog is not fed: {name}: hangs",
        "systemd's watchdog is fed again",
    ]


def test_interval_is_half_the_time_and_ten_seconds_at_most():
    """As sd_watchdog_enabled(3) wants it."""
    assert Watchdog(8, []).interval == 4
    assert Watchdog(60, []).interval == 10


def test_only_for_the_process_that_is_watched():
    """The variables are inherited by children, which are not meant."""
    us = str(os.getpid())
    assert watchdog_seconds({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": us}) == 30
    for environ in (
        {},
        {"WATCHDOG_USEC": "30000000"},
        {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "0", "WATCHDOG_PID": us},
        {"WATCHDOG_USEC": "soon", "WATCHDOG_PID": us},
    ):
        assert watchdog_seconds(environ) is None


def test_thread_pings_until_stopped():
    """It is a thread's work, and ends."""
    pinged = threading.Event()
    watchdog = Watchdog(0.02, [], lambda _: pinged.set())
    watchdog.start()
    assert pinged.wait(10)
    watchdog.stop()
    pinged.clear()
    assert not pinged.wait(0.1)


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers every GET with the server's status."""

    def do_GET(self):
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_server_that_answers_and_one_that_does_not():
    """200 is life; another answer, silence and nobody there are not."""
    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        check = answers(*server.server_address, encrypted=False)
        assert "no answer within 0.05 s" in check(0.05)  # nobody accepts
        server.status = 200
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            assert check(5) is None
            server.status = 503
            assert "503" in check(5)
        finally:
            server.shutdown()
            thread.join()
    assert "refused" in check(5)


def test_idle_writer_is_free_and_nothing_is_written(tmp_path):
    """Looking for a sign of life leaves the files as they are: flash memory wears out."""
    database = Database(tmp_path / "one.sqlite")
    before = {
        path.name: (path.stat().st_size, path.read_bytes()) for path in tmp_path.iterdir() if "shm" not in path.name
    }
    for _ in range(3):
        database.check_free(1)
    after = {
        path.name: (path.stat().st_size, path.read_bytes()) for path in tmp_path.iterdir() if "shm" not in path.name
    }
    assert before == after
    with database.write() as connection:  # and it can write afterwards, with its usual patience
        connection.execute("INSERT INTO notes VALUES ('a', 'b')")
        assert connection.execute("PRAGMA busy_timeout").fetchone()[0] == 30_000
    database.close()


def test_writer_that_hangs_is_no_sign_of_life(tmp_path):
    """A thread that does not let the writer go, and another program that does not."""
    database = Database(tmp_path / "one.sqlite")
    entered, leave = threading.Event(), threading.Event()

    def hang():
        with database.write():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=hang)
    thread.start()
    assert entered.wait(10)
    with pytest.raises(StoreError, match=r"writer has been busy for 0\.05 s"):
        database.check_free(0.05)
    leave.set()
    thread.join()
    database.check_free(1)
    other = sqlite3.connect(str(tmp_path / "one.sqlite"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"):
        database.check_free(0.05)
    other.execute("ROLLBACK")
    other.close()
    database.check_free(1)
    database.close()


def test_loop_that_stands_still_is_no_sign_of_life():
    """Its last round may be twice the patience ago."""
    assert moves(lambda: time.monotonic() - 1)(10) is None
    assert "stood still for 21 s" in moves(lambda: time.monotonic() - 21)(10)


@pytest.fixture
def supervisor(tiny_model):
    """supervisor(model=tiny): one that is started and stopped."""
    made = []

    def make(model=tiny_model, on_ready=None):
        one = ExtractorSupervisor(str(model), "cpu", 1, 10.0)
        one.on_ready = on_ready
        made.append(one)
        one.start()
        return one

    yield make
    for one in made:
        one.stop()


def wait_until(condition, seconds=30.0):
    """Wait until a condition holds."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_supervisor_moves_without_an_extractor(supervisor, tmp_path, monkeypatch):
    """Its process fails and fails, its pauses grow: the watchdog is fed all the same."""
    monkeypatch.setattr(supervising, "PAUSES", (0.0, 60.0))
    monkeypatch.setattr(supervising, "_LOOK_EVERY", 0.05)
    one = supervisor(tmp_path / "missing.tflite")
    wait_until(lambda: one.health.starts >= 2)
    wait_until(lambda: one.health.state == supervising.LOST)
    for _ in range(3):
        seen = one.beat
        wait_until(lambda: one.beat > seen, 10)  # noqa: B023


def test_supervisor_that_hangs_does_not_move(supervisor):
    """What stops its thread stops its beat."""
    entered, leave = threading.Event(), threading.Event()

    def hang(*_):
        entered.set()
        leave.wait(20)

    one = supervisor(on_ready=hang)
    assert entered.wait(30)
    seen = one.beat
    time.sleep(0.3)
    assert one.beat == seen
    leave.set()
    wait_until(lambda: one.beat > seen)
