"""The page in a real Chromium, against a real daemon."""

import contextlib
import shutil

import pytest

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
)


@pytest.fixture
def browser(start_daemon):  # noqa: ARG001
    """A headless Chromium, gone before the daemons are; at the end its console must hold no error."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("Chromium is not installed: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    service = pytest.importorskip("selenium.webdriver.chrome.service")
    options = webdriver.ChromeOptions()
    for flag in FLAGS:
        options.add_argument(flag)
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    window = webdriver.Chrome(options=options, service=service.Service(driver))
    try:
        yield window
        errors = [entry["message"] for entry in window.get_log("browser") if entry["level"] == "SEVERE"]
        # The browser itself reports each 4xx and 5xx; those the page shows in words.
        assert [message for message in errors if "the server responded with a status" not in message] == []
    finally:
        window.quit()


@pytest.fixture
def find(browser):
    """find(selector) -> elements; wait(selector, condition) waits for them."""
    from selenium.webdriver.common.by import By

    return lambda selector: browser.find_elements(By.CSS_SELECTOR, selector)


@pytest.fixture
def wait(browser):
    """wait(condition): until it holds, 20 seconds at most."""
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.support.ui import WebDriverWait

    waiting = WebDriverWait(
        browser, 20, poll_frequency=0.1, ignored_exceptions=[WebDriverException, IndexError, StopIteration]
    )
    return lambda condition: waiting.until(lambda _: condition())


@pytest.fixture
def seen(start_daemon, tiny_model, tmp_path, make_picture, encode):
    """A daemon with a folder camera that shows red, then whatever is put there."""
    folder = tmp_path / "camera"
    folder.mkdir()
    (folder / "1.png").write_bytes(encode(make_picture("red", 1), "PNG"))
    return start_daemon("--model", str(tiny_model), "--camera", str(folder), "--camera-fps", "10"), folder


def add_class(find, wait, name: str):
    """Type a name and press Add; returns the new card."""
    find("#name")[0].send_keys(name)
    find("#add button")[0].click()
    return wait(lambda: next(card for card in find("#classes li") if card.get_attribute("data-name") == name))


def test_teach_two_things_and_see_the_right_one(browser, find, wait, seen, make_picture, encode):
    """Add a class, press Teach this picture, twice; the live answer names what is shown."""
    daemon, folder = seen
    browser.get(daemon.url)
    wait(find("#picture")[0].is_displayed)
    assert "nothing I know" in wait(lambda: find("#answer")[0].text)

    for name, colour in (("apple", "red"), ("sky", "blue")):
        (folder / "1.png").write_bytes(encode(make_picture(colour, 2), "PNG"))
        daemon.get("/v1/camera/snapshot.jpg")
        card = add_class(find, wait, name)
        shown = find("#picture")[0].get_attribute("src")
        wait(lambda before=shown: find("#picture")[0].get_attribute("src") != before)
        wait(lambda before=shown: find("#picture")[0].get_attribute("src") != before)
        card.find_element("css selector", ".teach").click()
        wait(lambda mine=card: "1 picture" in mine.text)
        wait(lambda mine=card: mine.find_elements("css selector", ".thumbs img"))
    wait(lambda: find("#answer")[0].text == "sky")
    (folder / "1.png").write_bytes(encode(make_picture("red", 3), "PNG"))
    wait(lambda: find("#answer")[0].text == "apple")
    assert len(find("#scores li")) == 2
    assert "live model" in find("#model")[0].text


def test_add_picture_files_classify_one_and_delete_the_class(
    browser, find, wait, tiny_daemon, tmp_path, make_picture, encode
):
    """Files are added, a bad one is named and spoils nothing; a chosen picture is classified; deleting asks first."""
    for seed in range(3):
        (tmp_path / f"{seed}.png").write_bytes(encode(make_picture("green", seed), "PNG"))
    (tmp_path / "notes.png").write_bytes(b"no picture")
    browser.get(tiny_daemon.url)
    card = add_class(find, wait, "<b>leaf")
    files = [str(tmp_path / name) for name in ("0.png", "notes.png", "1.png")]
    card.find_element("css selector", "input").send_keys("\n".join(files))
    wait(lambda: "2 pictures" in card.text)
    wait(lambda: "notes.png" in find("#message")[0].text)

    find("#classify")[0].send_keys(str(tmp_path / "2.png"))
    wait(lambda: find("#answer")[0].text == "<b>leaf")
    assert find("#picture")[0].is_displayed()

    card.find_element("css selector", ".delete").click()
    browser.switch_to.alert.accept()
    wait(lambda: not find("#classes li"))
    assert tiny_daemon.get("/v1/classes").json["total"] == 0


def test_train_and_go_back(browser, find, wait, tiny_daemon, make_picture, encode):
    """Training shows how it goes and ends in words; the live model is one press away."""
    for colour in ("red", "green"):
        for seed in range(25):
            tiny_daemon.teach(colour, encode(make_picture(colour, seed)))
    browser.get(tiny_daemon.url)
    wait(lambda: len(find("#classes li")) == 2)
    find("#train")[0].click()
    wait(lambda: "held-out accuracy" in find("#job")[0].text)
    wait(lambda: "version 1 (softmax)" in find("#model")[0].text)
    find("#live")[0].click()
    wait(lambda: "live model" in find("#model")[0].text)


def test_lost_and_found_connection(browser, find, wait, tiny_daemon):
    """When the daemon is gone the page says so, and recovers without a reload."""
    browser.get(tiny_daemon.url)
    wait(lambda: find("#state")[0].text == "connected")
    port = tiny_daemon.url.rsplit(":", 1)[1].rstrip("/")
    tiny_daemon.kill()
    wait(lambda: "not connected" in find("#state")[0].text)
    tiny_daemon.command[tiny_daemon.command.index("--port") + 1] = port
    tiny_daemon.start()
    wait(lambda: find("#state")[0].text == "connected")
    with contextlib.suppress(IndexError):
        browser.get_log("browser")  # refused connections were expected here


def test_sign_in(browser, find, wait, start_daemon, tiny_model):
    """On a network address the page asks for the token, keeps it nowhere, works also after a reload, and signs out."""
    import json

    daemon = start_daemon("--model", str(tiny_model), "--host", "0.0.0.0", ready=False)
    token = json.loads((daemon.data_dir / "tokens.json").read_text())["manage"]
    browser.get(daemon.url)
    wait(find("#sign-in")[0].is_displayed)
    find("#token")[0].send_keys("not the token")
    find("#sign-in button")[0].click()
    wait(lambda: "not accepted" in find("#sign-in-state")[0].text)
    find("#token")[0].clear()
    find("#token")[0].send_keys(token)
    find("#sign-in button")[0].click()
    wait(lambda: find("#state")[0].text == "connected")
    add_class(find, wait, "thing")
    assert not find("#sign-in")[0].is_displayed()

    stored = "return document.cookie + JSON.stringify(sessionStorage) + JSON.stringify(localStorage)"
    assert browser.execute_script(stored) == "{}{}"
    assert all(token not in cookie["value"] for cookie in browser.get_cookies())
    browser.refresh()
    wait(lambda: find("#classes li"))
    wait(find("#sign-out")[0].is_displayed)
    find("#sign-out")[0].click()
    wait(lambda: find("#sign-in")[0].is_displayed() and not find("#sign-out")[0].is_displayed())
