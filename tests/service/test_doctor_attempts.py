"""The doctor with real faults: processes that crash, hang and are refused, and its thread in the daemon."""

import json
import os
import shutil
import stat
import subprocess
import sys
import threading

import numpy as np
import pytest
from daemon_process import ROOT
from made_up_machine import MadeUpMachine

from coral_learn.extractor import Extractor
from coral_learn.manifest import file_digest
from coral_learn.runtime.lock import DeviceLock
from service.doctor import devices, packages
from service.doctor.attempt import attempt, is_crash
from service.doctor.check import FAIL, OK, SKIP, WARN
from service.doctor.delegate import check_delegate, check_seen
from service.doctor.extractor import check_extractor, check_golden, try_alone
from service.doctor.machine import Machine
from service.doctor.practice import Practice
from service.errors import Conflict
from service.extraction import ExtractorSupervisor
from service.extraction.supervisor import LOST, READY, Health
from service.learning import Answering
from service.settings import Settings

PATIENCE = 60.0  # seconds; only what must be given up waits shorter


@pytest.fixture
def real(tmp_path):
    """This machine, with a folder before the others that Python looks for packages in."""
    folder = tmp_path / "packages"
    folder.mkdir()
    machine = Machine(python_path=[str(folder), *sys.path])
    machine.stand_ins = folder
    return machine


def stand_in(machine, name, text=""):
    """A package of this name that is imported in the place of the real one."""
    (machine.stand_ins / name).mkdir()
    (machine.stand_ins / name / "__init__.py").write_text(text)


# -- packages -------------------------------------------------------------------------------


def test_this_machine_is_fine(real):
    """What the tests themselves run with passes."""
    assert packages.check_packages(real).state == OK
    assert packages.check_run_time(real).state in (OK, WARN)


def test_the_wrong_pycoral_is_found(real):
    """A stand-in for the reef atlas; it is not even imported."""
    stand_in(real, "pycoral", "raise SystemExit('imported')")
    check = packages.check_pycoral(real)
    assert (check.state, "reef atlas" in check.meaning) == (WARN, True)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("raise ImportError('libGL.so.1: cannot open shared object file')", "libGL.so.1"),
        ("import os; os.abort()", "importing cv2 was ended by SIGABRT"),
    ],
)
def test_an_opencv_that_does_not_import(real, text, found):
    """One without its libraries, one that ends the process: the doctor goes on and says which."""
    stand_in(real, "cv2", text)
    check = packages.check_packages(real)
    assert check.state == FAIL
    assert found in check.found


# -- processes of its own -------------------------------------------------------------------


def test_a_process_that_hangs_is_given_up(real):
    """After its time; what it was at is known."""
    stand_in(real, "cv2", "print('waiting'); import time; time.sleep(600)")
    arguments = {"names": ["json", "cv2"], "python_path": real.python_path}
    outcome = attempt("service.doctor.child:imports", arguments, 3.0)
    assert (outcome.result, outcome.stage) == (None, "cv2")
    assert outcome.ending == "gave no answer within 3 s"
    assert not outcome.crashed


def test_time_to_start_does_not_count(real, tmp_path):
    """Less time than an interpreter takes to start is enough for a node that answers at once."""
    node = str(tmp_path / "video0")
    outcome = attempt("service.doctor.child:cameras", {"nodes": [node], "python_path": real.python_path}, 0.5)
    assert outcome.result == {node: {"error": "No such file or directory"}}


def test_what_it_prints_is_kept(real, capfd):
    """Nothing of it comes out here, the last lines come with the outcome."""
    stand_in(real, "cv2", "import os, sys; print('out', flush=True); os.write(2, b'F driver.cc] gone\\n'); os.abort()")
    outcome = attempt("service.doctor.child:imports", {"names": ["cv2"], "python_path": real.python_path}, PATIENCE)
    assert outcome.crashed
    assert outcome.said == "out; F driver.cc] gone"
    assert capfd.readouterr() == ("", "")


