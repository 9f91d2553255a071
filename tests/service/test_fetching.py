"""service/fetching.py: a published model, checked, with a manifest beside it; and the commands list and fetch."""

import hashlib
import json
import re
import shutil
import stat
from contextlib import closing

import numpy as np
import pytest
from file_server import FileServer

from coral_learn import Extractor, image
from coral_learn.catalog import (
    CatalogFile,
    CatalogModel,
    bundled_model,
    catalog,
    find_file,
    find_model,
    git_blob_id,
    golden_picture,
    knowledge_of,
)
from coral_learn.errors import ModelUnknown
from coral_learn.manifest import Manifest
from service.__main__ import main
from service.errors import FetchFailed, SettingsError, Unfetchable, WrongContent
from service.model_files import command as models_command
from service.model_files import fetching
from service.model_files.downloading import Patience
from service.model_files.fetching import Origin, fetch_model, file_url
from service.settings import load

EXTRACTOR = "mobilenet_v1_1.0_224_quant_embedding_extractor"
COMMIT = "104342d2d3480b3e66203073dac24f4e2dbb4c41"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """Nothing stands between the tests and their server, and no mirror is set."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "CORAL_LEARN_MIRROR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def contents(data):
    """The bytes of the tests' extractor and of its compiled twin, by role."""
    return {"plain": (data / "tiny.tflite").read_bytes(), "compiled": (data / "tiny_edgetpu.tflite").read_bytes()}


@pytest.fixture
def model(contents):
    """A catalogue's entry for them: of the plain file the sha256 is known, of the compiled one the blob id only."""
    plain, compiled = contents["plain"], contents["compiled"]
    digest = hashlib.sha256(plain).hexdigest()
    files = [
        CatalogFile("some/tiny.tflite", len(plain), digest, git_blob_id(plain)),
        CatalogFile("some/tiny_edgetpu.tflite", None, None, git_blob_id(compiled)),
    ]
    return CatalogModel("tiny", "Tiny", "extractor", "MIT", "owner/name", "abc", None, None, False, "tests", *files)


@pytest.fixture
def server(contents):
    """A mirror with both files."""
    server = FileServer()
    server.contents = {
        "/owner/name/raw/abc/some/tiny.tflite": contents["plain"],
        "/owner/name/raw/abc/some/tiny_edgetpu.tflite": contents["compiled"],
    }
    yield server
    server.stop()


@pytest.fixture
def folder(tmp_path):
    """Where models go; not there yet."""
    return tmp_path / "data" / "extractors"


@pytest.fixture
def fetch(model, server, folder):
    """fetch(compiled=True, files=(), **more): fetch the model from the server, or from files."""

    def run(compiled=True, files=(), model=model, **more):
        origin = Origin(server.url, files, Patience(20.0, 2, 0.0))
        return fetch_model(model, folder, compiled, origin, lambda *_: None, **more)

    return run


@pytest.fixture
def pictures(tmp_path, make_picture, encode):
    """A folder with twenty pictures."""
    place = tmp_path / "pictures"
    place.mkdir()
    for number, shade in enumerate(np.random.RandomState(5).randint(0, 256, (20, 3)).tolist()):
        (place / f"{number}.png").write_bytes(encode(make_picture(tuple(shade), number), "PNG"))
    return place


def names(folder):
    """The files in a folder."""
    return sorted(path.name for path in folder.iterdir())


BOTH = ["tiny.json", "tiny.npz", "tiny.tflite", "tiny_edgetpu.tflite", "tiny_golden.png"]


# The catalogue


def test_catalogue():
    """Every model has a name of its own, a licence, digests, and a compiled file named as the compiler names it."""
    models = catalog()
    published = [model for model in models if model.repository]

    assert len({model.name for model in models}) == len(models) == 6
    assert [model.name for model in models if not model.repository] == ["efficientnet_lite0"]
    for model in published:
        assert model.licence == "Apache-2.0"
        assert (model.repository, model.commit) == ("google-coral/test_data", COMMIT)
        assert model.compiled.name == model.plain.name.replace(".tflite", "_edgetpu.tflite")
        for file in model.files:
            assert re.fullmatch("[0-9a-f]{40}", file.blob)
            assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
            assert file_url(model, file) == f"https://github.com/google-coral/test_data/raw/{COMMIT}/{file.path}"


