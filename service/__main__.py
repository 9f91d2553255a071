"""The command line: coral-learn, or python3 -m service."""

import argparse
import dataclasses
import os
import sys
from pathlib import Path
from typing import List, Optional

import coral_learn
from coral_learn.errors import CoralLearnError, ModelError
from service import logs
from service import settings as settings_table
from service.addresses import masked
from service.commands import add_commands
from service.cutting import cut_model
from service.doctor.command import add_command
from service.errors import ServiceError, SettingsError
from service.memory import bound_memory

DONE, FAILED, WRONG_USE = 0, 1, 2


def main(arguments: Optional[List[str]] = None) -> int:
    """Run a command; returns the exit code: 0 done, 1 failed, 2 wrong use."""
    parser = _parser()
    parsed = parser.parse_args(arguments)
    if parsed.command is None:
        parser.print_help(sys.stderr)
        return WRONG_USE
    try:
        return parsed.run(parsed)
    except KeyboardInterrupt:
        return DONE
    except (SettingsError, ModelError) as error:
        print(f"coral-learn: {error}", file=sys.stderr)
        return WRONG_USE
    except (ServiceError, CoralLearnError) as error:
        print(f"coral-learn: {error}", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="coral-learn", description=coral_learn.__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=f"coral-learn {coral_learn.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    serve = commands.add_parser("serve", help="start the daemon", description="Start the daemon.")
    settings_table.add_flags(serve)
    serve.set_defaults(run=_serve)
    show = commands.add_parser("print-config", help="print the settings that serve would use")
    settings_table.add_flags(show)
    show.set_defaults(run=_print_config)
    models = commands.add_parser("models", help="work on model files").add_subparsers(dest="action", metavar="ACTION")
    models.required = True
    cut = models.add_parser(
        "cut",
        help="make an extractor of an image classifier",
        description="Make an extractor of an image classifier by cutting it before its last layer, whose classes "
        "can be kept beside taught ones (serve --model NEW --keep-classes).",
    )
    cut.add_argument("model", type=Path, metavar="MODEL", help="a classifier, .tflite")
    cut.add_argument("new", type=Path, metavar="NEW", help="the extractor to write, .tflite")
    cut.add_argument("--labels", type=Path, help="names of the classes, one a line (default: those inside the model)")
    cut.add_argument(
        "--pictures",
        type=Path,
        metavar="FOLDER",
        help="pictures of all sorts, best a hundred or more: for the mean embedding",
    )
    cut.add_argument("--replace", action="store_true", help="write over files that are there")
    cut.set_defaults(run=_cut)
    add_commands(commands)
    add_command(commands)
    return parser


def _cut(parsed: argparse.Namespace) -> int:
    made = cut_model(parsed.model, parsed.new, parsed.labels, parsed.pictures, parsed.replace)
    print(f"{parsed.new} gives embeddings of {made.embedding_size} numbers; {made.classes} classes can be kept")
    for path in made.files[1:]:
        print(f"  beside it: {path.name}")
    if made.pictures:
        print(f"  its mean embedding is that of {made.pictures} pictures")
    else:
        print("  it has no mean embedding: many answers of kept classes are lost to the first taught ones.")
        print("  --pictures FOLDER, with a hundred pictures of all sorts or more, makes one.")
    return DONE


def _serve(parsed: argparse.Namespace) -> int:
    settings = _settings(parsed)
    logs.set_up(settings.log_format, settings.log_level, sys.stderr, os.environ)
    from service.daemon import Daemon

    bound_memory()
    daemon = Daemon(settings)
    print(_welcome(daemon), flush=True)
    daemon.run()
    return DONE


def _print_config(parsed: argparse.Namespace) -> int:
    print(f"[{settings_table.SECTION}]")
    for name, value in dataclasses.asdict(_settings(parsed)).items():
        shown = str(value).lower() if isinstance(value, bool) else masked(str(value))
        print(f"{name.replace('_', '-')} = {shown}")
    return DONE


def _settings(parsed: argparse.Namespace):
    names = [field.name for field in dataclasses.fields(settings_table.Settings)]
    flags = {name: getattr(parsed, name) for name in names}
    return settings_table.load(flags, os.environ, parsed.config)


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
        taught, asked = (f"{daemon.camera_source}/{variant}-star.png" for variant in (0, 1))
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
