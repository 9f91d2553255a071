"""The Open Inference Protocol, spoken by Triton's own client and by hand."""

import base64
import json
import struct

import numpy as np
import pytest

COLOURS = ("blue", "green", "red")  # as the columns of the scores: by name
INFER = "/v2/models/coral-learn/infer"
HEADER = "Inference-Header-Content-Length"


def teach_colours(daemon, make_picture, encode):
    """Three colours, four pictures each."""
    for colour in COLOURS:
        for seed in range(4):
            assert daemon.teach(colour, encode(make_picture(colour, seed))).status == 201


@pytest.fixture(scope="module")
def taught(shared_daemon, make_picture, encode):
    """A daemon that knows three colours; nobody teaches it more."""
    teach_colours(shared_daemon, make_picture, encode)
    return shared_daemon


@pytest.fixture
def triton():
    """Triton's HTTP client, a module."""
    return pytest.importorskip("tritonclient.http", reason="tritonclient[http] needs Python 3.9")


@pytest.fixture
def client(taught, triton):
    """Triton's client of a taught daemon."""
    client = triton.InferenceServerClient(taught.url.rpartition("/")[2])
    yield client
    client.close()


def image_input(*pictures, **more):
    """The input of encoded pictures, in JSON."""
    data = [base64.b64encode(picture).decode() for picture in pictures]
    return {"name": "image", "datatype": "BYTES", "shape": [len(data)], "data": data, **more}


def outputs_of(reply):
    """The outputs of a JSON answer by name."""
    assert reply.status == 200, reply.body
    return {one["name"]: one for one in reply.json["outputs"]}


