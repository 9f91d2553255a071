"""The command `models`: list, fetch, cut, compile and inspect model files. No daemon is needed for it."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

from coral_learn.catalog import (
    BUNDLED_KIND,
    IMPRINTING_KIND,
    CatalogFile,
    CatalogModel,
    catalog,
    find_model,
    models_folder,
)
from coral_learn.inspection import ModelFacts, inspect_model
from service import settings as settings_table
from service.installing.place import Place
from service.model_files.compiling import CompiledModel, compile_model
from service.model_files.cutting import cut_model
from service.model_files.fetching import (
    GITHUB,
    KEPT,
    MEASURED,
    SHIPPED,
    FetchedModel,
    Origin,
    fetch_model,
    file_url,
    on_board,
    role_of,
)
from service.progress import Progress
from service.store.files import translated

DONE, FAILED = 0, 1
MIRROR_VARIABLE = "CORAL_LEARN_MIRROR"
SERVICE_CONFIG = str(Place(Path("/")).config)
_HIDDEN = ("/home/", "/root/", "/run/user/")  # by ProtectHome of the unit
_FOLDER = "extractors"  # of the data folder; its folder models is that of trained versions
_MEAN = {
    SHIPPED: "its mean embedding comes with coral-learn",
    KEPT: "its mean embedding is the one that was there",
    "": "it has no mean embedding: --pictures FOLDER, with a hundred photographs of all sorts, gives it one",
}


def add_models_command(commands: Any) -> None:
    """Add the command to the subparsers of the command line."""
    models = commands.add_parser("models", help="get, make and look at model files")
    actions = models.add_subparsers(dest="action", metavar="ACTION")
    actions.required = True
    _add_list(actions)
    _add_fetch(actions)
    _add_cut(actions)
    _add_compile(actions)
    _add_inspect(actions)


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--to", type=Path, metavar="FOLDER", help=f"folder of fetched models (default: {_FOLDER} in the data folder)"
    )
    parser.add_argument("--data-dir", metavar="FOLDER", help="the daemon's data folder")
    parser.add_argument("--config", metavar="FILE", help="the daemon's configuration file")
    parser.add_argument(
        "--mirror",
        metavar="URL",
        help=f"where /OWNER/NAME/raw/COMMIT/PATH is found (default: {MIRROR_VARIABLE}, else {GITHUB})",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _folder(parsed: argparse.Namespace) -> Path:
    if parsed.to is not None:
        return parsed.to
    return Path(_settings(parsed).data_dir).expanduser() / _FOLDER


def _settings(parsed: argparse.Namespace) -> settings_table.Settings:
    return settings_table.load({"data_dir": parsed.data_dir}, os.environ, parsed.config)


def _make_data_folder(folder: Path) -> None:
    """As the daemon makes it: for its user alone."""
    with translated(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def _mirror(parsed: argparse.Namespace) -> str:
    return parsed.mirror or os.environ.get(MIRROR_VARIABLE) or GITHUB


def _print_json(result: Any) -> None:
    print(json.dumps(result, indent=2, default=str))


# -- list -----------------------------------------------------------------------------------


def _add_list(actions: Any) -> None:
    parser = actions.add_parser("list", help="say which models can be had", description="Say which models can be had.")
    _add_place(parser)
    parser.set_defaults(run=_list)


def _list(parsed: argparse.Namespace) -> int:
    folder, mirror = _folder(parsed), _mirror(parsed)
    models = [_listed(model, folder, mirror) for model in catalog()]
    if parsed.json:
        _print_json({"items": models, "folder": folder})
        return DONE
    for listed in models:
        print(f"{listed['name']:<24} {listed['title']}")
        print(f"    {', '.join(_figures(listed))}")
        print(f"    {listed['source']}; {_known(listed)}")
        print(f"    good for: {listed['good_for']}")
        there = [f"{file['role']} {file['path']}" for file in listed["files"] if file["path"]]
        print(f"    here: {', '.join(there) or 'no, coral-learn models fetch ' + listed['name'] + ' gets it'}")
    return DONE


def _listed(model: CatalogModel, folder: Path, mirror: str) -> Dict[str, Any]:
    return {
        "name": model.name,
        "title": model.title,
        "kind": model.kind,
        "licence": model.licence,
        "source": model.source,
        "repository": model.repository or None,
        "commit": model.commit or None,
        "input_size": model.input_size,
        "embedding_size": model.embedding_size,
        "mean_embedding": model.knowledge,
        "good_for": model.good_for,
        "files": [_listed_file(model, file, folder, mirror) for file in model.files],
    }


def _listed_file(model: CatalogModel, file: CatalogFile, folder: Path, mirror: str) -> Dict[str, Any]:
    path = (models_folder() if model.kind == BUNDLED_KIND else folder) / file.name
    return {
        "role": role_of(model, file),
        "name": file.name,
        "bytes": file.bytes,
        "sha256": file.sha256,
        "blob": file.blob or None,
        "url": file_url(model, file, mirror) if model.repository else None,
        "path": str(path) if _is_here(path, file) else None,
    }


def _is_here(path: Path, file: CatalogFile) -> bool:
    try:
        return file.matches(path.read_bytes())
    except OSError:
        return False


def _figures(listed: Dict[str, Any]) -> List[str]:
    side, size = listed["input_size"], listed["embedding_size"]
    figures = ["the file says its input and embedding size"]
    if side is not None:
        figures = [f"{side} x {side} pixels", f"embedding of {size} values"]
    sizes = [f"{file['role']} {file['bytes'] / 2**20:.1f} MB" for file in listed["files"] if file["bytes"]]
    return [*figures, listed["licence"], *sizes]


def _known(listed: Dict[str, Any]) -> str:
    if listed["kind"] == IMPRINTING_KIND:
        return "a whole classifier, not an extractor"
    if listed["mean_embedding"]:
        return "its mean embedding comes with coral-learn"
    return "no mean embedding comes with coral-learn (fetch --pictures FOLDER measures one)"


# -- fetch ----------------------------------------------------------------------------------


def _add_fetch(actions: Any) -> None:
    parser = actions.add_parser(
        "fetch",
        help="download a model that Coral publishes",
        description="Download a model of the list, check it, and write a manifest beside it. Where an Edge TPU or its "
        "library is found the compiled file comes too. An interrupted download is gone on with.",
    )
    parser.add_argument("name", metavar="NAME", help="a name of coral-learn models list")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--both", action="store_true", help="the compiled file too, whatever machine this is")
    which.add_argument("--plain", action="store_true", help="the plain file only, on a board too")
    which.add_argument(
        "--from",
        dest="files",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="take these instead of a download, for a machine without internet",
    )
    parser.add_argument(
        "--pictures", type=Path, metavar="FOLDER", help="photographs of all sorts: for the mean embedding"
    )
    parser.add_argument("--replace", action="store_true", help="write over files that are there")
    _add_place(parser)
    parser.set_defaults(run=_fetch)


def _fetch(parsed: argparse.Namespace) -> int:
    model = find_model(parsed.name)
    if model.kind == BUNDLED_KIND:
        return _tell_bundled(model, parsed.json)
    folder, origin = _folder(parsed), Origin(_mirror(parsed), parsed.files)
    if parsed.to is None:
        _make_data_folder(folder.parent)
    compiled = parsed.both or (not parsed.plain and on_board())
    try:
        with Progress("fetching") as progress:

            def show(name: str, here: int, whole: Optional[int]) -> None:
                progress.show(None if whole is None else here / max(whole, 1), f"{here / 2**20:.1f} MB of {name}")

            fetched = fetch_model(model, folder, compiled, origin, show, parsed.pictures, parsed.replace)
    except KeyboardInterrupt:
        print("coral-learn: interrupted; what came is kept, the next fetch goes on from there", file=sys.stderr)
        return FAILED
    if parsed.json:
        _print_json(_fetched(fetched))
    else:
        _tell_fetched(fetched)
        if model.kind != IMPRINTING_KIND:
            _tell_use(fetched.path("plain") or fetched.files[0].path, parsed)
    return DONE


def _tell_bundled(model: CatalogModel, as_json: bool) -> int:
    path = models_folder() / model.plain.name
    if as_json:
        files = [{"role": "plain", "path": path, "state": "there"}]
        _print_json(
            {"name": model.name, "files": files, "manifest": path.with_suffix(".json"), "mean_embedding": SHIPPED}
        )
    else:
        print(f"{model.name} comes with coral-learn: {path}")
        print(
            "  for an Edge TPU compile it, on a PC: coral-learn models compile FILE. Lay the result and a copy of all"
        )
        print("  files of its name side by side in a folder that upgrades leave alone, and name it by model =")
    return DONE


def _fetched(fetched: FetchedModel) -> Dict[str, Any]:
    return {
        "name": fetched.model.name,
        "files": [file._asdict() for file in fetched.files],
        "manifest": fetched.manifest,
        "mean_embedding": fetched.mean or None,
        "pictures": fetched.pictures,
        "golden": fetched.golden,
    }


def _tell_fetched(fetched: FetchedModel) -> None:
    words = {"there": "was there and is right", "resumed": "downloaded (gone on with)"}
    for file in fetched.files:
        print(f"{file.path}: {words.get(file.state, file.state)}, {file.role}")
    if fetched.model.kind == IMPRINTING_KIND:
        path = fetched.path("plain") or fetched.files[0].path
        print("  it is a whole classifier with Coral's L2-normalised tail: ImprintingEngine takes it as it is;")
        print(f"  to serve it: coral-learn models cut {path} my_extractor.tflite --pictures FOLDER")
        return
    if fetched.mean == MEASURED:
        print(f"  its mean embedding is that of {fetched.pictures} pictures")
    else:
        print(f"  {_MEAN[fetched.mean]}")
    if not fetched.golden:
        print("  it is not checked when it starts: no golden embedding could be made here")
    if fetched.path("plain") is None:
        print("  the plain file isn't there: without it nothing runs where the Edge TPU is missing; fetch it too")


def _tell_use(path: Path, parsed: argparse.Namespace) -> None:
    """How the daemon comes to use it: by its configuration file, by a flag where there is none."""
    path, config = Path(os.path.abspath(str(path))), _configuration(parsed)
    of_service = config is not None and config == Path(SERVICE_CONFIG)
    if config is None:
        print(f"  coral-learn serve --model {path}")
        if parsed.to is None and parsed.data_dir is None and Path(SERVICE_CONFIG).exists():
            print(f"  for the service of this machine fetch it with --config {SERVICE_CONFIG}")
        return
    if _settings(parsed).model == str(path):
        print(f"  {config} names it already")
    else:
        print(f"  to use it, put this line into {config}:")
        print(f"model = {path}")
    if of_service and str(path).startswith(_HIDDEN):
        print("  but the service sees no home folder: fetch it with --to FOLDER, one in /var/lib/coral-learn or /srv")
    print("  and restart: sudo systemctl restart coral-learn" if of_service else "  and restart the daemon")


def _configuration(parsed: argparse.Namespace) -> Optional[Path]:
    given = parsed.config or os.environ.get(settings_table.PREFIX + "CONFIG")
    return Path(os.path.abspath(given)) if given else None


# -- cut ------------------------------------------------------------------------------------


def _add_cut(actions: Any) -> None:
    cut = actions.add_parser(
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


# -- compile --------------------------------------------------------------------------------


def _add_compile(actions: Any) -> None:
    parser = actions.add_parser(
        "compile",
        help="compile a model for the Edge TPU, where edgetpu_compiler is installed",
        description="Compile a model for the Edge TPU with edgetpu_compiler, and say what stays on the CPU. Where the "
        "compiler isn't installed (it exists for x86-64 only) it says what to run where.",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="a plain model, 8 bit, .tflite")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="where the result goes (default: beside the model)")
    parser.add_argument("--replace", action="store_true", help="write over a file that is there")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_compile)


def _compile(parsed: argparse.Namespace) -> int:
    made = compile_model(parsed.model, parsed.to, parsed.replace)
    if parsed.json:
        _print_json(_compiled(made))
        return DONE
    log = made.log
    if not log.rows:
        print(f"{made.path}: compiled; the compiler's log doesn't say which operators run where")
    elif log.on_cpu:
        print(f"{made.path}: {log.on_edgetpu} operators run on the Edge TPU, {log.on_cpu} stay on the CPU")
        for row in log.rows:
            if not row.mapped:
                print(f"  on the CPU: {row.count} {row.operator}: {row.status}")
    else:
        print(f"{made.path}: all {log.on_edgetpu} operators run on the Edge TPU")
    if "cached" in log.told and "streamed" in log.told:
        print(f"  parameters: {log.told['cached']} kept on the chip, {log.told['streamed']} streamed for every picture")
    print(f"  the compiler's log: {made.log_path}")
    return DONE


def _compiled(made: CompiledModel) -> Dict[str, Any]:
    log = made.log
    return {
        "path": made.path,
        "log": made.log_path,
        "compiler": log.version or None,
        "operators": [dict(row._asdict(), mapped=row.mapped) for row in log.rows],
        "on_edgetpu": log.on_edgetpu if log.rows else None,
        "on_cpu": log.on_cpu if log.rows else None,
        **{name: log.told.get(name) for name in ("input_size", "output_size", "cached", "room", "streamed")},
        "subgraphs": int(log.told["subgraphs"]) if log.told.get("subgraphs", "").isdecimal() else None,
    }


# -- inspect --------------------------------------------------------------------------------


def _add_inspect(actions: Any) -> None:
    parser = actions.add_parser(
        "inspect", help="say what a model file is", description="Say what a model file is, without running it."
    )
    parser.add_argument("model", type=Path, metavar="FILE", help="a .tflite file")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_inspect)


def _inspect(parsed: argparse.Namespace) -> int:
    facts = inspect_model(parsed.model)
    if parsed.json:
        _print_json(facts._asdict())
        return DONE
    print(f"{facts.path}: {facts.verdict}")
    for name, words in _inspected(facts).items():
        print(f"  {name:<12} {_printable(words)}")
    return DONE


def _inspected(facts: ModelFacts) -> Dict[str, str]:
    operators = ", ".join(f"{count} {name}" for name, count in facts.operators.items())
    rows = {
        "input": "; ".join(_tensor(tensor) for tensor in facts.inputs) or "none",
        "output": "; ".join(_tensor(tensor) for tensor in facts.outputs) or "none",
        "operators": f"{sum(facts.operators.values())}: {operators}",
        "numbers": facts.quantisation,
        "compiled": _compiled_words(facts),
        "labels": "none inside" if facts.labels is None else f"{facts.labels} inside",
        "metadata": ", ".join(facts.metadata) or "none",
        "manifest": _manifest_words(facts.manifest),
        "twin": facts.twin or f"no {'plain' if facts.compiled else 'compiled'} file lies beside it",
        "catalogue": "not in it",
        "bytes": f"{facts.bytes:,}",
        "sha256": facts.sha256,
        "git blob": facts.blob,
    }
    if facts.catalog is not None:
        rows["catalogue"] = f"{facts.catalog['name']}, the {facts.catalog['file']} file: {facts.catalog['title']}"
    if facts.subgraphs > 1:
        rows["operators"] += f" (the first of {facts.subgraphs} subgraphs)"
    return rows


def _tensor(tensor: Dict[str, Any]) -> str:
    scale = "" if tensor["scale"] is None else f", scale {tensor['scale']:g}, zero point {tensor['zero_point']}"
    return f"{tensor['name']} {tensor['shape']} {tensor['dtype']}{scale}"


def _compiled_words(facts: ModelFacts) -> str:
    if not facts.compiled:
        return "no, it runs on a CPU"
    if facts.least_runtime is None:
        return "for the Edge TPU"
    return f"for the Edge TPU, run-time version {facts.least_runtime} or newer"


def _manifest_words(manifest: Optional[Dict[str, Any]]) -> str:
    if manifest is None:
        return "none: no mean embedding, no kept classes, no golden check"
    if "error" in manifest:
        return f"{manifest['path']} can't be used: {manifest['error']}"
    has = ["a mean embedding"] * manifest["mean_embedding"] + ["a golden picture"] * manifest["golden"]
    if manifest["pretrained_classes"]:
        has.append(f"{manifest['pretrained_classes']} classes to keep")
    return f"{manifest['path']}: {', '.join(has) or 'nothing but its digest'}"


def _printable(text: str) -> str:
    """Names out of a file may hold anything, also what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
