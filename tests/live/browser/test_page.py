"""The page in a real Chromium, against a real daemon: teaching, and what is lost and found."""

import base64
import json
import os
import signal
from pathlib import Path

import pytest

from coral_learn.runtime.fake_bus import FakeBus

MOST_BYTES = 150_000  # as promised
NOTHING = "\u2013"  # an en dash


@pytest.fixture
def seen(start_daemon, tiny_model, tmp_path, make_picture, encode):
    """A daemon with a folder camera that shows red, then whatever is put there."""
    folder = tmp_path / "camera"
    folder.mkdir()
    for seed in range(3):
        (folder / f"{seed}.png").write_bytes(encode(make_picture("red", seed), "PNG"))
    return start_daemon("--model", str(tiny_model), "--camera", str(folder), "--camera-fps", "10"), folder


def show(folder, pictures) -> None:
    """Have the camera see other pictures."""
    for number, data in enumerate(pictures):
        (folder / f"{number}.png").write_bytes(data)


def hold(page, card, until) -> None:
    """Hold the record button of a card until a condition holds."""
    from selenium.webdriver import ActionChains

    button = card.find_element("css selector", ".record")
    page.wait(lambda: button.get_attribute("aria-disabled") == "false")
    ActionChains(page.browser).click_and_hold(button).perform()
    try:
        page.wait(until)
    finally:
        ActionChains(page.browser).release().perform()
    page.wait(lambda: "recording" not in button.get_attribute("class"))


def kept(card) -> int:
    """How many pictures its card says a class has."""
    return int(card.find_element("css selector", ".count").text.split()[0])


def test_hold_to_record_two_things_and_see_the_right_one(page, seen, make_picture, encode):
    """Name a thing, hold the button, twice; the live answer names what is shown, in words and with its bars."""
    daemon, folder = seen
    page.open(daemon)
    page.one("#picture")
    page.one("#welcome")

    for name, colour in (("apple", "red"), ("sky", "blue")):
        show(folder, [encode(make_picture(colour, 10 + seed), "PNG") for seed in range(3)])
        card = page.add_class(name)
        page.wait(lambda mine=card: page.focused() == mine.find_element("css selector", ".record"))
        page.wait(lambda: daemon.get("/v1/camera/snapshot.jpg").status == 200)
        hold(page, card, lambda mine=card: kept(mine) >= 1 and "kept" in mine.text)
        page.wait(lambda mine=card: mine.find_elements("css selector", ".thumb img"))

    page.wait(lambda: page.text("#answer") == "sky")
    page.drop(page.one("#live"), {"mine.png": encode(make_picture("red", 30), "PNG")})
    page.wait(lambda: page.one("#pinned") and page.text("#answer") == "apple")
    before = kept(card)
    hold(page, card, lambda: not page.all("#pinned")[0].is_displayed() and kept(card) > before)
    page.wait(lambda: page.text("#answer") == "sky")  # what is recorded is what is seen
    show(folder, [encode(make_picture("red", 20 + seed), "PNG") for seed in range(3)])
    page.wait(lambda: page.text("#answer") == "apple")
    assert [one.text for one in page.all("#scores .bar-name")] == ["apple", "sky"]
    assert "frames a second" in page.text("#details")
    page.wait(lambda: page.browser.execute_script("return document.getElementById('spoken').textContent") == "apple")
    assert len({one["capture"] for one in daemon.get("/v1/examples?class=sky").json["items"]}) == 2
    assert "Taught sky" in page.text("#toast")
    page.click("#undo")
    page.wait(lambda: [one["examples"] for one in daemon.get("/v1/classes").json["items"]][1] == before)