def test_bundled_model():
    """The bundled model is in the catalogue as its manifest has it."""
    entry, manifest = catalog()[0], Manifest.of(bundled_model())

    assert entry.plain.sha256 == manifest.digest
    assert entry.plain.matches(bundled_model().read_bytes())
    assert (entry.embedding_size, entry.licence) == (manifest.embedding_size, manifest.licence)
    assert find_file(bundled_model().read_bytes()) == (entry, entry.plain)


def test_unknown_model():
    """Another name is refused with those there are."""
    with pytest.raises(ModelUnknown, match=r"no model 'nothing' .*, mobilenet_v1, "):
        find_model("nothing")


def test_corals_files(coral_models):
    """What the catalogue says of Coral's extractor is true of the files, by sha256 and by git's blob id."""
    model = find_model("mobilenet_v1")
    for file in model.files:
        data = (coral_models / file.name).read_bytes()
        assert len(data) == file.bytes
        assert file.matches(data)
        assert file._replace(sha256=None).matches(data)
        assert not file._replace(sha256=None).matches(data + b"x")
        assert find_file(data) == (model, file)


def test_shipped_knowledge():
    """The arrays that come with the package are as long as the model's embedding, and finite."""
    for model in catalog():
        path = knowledge_of(model)
        if path is not None:
            with np.load(str(path)) as arrays:
                for name in ("mean_embedding", "golden_embedding"):
                    assert arrays[name].shape == (model.embedding_size,)
                    assert np.isfinite(arrays[name]).all()


# Fetching


def test_both_files(fetch, folder, contents, model):
    """Both files come, with a manifest that fits them; where nothing more is known it has a golden picture only."""
    fetched = fetch()
    facts = json.loads((folder / "tiny.json").read_text(encoding="utf-8"))

    assert names(folder) == BOTH
    assert [(file.role, file.state) for file in fetched.files] == [("plain", "downloaded"), ("compiled", "downloaded")]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o644 for path in folder.iterdir())
    assert (folder / "tiny.tflite").read_bytes() == contents["plain"]
    assert (folder / "tiny_edgetpu.tflite").read_bytes() == contents["compiled"]
    assert facts["source"] == "https://github.com/owner/name/raw/abc/some/tiny.tflite"
    assert (facts["name"], facts["licence"], facts["sha256"]) == ("tiny", "MIT", model.plain.sha256)
    assert facts["embedding_size"] == 64
    assert (fetched.mean, fetched.pictures, fetched.golden) == ("", 0, True)
    assert Manifest.of(folder / "tiny.tflite").mean_embedding is None


@pytest.mark.parametrize("device", ["cpu", "fake"])
def test_it_runs(fetch, folder, device):
    """On a CPU and on an Edge TPU the fetched model loads and passes its golden check."""
    fetch()
    with closing(Extractor(folder / "tiny.tflite", device)) as extractor:
        extractor.warm_up()
        assert extractor.manifest.golden().image == golden_picture().read_bytes()
        assert extractor.manifest.golden().embedding.shape == (64,)


def test_plain_file_only(fetch, folder, server):
    """The compiled file comes only where it is asked for."""
    fetched = fetch(compiled=False)

    assert names(folder) == [name for name in BOTH if "edgetpu" not in name]
    assert fetched.path("compiled") is None
    assert len(server.requests) == 1


def test_what_is_there_is_not_asked_for(fetch, server, folder):
    """A second run finds everything right and asks for nothing; one that lacks a file asks for that."""
    fetch(compiled=False)
    again = fetch()
    assert [(file.role, file.state) for file in again.files] == [("plain", "there"), ("compiled", "downloaded")]
    server.requests.clear()
    before = {path: path.read_bytes() for path in folder.iterdir()}
    last = fetch()

    assert server.requests == []
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert [file.state for file in last.files] == ["there", "there"]
    assert last.golden


def test_interrupted(fetch, server, folder):
    """A download that broke is gone on with in the next run."""
    server.faults = [("cut", 1000), ("cut", 1000)]
    with pytest.raises(Unfetchable, match="are kept"):
        fetch()
    fetched = fetch()

    assert fetched.files[0].state == "resumed"
    assert names(folder) == BOTH


def test_another_file_of_that_name(fetch, folder):
    """A file that is there and is another one is written over only where that is allowed."""
    folder.mkdir(parents=True)
    (folder / "tiny_edgetpu.tflite").write_bytes(b"mine")
    with pytest.raises(SettingsError, match=r"tiny_edgetpu\.tflite is there and is not the published one; --replace"):
        fetch()
    assert names(folder) == ["tiny_edgetpu.tflite"]
    fetch(replace=True)

    assert names(folder) == BOTH


