"""The commands for a daemon that runs: add, classify, train, watch, status, export, import, undo.

Results go to standard output, everything else to standard error.
"""

import argparse
import json
import os
import sys
from collections import deque
from contextlib import closing
from pathlib import Path
from typing import Any, Callable, Deque, Dict, Iterator, List, NamedTuple, Optional, Tuple

from service import settings as settings_table
from service.client import SUFFIXES, AddedExample, Client, Job, is_about_picture
from service.errors import AddressError, ClientError, ProblemError, SettingsError
from service.progress import Progress

DONE, FAILED = 0, 1
_ANY_ADDRESS = ("0.0.0.0", "::", "")
_LOCAL = ("127.0.0.1", "localhost", "[::1]")
_SCOPES = ("manage", "classify")  # the strongest first
_MEGABYTE = 1024 * 1024
_RATE_OVER = 20  # frames

_UNDONE = {
    "add_class": "the class {name!r} was added",
    "rename_class": "the class {before!r} was renamed {name!r}",
    "merge_classes": "the class {name!r} was merged into {into!r}",
    "delete_class": "the class {name!r} was deleted, with {count} examples",
    "add_examples": "pictures that were added to {name!r}: {count}",
    "move_example": "a picture was moved to {name!r}",
    "delete_example": "a picture of {name!r} was deleted",
}


def add_commands(commands: Any) -> None:
    """Add the commands to the subparsers of the command line."""
    common = _common()

    def command(name: str, run: Callable, help_text: str, description: str = "") -> argparse.ArgumentParser:
        parser = commands.add_parser(name, parents=[common], help=help_text, description=description or help_text)
        parser.set_defaults(run=lambda parsed: _run(run, parsed))
        return parser

    add = command(
        "add",
        _add,
        "teach the daemon pictures",
        "Teach a class pictures; folders are walked. With --folders every folder in a given one is a class.",
    )
    add.add_argument("--folders", action="store_true", help="take each sub folder of the given folders as a class")
    add.add_argument("what", nargs="+", metavar="CLASS FILE|FOLDER", help="the class and its pictures")
    classify = command("classify", _classify, "ask what is in pictures")
    classify.add_argument("files", nargs="+", metavar="FILE", help="pictures, or folders of them")
    classify.add_argument("--top-k", type=int, default=5, metavar="N", help="predictions to give (default: 5)")
    classify.add_argument("--explain", action="store_true", help="name the stored examples most like it as well")
    train = command("train", _train, "train a model version in the background and wait for it")
    train.add_argument("--head", help="imprinting, lda, knn, softmax, or auto for the one that does best")
    train.add_argument("--activate", help="if_better, always or never: when the version is to answer")
    train.add_argument(
        "--option",
        type=_option,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="what else the job takes, like epochs=30; repeatable",
    )
    train.add_argument("--no-wait", action="store_true", help="don't wait for the end")
    watch = command("watch", _watch, "print what the camera sees, as it happens, until Ctrl-C")
    watch.add_argument("--count", type=int, metavar="N", help="end after this many frames")
    command("status", _status, "print what the daemon runs on and what it knows")
    export = command("export", _export, "write everything that was taught to an archive")
    export.add_argument("file", type=Path, metavar="FILE", help="the archive to write, .zip")
    export.add_argument("--replace", action="store_true", help="write over a file that is there")
    take = command("import", _import, "teach everything in an archive, a folder a class inside")
    take.add_argument("file", type=Path, metavar="FILE", help="the archive, .zip or .tar.gz")
    take.add_argument("--no-wait", action="store_true", help="don't wait for the end")
    command("undo", _undo, "take back the last change of what was taught")


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


def _common() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    group = add_place_flags(common)
    group.add_argument("--data-dir", metavar="FOLDER", help="the daemon's data folder, for its tokens.json")
    group.add_argument("--config", metavar="FILE", help="the daemon's configuration file")
    common.add_argument("--json", action="store_true", help="print JSON")
    return common