def test_all_by_keyboard(page, seen):
    """Add, record with the space bar, rename with F2, and walk the tabs, without a mouse."""
    from selenium.webdriver import ActionChains, Keys

    daemon, _ = seen
    page.open(daemon)
    page.one("#picture")
    card = page.add_class("apple")
    page.wait(lambda: "record" in page.focused().get_attribute("class"))
    ActionChains(page.browser).key_down(" ").perform()
    page.wait(lambda: kept(card) >= 1)
    ActionChains(page.browser).key_up(" ").perform()

    page.press(Keys.F2)
    page.wait(lambda: page.focused().tag_name == "input")
    page.press("pear", Keys.ENTER)
    page.card("pear")
    page.wait(lambda: page.focused().text == "pear")

    page.browser.execute_script("document.getElementById('tab-teach').focus()")
    page.press(Keys.ARROW_RIGHT)
    assert page.focused().get_attribute("id") == "tab-train"
    page.one("#train-view")
    page.press(Keys.END)
    page.one("#settings")


def test_deleted_while_it_is_recorded(page, seen):
    """A class that another page deletes while its button is held here stays deleted, and the page says so."""
    from selenium.webdriver import ActionChains

    daemon, _ = seen
    page.open(daemon)
    page.one("#picture")
    hold(page, page.add_class("apple"), lambda: kept(page.card("apple")) >= 1)
    button = page.card("apple").find_element("css selector", ".record")
    ActionChains(page.browser).click_and_hold(button).perform()
    try:
        assert daemon.ask("DELETE", "/v1/classes/apple").status == 200
        page.wait(lambda: "The class apple was deleted or renamed" in page.text("#message"))
    finally:
        ActionChains(page.browser).release().perform()
    page.wait(lambda: not page.all("#classes > li"))
    assert daemon.get("/v1/classes").json["items"] == []


def test_why_this_answer(page, seen, make_picture, encode):
    """The answer of this moment with the nearest pictures and what the model sees; the focus comes back."""
    daemon, _ = seen
    for name, colour in (("apple", "red"), ("sky", "blue")):
        daemon.teach(name, encode(make_picture(colour, 5), "PNG"), "image/png")
    page.open(daemon)
    page.wait(lambda: page.text("#answer") == "apple")
    page.click("#why")
    page.wait(lambda: len(page.all("dialog .pictures li")) == 2)
    assert page.one("dialog .answer-small").text == "apple"
    assert page.one("dialog canvas").size["width"] > 0
    page.click("dialog .close")
    page.wait(lambda: page.focused().get_attribute("id") == "why")
    page.click("#view")
    assert page.one("#crop").is_displayed()
    full = "return document.fullscreenElement && document.fullscreenElement.id"
    page.click("#fill")
    page.wait(lambda: page.browser.execute_script(full) == "live")
    size = "return parseFloat(getComputedStyle(document.querySelector('#scores li')).fontSize) / innerHeight"
    assert page.browser.execute_script(size) > 0.035  # readable across a room
    page.browser.execute_script("return document.exitFullscreen()")
    page.wait(lambda: page.browser.execute_script(full) is None)


# An answer that was on its way when the camera was lost.
LATE_ANSWER = """
const done = arguments[arguments.length - 1];
import("/page/news.js").then(({tell}) => {
  tell("classification", {class: "apple", score: 1, predictions: [], timing_ms: {total: 1}, device: "cpu"});
  done(null);
}, done);
"""


def test_lost_and_found_camera(page, seen, make_picture, encode):
    """Without its camera the page says so, shows no answer and can't record; all come back by themselves."""
    daemon, folder = seen
    daemon.teach("apple", encode(make_picture("red", 5), "PNG"), "image/png")
    page.open(daemon)
    page.one("#picture")
    page.wait(lambda: page.text("#answer") == "apple" and page.all("#scores li"))
    card = page.card("apple")
    for path in folder.iterdir():
        path.unlink()
    page.wait(lambda: "camera is lost" in page.text("#banners"))
    assert "cable" not in page.text("#banners")  # a folder has none
    assert not page.all("#picture")[0].is_displayed()
    assert page.browser.execute_async_script(LATE_ANSWER) is None
    assert (page.text("#answer"), page.all("#scores li"), page.text("#details")) == (NOTHING, [], "")
    record = card.find_element("css selector", ".record")
    assert (record.text, record.get_attribute("aria-disabled")) == ("The camera is lost", "true")
    record.click()
    page.wait(lambda: "Can't record" in card.text)

    show(folder, [encode(make_picture("red", 1), "PNG")])
    page.wait(lambda: "camera" not in page.text("#banners"))
    page.one("#picture")
    page.wait(lambda: record.text == "Hold to record" and page.text("#answer") == "apple")
    assert "Can't record" not in card.text