def test_a_manifest_that_does_not_fit(fetch, folder):
    """So is a manifest of another model."""
    folder.mkdir(parents=True)
    (folder / "tiny.json").write_text("{}", encoding="utf-8")
    with pytest.raises(SettingsError, match="--replace writes a new manifest"):
        fetch()
    assert fetch(replace=True).golden
    Extractor(folder / "tiny.tflite", "cpu").warm_up()


@pytest.mark.parametrize("role", ["plain", "compiled"])
def test_wrong_content(fetch, server, folder, role):
    """A file with another digest is refused, by sha256 or by blob id, and nothing of it stays."""
    path = {"plain": "/owner/name/raw/abc/some/tiny.tflite", "compiled": "/owner/name/raw/abc/some/tiny_edgetpu.tflite"}
    content = server.contents[path[role]]
    server.contents[path[role]] = content[:-1] + bytes([content[-1] ^ 1])
    expected = "sha256" if role == "plain" else "git's blob id"
    with pytest.raises(WrongContent, match=f"{expected} [0-9a-f]+ was expected"):
        fetch()

    assert names(folder) == ([] if role == "plain" else ["tiny.tflite"])


@pytest.mark.parametrize("fault", [404, 503])
def test_what_to_do_without_internet(fetch, server, fault):
    """An error of the network says which files to bring here, and how to hand them over."""
    server.faults = [fault] * 9
    with pytest.raises(FetchFailed) as failed:
        fetch()
    lines = str(failed.value).splitlines()

    assert f"the server answers {fault}" in lines[0]
    assert lines[2] == f"  {server.url}/owner/name/raw/abc/some/tiny.tflite (7,808 bytes)"
    assert lines[-1].endswith(": --from tiny.tflite tiny_edgetpu.tflite")


@pytest.mark.parametrize(
    ("mirror", "words"),
    [
        ("ftp://host", "begins with http"),
        ("host/path", "begins with http"),
        ("file:///etc", "begins with http"),
        ("https://me:secret@host", "no user name"),
    ],
)
def test_mirrors_refused(model, mirror, words):
    """A mirror is an address of the web; a password in it isn't shown."""
    with pytest.raises(SettingsError, match=words) as refused:
        file_url(model, model.plain, mirror)

    assert "secret" not in str(refused.value)


# Files that were brought here


def test_from_files(fetch, folder, data, tmp_path, server):
    """Files are known by their content, whatever their names, and nothing is asked of the network."""
    for name in ("tiny", "tiny_edgetpu"):
        shutil.copy(str(data / f"{name}.tflite"), str(tmp_path / f"my {name}"))
    fetched = fetch(files=[tmp_path / "my tiny_edgetpu", tmp_path / "my tiny"])

    assert names(folder) == BOTH
    assert [(file.role, file.state) for file in fetched.files] == [("plain", "copied"), ("compiled", "copied")]
    assert server.requests == []


def test_only_the_compiled_file(fetch, folder, data):
    """The compiled file alone has a manifest of its own; the plain one that comes later has its own, too."""
    fetched = fetch(files=[data / "tiny_edgetpu.tflite"])
    assert names(folder) == ["tiny_edgetpu.json", "tiny_edgetpu.tflite"]
    assert (fetched.path("plain"), fetched.golden) == (None, False)
    assert Manifest.of(folder / "tiny_edgetpu.tflite").embedding_size == 64
    fetch(files=[data / "tiny.tflite"])

    assert names(folder) == sorted([*BOTH, "tiny_edgetpu.json"])
    Extractor(folder / "tiny.tflite", "cpu").warm_up()


def test_other_files_brought_here(fetch, folder, data, tmp_path):
    """A file that is none of the model's is refused with the digests of those it has."""
    with pytest.raises(
        WrongContent, match=r"tiny_int8\.tflite \(7472 bytes\) is no file of tiny: tiny\.tflite has sha"
    ):
        fetch(files=[data / "tiny_int8.tflite"])
    with pytest.raises(SettingsError, match=r"--from: .*none can't be read"):
        fetch(files=[tmp_path / "none"])

    assert not folder.exists()


# The mean embedding


def test_mean_of_pictures(fetch, folder, pictures):
    """With photographs the manifest has their mean embedding and one of them as the golden picture."""
    fetched = fetch(pictures=pictures)
    extractor = Extractor(folder / "tiny.tflite", "cpu")
    extractor.warm_up()
    expected = np.mean([extractor.embed(image.decode(path.read_bytes())) for path in pictures.iterdir()], axis=0)

    assert (fetched.mean, fetched.pictures, fetched.golden) == ("measured", 20, True)
    np.testing.assert_allclose(extractor.manifest.mean_embedding, expected, rtol=1e-4, atol=1e-5)
    assert extractor.manifest.radius > 0