def _run(command: Callable, parsed: argparse.Namespace) -> int:
    """Run a command with a client; returns its exit code."""
    # Names of files may be no text at all; what can't be shown is no reason to stop.
    sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with connect(parsed, os.environ) as client:
            code = command(client, parsed)
            sys.stdout.flush()
            return code
    except KeyboardInterrupt:
        return _complain("interrupted")
    except BrokenPipeError:
        # Who read our output has gone. Python would complain at its end about what it can't write.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE if command is _watch else FAILED
    except ProblemError as error:
        hint = " (CORAL_LEARN_TOKEN or --token; the daemon's is in tokens.json of its data folder)"
        return _complain(f"{error}{hint if error.status == 401 else ''}")
    except SettingsError:
        raise
    except ClientError as error:
        return _complain(str(error))
    except OSError as error:
        return _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))


# -- add ------------------------------------------------------------------------------------


class _Refusal(NamedTuple):
    file: str
    code: str
    detail: str


class _Tally:
    """What became of the pictures. accepted : (class, file, example)"""

    def __init__(self) -> None:
        self.accepted: List[Tuple[str, str, AddedExample]] = []
        self.refused: List[_Refusal] = []
        self._told: set = set()

    def accept(self, name: str, path: Path, example: AddedExample) -> None:
        """Keep it, and tell each warning that is not just for this picture once."""
        self.accepted.append((name, str(path), example))
        for warning in example.warnings:
            if warning not in self._told:
                self._told.add(warning)
                print(f"{path}: {warning}", file=sys.stderr)

    def as_dict(self) -> Dict[str, Any]:
        """For --json."""
        accepted = [
            {"class": name, "file": file, "id": one.id, "duplicate": one.duplicate, "warnings": one.warnings}
            for name, file, one in self.accepted
        ]
        return {"accepted": accepted, "refused": [dict(one._asdict()) for one in self.refused]}

    def lines(self) -> Iterator[str]:
        """A line a class."""
        for name in dict.fromkeys(name for name, _, _ in self.accepted):
            mine = [one for other, _, one in self.accepted if other == name]
            again = sum(one.duplicate for one in mine)
            known = f", {again} were known" if again else ""
            yield f"{name}: {len(mine) - again} pictures taught{known}; the class has {mine[-1].class_examples}"


def _add(client: Client, parsed: argparse.Namespace) -> int:
    lessons, tally, unusable = _lessons(parsed), _Tally(), set()
    tally.refused = [_no_picture(path) for _, given, found in lessons for path in given if not found[path]]
    work = [(name, path) for name, _, found in lessons for paths in found.values() for path in paths]
    try:
        with Progress("teaching") as progress:
            for number, (name, path) in enumerate(work):
                progress.show(number / len(work), f"{number} of {len(work)}")
                if name in unusable:
                    continue
                try:
                    tally.accept(name, path, client.add_example(name, path))
                except (ProblemError, OSError) as error:
                    if getattr(error, "code", "") == "name_invalid":
                        unusable.add(name)
                        tally.refused.append(_Refusal(name, "name_invalid", str(error)))
                    else:
                        tally.refused.append(_refusal(path, error))
    finally:  # what was taught was taught, however it ended
        if parsed.json:
            _print_json(tally.as_dict())
        else:
            for line in tally.lines():
                print(line)
        _tell_refused(tally.refused)
    return FAILED if tally.refused else DONE


def _lessons(parsed: argparse.Namespace) -> List[Tuple[str, List[Path], Dict[Path, List[Path]]]]:
    """The class, what was given for it, and the pictures that were found there."""
    if parsed.folders:
        classes = []
        for text in parsed.what:
            if not Path(text).is_dir():
                raise SettingsError(f"--folders takes folders with a folder a class inside, {text} is none")
            inside = [path for path in sorted(Path(text).iterdir()) if path.is_dir() and _is_visible(path)]
            if not inside:
                raise SettingsError(f"{text} has no folders inside, so no classes; without --folders: add CLASS {text}")
            classes += [(path.name, [path]) for path in inside]
    else:
        name, *files = parsed.what
        if not files:
            folder = Path(name).is_dir()
            hint = f"; for a folder a class: add --folders {name}" if folder else ""
            raise SettingsError(f"add takes a class and its pictures, got {name!r} alone{hint}")
        classes = [(name, [Path(text) for text in files])]
    return [(name, given, {path: _pictures(path) for path in given}) for name, given in classes]


def _pictures(path: Path) -> List[Path]:
    """The pictures in a folder and in those inside; what is no folder is taken as it is."""
    if not path.is_dir():
        return [path]
    inside = (one for one in sorted(path.rglob("*")) if one.suffix.lower() in SUFFIXES and one.is_file())
    return [one for one in inside if all(_is_visible(Path(part)) for part in one.relative_to(path).parts)]


