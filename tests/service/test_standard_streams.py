"""Commands whose output nobody can take."""

import subprocess
import sys

import pytest
from daemon_process import ROOT

OPEN_MISSING = """
import os, sys
from service.standard_streams import open_missing
open_missing()
opened = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
print("text", flush=True)
os.write(2, b"a library's complaint")
sys.stderr.write("text")
assert sys.stdin.read() == ""
sys.exit(opened)
"""


@pytest.fixture
def python():
    """python(redirections, *arguments): run it; gives exit code and standard error."""

    def run(redirections, *arguments, stdout=subprocess.PIPE):
        command = ["sh", "-c", f'exec "$0" "$@" {redirections}', sys.executable, *arguments]
        done = subprocess.run(command, check=False, cwd=str(ROOT), stdout=stdout, stderr=subprocess.PIPE)
        return done.returncode, done.stderr.decode()

    return run


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_what_is_closed_is_opened_on_nothing(python, tmp_path, closed):
    """No file gets a standard stream's number, so nobody's complaint is written into it."""
    code, errors = python(f"< /dev/null {closed}", "-c", OPEN_MISSING, str(tmp_path / "file"))
    assert code > 2, errors
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.parametrize("command", [("print-config",), ("models", "list"), ("doctor",)])
def test_output_that_nobody_reads(python, unread, command):
    """There is nobody to tell why; the exit code says so."""
    assert python("", "-m", "service", *command, stdout=unread) == (1, "")


def test_output_that_does_not_fit(python):
    """The reason, no stack trace."""
    full = (1, "coral-learn: [Errno 28] No space left on device\n")
    assert python("> /dev/full", "-m", "service", "print-config") == full


def test_errors_that_nobody_reads(python):
    """The exit code is that of the mistake."""
    assert python("2> /dev/full", "-m", "service", "print-config", "--port", "none")[0] == 2
