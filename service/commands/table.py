"""The table of commands: their names, arguments and help."""

import argparse
from pathlib import Path
from typing import Any, Callable

from service.commands.adding import add
from service.commands.archives import export, import_
from service.commands.capturing import capture
from service.commands.classifying import classify
from service.commands.connecting import common_flags, run
from service.commands.jobs import option, train
from service.commands.state import status, undo
from service.commands.watching import watch


def add_commands(commands: Any) -> None:
    """Add the commands to the subparsers of the command line."""
    common = common_flags()

    def command(name: str, work: Callable, help_text: str, description: str = "") -> argparse.ArgumentParser:
        parser = commands.add_parser(name, parents=[common], help=help_text, description=description or help_text)
        parser.set_defaults(run=lambda parsed: run(work, parsed, endless=work is watch))
        return parser

    add_parser = command(
        "add",
        add,
        "teach the daemon pictures",
        "Teach a class pictures; folders are walked. With --folders every folder in a given one is a class.",
    )
    add_parser.add_argument(
        "--folders", action="store_true", help="take each sub folder of the given folders as a class"
    )
    add_parser.add_argument("what", nargs="+", metavar="CLASS FILE|FOLDER", help="the class and its pictures")
    capture_parser = command("capture", capture, "teach the daemon what its camera sees now")
    capture_parser.add_argument("class_name", metavar="CLASS", help="the class")
    capture_parser.add_argument("--count", type=int, default=1, metavar="N", help="frames to take (default: 1)")
    capture_parser.add_argument(
        "--interval", type=float, default=0.2, metavar="SECONDS", help="between two frames (default: 0.2)"
    )
    classify_parser = command("classify", classify, "ask what is in pictures")
    classify_parser.add_argument("files", nargs="+", metavar="FILE", help="pictures, or folders of them")
    classify_parser.add_argument("--top-k", type=int, default=5, metavar="N", help="predictions to give (default: 5)")
    classify_parser.add_argument("--explain", action="store_true", help="name the stored examples most like it as well")
    train_parser = command("train", train, "train a model version in the background and wait for it")
    train_parser.add_argument("--head", help="imprinting, lda, knn, softmax, or auto for the one that does best")
    train_parser.add_argument("--activate", help="if_better, always or never: when the version is to answer")
    train_parser.add_argument(
        "--option",
        type=option,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="what else the job takes, like epochs=30; repeatable",
    )
    train_parser.add_argument("--no-wait", action="store_true", help="don't wait for the end")
    watch_parser = command("watch", watch, "print what the camera sees, as it happens, until Ctrl-C")
    watch_parser.add_argument("--count", type=int, metavar="N", help="end after this many frames")
    command("status", status, "print what the daemon runs on and what it knows")
    export_parser = command("export", export, "write everything that was taught to an archive")
    export_parser.add_argument("file", type=Path, metavar="FILE", help="the archive to write, .zip")
    export_parser.add_argument("--replace", action="store_true", help="write over a file that is there")
    import_parser = command("import", import_, "teach everything in an archive, a folder a class inside")
    import_parser.add_argument("file", type=Path, metavar="FILE", help="the archive, .zip or .tar.gz")
    import_parser.add_argument("--no-wait", action="store_true", help="don't wait for the end")
    command("undo", undo, "take back the last change of what was taught")
