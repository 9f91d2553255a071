"""The command: coral-learn doctor."""

import argparse
import json
import os
import sys
from itertools import chain
from pathlib import Path
from typing import Any, Dict, List, Optional

from service import settings as settings_table
from service.commands.connecting import add_place_flags, connect, is_local, place_of
from service.commands.printing import DONE, FAILED, complain
from service.cores import extractor_threads
from service.doctor.check import Check, report
from service.doctor.daemon import check_asked
from service.doctor.examination import Case, examine
from service.doctor.extractor import Tried, try_alone
from service.doctor.machine import Machine
from service.doctor.text import is_colourful, line, summary
from service.errors import ClientError, ProblemError
from service.settings import Settings


def add_command(commands: Any) -> None:
    """Add the command to the subparsers of the command line."""
    parser = commands.add_parser(
        "doctor",
        help="say what is wrong with this machine, the Edge TPU and the daemon, and what to do about it",
        description="Check this machine for a daemon with these settings, a line a check. Where that daemon runs, "
        "it examines itself: as its own user, with its own Python. Exit code 1 when a check failed.",
    )
    settings_table.add_flags(parser)
    add_place_flags(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=lambda parsed: run(parsed, Machine()))


def run(parsed: argparse.Namespace, machine: Machine) -> int:
    """Examine and print; returns the exit code."""
    sys.stdout.reconfigure(errors="backslashreplace")
    flags = {name: getattr(parsed, name) for name in Settings.__dataclass_fields__}
    settings = settings_table.load(flags, os.environ, parsed.config)
    url, refused = place_of(parsed, os.environ), None
    try:
        with connect(parsed, os.environ) as client:
            url = client.url
            return _print_all(client.doctor(), parsed.json, f"The daemon at {url} examined itself:")
    except ProblemError as error:
        refused = check_asked(machine, url, error, Path(settings.data_dir).expanduser())
        if not is_local(url):
            return complain(refused.found)
    except ClientError as error:  # none there: that may be what the doctor was called for
        if not is_local(url):
            return complain(str(error))
    return _examine_here(machine, settings, refused, parsed.json)


def _examine_here(machine: Machine, settings: Settings, refused: Optional[Check], as_json: bool) -> int:
    """refused : what a running daemon said that did not examine itself"""
    holder = machine.lock_holder(str(Path(settings.data_dir).expanduser() / "lock"))
    busy = f"the running daemon holds it ({holder})" if holder else ""
    if refused is not None:
        busy = busy or "the running daemon holds it"
    threads = extractor_threads(settings.threads)

    def try_extractor() -> Tried:
        return Tried(skipped=busy) if busy else try_alone(machine, settings.model, settings.device, threads)

    case = Case(settings, try_extractor, running=bool(busy), port_is_ours=refused is not None, busy=busy)
    done: List[Check] = []
    for check in chain([] if refused is None else [refused], examine(machine, case)):
        done.append(check)
        if not as_json:
            print(line(check._asdict(), is_colourful(sys.stdout)), flush=True)
    return _end(report(done), as_json)


def _print_all(made: Dict[str, Any], as_json: bool, heading: str) -> int:
    if not as_json:
        print(heading)
        for check in made["checks"]:
            print(line(check, is_colourful(sys.stdout)))
    return _end(made, as_json)


def _end(made: Dict[str, Any], as_json: bool) -> int:
    print(json.dumps(made, ensure_ascii=False) if as_json else summary(made), flush=True)
    return DONE if made["ok"] else FAILED