def test_a_mean_can_come_later(fetch, folder, pictures, server):
    """Photographs give a model that is there its mean, which the next run keeps."""
    fetch()
    server.requests.clear()
    assert fetch(pictures=pictures).mean == "measured"
    assert fetch().mean == "kept"

    assert Manifest.of(folder / "tiny_edgetpu.tflite").mean_embedding.shape == (64,)
    assert server.requests == []


def test_mean_without_a_plain_file(fetch, data, pictures):
    """The mean is computed on the CPU, so it needs the plain file."""
    with pytest.raises(SettingsError, match="--pictures needs the plain model"):
        fetch(files=[data / "tiny_edgetpu.tflite"], pictures=pictures)


def test_shipped_mean(coral_models, shared_data, folder):
    """Coral's MobileNet v1 gets the mean embedding that comes with the package, and it is that of real pictures."""
    model = find_model("mobilenet_v1")
    files = [coral_models / file.name for file in model.files]
    fetched = fetch_model(model, folder, True, Origin(files=files), lambda *_: None)
    extractor = Extractor(folder / model.plain.name, "cpu")
    extractor.warm_up()
    paths = sorted((shared_data / "objects20").glob("*/00.jpg"))
    some = np.mean([extractor.embed(image.decode(path.read_bytes())) for path in paths], axis=0)
    mean = extractor.manifest.mean_embedding

    assert (fetched.mean, fetched.golden) == ("shipped", True)
    assert mean @ some / np.linalg.norm(mean) / np.linalg.norm(some) > 0.8
    assert Manifest.of(folder / model.compiled.name).mean_embedding.tolist() == mean.tolist()


def test_a_whole_classifier(model, fetch, folder):
    """The model with the L2-normalised tail is no extractor, so it gets no manifest."""
    fetched = fetch(compiled=False, model=model._replace(kind="imprinting"))

    assert fetched.manifest is None
    assert names(folder) == ["tiny.tflite"]


# The commands


@pytest.fixture
def known(model, monkeypatch):
    """The commands know the tests' model, and this machine is no board."""
    monkeypatch.setattr(models_command, "catalog", lambda: [catalog()[0], model])
    monkeypatch.setattr(models_command, "find_model", {"tiny": model, "efficientnet_lite0": catalog()[0]}.get)
    monkeypatch.setattr(models_command, "on_board", lambda: False)


@pytest.mark.usefixtures("known")
def test_fetch_command(server, folder, capsys, monkeypatch):
    """The command fetches into the data folder, says what it did, and how to go on."""
    monkeypatch.setenv("CORAL_LEARN_MIRROR", server.url)
    place = ["--data-dir", str(folder.parent)]
    assert main(["models", "fetch", "tiny", *place]) == 0
    out = capsys.readouterr().out.splitlines()
    assert main(["models", "fetch", "tiny", "--both", "--json", *place]) == 0
    result = json.loads(capsys.readouterr().out)

    assert out[0] == f"{folder / 'tiny.tflite'}: downloaded, plain"
    assert "it has no mean embedding" in out[1]
    assert out[-1] == f"  coral-learn serve --model {folder / 'tiny.tflite'}"
    assert [(file["role"], file["state"]) for file in result["files"]] == [
        ("plain", "there"),
        ("compiled", "downloaded"),
    ]
    assert result["manifest"] == str(folder / "tiny.json")
    assert result["mean_embedding"] is None
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700


@pytest.fixture
def config(folder, tmp_path):
    """A configuration file of a service, and the place it is installed at."""
    path = tmp_path / "coral-learn.conf"
    path.write_text(f"[coral-learn]\ndata-dir = {folder.parent}\n")
    return path


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("way", ["flag", "variable"])
def test_fetched_for_a_configuration(server, folder, config, capsys, monkeypatch, way):
    """It goes where the file says, and what is printed is the line to add to it, until that is there."""
    flags = ["--config", str(config)] if way == "flag" else []
    if way == "variable":
        monkeypatch.setenv("CORAL_LEARN_CONFIG", str(config))
    command = ["models", "fetch", "tiny", "--mirror", server.url, *flags]
    assert main(command) == 0
    *_, where, line, end = capsys.readouterr().out.splitlines()
    with config.open("a") as file:
        file.write(line + "\n")
    assert main(command) == 0
    again = capsys.readouterr().out.splitlines()

    assert str(config) in where
    assert end == "  and restart the daemon"
    assert load({}, {}, str(config)).model == str(folder / "tiny.tflite")
    assert again[-2:] == [f"  {config} names it already", end]


