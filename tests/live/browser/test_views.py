"""The page in a real Chromium: the map, the review queue, the settings, and classes that are out of use."""

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np


def test_map(page, taught):
    """A sign for each picture, of the class's shape; the legend filters; the keyboard walks and opens."""
    from selenium.webdriver import Keys

    page.open(taught, "map")
    page.wait(lambda: len(page.all("#map .plot .dot")) == 25)
    shapes = {one.get_attribute("d") for one in page.all("#map .plot .dot")}
    assert len(shapes) == 2
    page.click("#map .legend button")
    page.wait(lambda: len(page.all("#map .plot .dot")) == 12)
    assert page.focused().get_attribute("aria-pressed") == "false"
    page.click("#map .legend button")

    page.browser.execute_script("document.querySelector('#map .plot').focus()")
    page.wait(lambda: page.one("#map .peek img"))
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_LEFT, Keys.ARROW_UP, Keys.ARROW_DOWN):
        page.press(key)
    page.press(Keys.ENTER)
    page.one("dialog .large")


def test_review(page, start_daemon, tiny_model, tmp_path, make_picture, encode):
    """Frames with their reason; one gets a class, one is discarded, the rest goes at once after a question."""
    fill_ring(tmp_path / "data" / "review", [encode(make_picture("red", seed)) for seed in range(4)])
    daemon = start_daemon("--model", str(tiny_model))
    daemon.teach("red", encode(make_picture("red", 20)))
    page.open(daemon, "review")
    page.wait(lambda: len(page.all("#review .review > li")) == 4)
    assert "Not sure: red, 50 %?" in page.text("#review")
    page.wait(lambda: page.text("#waiting") == "4")
    page.click("#review .choice")
    page.wait(lambda: "It is red now" in page.text("#toast") and len(page.all("#review .review > li")) == 3)
    page.browser.execute_script("document.querySelector('#review .choice').click()")  # the second of two presses
    time.sleep(0.6)
    assert daemon.get("/v1/review").json["total"] == 3
    page.click("#review .review .danger")
    page.wait(lambda: len(page.all("#review .review > li")) == 2)
    page.wait(lambda: page.focused().tag_name == "button" and page.text("#waiting") == "2")
    assert "choice" not in page.focused().get_attribute("class")
    page.click("#review .card > .row .danger")
    page.click("dialog .main")
    page.wait(lambda: "Nothing to review" in page.text("#review") and page.text("#waiting") == "")
    assert daemon.get("/v1/review").json["total"] == 0


def fill_ring(folder: Path, frames) -> None:
    """Have a daemon's data folder hold frames to review, as if a camera had shown them."""
    from coral_learn.classifier import Prediction
    from coral_learn.extractor import ExtractorInfo
    from coral_learn.heads import EmbeddingPipeline
    from service.learning import Answer
    from service.review import ReviewRing, Sighting

    class Answers(NamedTuple):
        """What the ring has to know of what answers."""

        extractor = ExtractorInfo("tiny", "e" * 64, "cpu", "", False, "none", 8, 32, 32)
        pipeline = EmbeddingPipeline(8)

    ring = ReviewRing(folder, Answers(), lambda _: None, 10**7)
    answer = Answer("red", 0.5, [Prediction("red", 0.5), Prediction("blue", 0.4)], {"version": "live"})
    for number, frame in enumerate(frames):
        seen = Sighting("uncertain", answer, np.eye(8, dtype=np.float32)[number], 100.0 + number)
        assert ring.keep(frame, seen, 0)


def test_settings(page, tiny_daemon):
    """A setting is changed; a wrong one is explained beside its field; those of the start are shown."""
    page.open(tiny_daemon, "settings")
    frames = page.one("#settings-form [name=decide_frames]")
    frames.clear()
    frames.send_keys("5\n")
    page.wait(lambda: "Saved" in page.text("#toast"))
    values = {one["name"]: one["value"] for one in tiny_daemon.get("/v1/settings").json["items"]}
    assert values["decide_frames"] == 5

    page.wait(lambda: page.all("#settings-form [name=decide_frames]")[0].get_attribute("value") == "5")
    frames = page.one("#settings-form [name=decide_frames]")
    frames.clear()
    frames.send_keys("-1\n")
    page.wait(lambda: "Frames to decide" in page.text("[data-field=decide_frames] .bad"))
    assert page.focused().get_attribute("name") == "decide_frames"
    frames.clear()
    frames.send_keys("\n")
    page.wait(lambda: "It is empty" in page.text("[data-field=decide_frames] .bad"))
    assert not page.one("#settings-form [name=camera]").is_enabled()
    page.click("#settings details summary")
    assert "data folder" in page.text("#settings details").lower() or "Data dir" in page.text("#settings details")


def test_camera_settings(page, start_daemon, tiny_model, tmp_path, make_picture, encode):
    """A camera's size, format and pace are changed on the page; a format that is none is explained beside its field."""
    (tmp_path / "one.png").write_bytes(encode(make_picture("red"), "PNG"))
    daemon = start_daemon("--model", str(tiny_model), "--camera", str(tmp_path))
    page.open(daemon, "settings")
    labels = [one.text for one in page.wait(lambda: page.all("#settings-form label"))]
    assert labels[1:5] == ["Most frames a second", "Picture width", "Picture height", "Pixel format"]
    for name, text in (("camera_format", "mjp"), ("camera_fps", "20")):
        page.one(f"#settings-form [name={name}]").clear()
        page.one(f"#settings-form [name={name}]").send_keys(text)
    page.press("\n")
    page.wait(lambda: "four letters or digits" in page.text("[data-field=camera_format] .bad"))
    assert page.focused().get_attribute("name") == "camera_format"
    page.press("g\n")
    page.wait(lambda: "Saved" in page.text("#toast"))
    values = {one["name"]: one["value"] for one in daemon.get("/v1/settings").json["items"]}
    assert (values["camera_format"], values["camera_fps"]) == ("MJPG", 20)


def test_disable_a_class(page, taught):
    """A class out of use keeps its pictures and has no bar; taken back, it is as before."""
    page.open(taught)
    page.card("red").find_element("css selector", ".enabled").click()
    page.wait(lambda: "keeps its pictures" in page.text("#toast"))
    page.wait(lambda: "off" in page.card("red").get_attribute("class").split())
    assert taught.get("/v1/classes").json["items"][0]["enabled"] is False
    page.click("#undo")
    page.wait(lambda: "off" not in page.card("red").get_attribute("class").split())
