"""The contract of run-times as a table: what each sort keeps on this Python.

.venv/bin/python tests/benchmarks/contracts.py
"""

import sys
from contextlib import redirect_stdout
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

import pytest  # noqa: E402
from runtime_host import SORTS  # noqa: E402

CONTRACTS = ROOT / "tests" / "coral_learn" / "test_runtime_contract.py"
WORST = ("FAILED", "not installed", "not applicable", "kept")  # of several tests of one contract


class Table:
    """What pytest tells of each test, by contract and sort."""

    def __init__(self):
        self.cells = {}

    def pytest_runtest_logreport(self, report) -> None:
        """Called with how a test's setup, call or teardown ended."""
        if report.when == "teardown" or (report.when == "setup" and report.passed):
            return
        contract, _, parameters = report.nodeid.rpartition("::")[2].partition("[")
        sort = next((one for one in SORTS if one in parameters), "")
        reason = report.longrepr[2] if report.skipped else ""
        absent = "not installed" if "not installed" in reason else "not applicable"
        found = absent if report.skipped else "kept" if report.passed else "FAILED"
        key = contract[len("test_") :].replace("_", " "), sort
        self.cells[key] = min(self.cells.get(key, found), found, key=WORST.index)

    def show(self) -> None:
        """Print it as Markdown."""
        print(f"| Python {sys.version.split()[0]} | {' | '.join(SORTS)} |\n|---{'|---' * len(SORTS)}|")
        for contract in dict.fromkeys(contract for contract, sort in self.cells if sort):
            print(f"| {contract} | {' | '.join(self.cells.get((contract, sort), '') for sort in SORTS)} |")
        print("\nWith a libedgetpu that misbehaves, by load_delegate alone:")
        for (contract, sort), found in self.cells.items():
            if not sort:
                print(f"{contract}: {found}")


def main() -> int:
    table = Table()
    with redirect_stdout(sys.stderr):  # what pytest itself says
        code = pytest.main([str(CONTRACTS), "-n", "0", "-p", "no:cacheprovider"], [table])
    table.show()
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
