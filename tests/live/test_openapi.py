"""What /openapi.json says is true of a real daemon, tried by Schemathesis."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

HOOKS = Path(__file__).resolve().parent.parent / "support" / "schemathesis_hooks.py"
needs_schemathesis = pytest.mark.skipif(
    importlib.util.find_spec("schemathesis") is None, reason="Schemathesis is not installed (it needs Python 3.10)"
)
ENDLESS = "/v1/stream", "/v1/camera/stream.mjpg"
LONG = "/v1/doctor"  # each request takes seconds; tests/live/test_doctor.py holds its answer against the description
EXCHANGE = "/v1/extractor"  # after it everything is 503 for a while
# Not of our promises: what is a picture can't be said in a schema, a cancelled job stays in the list, and
# on a machine's own address nobody needs a token.
LEFT_OUT = "positive_data_acceptance,use_after_free,ensure_resource_availability,ignored_auth"


@pytest.fixture
def known(start_daemon, tiny_model, tmp_path, make_picture, encode):
    """A daemon with two classes, a version and a camera, and what Schemathesis may know of it."""
    frames = tmp_path / "frames"
    frames.mkdir()
    for colour in ("red", "blue"):
        Image.fromarray(make_picture(colour)).save(str(frames / f"{colour}.jpg"))
    daemon = start_daemon("--model", str(tiny_model), "--camera", str(frames))
    for colour in ("red", "blue"):
        for seed in range(6):
            assert daemon.teach(colour, encode(make_picture(colour, seed))).status == 201
    job = daemon.train(head="softmax", activate="never", epochs=5)
    names = {"name": ["red", "blue"], "version": ["1", "live"], "job": [job["id"]], "model": ["coral-learn", "live"]}
    names["example"] = [one["id"] for one in daemon.get("/v1/examples").json["items"]]
    paths = daemon.get("/openapi.json").json["paths"]
    types = {path: list(paths[path]["post"]["requestBody"]["content"]) for path in ("/v1/classify", "/v1/import")}
    facts = {
        "path": names,
        "pictures": [encode(make_picture(colour, 90)).hex() for colour in ("red", "grey")],
        "picture_types": [kind for kind in types["/v1/classify"] if kind.startswith("image/")],
        "archive_types": [kind for kind in types["/v1/import"] if kind != "application/octet-stream"],
    }
    return daemon, facts


def run(daemon, facts, folder, seconds, *flags):
    """Try a daemon for so long; returns the exit code and what was printed."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", daemon.url + "/openapi.json", "--no-color"]
    command += ["--checks", "all", "--exclude-checks", LEFT_OUT, "--continue-on-failure"]
    for path in (*ENDLESS, LONG):
        command += ["--exclude-path", path]
    command += ["--max-time", str(seconds), "--request-timeout", "30", "--warnings", "off", "--seed", "1"]
    command += ["--generation-database", "none", *flags]
    settings = dict(os.environ, SCHEMATHESIS_HOOKS=str(HOOKS), CORAL_LEARN_KNOWN=json.dumps(facts))
    done = subprocess.run(
        command,
        env=settings,
        cwd=str(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=seconds + 120,
    )
    return done.returncode, done.stdout


@pytest.mark.slow
@needs_schemathesis
def test_every_answer_is_one_that_is_described(known, tmp_path):
    """Whatever is sent: no 5xx, and only statuses, types and bodies that the description has."""
    code, printed = run(*known, tmp_path, 12, "--max-examples", "4", "--exclude-path", EXCHANGE)
    assert code == 0, printed
    assert known[0].get("/readyz").status == 200


@pytest.mark.slow
@needs_schemathesis
def test_every_answer_is_one_that_is_described_for_longer(known, tmp_path):
    """The same with many more requests."""
    code, printed = run(*known, tmp_path, 60, "--max-examples", "50", "--exclude-path", EXCHANGE)
    assert code == 0, printed


@needs_schemathesis
def test_what_no_extractor_can_be_exchanged_for_is_refused_as_described(known, tmp_path):
    """Wrong requests only: a right one has the daemon not ready for a while, with an honest 503."""
    code, printed = run(*known, tmp_path, 3, "--max-examples", "10", "--include-path", EXCHANGE, "--mode", "negative")
    assert code == 0, printed


def test_the_stream_is_as_described(known):
    """The one route that never ends answers with the status and type it says."""
    daemon, _ = known
    (described,) = daemon.get("/openapi.json").json["paths"][ENDLESS[0]]["get"]["responses"]["200"]["content"]
    connection = daemon.connect()
    try:
        connection.request("GET", ENDLESS[0])
        response = connection.getresponse()
        assert (response.status, response.headers.get_content_type()) == (200, described)
    finally:
        connection.close()


def test_the_description_and_the_page_are_served(tiny_daemon):
    """Both can be had like anything else, and the page asks nobody else for anything."""
    assert tiny_daemon.get("/openapi.json").json["openapi"].startswith("3.")
    page = tiny_daemon.get("/docs")
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")