@pytest.mark.usefixtures("known")
def test_fetched_for_the_service(server, folder, config, capsys, monkeypatch):
    """With the installed configuration systemd's command is said; without it, that the service looks elsewhere."""
    monkeypatch.setattr(models_command, "SERVICE_CONFIG", str(config))
    monkeypatch.setenv("XDG_DATA_HOME", str(folder.parent / "home"))
    fetch = ["models", "fetch", "tiny", "--mirror", server.url]
    assert main([*fetch, "--config", str(config)]) == 0
    for_service = capsys.readouterr().out
    assert main(fetch) == 0
    for_nobody = capsys.readouterr().out
    monkeypatch.setattr(models_command, "_HIDDEN", (str(folder.parent) + "/",))
    assert main([*fetch, "--config", str(config)]) == 0
    hidden = capsys.readouterr().out

    assert for_service.endswith("  and restart: sudo systemctl restart coral-learn\n")
    assert "home folder" not in for_service
    assert for_nobody.endswith(f"fetch it with --config {config}\n")
    assert "the service sees no home folder" in hidden


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(("board", "flags", "files"), [(True, [], 2), (True, ["--plain"], 1), (False, ["--both"], 2)])
def test_on_a_board(server, folder, capsys, monkeypatch, board, flags, files):
    """Where an Edge TPU is found the compiled file comes as well; flags decide otherwise."""
    monkeypatch.setattr(models_command, "on_board", lambda: board)
    assert main(["models", "fetch", "tiny", "--to", str(folder), "--mirror", server.url, "--json", *flags]) == 0

    assert len(json.loads(capsys.readouterr().out)["files"]) == files


@pytest.mark.usefixtures("known")
def test_fetch_command_fails(server, folder, capsys):
    """A failed download ends with code 1, wrong use with 2, each with one message and no stack trace."""
    command = ["models", "fetch", "tiny", "--to", str(folder), "--mirror"]
    server.faults = [404]
    assert main([*command, server.url]) == 1
    assert "the server answers 404" in capsys.readouterr().err
    assert main([*command, "ftp://nowhere"]) == 2
    assert "coral-learn: a mirror's address" in capsys.readouterr().err
    (folder / "tiny.tflite").write_bytes(b"mine")
    assert main([*command, server.url]) == 2
    assert "--replace" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_fetch_the_bundled_model(capsys, flags):
    """The bundled model is there already; the command says where."""
    assert main(["models", "fetch", "efficientnet_lite0", *flags]) == 0

    assert str(bundled_model()) in capsys.readouterr().out


def test_fetch_an_unknown_model(capsys):
    """A name that isn't in the list is wrong use."""
    assert main(["models", "fetch", "nothing"]) == 2

    assert "there is no model 'nothing'" in capsys.readouterr().err


@pytest.mark.usefixtures("known")
def test_list_command(server, folder, capsys):
    """The list has every model with its figures, and says which files are here."""
    place = ["--to", str(folder), "--mirror", server.url]
    main(["models", "fetch", "tiny", *place])
    capsys.readouterr()
    assert main(["models", "list", "--json", *place]) == 0
    bundled, tiny = json.loads(capsys.readouterr().out)["items"]
    assert main(["models", "list", *place]) == 0
    text = capsys.readouterr().out

    assert [file["path"] for file in bundled["files"]] == [str(bundled_model())]
    assert [file["path"] for file in tiny["files"]] == [str(folder / "tiny.tflite"), None]
    assert tiny["files"][0]["url"] == f"{server.url}/owner/name/raw/abc/some/tiny.tflite"
    assert f"here: plain {folder / 'tiny.tflite'}" in text
    assert "embedding of 1280 values" in text


def test_list_without_a_folder(tmp_path, capsys):
    """Listing makes nothing, and names all six models."""
    assert main(["models", "list", "--data-dir", str(tmp_path / "none")]) == 0

    assert capsys.readouterr().out.count("good for:") == 6
    assert not (tmp_path / "none").exists()


def test_interrupted_by_its_user(known, folder, capsys, monkeypatch):  # noqa: ARG001
    """Ctrl-C ends a fetch with code 1: the model isn't there."""

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(fetching.Download, "run", interrupt)
    assert main(["models", "fetch", "tiny", "--to", str(folder)]) == 1

    assert "interrupted" in capsys.readouterr().err