def test_lost_and_found_accelerator(page, start_daemon, tiny_twins, tmp_path, monkeypatch, make_picture, encode):
    """Unplugged or silent, the page shows no answer as live, though the picture goes on; it says why, and recovers."""
    (tmp_path / "camera").mkdir()
    (tmp_path / "camera" / "0.png").write_bytes(encode(make_picture("red", 0), "PNG"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    bus = FakeBus(tmp_path)
    flags = "--device", "fake:vanish=60", "--camera", str(tmp_path / "camera")
    daemon = start_daemon("--model", str(tiny_twins), *flags)
    daemon.teach("apple", encode(make_picture("red", 5), "PNG"), "image/png")
    page.open(daemon)
    page.wait(lambda: shown(page) == ("apple", "Edge TPU"))
    page.browser.execute_script("window.loaded = true")

    set_pace(daemon, 30)  # until here a picture a second, so that it does not vanish too early
    page.wait(lambda: shown(page) == (NOTHING, "Edge TPU lost"))
    assert (page.text("#raw"), page.text("#scores"), page.text("#details")) == ("No answers for now", "", "")
    page.wait(lambda: "the extractor is lost, the fake Edge TPU is unplugged" in page.text("#banners"))
    record = page.card("apple").find_element("css selector", ".record")
    page.wait(lambda: (record.text, record.get_attribute("aria-disabled")) == ("Not for now", "true"))
    record.click()
    page.wait(lambda: "Can't record: the fake Edge TPU is unplugged" in page.card("apple").text)
    assert page.browser.execute_async_script(LATE_ANSWER) is None
    assert page.text("#answer") == NOTHING
    source = page.one("#picture").get_attribute("src")
    page.wait(lambda: page.one("#picture").get_attribute("src") != source)
    set_pace(daemon, None)
    bus.marker.unlink()
    page.wait(lambda: shown(page) == ("apple", "Edge TPU") and not page.text("#banners"))
    page.wait(lambda: record.text == "Hold to record")

    extractor = daemon.extractor_pid
    os.kill(extractor, signal.SIGSTOP)
    try:
        page.wait(lambda: (page.text("#answer"), page.text("#raw")) == (NOTHING, "No answers for now"))
    finally:
        os.kill(extractor, signal.SIGCONT)
    page.wait(lambda: page.text("#answer") == "apple")
    assert page.browser.execute_script("return window.loaded")


def set_pace(daemon, fps) -> None:
    """Have the camera give so many pictures a second, None for its own pace."""
    body = json.dumps({"camera_fps": fps}).encode()
    assert daemon.ask("PATCH", "/v1/settings", body, Content_Type="application/json").status == 200


def shown(page) -> tuple:
    """The answer, and what the sign of the device says."""
    return page.text("#answer"), page.text("#device")


# What the daemon would say without its Edge TPU.
DEGRADE = """
const done = arguments[arguments.length - 1];
Promise.all([import("/page/known.js"), import("/page/news.js")]).then(([{known}, {tell}]) => {
  tell("status", {...known.status, degraded: true, device_reason: "it was unplugged"});
  done(document.getElementById("banners").innerText);
}, error => done(String(error)));
"""  # the next status of the daemon itself takes that back, so it has to be read at once


def is_dead(page) -> bool:
    """Whether the page says in both places that the connection is lost, and shows nothing of before as live."""
    words = [page.text(place) for place in ("#banners", "#stage")]
    records = [one.get_attribute("aria-disabled") for one in page.all(".record")]
    return (
        all("Connection lost, trying again" in one for one in words)
        and not page.all("#picture")[0].is_displayed()
        and [page.text(place) for place in ("#answer", "#scores", "#details", "#camera")] == [NOTHING, "", "", ""]
        and records == ["true"]
    )


def test_lost_and_found_connection(page, seen, make_picture, encode):
    """When the accelerator or the daemon is gone, or silent, the page says so, and recovers without a reload."""
    daemon, _ = seen
    daemon.teach("apple", encode(make_picture("red", 5), "PNG"), "image/png")
    page.open(daemon)
    page.wait(lambda: page.text("#answer") == "apple" and page.text("#device"))
    assert "The accelerator is not in use: it was unplugged" in page.browser.execute_async_script(DEGRADE)

    os.kill(daemon.process.pid, signal.SIGSTOP)  # as silent as one without power or Wi-Fi
    try:
        page.wait(lambda: is_dead(page))
    finally:
        os.kill(daemon.process.pid, signal.SIGCONT)
    page.wait(lambda: page.text("#answer") == "apple")
    page.one("#picture")

    port = daemon.url.rsplit(":", 1)[1].rstrip("/")
    daemon.kill()
    page.wait(lambda: is_dead(page))
    page.click("#tab-settings")
    page.wait(lambda: "can't be reached" in page.text("#settings"))
    daemon.command[daemon.command.index("--port") + 1] = port
    daemon.start()
    page.wait(lambda: page.text("#state") == "connected" and not page.text("#banners"))
    page.one("#settings-form")
    page.wait(lambda: "Taught apple" in page.text("#journal"))
    page.wait(lambda: page.text("#answer") == "apple")


def test_drop_files_and_classify_one(page, tiny_daemon, tmp_path, make_picture, encode):
    """Files dropped on a card are taught, a bad one is named and spoils nothing; one dropped beside is classified."""
    name = '<img src=x onerror="document.title=1">&'
    page.open(tiny_daemon)
    card = page.add_class(name)
    assert card.find_element("css selector", ".record").text == "No camera: add pictures instead"
    files = {f"{seed}.png": encode(make_picture("green", seed), "PNG") for seed in range(4)}
    page.drop(card, {**files, "notes.png": b"no picture", "list.txt": b"no picture"})
    page.wait(lambda: kept(card) == 4 and "notes.png" in card.text)
    assert "“list.txt” is no picture; JPEG, PNG, WebP and BMP are." in card.text

    (tmp_path / "more.png").write_bytes(encode(make_picture("green", 7), "PNG"))
    card.find_element("css selector", "input[type=file]").send_keys(str(tmp_path / "more.png"))
    page.wait(lambda: kept(card) == 5)

    page.drop(page.one("#live"), {"other.png": encode(make_picture("green", 8), "PNG")})
    page.wait(lambda: page.text("#answer") == name)
    page.browser.execute_script("arguments[0].click(); arguments[0].click()", page.one("#pinned .choice"))
    page.wait(lambda: kept(card) == 6)
    page.wait(lambda: page.all("#undo") and "Taught" in page.text("#toast"))  # a second request would have no step
    assert page.browser.title == "coral-learn"


UPLOAD_TO_A_CLASS_THAT_GOES = """
const done = arguments[arguments.length - 1];
const files = arguments[0].map((text, index) =>
  new File([Uint8Array.from(atob(text), one => one.charCodeAt(0))], `${index}.png`, {type: "image/png"}));
Promise.all([import("/page/uploads.js"), import("/page/api.js")]).then(async ([{teachPictures}, {sendJson}]) => {
  const place = document.querySelector("[data-name=cpu] .card-state");
  const taught = teachPictures("cpu", files, place);
  await sendJson("PATCH", "/v1/classes/cpu", {name: "cup"});
  await taught;
  done(place.textContent);
}, done);
"""


def test_class_that_is_renamed_during_an_upload(page, tiny_daemon, make_picture, encode):
    """It is not made again under its old name; what was left out is said."""
    page.open(tiny_daemon)
    page.add_class("cpu")
    files = [base64.b64encode(encode(make_picture("green", seed), "PNG")).decode() for seed in range(24)]
    said = page.browser.execute_async_script(UPLOAD_TO_A_CLASS_THAT_GOES, files)
    assert [one["name"] for one in tiny_daemon.get("/v1/classes").json["items"]] == ["cup"]
    assert tiny_daemon.get("/v1/classes/cup").json["examples"] < 24
    assert "There is no class 'cpu'" in said


# Folders as a browser hands them over when they are dropped: a reader gives some entries, then the rest, then none.
DROP_FOLDER = """
const entry = ([name, inside]) => Array.isArray(inside)
  ? {name, isDirectory: true, createReader: () => ((parts) => ({readEntries: (give) => give(parts.shift() || [])}))(
      [inside.slice(0, 1).map(entry), inside.slice(1).map(entry)])}
  : {name, isDirectory: false, file: (give) => give(new File(
      [Uint8Array.from(atob(inside), (letter) => letter.charCodeAt(0))], name))};
const items = [{kind: "file", webkitGetAsEntry: () => entry(arguments[0]), getAsFile: () => null}];
const event = new Event("drop", {bubbles: true, cancelable: true});
event.dataTransfer = {types: ["Files"], items};
document.body.dispatchEvent(event);
"""


def test_folders_of_folders(page, tiny_daemon, tmp_path, make_picture, encode):
    """Chosen or dropped, each folder is a class, what is no picture is passed over; one press takes all back."""
    for colour in ("red", "blue"):
        (tmp_path / "things" / colour).mkdir(parents=True)
        for seed in range(3):
            (tmp_path / "things" / colour / f"{seed}.png").write_bytes(encode(make_picture(colour, seed), "PNG"))
    (tmp_path / "things" / "red" / "notes.txt").write_text("no picture")
    page.open(tiny_daemon)
    page.all("#folders")[0].send_keys(str(tmp_path / "things"))
    page.wait(lambda: [kept(page.card(colour)) for colour in ("red", "blue")] == [3, 3])
    page.wait(lambda: "Taught 2 classes 6 pictures" in page.text("#toast"))
    page.click("#undo")
    page.wait(lambda: not page.all("#classes > li"))

    pictures = [
        [f"{seed}.png", base64.b64encode(encode(make_picture("green", seed), "PNG")).decode()] for seed in (1, 2)
    ]
    page.browser.execute_script(DROP_FOLDER, ["things", [["green", [*pictures, ["notes.txt", ""]]]]])
    page.wait(lambda: kept(page.card("green")) == 2)


def test_rename_merge_delete_and_undo(page, taught):
    """A class is renamed in place, merged after a question, and what was deleted comes back."""
    from selenium.webdriver import Keys

    page.open(taught)
    card = page.card("red")
    card.find_element("css selector", ".name").click()
    card.find_element("css selector", ".rename").send_keys("crimson", Keys.ENTER)
    card = page.card("crimson")

    card.find_element("css selector", ".delete").click()
    page.wait(lambda: "Deleted crimson with 13 pictures" in page.text("#toast"))
    page.wait(lambda: [one.get_attribute("data-name") for one in page.all("#classes > li")] == ["green"])
    page.click("#undo")
    assert kept(page.card("crimson")) == 13

    card = page.card("crimson")
    card.find_element("css selector", ".name").click()
    card.find_element("css selector", ".rename").send_keys("green", Keys.ENTER)
    page.click("dialog .main")
    page.wait(lambda: kept(page.card("green")) == 25)
    page.click("#undo")
    page.wait(lambda: kept(page.card("crimson")) == 13)


def test_pictures_of_a_class(page, taught):
    """All pictures page by page; one in large can be moved, and deleted."""
    page.open(taught)
    page.card("red").find_element("css selector", ".all").click()
    page.wait(lambda: len(page.all("dialog .thumb")) == 13)
    page.click("dialog .thumb")
    page.click("dialog .choice")
    page.wait(lambda: len(page.all("dialog .thumb")) == 12)
    page.click("dialog .thumb")
    page.click("dialog .stack .danger")
    page.wait(lambda: len(page.all("dialog .thumb")) == 11)
    assert "Deleted a picture of red" in page.text("#toast")
    assert [one["examples"] for one in taught.get("/v1/classes").json["items"]] == [11, 13]


def test_sign_in(page, browser, start_daemon, tiny_model):
    """On a network address the page asks for the token, keeps it nowhere, works also after a reload, and signs out."""
    daemon = start_daemon("--model", str(tiny_model), "--host", "0.0.0.0", ready=False)
    token = json.loads((daemon.data_dir / "tokens.json").read_text())["manage"]
    browser.get(daemon.url)
    page.one("#sign-in")
    assert page.text("#state") == "not signed in"
    page.one("#token").send_keys("not the token\n")
    page.wait(lambda: "not accepted" in page.text("#sign-in-state").lower())
    page.one("#token").clear()
    page.one("#token").send_keys(token + "\n")
    page.wait(lambda: page.text("#state") == "connected")
    assert page.focused().get_attribute("id") == "work"
    page.add_class("thing")
    assert not page.all("#sign-in")[0].is_displayed()

    stored = "return document.cookie + JSON.stringify(sessionStorage) + JSON.stringify(localStorage)"
    assert browser.execute_script(stored) == "{}{}"
    assert all(token not in cookie["value"] for cookie in browser.get_cookies())
    browser.refresh()
    page.card("thing")
    page.click("#sign-out")
    page.one("#sign-in")
    assert not page.all("#sign-out")[0].is_displayed()


def test_light_and_dark(page, browser, tiny_daemon):
    """The switch turns the colours over, and the page remembers it."""
    colour = "return getComputedStyle(document.body).backgroundColor"
    page.open(tiny_daemon)
    before = browser.execute_script(colour)
    page.click("#theme")
    assert browser.execute_script(colour) != before
    browser.refresh()
    page.wait(lambda: browser.execute_script(colour) != before)
    browser.execute_script("localStorage.clear()")


# What the page says of an answer to teaching, of sizes and of errors.
WORDS = """
const done = arguments[arguments.length - 1];
import("/page/words.js").then(({bytes, said, taughtWords}) => {
  const classes = [{examples: 2}, {examples: 1}], answer = {accepted: [], accuracy: {after: 0}};
  const early = taughtWords(answer, classes);
  classes[1].examples = 2;
  done([early, taughtWords(answer, classes), bytes(50 * 2 ** 20), bytes(52e6),
    said(new Error("not a picture in one of the formats JPEG (the first bytes are b'\\xff)')"))]);
}, done);
"""


def test_words(page, tiny_daemon):
    """No figure before it means something; a MB is that of the settings; no bytes where people read."""
    page.open(tiny_daemon)
    early, now, budget, size, refusal = page.browser.execute_async_script(WORDS)
    assert (early, now) == ("", " 0 % right by now.")
    assert (budget, size) == ("50 MB", "49.6 MB")
    assert refusal == "Not a picture in one of the formats JPEG."


def test_everything_is_served_and_small(tiny_daemon):
    """Every file of the page is served from here, names no other place, and all together are small."""
    from service import page as package

    folder = next(iter(package.__path__))
    names = {path.name for path in Path(folder).iterdir() if path.suffix in (".js", ".css", ".svg")} - {"docs.css"}
    replies = [tiny_daemon.get("/"), *(tiny_daemon.get(f"/page/{name}") for name in sorted(names))]
    assert {reply.status for reply in replies} == {200}
    assert sum(len(reply.body) for reply in replies) < MOST_BYTES
    text = b"".join(reply.body for reply in replies).replace(b"http://www.w3.org/2000/svg", b"")
    for unwanted in (b"http://", b"https://", b"innerHTML", b"outerHTML", b"insertAdjacentHTML", b" style=", b"eval("):
        assert unwanted not in text


LINES_OF_TABS = """
document.querySelector("#waiting").textContent = "99";
return [...document.querySelectorAll("[role=tab]")].map(tab => {
	const text = document.createRange();
	text.selectNode([...tab.childNodes].find(node => node.nodeType === Node.TEXT_NODE));
	const {left, right} = text.getBoundingClientRect(), around = tab.getBoundingClientRect();
	return left >= around.left && right <= around.right ? text.getClientRects().length : 0;
});
"""


def test_names_of_tabs_stay_whole(page, browser, tiny_daemon):
    """Each on one line and within its tab, on narrow and wide screens, with the number of what waits for review."""
    page.open(tiny_daemon)
    try:
        for width in (320, 390, 700, 820, 900, 1000, 1280, 1600):
            metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            assert browser.execute_script(LINES_OF_TABS) == [1] * 6, width
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