def _is_visible(path: Path) -> bool:
    return not path.name.startswith(".")


def _no_picture(path: Path) -> _Refusal:
    return _Refusal(str(path), "no_pictures", f"holds no picture ({', '.join(SUFFIXES)})")


def _refusal(path: Path, error: Exception) -> _Refusal:
    """Why one file wasn't taken. What would befall every other one as well is raised on."""
    if isinstance(error, ProblemError):
        if not is_about_picture(error):
            raise error
        return _Refusal(str(path), error.code, error.detail)
    if isinstance(error, ClientError):
        raise error
    return _Refusal(str(path), "file_unreadable", getattr(error, "strerror", None) or str(error))


def _tell_refused(refused: List[_Refusal]) -> None:
    for one in refused:
        _complain(f"{one.file}: {one.detail}")


# -- classify -------------------------------------------------------------------------------


def _classify(client: Client, parsed: argparse.Namespace) -> int:
    given = {Path(text): _pictures(Path(text)) for text in parsed.files}
    refused = [_no_picture(path) for path, found in given.items() if not found]
    _tell_refused(refused)
    for path in (path for found in given.values() for path in found):
        try:
            answer = client.classify(path, parsed.top_k, parsed.explain)
        except (ProblemError, OSError) as error:
            refused.append(_refusal(path, error))
            _tell_refused(refused[-1:])
            if parsed.json:
                _print_json({"file": str(path), "error": {"code": refused[-1].code, "detail": refused[-1].detail}})
            continue
        if parsed.json:
            _print_json({"file": str(path), **answer.answer})
            continue
        others = ", ".join(f"{one.label} {one.score:.2f}" for one in answer.predictions if one.label != answer.label)
        print(f"{path}: {_decided(answer.label, answer.score)}{f' ({others})' if others else ''}")
        for one in answer.answer.get("nearest", []):
            print(f"  like {one['example']} of {one['class']}, {one['similarity']:.2f}")
    return FAILED if refused else DONE


def _decided(label: Optional[str], score: float) -> str:
    return "none of what was taught" if label is None else f"{label} {score:.2f}"


# -- jobs -----------------------------------------------------------------------------------


def _option(text: str) -> Tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"an option is NAME=VALUE, got {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _train(client: Client, parsed: argparse.Namespace) -> int:
    options = dict(parsed.option)
    for name in ("head", "activate"):
        if getattr(parsed, name) is not None:
            options[name] = getattr(parsed, name)
    return _see_through(client, client.train(**options), parsed)


def _import(client: Client, parsed: argparse.Namespace) -> int:
    with Progress("sending") as progress:
        job = client.import_(parsed.file, _transfer(progress))
    return _see_through(client, job, parsed)


def _see_through(client: Client, job: Job, parsed: argparse.Namespace) -> int:
    """Wait for a job, unless told not to, and say how it ended."""
    if not parsed.no_wait:
        try:
            with Progress("training" if job.kind == "train" else job.kind) as progress:
                job = client.wait(job.id, lambda now: progress.show(now.progress, _note(now)))
        except KeyboardInterrupt:
            return _complain(f"interrupted; the job {job.id} goes on in the daemon")
    if parsed.json:
        _print_json(job.facts)
    elif job.state == "succeeded" or not job.ended:
        print(_outcome(job))
    if not job.ended or job.state == "succeeded":
        return DONE
    detail = (job.error or {}).get("detail")
    return _complain(f"the job {job.id} has {job.state}" + (f": {detail}" if detail else ""))


def _note(job: Job) -> str:
    accuracy = job.metrics.get("held_out_accuracy", job.metrics.get("accuracy"))
    return job.state if accuracy is None else f"accuracy {accuracy:.3f}"


def _outcome(job: Job) -> str:
    if job.model is not None:
        answers = "answers from now on" if job.model["activated"] else "does not answer"
        return f"version {job.model['version']} {answers}: {job.model['reason']}"
    figures = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in job.metrics.items())
    return f"the job {job.id} is {job.state}" if not job.ended else f"done{f': {figures}' if figures else ''}"


# -- watch ----------------------------------------------------------------------------------


