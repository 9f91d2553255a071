"""What the log looks like, for people, for programs and for the journal; ids of requests; passwords stay out of it."""

import io
import json
import logging
import os
import re
import sys

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from service.__main__ import main
from service.addresses import masked
from service.camera import Camera, CameraOptions
from service.errors import CameraError, ExtractorBusy, NotFound
from service.http import accounting, problems
from service.logs import JournalFormatter, JsonFormatter, TextFormatter, formatter
from service.metrics import Metrics


def record(message="it is %s", *arguments, level=logging.INFO, **more):
    """A record as a logger makes it."""
    return logging.getLogger("service.test").makeRecord(
        "service.test", level, __file__, 1, message, arguments or ("done",), None, extra=more or None
    )


def failed(message="it failed"):
    """A record with an exception whose text has two lines."""
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        return logging.getLogger("service.test").makeRecord(
            "service.test", logging.ERROR, __file__, 1, message, (), sys.exc_info()
        )


class Terminal(io.StringIO):
    """A stream that people read."""

    def isatty(self):
        return True


# -- formats ------------------------------------------------------------------------------------


def test_json_is_one_line_with_known_fields():
    """Time in UTC with milliseconds, level, logger and message; a field that does not apply is not there."""
    made = record()
    made.created = 1700000000.1234
    assert json.loads(JsonFormatter().format(made)) == {
        "time": "2023-11-14T22:13:20.123Z",
        "level": "info",
        "logger": "service.test",
        "message": "it is done",
    }


def test_json_with_an_exception():
    """Its text is one field; the line stays one line."""
    line = JsonFormatter().format(failed())
    fields = json.loads(line)
    assert "\n" not in line
    assert (fields["level"], fields["message"]) == ("error", "it failed")
    assert fields["exception"].startswith("Traceback")
    assert fields["exception"].endswith("ValueError: first\nsecond")


def test_json_with_further_fields():
    """What a call gives as fields is there by name, whatever it is."""
    fields = json.loads(JsonFormatter().format(record(fields={"status": 200, "place": os, "none": None})))
    assert (fields["status"], fields["place"]) == (200, str(os))
    assert "none" not in fields


@pytest.mark.parametrize("text", ["größer 🐈", "a\nb", '"', "\ud800", "\x1b[31m", "\u2028"])
def test_json_of_any_text(text):
    """It comes out as it went in, on one line of ASCII, so that no stream can fail on it."""
    line = JsonFormatter().format(record("%s", text))
    line.encode("ascii")
    assert len(line.splitlines()) == 1
    assert json.loads(line)["message"] == text


def test_text_is_for_people():
    """Time, level, logger and message; an exception follows on its own lines."""
    line = TextFormatter().format(record())
    assert line.endswith(" INFO    service.test: it is done")
    lines = TextFormatter().format(failed()).split("\n")
    assert lines[0].endswith("ERROR   service.test: it failed")
    assert lines[-2:] == ["ValueError: first", "second"]


@pytest.mark.parametrize("character", ["\n", "\r", "\x1b", "\x9b", "\u2028"])
def test_text_can_not_be_forged(character):
    """A path with a line break or a terminal's escape in it makes no further line and steers nothing."""
    line = TextFormatter().format(record("GET %s", f"/a{character}ERROR forged"))
    assert character not in line
    assert line.endswith("ERROR forged")


@pytest.mark.parametrize(
    ("level", "priority"),
    [
        (logging.DEBUG, 7),
        (logging.INFO, 6),
        (logging.WARNING, 4),
        (logging.ERROR, 3),
        (logging.CRITICAL, 2),
        (logging.CRITICAL + 10, 2),
        (5, 7),
    ],
)
def test_priorities_for_the_journal(level, priority):
    """Each level has the number that sd-daemon(3) gives it, in front of the line."""
    line = JournalFormatter(JsonFormatter()).format(record(level=level))
    assert line.startswith(f"<{priority}>{{")
    assert json.loads(line[3:])["message"] == "it is done"


def test_each_line_for_the_journal_has_its_priority():
    """The journal takes lines one by one, those of an exception as well."""
    lines = JournalFormatter(TextFormatter()).format(failed()).split("\n")
    assert len(lines) > 3
    assert all(line.startswith("<3>") for line in lines)


# -- which format -------------------------------------------------------------------------------


def test_auto_is_text_on_a_terminal_only():
    """Elsewhere it is JSON; the setting is stronger."""
    assert isinstance(formatter("auto", Terminal(), {}), TextFormatter)
    assert isinstance(formatter("auto", io.StringIO(), {}), JsonFormatter)
    assert isinstance(formatter("text", io.StringIO(), {}), TextFormatter)
    assert isinstance(formatter("json", Terminal(), {}), JsonFormatter)


