"""The command: coral-learn install-service."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any, Optional

from service.errors import InstallError
from service.installing.installer import Installer
from service.installing.place import Place
from service.installing.programs import Programs
from service.installing.source import Source

DONE = 0


def add_command(commands: Any) -> None:
    """Add the command to the subparsers of the command line."""
    parser = commands.add_parser(
        "install-service",
        help="put the service on this machine, upgrade it, roll it back, or remove it",
        description=add_arguments.__doc__,
    )
    add_arguments(parser)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Put a virtual environment, a systemd unit, a user, a udev rule and a configuration file in place, as root.

    Once more upgrades: data and configuration stay, and --rollback goes back to the version before.
    """
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--rollback", action="store_true", help="have the version before the last upgrade run again")
    action.add_argument("--uninstall", action="store_true", help="remove it; data and configuration are kept")
    parser.add_argument(
        "--purge", action="store_true", help="with --uninstall: remove data, configuration and user, too"
    )
    parser.add_argument(
        "--put-database-back",
        action="store_true",
        help="with --rollback: take the database as it was before the upgrade; what was taught since is lost",
    )
    parser.add_argument(
        "--from",
        dest="source",
        metavar="WHEEL_OR_FOLDER",
        help="what to install: a wheel, or a folder with the sources (default: those this command runs from)",
    )
    parser.add_argument(
        "--wheelhouse", metavar="FOLDER", help="folder with every wheel that is needed; no network is used then"
    )
    parser.add_argument(
        "--system-site-packages",
        action="store_true",
        help="let the service see the system's Python packages, such as pycoral and tflite-runtime on a Dev Board",
    )
    parser.add_argument("--python", metavar="PROGRAM", help="Python to install with (default: the one that runs this)")
    parser.add_argument("--prefix", default="/opt/coral-learn", help="where to put it (default: %(default)s)")
    parser.add_argument("--root", default="/", metavar="FOLDER", help="root of the system to install into (default: /)")
    parser.add_argument("--now", action="store_true", help="start the service once it is installed")
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Do what was asked for; returns the exit code. Raises `InstallError`."""
    if parsed.purge and not parsed.uninstall:
        raise InstallError("--purge goes with --uninstall")
    if parsed.put_database_back and not parsed.rollback:
        raise InstallError("--put-database-back goes with --rollback")
    if os.geteuid() != 0:
        raise InstallError("only root may do this: put sudo in front")
    root = Path(parsed.root).resolve()
    if not root.is_dir():
        raise InstallError(f"--root {root} is no folder")
    prefix = Path(parsed.prefix)
    if not prefix.is_absolute() or any(character.isspace() for character in parsed.prefix):
        raise InstallError(f"--prefix is an absolute path without spaces, got {parsed.prefix!r}")
    place, programs = Place(root, prefix), Programs(root)
    os.umask(0o022)  # the service runs as another user
    installer = Installer(place, programs, _say)
    if parsed.uninstall:
        installer.uninstall(parsed.purge)
    elif parsed.rollback:
        installer.rollback(parsed.put_database_back)
    else:
        python = parsed.python or _python(root)
        source = Source.find(parsed.source, parsed.wheelhouse, parsed.system_site_packages, python)
        installer.install(source, parsed.now)
    return DONE


def _python(root: Path) -> str:
    """The interpreter that this one's virtual environment, if it is in one, was made from."""
    if root != Path("/"):
        return "python3"
    base: Optional[str] = getattr(sys, "_base_executable", None)
    if sys.prefix == sys.base_prefix:
        return sys.executable
    if base and base != sys.executable:
        return base
    return os.path.join(sys.base_prefix, "bin", "python{}.{}".format(*sys.version_info[:2]))


def _say(text: str) -> None:
    print(text, flush=True)
