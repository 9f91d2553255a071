"""A real Chromium, one for a file of tests, and words to speak of the page."""

import shutil

import pytest
from teaching import teach_mostly_right

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


@pytest.fixture(scope="module")
def window():
    """A headless Chromium."""
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
    chrome = webdriver.Chrome(options=options, service=service.Service(driver))
    yield chrome
    chrome.quit()


@pytest.fixture
def browser(start_daemon, window):  # noqa: ARG001
    """The Chromium, empty; away from the daemons before they end, and at the end its console must hold no error."""
    window.execute_cdp_cmd("Network.clearBrowserCookies", {})
    window.get_log("browser")
    yield window
    window.get("about:blank")
    errors = [entry["message"] for entry in window.get_log("browser") if entry["level"] == "SEVERE"]
    # The browser itself reports each 4xx, 5xx and lost connection; those the page shows in words.
    expected = ("the server responded with a status", "net::ERR_")
    assert [message for message in errors if not any(words in message for words in expected)] == []


@pytest.fixture
def page(browser):
    """Words to speak of the page."""
    return Page(browser)


class Page:
    """The page in a browser. Selectors are those of CSS; whatever waits does so for 20 seconds at most."""

    def __init__(self, browser):
        self.browser = browser

    def open(self, daemon, view: str = "teach") -> None:
        """Load the page of a daemon and wait until it is connected."""
        self.browser.get(f"{daemon.url.rstrip('/')}/#/{view}")
        self.wait(lambda: self.text("#state") == "connected")

    def all(self, selector: str) -> list:
        return self.browser.find_elements("css selector", selector)

    def one(self, selector: str):
        """The first such element, as soon as it is there and can be seen."""
        return self.wait(lambda: next(one for one in self.all(selector) if one.is_displayed()))

    def text(self, selector: str) -> str:
        return "\n".join(one.text for one in self.all(selector))

    def click(self, selector: str) -> None:
        """Click the first such element, once nothing is in the way."""
        self.wait(lambda: self.push(self.all(selector)[0]) is None)

    def push(self, element) -> None:
        """Click an element where it can be reached: on phones a bar covers the lower edge."""
        self.browser.execute_script("arguments[0].scrollIntoView({ block: 'center' })", element)
        element.click()

    def wait(self, condition):
        """Wait until a condition holds; returns what it gave."""
        from selenium.common.exceptions import WebDriverException
        from selenium.webdriver.support.ui import WebDriverWait

        passing = [WebDriverException, IndexError, StopIteration]
        return WebDriverWait(self.browser, 20, 0.05, passing).until(lambda _: condition())

    def card(self, name: str):
        """The card of a class."""
        return self.wait(
            lambda: next(one for one in self.all("#classes > li") if one.get_attribute("data-name") == name)
        )

    def add_class(self, name: str):
        """Type a name and press Enter; returns the new card."""
        self.one("#name").send_keys(name + "\n")
        return self.card(name)

    def focused(self):
        """The element that has the focus."""
        return self.browser.switch_to.active_element

    def press(self, *keys: str) -> None:
        """Press keys where the focus is."""
        from selenium.webdriver import ActionChains

        ActionChains(self.browser).send_keys(*keys).perform()

    def drop(self, target, files: dict) -> None:
        """Drop files on an element; files : bytes by name."""
        import base64

        encoded = [[name, base64.b64encode(data).decode()] for name, data in files.items()]
        self.browser.execute_script(_DROP, target, encoded)


_DROP = """
const transfer = new DataTransfer();
for (const [name, data] of arguments[1]) {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  transfer.items.add(new File([bytes], name, { type: name.endsWith(".png") ? "image/png" : "" }));
}
for (const kind of ["dragover", "drop"]) {
  arguments[0].dispatchEvent(new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: transfer }));
}
"""


@pytest.fixture
def taught(tiny_daemon, make_picture, encode):
    """A daemon that knows two classes well enough to train, with one picture under the wrong name."""
    teach_mostly_right(tiny_daemon, make_picture, encode)
    return tiny_daemon