def test_what_can_not_be_started(monkeypatch):
    """A process that doesn't exist any more is an outcome, too."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    outcome = attempt("service.doctor.child:imports", {"names": [], "python_path": []}, 1.0)
    assert "can't be started" in outcome.ending


def test_crashes():
    """Killed for being late is no crash."""
    assert is_crash("its process was ended by SIGSEGV while it loaded the model")
    assert not is_crash("was ended by SIGKILL")


def test_what_is_no_camera(real, tmp_path):
    """A file, and one that is missing, are told apart."""
    nodes = [str(tmp_path / "video0"), "/dev/null"]
    outcome = real.attempt("service.doctor.child:cameras", {"nodes": nodes}, PATIENCE)
    assert outcome.result[nodes[0]] == {"error": "No such file or directory"}
    assert set(outcome.result["/dev/null"]) == {"error"}


# -- extractor ------------------------------------------------------------------------------


@pytest.fixture
def golden_model(tiny_model, tmp_path, make_picture, encode):
    """golden_model(factor): the tiny model with a manifest and a golden embedding, times a factor each other value."""

    def make(factor):
        model = tmp_path / "golden.tflite"
        shutil.copy(str(tiny_model), str(model))
        picture = make_picture("red", 1, 32, 32)
        (tmp_path / "golden.png").write_bytes(encode(picture, "PNG"))
        extractor = Extractor(tiny_model, "cpu")
        embedding = extractor.embed(picture)
        extractor.close()
        embedding[::2] *= factor
        np.savez(str(tmp_path / "golden.npz"), embedding=embedding)
        facts = {"name": "golden", "source": "a test", "licence": "none", "sha256": file_digest(model)}
        golden = {"image": "golden.png", "embedding": "golden.npz:embedding"}
        (tmp_path / "golden.json").write_text(json.dumps(dict(facts, embedding_size=64, golden=golden)))
        return model

    return make


def test_the_golden_embedding(golden_model):
    """Right and wrong, computed for real in another process; the time is taken."""
    tried = try_alone(Machine(), str(golden_model(1.0)), "cpu", 1)
    assert tried.facts["milliseconds"] > 0
    assert [check_extractor(tried).state, check_golden(tried).state] == [OK, OK]
    tried = try_alone(Machine(), str(golden_model(-1.0)), "cpu", 1)
    assert [check_extractor(tried).state, check_golden(tried).state] == [OK, FAIL]


def test_a_damaged_model(golden_model):
    """One byte more is found by the digest; half a file does not even load."""
    model = golden_model(1.0)
    data = model.read_bytes()
    model.write_bytes(data + b"x")
    tried = try_alone(Machine(), str(model), "cpu", 1)
    assert check_extractor(tried).state == FAIL
    assert "the file was changed" in tried.failure
    assert check_golden(tried).state == SKIP
    model.with_suffix(".json").unlink()
    model.write_bytes(data[: len(data) // 2])
    tried = try_alone(Machine(), str(model), "cpu", 1)
    assert check_extractor(tried).state == FAIL


@pytest.mark.parametrize(("device", "word"), [("fake:abort=2", "SIGABRT"), ("fake:fail=1", "told to fail")])
def test_an_extractor_that_dies(data, device, word):
    """As a device ends its process, or reports an error."""
    tried = try_alone(Machine(), str(data / "tiny_edgetpu.tflite"), device, 1)
    check = check_extractor(tried)
    assert check.state == FAIL
    assert word in check.found


# -- the delegate, with an Edge TPU library made on the spot ----------------------------------


SYMBOLS = """
#include <stdlib.h>
#include <unistd.h>
void *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) { %s }
void tflite_plugin_destroy_delegate(void *delegate) { }
"""


@pytest.fixture
def edge_tpu(tmp_path, monkeypatch):
    """edge_tpu(body): a made-up board with an Edge TPU whose library does this when it is opened, in real processes."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: apt-get install gcc")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))

    def make(body, patience=PATIENCE):
        (tmp_path / "edgetpu.c").write_text(SYMBOLS % body)
        library = tmp_path / "libedgetpu.so.1"
        subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(tmp_path / "edgetpu.c")], check=True)
        board = MadeUpMachine(tmp_path / "root")
        board.card()
        whole, locks = Machine(patience=patience), str(tmp_path)
        board.attempt = lambda target, asked, seconds: whole.attempt(target, dict(asked, locks=locks), seconds)
        return board

    return make


@pytest.mark.parametrize(
    ("body", "patience", "words"),
    [
        ("abort();", PATIENCE, ("was ended by SIGABRT", "not built for each other")),
        ("return *(void **)0;", PATIENCE, ("was ended by SIGSEGV", "not built for each other")),
        ("return NULL;", PATIENCE, ("ValueError", "does not answer")),
        pytest.param("sleep(600);", 8.0, ("gave no answer within 8 s", "does not answer"), marks=pytest.mark.slow),
    ],
)
def test_a_library_that_does_not_open(edge_tpu, body, patience, words):
    """It aborts, crashes, refuses without a word, hangs with the interpreter held: each is told, none harms us."""
    board = edge_tpu(body, patience)
    found = devices.find(board)
    check = check_delegate(board, found, "", [check_seen(found, False)], None)
    assert check.state == FAIL
    assert check.found.startswith("Failed to load delegate: ")
    for word in words:
        assert word in f"{check.found} {check.meaning}"


def test_a_device_another_process_locks(edge_tpu, tmp_path):
    """The lock of this program is respected: the device is not opened beside who has it."""
    board = edge_tpu("abort();")
    lock = DeviceLock("", tmp_path)
    try:
        outcome = board.attempt("service.doctor.child:delegate", {"device": ""}, PATIENCE)
    finally:
        lock.release()
    assert outcome.result["error"] == "DeviceBusy"


