"""Which daemon a command is for, and what becomes of errors on the way."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any, Callable, Optional

from service import settings as settings_table
from service.client import Client
from service.commands.printing import DONE, FAILED, complain
from service.errors import AddressError, ClientError, ProblemError, SettingsError
from service.standard_streams import forget_unwritten

_ANY_ADDRESS = ("0.0.0.0", "::", "")
_LOCAL = ("127.0.0.1", "localhost", "[::1]")
_SCOPES = ("manage", "classify")  # the strongest first


def common_flags() -> argparse.ArgumentParser:
    """What every command takes: which daemon, and whether to print JSON."""
    common = argparse.ArgumentParser(add_help=False)
    group = add_place_flags(common)
    group.add_argument("--data-dir", metavar="FOLDER", help="the daemon's data folder, for its tokens.json")
    group.add_argument("--config", metavar="FILE", help="the daemon's configuration file")
    common.add_argument("--json", action="store_true", help="print JSON")
    return common


def add_place_flags(parser: argparse.ArgumentParser) -> Any:
    """Add --url, --token and --ca-file; returns their group."""
    group = parser.add_argument_group("which daemon")
    group.add_argument(
        "--url",
        help="where it answers (default: CORAL_LEARN_URL, else this machine at the port of the configuration)",
    )
    group.add_argument(
        "--token",
        help="for a daemon that wants one; better in CORAL_LEARN_TOKEN, which others on this machine don't see "
        "(default: what tokens.json of the data folder has, when it can be read)",
    )
    group.add_argument(
        "--ca-file",
        metavar="FILE",
        help="certificates to trust, PEM, for https (default: CORAL_LEARN_CA_FILE, else tls-cert of the configuration)",
    )
    return group


def run(command: Callable, parsed: argparse.Namespace, endless: bool) -> int:
    """Run a command with a client; returns its exit code. endless : who reads it ends it, by closing the pipe"""
    # Names of files may be no text at all; what can't be shown is no reason to stop.
    sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with connect(parsed, os.environ) as client:
            code = command(client, parsed)
            sys.stdout.flush()
            return code
    except KeyboardInterrupt:
        return complain("interrupted")
    except BrokenPipeError:  # who read our output has gone
        forget_unwritten(sys.stdout)
        return DONE if endless else FAILED
    except ProblemError as error:
        hint = " (CORAL_LEARN_TOKEN or --token; the daemon's is in tokens.json of its data folder)"
        return complain(f"{error}{hint if error.status == 401 else ''}")
    except SettingsError:
        raise
    except ClientError as error:
        return complain(str(error))
    except OSError as error:
        return complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def connect(parsed: argparse.Namespace, environ) -> Client:
    """A client for the daemon that flags, environment and configuration speak of.

    Raises `SettingsError` when they can't be used.
    """
    given = zip((parsed.url, parsed.token, parsed.ca_file), settings_table.OF_COMMANDS)
    url, token, ca_file = (flag or environ.get(variable) for flag, variable in given)
    if url is None or token is None:
        settings = _settings(parsed, environ)
        configured = url is None
        if configured:
            url = _address(settings)
            if ca_file is None and os.access(settings.tls_cert, os.R_OK):
                ca_file = settings.tls_cert  # one that signs itself is known by itself only
        # The tokens of this machine's daemon are for it alone, not for wherever --url points to.
        if token is None and (configured or parsed.data_dir or is_local(url)):
            token = _stored_token(Path(settings.data_dir))
    try:
        return Client(url, token, ca_file=ca_file)
    except AddressError as error:
        raise SettingsError(str(error)) from error


def place_of(parsed: argparse.Namespace, environ) -> str:
    """The address `connect` goes to."""
    return parsed.url or environ.get(settings_table.OF_COMMANDS[0]) or _address(_settings(parsed, environ))


def _settings(parsed: argparse.Namespace, environ) -> settings_table.Settings:
    """Those that say where the daemon is; only the doctor has flags for all of them."""
    flags = {name: getattr(parsed, name, None) for name in ("data_dir", "host", "port", "tls_cert", "tls_key")}
    return settings_table.load(flags, environ, parsed.config)


def _address(settings: settings_table.Settings) -> str:
    host = "127.0.0.1" if settings.host in _ANY_ADDRESS else settings.host
    scheme = "https" if settings.tls_cert else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.port}"


def is_local(url: str) -> bool:
    """Whether an address is one of this machine alone."""
    rest = url.partition("://")[2]
    return any(rest == host or rest.startswith((host + ":", host + "/")) for host in _LOCAL)


def _stored_token(folder: Path) -> Optional[str]:
    """The strongest token of a data folder, None where there is none or it isn't ours to read."""
    try:
        tokens = json.loads((folder / "tokens.json").read_text())
        return next((tokens[scope] for scope in _SCOPES if scope in tokens), None)
    except (OSError, ValueError, TypeError):
        return None
