"""The command line: coral-learn, or python3 -m service."""

import argparse
import dataclasses
import logging
import os
import sys
from pathlib import Path
from typing import Dict, List, Optional

import coral_learn
from coral_learn.errors import CoralLearnError, ModelError
from service import settings as settings_table
from service.addresses import masked
from service.commands import add_commands
from service.commands.printing import DONE, FAILED, complain
from service.doctor.command import add_command
from service.errors import ServiceError, SettingsError
from service.installing.command import add_command as add_install_command
from service.memory import bound_memory
from service.model_files.command import add_models_command
from service.preferences import with_choices
from service.standard_streams import forget_unwritten, open_missing

log = logging.getLogger("service")

WRONG_USE = 2


def main(arguments: Optional[List[str]] = None) -> int:
    """Run a command; returns the exit code: 0 done, 1 failed, 2 wrong use."""
    open_missing()
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return DONE
    except BrokenPipeError:  # who read our output has gone
        return FAILED
    except (SettingsError, ModelError) as error:
        return complain(error, WRONG_USE)
    except (ServiceError, CoralLearnError, OSError) as error:
        return complain(error)
    finally:
        forget_unwritten(sys.stdout, sys.stderr)


def _run(arguments: Optional[List[str]]) -> int:
    parser = _parser()
    parsed = parser.parse_args(arguments)
    if parsed.command is None:
        parser.print_help(sys.stderr)
        return WRONG_USE
    return parsed.run(parsed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="coral-learn", description=coral_learn.__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=f"coral-learn {coral_learn.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    serve = commands.add_parser("serve", help="start the daemon", description="Start the daemon.")
    settings_table.add_flags(serve)
    serve.set_defaults(run=_serve)
    show = commands.add_parser("print-config", help="print the settings that serve would use")
    settings_table.add_flags(show)
    show.add_argument(
        "--example",
        action="store_true",
        help="print a configuration file that explains every setting; those given as flags are in force in it",
    )
    show.set_defaults(run=_print_config)
    add_models_command(commands)
    add_commands(commands)
    add_command(commands)
    add_install_command(commands)
    return parser


def _serve(parsed: argparse.Namespace) -> int:
    from service import logs  # they and the daemon load Flask, which no other command needs

    settings, origins = _settings(parsed)
    logs.set_up(settings.log_format, settings.log_level, sys.stderr, os.environ)
    from service.daemon import Daemon

    bound_memory()
    # One core a picture: many come at once, and where one comes alone the extractor has use for the others.
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")
    daemon = Daemon(settings, origins, lambda: _settings(parsed))
    daemon.run(lambda: _announce(_welcome(daemon), daemon.address))
    return DONE


def _announce(welcome: str, address: str) -> None:
    try:
        print(welcome, flush=True)
    except OSError as error:  # no reason to serve nobody
        log.warning("it answers at %s, which standard output could not take: %s", address, error)
        forget_unwritten(sys.stdout)


def _print_config(parsed: argparse.Namespace) -> int:
    if parsed.example:
        chosen = {name: value for name, value in _flags(parsed).items() if value is not None}
        settings_table.load(chosen, {})  # says what can't be
        print(settings_table.example_config(chosen), end="")
        return DONE
    print(f"[{settings_table.SECTION}]")
    for name, value in dataclasses.asdict(with_choices(*_settings(parsed))).items():
        shown = str(value).lower() if isinstance(value, bool) else masked(str(value))
        print(f"{name.replace('_', '-')} = {shown}")
    return DONE


def _settings(parsed: argparse.Namespace) -> settings_table.Loaded:
    return settings_table.load_with_origins(_flags(parsed), os.environ, parsed.config)


def _flags(parsed: argparse.Namespace) -> Dict[str, Optional[str]]:
    return {name: getattr(parsed, name) for name in settings_table.FIELDS}


def _welcome(daemon) -> str:
    address, folder = daemon.address, Path(daemon.settings.data_dir)
    lines = [
        f"coral-learn {coral_learn.__version__} answers at {address} (open it in a browser; Ctrl-C ends it)",
        f"  data     {folder}",
        f"  camera   {masked(daemon.camera_source or 'none')}",
    ]
    header = ""
    if daemon.tokens:
        lines.append(f"  network  {daemon.network_address}")
        lines.append(f"  tokens   {folder / 'tokens.json'} (clients on the network need one)")
        header = ' -H "Authorization: Bearer TOKEN"'
    taught, asked, name, kind = "cat.jpg", "what.jpg", "cat", "jpeg"
    if daemon.shows_demo:
        from service.demo import picture_of

        taught, asked = (f"{daemon.camera_source}/{picture_of('star', variant)}" for variant in (0, 1))
        name, kind = "star", "png"
    send = f'  curl{header} -H "Content-Type: image/{kind}" --data-binary'
    lines += [
        "Teach it, one picture is enough, and ask:",
        f'{send} @{taught} "{address}/v1/examples?class={name}"',
        f"{send} @{asked} {address}/v1/classify",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