def test_a_node_that_is_not_there(edge_tpu):
    """A node on PCIe is looked up before anything is opened: the driver takes no path."""
    outcome = edge_tpu("abort();").attempt("service.doctor.child:delegate", {"device": "/dev/apex_98"}, PATIENCE)
    assert outcome.result["error"] == "DeviceNotFound"


def test_who_locks_a_file(tmp_path):
    """/proc/locks names the process that has it."""
    path = tmp_path / "lock"
    path.write_text("")
    code = (
        f"import fcntl, sys; f = open({str(path)!r}); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); input()"
    )
    assert Machine().lock_holder(str(path)) is None
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        assert Machine().lock_holder(str(path)).pid == process.pid
        process.communicate(b"\n", timeout=30)


# -- a user without rights ------------------------------------------------------------------


AS_NOBODY = """
import json, os, pwd, sys
from pathlib import Path
from service.doctor import devices, disk, nodes
from service.doctor.machine import Machine
machine = Machine(Path(sys.argv[1]))
found = devices.find(machine)
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
checks = [nodes.check_nodes(machine, found), disk.check_disk(machine, Path(sys.argv[2]), 0)]
print(json.dumps([check._asdict() for check in checks]))
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(("members", "advice"), [("", "sudo adduser"), ("nobody", "log in again")])
def test_a_node_that_may_not_be_opened(tmp_path, members, advice):
    """As an unprivileged user for real: the group of the node is named, and the folder that takes no writes."""
    board = MadeUpMachine(tmp_path / "root")
    board.card()
    board.write("/etc/group", f"apex:x:61234:{members}\n")
    node = board.path("/dev/apex_0")
    os.chown(str(node), 0, 61234)
    node.chmod(0o660)
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    for folder in [tmp_path, *tmp_path.parents]:
        if not folder.stat().st_mode & stat.S_IXOTH:
            folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
    command = [sys.executable, "-c", AS_NOBODY, str(board.root), str(data)]
    done = subprocess.run(command, cwd=str(ROOT), stdout=subprocess.PIPE, check=True)
    closed, full = json.loads(done.stdout.decode())
    assert closed["state"] == FAIL
    assert "-rw-rw----, of user 0 and group apex" in closed["found"]
    assert advice in closed["remedy"]
    assert full["state"] == FAIL
    assert "nobody may not write there" in full["meaning"]


def test_the_kernels_clock():
    """It says yes or no, or nothing."""
    assert Machine().clock_is_set() in (True, False, None)


# -- in the daemon --------------------------------------------------------------------------


class SlowMachine(MadeUpMachine):
    """One on which looking for the clock takes until it is let go."""

    def __init__(self, root):
        super().__init__(root)
        self.go = threading.Event()

    def clock_is_set(self):
        self.go.wait(60)
        return True


@pytest.fixture
def practice(tmp_path):
    """The doctor of a daemon whose extractor was lost, on a machine that hangs."""
    extraction = ExtractorSupervisor("", "cpu", 1, 1.0)
    extraction.health = Health(LOST, "its process was ended by SIGKILL", 3)
    machine = SlowMachine(tmp_path / "root")
    settings = Settings(data_dir=str(tmp_path), camera="none")
    doctor = Practice(settings, extraction, Answering("imprinting"), machine, longest=5.0)
    yield doctor
    machine.go.set()


def test_one_at_a_time_and_not_for_ever(practice, monkeypatch):
    """What hangs is left behind: the rest is reported as skipped, and no second examination starts beside it."""
    monkeypatch.setattr(practice, "_longest", 1.0)
    checks = {one["name"]: one for one in practice.examine()["checks"]}
    assert checks["extractor"]["found"] == "lost: its process was ended by SIGKILL"
    assert checks["disk"]["state"] == OK
    late = [name for name, one in checks.items() if one["found"] == "not done within 1 s"]
    assert late == ["clock", "memory", "board temperature", "port"]
    with pytest.raises(Conflict, match="examines the machine already"):
        practice.examine()
    practice._machine.go.set()
    for thread in threading.enumerate():
        if thread.name == "doctor":
            thread.join(30)
    assert [one for one in practice.examine()["checks"] if "not done" in one["found"]] == []


def test_an_extractor_that_loads_is_not_asked(practice):
    """Neither while it starts, nor before everything knows which one it is."""
    practice._machine.go.set()
    for health in (Health("starting", "it is being loaded", 1), Health(READY, "", 1)):
        practice._extraction.health = health
        checks = {one["name"]: one for one in practice.examine()["checks"]}
        assert checks["extractor"]["state"] == SKIP
        assert "is being loaded" in checks["golden embedding"]["found"]