def test_the_journal_is_known_by_its_stream(tmp_path):
    """Priorities go to the stream that JOURNAL_STREAM names, and to no other that inherited the variable."""
    with open(str(tmp_path / "journal"), "w") as stream, open(str(tmp_path / "other"), "w") as other:
        found = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        assert isinstance(formatter("auto", stream, environ), JournalFormatter)
        assert isinstance(formatter("auto", other, environ), JsonFormatter)
        assert isinstance(formatter("text", stream, {}), TextFormatter)
        assert isinstance(formatter("text", io.StringIO(), environ), TextFormatter)


# -- requests -----------------------------------------------------------------------------------


@pytest.fixture
def metrics():
    """The counters of an application in this process."""
    return Metrics()


@pytest.fixture
def client(metrics):
    """A client of an application that answers, refuses and fails."""
    app = Flask("test")
    accounting.register(app, metrics)
    problems.register(app)

    @app.get("/things/<thing>")
    def thing(thing):
        logging.getLogger("service.things").info("looking for %s", thing)
        if thing == "none":
            raise NotFound("there is none")
        if thing == "late":
            raise ExtractorBusy("not now")
        if thing == "broken":
            raise RuntimeError("no wire")
        return {"thing": thing}

    return app.test_client()


@pytest.fixture
def lines():
    """lines(): what is logged at any level so far, as JSON."""
    stream, logger = io.StringIO(), logging.getLogger("service")
    handler, level = logging.StreamHandler(stream), logger.level
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.mark.parametrize("given", ["a", "A.b-c_9", "x" * 64])
def test_an_id_is_taken_over(client, given):
    """A client's own id is in the answer, so that its log and ours can be put together."""
    assert client.get("/things/1", headers={"X-Request-Id": given}).headers["X-Request-Id"] == given


@pytest.mark.parametrize("given", [None, "", "x" * 65, "a b", "a/b", "ä", "a,b", '"', "a;b"])
def test_other_ids_are_replaced(client, given):
    """What is missing, too long or not of plain characters never gets into answers or the log."""
    headers = {} if given is None else {"X-Request-Id": given}
    made = [client.get("/things/1", headers=headers).headers["X-Request-Id"] for _ in range(2)]
    assert made[0] != made[1]
    assert all(re.fullmatch("[0-9a-f]{16}", one) for one in made)


def test_each_request_is_a_line(client, lines):
    """Method, path, status and milliseconds under the request's id; what was logged meanwhile has the same id."""
    client.get("/things/1?token=secret", headers={"X-Request-Id": "mine"})
    within, line = lines()
    assert (within["logger"], within["level"], within["request_id"]) == ("service.things", "info", "mine")
    assert line.pop("ms") >= 0
    del line["time"], line["message"]
    assert line == {
        "level": "debug",
        "logger": "service.http.accounting",
        "request_id": "mine",
        "method": "GET",
        "path": "/things/1",
        "status": 200,
    }


@pytest.mark.parametrize(
    ("path", "status", "level"),
    [
        ("/things/none", 404, "debug"),
        ("/nowhere", 404, "debug"),
        ("/things/late", 503, "warning"),
        ("/things/broken", 500, "warning"),
    ],
)
def test_failures_are_loud(client, lines, metrics, path, status, level):
    """A request that failed on our side is a warning; one that could not be done is not. Each is counted."""
    assert client.get(path).status_code == status
    line = lines()[-1]
    assert (line["level"], line["status"], line["path"]) == (level, status, path)
    route = "unmatched" if path == "/nowhere" else "/things/<thing>"
    assert f'requests_total{{method="GET",route="{route}",status="{status}"}} 1.0' in metrics.text().decode()


def test_the_log_has_the_details(client, lines):
    """An answer 500 tells its id only; under this id the log has the exception."""
    answer = client.get("/things/broken")
    (found,) = [line for line in lines() if "exception" in line]
    assert found["request_id"] == answer.get_json()["request_id"] == answer.headers["X-Request-Id"]
    assert "no wire" in found["exception"]
    assert b"no wire" not in answer.data


def test_the_id_is_in_text_as_well(client):
    """At the end of the line, while a request is answered and only then."""
    with client.application.test_request_context("/things/1", headers={"X-Request-Id": "mine"}) as context:
        context.app.preprocess_request()
        assert TextFormatter().format(record()).endswith("it is done [mine]")
    assert TextFormatter().format(record()).endswith("it is done")