def test_client_finds_server_and_model(client):
    """Alive, ready, and with inputs and outputs described, by both names of the model and by its version."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata()["name"] == "coral-learn"
    for name, version in (("coral-learn", ""), ("live", ""), ("coral-learn", "live"), ("live", "live")):
        assert client.is_model_ready(name, version)
        found = client.get_model_metadata(name, version)
        assert (found["name"], found["versions"]) == (name, ["live"])
        assert [one["name"] for one in found["inputs"]] == ["image", "pixels"]
        assert [one["name"] for one in found["outputs"]] == ["label", "score", "scores", "labels"]
    assert not client.is_model_ready("other")
    assert not client.is_model_ready("coral-learn", "7")


@pytest.mark.parametrize("binary", [True, False])
def test_client_has_pictures_answered(client, triton, make_picture, encode, binary):
    """Files as bytes, in a batch; the outputs that are asked for, as bytes or in JSON."""
    pictures = [encode(make_picture(colour, 50)) for colour in ("red", "blue", "green")]
    image = triton.InferInput("image", [3], "BYTES")
    image.set_data_from_numpy(np.array(pictures, dtype=object), binary_data=True)
    names = ("scores", "label")
    asked = [triton.InferRequestedOutput(name, binary_data=binary) for name in names]
    result = client.infer("coral-learn", [image], outputs=asked, request_id="seven")
    found = result.get_response()
    assert (found["model_name"], found["model_version"], found["id"]) == ("coral-learn", "live", "seven")
    assert found["parameters"] == {"version": "live", "revision": 12, "head": "imprinting", "device": "cpu"}
    assert [one["name"] for one in found["outputs"]] == list(names)
    labels = [one.decode() if binary else one for one in result.as_numpy("label").tolist()]
    assert labels == ["red", "blue", "green"]
    scores = result.as_numpy("scores")
    assert (scores.dtype, scores.shape) == (np.float32, (3, 3))
    assert scores.argmax(1).tolist() == [2, 0, 1]
    assert scores.sum(1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("binary", [True, False])
def test_client_has_pixels_answered(client, triton, make_picture, binary):
    """RGB of any size, as bytes or as numbers in JSON, with all outputs."""
    pictures = np.stack([make_picture("green", 51, 90, 40), make_picture("red", 51, 90, 40)])
    pixels = triton.InferInput("pixels", list(pictures.shape), "UINT8")
    pixels.set_data_from_numpy(pictures, binary_data=binary)
    result = client.infer("live", [pixels], model_version="live")
    assert result.as_numpy("label").tolist() == [b"green", b"red"]
    assert result.as_numpy("labels").tolist() == [name.encode() for name in COLOURS]
    assert result.as_numpy("score") == pytest.approx(result.as_numpy("scores").max(1))


def test_client_is_told_what_is_wrong(client, triton):
    """Its own exception has our words and status."""
    image = triton.InferInput("image", [1], "BYTES")
    image.set_data_from_numpy(np.array([b"no picture"], dtype=object))
    with pytest.raises(triton.InferenceServerException, match="not a picture in one of the formats") as caught:
        client.infer("coral-learn", [image])
    assert caught.value.status() == "415"


def test_answers_are_those_of_classify(taught, make_picture, encode):
    """The same class and scores, with base64 in plain JSON, an empty class for what is unknown."""
    for colour in ("red", (250, 250, 250)):
        picture = encode(make_picture(colour, 60))
        expected = taught.classify(picture).json
        found = outputs_of(taught.post_json(INFER, {"inputs": [image_input(picture)]}))
        assert found["label"]["data"] == [expected["class"] or ""]
        assert found["score"]["data"] == [expected["score"]]
        assert found["labels"]["data"] == list(COLOURS)
        scores = {one["class"]: one["score"] for one in expected["predictions"]}
        assert found["scores"]["data"] == [scores[name] for name in COLOURS]
        assert found["scores"]["shape"] == [1, 3]


def test_nested_data_is_taken_as_flat_data_is(taught, make_picture, encode):
    """Rows in rows, and [n, 1] for a batch, as some clients send them."""
    picture = encode(make_picture("blue", 61))
    nested = image_input(picture, shape=[1, 1], data=[[base64.b64encode(picture).decode()]])
    assert outputs_of(taught.post_json(INFER, {"inputs": [nested]}))["label"]["data"] == ["blue"]
    pixels = make_picture("red", 61)
    for data in (pixels[None].tolist(), pixels.ravel().tolist()):
        asked = {"name": "pixels", "datatype": "UINT8", "shape": [1, 48, 64, 3], "data": data}
        assert outputs_of(taught.post_json(INFER, {"inputs": [asked]}))["label"]["data"] == ["red"]


def test_nothing_learnt_is_no_error(tiny_daemon, make_picture, encode):
    """No classes, no columns, an empty label."""
    found = outputs_of(tiny_daemon.post_json(INFER, {"inputs": [image_input(encode(make_picture("red")))]}))
    assert (found["label"]["data"], found["scores"]["shape"], found["labels"]["data"]) == ([""], [1, 0], [])


def test_only_what_answers_can_be_asked(tiny_daemon, make_picture, encode):
    """The active version by its number; any other one is a 404 that says what to do about it."""
    teach_colours(tiny_daemon, make_picture, encode)
    asked = {"inputs": [image_input(encode(make_picture("red", 62)))]}
    tiny_daemon.train(head="softmax", activate="never", epochs=5)
    reply = tiny_daemon.post_json("/v2/models/coral-learn/versions/1/infer", asked)
    assert (reply.status, reply.json["code"]) == (404, "model_not_active")
    assert "version 1 does not answer now, version live does; POST /v1/models/1/activate" in reply.json["error"]

    assert tiny_daemon.post_json("/v1/models/1/activate", {}).status == 200
    answer = tiny_daemon.post_json("/v2/models/coral-learn/versions/1/infer", asked).json
    assert (answer["model_version"], answer["parameters"]["head"]) == ("1", "softmax")
    assert tiny_daemon.post_json(INFER, asked).json["model_version"] == "1"
    assert tiny_daemon.get("/v2/models/coral-learn").json["versions"] == ["1"]
    for path in ("/v2/models/live", "/v2/models/live/ready", "/v2/models/coral-learn/versions/live"):
        assert tiny_daemon.get(path).json["code"] == "model_not_active"
    for path in ("/v2/models/coral-learn/versions/2", "/v2/models/live/versions/1", "/v2/models/other/ready"):
        reply = tiny_daemon.get(path)
        assert (reply.status, reply.json["code"], reply.headers["Content-Type"]) == (
            404,
            "model_not_found",
            "application/json",
        )


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({}, "inputs"),
        ({"inputs": []}, "one input"),
        ({"inputs": [1]}, "list of objects"),
        ({"inputs": [{"name": "image"}]}, "datatype"),
        ({"inputs": [image_input(b"x", shape=[2])]}, "its shape says 2"),
        ({"inputs": [image_input(b"x", shape=[0])]}, "above 0"),
        ({"inputs": [image_input(b"x", shape=[True])]}, "above 0"),
        ({"inputs": [image_input(b"x", data=["%"])]}, "base64"),
        ({"inputs": [image_input(b"x", data=[1])]}, "are texts"),
        ({"inputs": [image_input(b"x", name="other")]}, "one input"),
        ({"inputs": [image_input(b"x"), image_input(b"x")]}, "one input"),
        ({"inputs": [image_input(*[b"x"] * 17)]}, "up to 16"),
        ({"inputs": [image_input(b"x", parameters={"binary_data_size": 4})]}, "binary_data_size"),
        ({"inputs": [image_input(b"x", parameters={"shared_memory_region": "a"})]}, "shared_memory_region"),
        ({"inputs": [image_input(b"x")], "id": 7}, "id is text"),
        ({"inputs": [image_input(b"x")], "outputs": [{"name": "other"}]}, "no output 'other'"),
        (
            {"inputs": [image_input(b"x")], "outputs": [{"name": "label", "parameters": {"classification": 2}}]},
            "classif",
        ),
        ({"inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [1, 1, 1, 3], "data": [0, 1, 256]}]}, "0 to 255"),
        ({"inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [1, 1, 1, 3], "data": [0, 1.5, 2]}]}, "0 to 255"),
        ({"inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [1, 1, 1, 3], "data": [[0], 1, 2]}]}, "0 to 255"),
        (
            {"inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [3], "data": [0, 1, 2]}]},
            "[n, height, width, 3]",
        ),
    ],
)
def test_wrong_requests_are_refused_in_words(taught, wrong, words):
    """400, and {"error": ...} that names what is wrong."""
    reply = taught.post_json(INFER, wrong)
    assert (reply.status, reply.headers["Content-Type"]) == (400, "application/json")
    assert words in reply.json["error"]


def test_wrong_bytes_are_refused_in_words(taught, make_picture, encode):
    """What is cut off, left over or lying about its length is a 400; so is JSON that is none."""
    picture = encode(make_picture("red", 63))

    def ask(element, size=None, length=None, tail=b""):
        size = len(element) if size is None else size
        one = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": size}}
        head = json.dumps({"inputs": [one]}).encode()
        connection_headers = {HEADER.replace("-", "_"): length or str(len(head))}
        return taught.ask("POST", INFER, head + element + tail, **connection_headers)

    whole = struct.pack("<I", len(picture)) + picture
    assert ask(whole).status == 200
    for reply, words in (
        (ask(whole, tail=b"more"), "4 bytes are left"),
        (ask(whole[:-1]), "cut off"),
        (ask(whole[:3]), "cut off"),
        (ask(b"\xff\xff\xff\xff"), "cut off"),
        (ask(whole, size=len(whole) + 1), "binary_data_size"),
        (ask(whole, length="5"), "does not begin with JSON"),
        (ask(whole, length="99999999"), HEADER),
        (ask(whole, length="-1"), HEADER),
        (taught.ask("POST", INFER, b"\xff{"), "not JSON"),
        (taught.ask("POST", INFER, b"[" * 100000), "not JSON"),
    ):
        assert (reply.status, words in reply.json["error"]) == (400, True), reply.body


def test_pictures_are_bounded_as_elsewhere(taught):
    """Too small, too many pixels, or no picture at all, and which one of a batch it is."""
    small = {"name": "pixels", "datatype": "UINT8", "shape": [1, 2, 2, 3], "data": [0] * 12}
    reply = taught.post_json(INFER, {"inputs": [small]})
    assert (reply.status, reply.json["code"]) == (422, "image_too_small")
    reply = taught.post_json(INFER, {"inputs": [image_input(b"x", b"y")]})
    assert (reply.status, reply.json["code"]) == (415, "image_format_unsupported")
    assert reply.json["error"].startswith("picture 1 of 2: ")


def test_errors_are_the_protocols_below_v2_only(taught):
    """{"error": ...} for unknown paths and methods there, a problem document everywhere else."""
    for method, path, status in (("GET", "/v2/other", 404), ("GET", INFER, 405), ("POST", "/v2", 405)):
        reply = taught.ask(method, path)
        assert (reply.status, set(reply.json)) == (status, {"error", "code"})
    assert taught.get("/v22").headers["Content-Type"] == "application/problem+json"