class _Rate:
    """Frames a second over the last frames."""

    def __init__(self) -> None:
        self._frames: Deque[Tuple[int, float]] = deque(maxlen=_RATE_OVER)

    def add(self, number: int, captured: float) -> Optional[float]:
        """The rate with one more frame, None while there is only one. captured : seconds"""
        self._frames.append((number, captured))
        frames, seconds = (last - first for first, last in zip(self._frames[0], self._frames[-1]))
        if frames < 0 or seconds < 0:  # counted anew by another run of the daemon
            self._frames.clear()
            return None
        return frames / seconds if seconds else None


def _watch(client: Client, parsed: argparse.Namespace) -> int:
    rate, seen = _Rate(), 0
    try:
        with closing(client.stream(reconnect=True)) as events:
            for event in events:
                data = event.data
                if event.kind == "camera" and data.get("state") == "none":
                    return _complain("the daemon has no camera to watch; serve --camera names one")
                if event.kind == "classification":
                    seen, fps = seen + 1, rate.add(data["frame"], data["captured"])
                    data = dict(data, frames_per_second=None if fps is None else round(fps, 2))
                if parsed.json:
                    _print_json({"event": event.kind, **data})
                else:
                    _tell(event.kind, data)
                if seen == parsed.count:
                    return DONE
    except KeyboardInterrupt:
        pass
    return DONE


def _tell(kind: str, data: Dict[str, Any]) -> None:
    if kind == "classification":
        fps = data["frames_per_second"]
        rate = "" if fps is None else f"  {fps:.1f} frames/s"
        label = data["decided"] if data["decided"] is not None else "-"
        print(f"{label:<24} {data['score']:.2f}{rate}", flush=True)
    elif kind == "camera":
        reason = f": {data['reason']}" if data.get("reason") else ""
        print(f"camera {data['state']}{reason}", file=sys.stderr)
    elif kind == "model":
        print(f"model {_model(data)}", file=sys.stderr)


# -- the rest -------------------------------------------------------------------------------


def _status(client: Client, parsed: argparse.Namespace) -> int:
    status = client.status()
    if parsed.json:
        _print_json(status)
        return DONE
    extractor, counts, camera, model = (status[name] for name in ("extractor", "counts", "camera", "model"))
    print(f"coral-learn {status['version']} at {client.url}")
    print(f"device     {status['device'] or 'none'}: {status['device_reason']}{' (degraded)' * status['degraded']}")
    print(f"extractor  {extractor.get('name') or 'none'}, {extractor['state']}")
    unseen = (model.get("unseen") or {}).get("examples")
    print(f"model      {_model(model)}" + (f"; {unseen} examples it has not seen" if unseen else ""))
    print(f"taught     {counts['classes']} classes, {counts['examples']} examples")
    print(f"camera     {camera['state']}" + (f": {camera['reason']}" if camera.get("reason") else ""))
    return DONE


def _model(model: Dict[str, Any]) -> str:
    revision = f", revision {model['revision']}" if "revision" in model else ""
    return f"{model['version']} ({model['head']}{revision})"


def _export(client: Client, parsed: argparse.Namespace) -> int:
    if parsed.file.exists() and not parsed.replace:
        raise SettingsError(f"{parsed.file} is there; --replace writes over it")
    with Progress("exporting") as progress:
        size = client.export(parsed.file, _transfer(progress))
    if parsed.json:
        _print_json({"file": str(parsed.file), "bytes": size})
    else:
        print(f"{parsed.file}: {size / _MEGABYTE:.1f} MB")
    return DONE


def _undo(client: Client, parsed: argparse.Namespace) -> int:
    answer = client.undo()
    if parsed.json:
        _print_json(answer)
    else:
        step, details = answer["undone"], answer["undone"]["details"]
        known = _Known(details, **({"count": len(details["examples"])} if "examples" in details else {}))
        print(f"taken back: {_UNDONE.get(step['action'], step['action']).format_map(known)}")
    return DONE


class _Known(dict):
    """Details of a step; what isn't there reads as a question mark."""

    def __missing__(self, _: str) -> str:
        return "?"


def _transfer(progress: Progress) -> Callable[[int, Optional[int]], None]:
    def show(done: int, total: Optional[int]) -> None:
        progress.show(done / total if total else None, f"{done / _MEGABYTE:.1f} MB")

    return show


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


def _print_json(value: Dict[str, Any]) -> None:
    print(json.dumps(value, ensure_ascii=False), flush=True)


def _complain(text: str) -> int:
    print(f"coral-learn: {text}", file=sys.stderr)
    return FAILED