# -- passwords ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://user:secret@10.0.0.7:554/stream", "rtsp://user:***@10.0.0.7:554/stream"),
        ("rtsp://user:p@ss/w:rd#?@camera/1", "rtsp://user:***@camera/1"),
        ("http://:secret@camera", "http://:***@camera"),
        ("RTSPS://admin:@camera", "RTSPS://admin:***@camera"),
        ("rtsp://admin:12345@camera/1", "rtsp://admin:***@camera/1"),
        ("can't open 'rtsp://a:b@c/d': refused", "can't open 'rtsp://a:***@c/d': refused"),
        ("http://camera/video.cgi?user=admin&pwd=secret&x=1", "http://camera/video.cgi?user=admin&pwd=***&x=1"),
        ("http://camera/?apikey=secret&auth=secret", "http://camera/?apikey=***&auth=***"),
        ("rtsp://camera/1?channel=2&KEY=se?cr=et;#top", "rtsp://camera/1?channel=2&KEY=***#top"),
        ("http://camera/1;user_pwd=secret", "http://camera/1;user_pwd=***"),
        ("https://store/1.tflite?sv=2&sig=secret", "https://store/1.tflite?sv=2&sig=***"),
        ("http://camera/#token=secret", "http://camera/#token=***"),
        ("one rtsp://a:b@c two rtsp://d:e@f", "one rtsp://a:***@c two rtsp://d:***@f"),
    ],
)
def test_passwords_are_hidden(text, shown):
    """The scheme, the user and the place stay, wherever in a text the address is."""
    assert masked(text) == shown
    assert masked(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "auto",
        "/dev/video0",
        "/home/a:b@c/pictures",
        "rtsp://camera:554/stream",
        "rtsp://camera:554/user@home",
        "rtsp://user@camera/1",
        "http://[::1]:8080/a@b",
        "http://127.0.0.1:8080",
        "write to a@b:c",
        "http://camera/1?keyframes=2&channel=1&x=token",
    ],
)
def test_nothing_else_is_hidden(text):
    """Addresses without a password, devices and files are shown as they are."""
    assert masked(text) == text


WORD = st.text("abXY019_.-", max_size=12)
SECRET_NAMES = st.sampled_from(
    ["password", "pwd", "token", "secret", "auth", "Credentials", "signature", "apiKey", "KEY"]
)
VALUES = st.text(
    st.characters(blacklist_categories=("Cs", "Cc", "Zs", "Zl", "Zp"), blacklist_characters="&#"), max_size=40
)


@given(WORD, SECRET_NAMES, WORD, VALUES, st.sampled_from("?&;"), st.sampled_from(["", "&x=1", "#top", " and so on"]))
def test_secret_parameters_are_hidden(before, name, after, value, mark, rest):
    """Whatever surrounds the name that gives them away, whatever they are; what follows them stays."""
    after = "" if name.lower().endswith("key") else after
    start = f"http://camera/1?x=2{mark}" if mark != "?" else "http://camera/1?"
    shown = masked(f"{start}{before}{name}{after}=\N{BLACK STAR}{value}{rest}")
    assert shown == f"{start}{before}{name}{after}=***{rest}"
    assert masked(shown) == shown


@pytest.mark.parametrize("lines", [TextFormatter(), JsonFormatter(), JournalFormatter(JsonFormatter())])
def test_no_password_is_logged(lines):
    """Neither in a message nor in an exception, in no format."""
    address = "rtsp://user:secret@camera"
    try:
        raise OSError(f"{address} does not answer")
    except OSError:
        made = record("%s was lost", address)
        made.exc_info = sys.exc_info()
    text = lines.format(made)
    assert "secret" not in text
    assert text.count("rtsp://user:***@camera") == 2


def test_no_password_in_what_is_printed(capsys):
    """print-config shows the camera without it, in whatever part of its address it is."""
    assert main(["print-config", "--camera", "http://camera/1?apikey=secret"]) == 0
    assert "camera = http://camera/1?apikey=***\n" in capsys.readouterr().out
    assert main(["print-config", "--camera", "rtsp://user:secret@camera/1"]) == 0
    printed = capsys.readouterr().out
    assert "camera = rtsp://user:***@camera/1\n" in printed
    assert "secret" not in printed


def test_no_password_in_the_state_of_the_camera():
    """Neither in its source nor in why it was lost: both are shown to whoever asks for the status."""
    camera = Camera(CameraOptions("nothing://user:secret@camera/1"))
    try:
        with pytest.raises(CameraError) as lost:
            camera.next(32, 32, False)
    finally:
        camera.close()
    assert camera.state.source == "nothing://user:***@camera/1"
    assert camera.state.state == "lost"
    assert "secret" not in f"{camera.state} {lost.value}"
