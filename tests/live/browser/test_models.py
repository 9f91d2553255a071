"""The page in a real Chromium: training, results, versions, and the views beside them."""

import re

import pytest
from teaching import teach_mostly_right


def train(page, head: str) -> None:
    """Train a kind of head by the page; it may answer then."""
    page.wait(page.one("#train").is_enabled)
    if not page.all("#train-options[open]"):
        page.click("#train-options summary")
    page.click(f"#train-options select[name=head] option[value={head}]")
    page.click("#train-options select[name=activate] option[value=always]")
    page.click("#train")


def test_train_and_look_at_the_results(page, taught):
    """Training shows its curve and ends in words; a cell opens its pictures; what the doctor found is mended once."""
    from selenium.webdriver import ActionChains, Keys

    page.open(taught, "train-view")
    page.wait(lambda: page.all("[data-code=near_duplicates] .thumb"))  # of the live model
    train(page, "softmax")
    page.wait(lambda: "Version 1 answers now" in page.text("#job"))
    history = taught.get("/v1/models/1/report").json["history"]
    lines = [one.get_attribute("points").split() for one in page.all("#curves polyline.line-1")]
    assert [len(points) for points in lines] == [len(history)] * 2 and len(history) > 1
    page.wait(lambda: "set aside and not trained on" in page.text("#results .summary"))

    shown = int(page.one(".cell.right").text)
    page.click(".cell.right")
    page.wait(lambda: len(page.all("#cell .thumb")) == shown)
    page.click("#cell .thumb")
    page.click("dialog .choice")
    page.wait(lambda: counts(taught) == [12, 13])
    page.click("#cell .close")
    page.wait(lambda: "cell" in page.focused().get_attribute("class"))
    ActionChains(page.browser).key_down(Keys.CONTROL).send_keys("z").key_up(Keys.CONTROL).perform()
    page.wait(lambda: counts(taught) == [13, 12])

    page.wait(lambda: page.all("[data-code=wrong_label] .move"))
    page.click("[data-code=wrong_label] .move")
    page.wait(lambda: "Moved a picture from red to green" in page.text("#toast") and counts(taught) == [12, 13])
    page.wait(lambda: "Done" in page.text("[data-code=wrong_label]") and page.focused().tag_name == "button")
    page.browser.refresh()
    page.wait(lambda: "Done" in page.text("[data-code=wrong_label]"))

    alike = taught.get("/v1/models/1/report").json["findings"]
    many = next(len(one["examples"]) for one in alike if one["code"] == "near_duplicates")
    for _ in range(2):
        page.click("[data-code=near_duplicates] > .row .danger")
        page.wait(lambda: f"Deleted {many} pictures" in page.text("#toast") and sum(counts(taught)) == 25 - many)
        page.wait(lambda: "Done" in page.text("[data-code=near_duplicates]"))
        if _ == 0:
            page.click("#undo")
            page.wait(lambda: sum(counts(taught)) == 25 and page.all("[data-code=near_duplicates] > .row .danger"))
    page.wait(lambda: "Done" in page.text("[data-code=near_duplicates]"))


def counts(daemon) -> list:
    """How many examples each class has."""
    return [one["examples"] for one in daemon.get("/v1/classes").json["items"]]


def test_why_it_can_not_train(page, tiny_daemon, make_picture, encode):
    """The button says what is missing until it is there."""
    page.open(tiny_daemon, "train-view")
    page.wait(lambda: "Teach 2 classes first" in page.text("#train-reason"))
    assert not page.one("#train").is_enabled()
    tiny_daemon.teach("red", encode(make_picture("red", 1)))
    page.wait(lambda: "there is only red" in page.text("#train-reason"))
    tiny_daemon.teach("blue", encode(make_picture("blue", 1)))
    page.wait(lambda: page.one("#train").is_enabled())


def test_what_was_not_measured(page, tiny_daemon, make_picture, encode):
    """Recordings are measured whole: of one a class nothing is, and it says so; then of which class nothing was."""
    teach_capture(tiny_daemon, "red", make_picture("red", 1), encode, "first")
    teach_capture(tiny_daemon, "blue", make_picture("blue", 1), encode, "first of blue")
    page.open(tiny_daemon, "train-view")
    page.wait(lambda: "Nothing could be measured: each class needs a second recording" in page.text("#results"))
    for capture in ("second", "third"):
        teach_capture(tiny_daemon, "red", make_picture("red", 2), encode, capture)
    page.wait(lambda: "Not measured: 3 pictures of blue. Each class needs a second" in page.text("#results"))
    train(page, "lda")
    page.wait(lambda: "Not measured: 1 of 2 classes. Each needs three pictures, and a" in page.text("#results"))


def teach_capture(daemon, name: str, picture, encode, capture: str) -> None:
    """Teach a class three pictures that were recorded together."""
    for brighter in range(3):
        data = encode(picture // 2 + 20 * brighter, "PNG")
        path = f"/v1/examples?class={name}&capture={capture}".replace(" ", "%20")
        assert daemon.ask("POST", path, data, Content_Type="image/png").status == 201


def test_switch_and_compare_versions(page, taught):
    """Two versions side by side; one is switched to, then back, then the live model of another kind answers."""
    for head in ("softmax", "lda"):
        taught.train(head=head, activate="always")
    page.open(taught, "versions")
    page.wait(lambda: "Version 2 answers" in page.text("#versions"))
    for version in ("1", "2"):
        page.click(f"tr[data-version='{version}'] input")
    page.wait(lambda: "all" in page.text("#comparison tbody"))
    assert [one.text for one in page.all("#comparison tbody th")] == ["all", "red", "green"]

    page.click("tr[data-version='1'] .use")
    page.wait(lambda: "Version 1 answers" in page.text("#versions"))
    page.click("#go-back")
    page.wait(lambda: "Version 2 answers" in page.text("#versions"))
    page.click("#live-head option[value=knn]")
    page.click("#to-live")
    page.wait(lambda: "The live model answers" in page.text("#versions"))
    assert taught.get("/v1/status").json["model"]["head"] == "knn"
    assert "nearest neighbours" in page.text("#model")


def test_how_a_version_was_measured(page, taught):
    """Beside the live model, which is measured otherwise, it is said; two versions were measured alike."""
    for head in ("softmax", "lda"):
        taught.train(head=head, activate="never")
    page.open(taught, "versions")
    for version in ("live", "1"):
        page.click(f"tr[data-version='{version}'] input")
    page.wait(lambda: "measured differently" in page.text("#comparison"))
    ways = [one.text for one in page.all("#comparison thead .kind")]
    assert ways == [
        "on 25 pictures, each answered as if it had not been taught",
        "on 5 pictures set aside and not trained on",
    ]
    page.click("tr[data-version='2'] input")
    page.wait(lambda: "version 2" in page.text("#comparison") and "live model" not in page.text("#comparison"))
    assert "measured differently" not in page.text("#comparison")


STATUS_AGAIN = """
const done = arguments[arguments.length - 1];
import("/page/known.js")
  .then(async ({refresh}) => {
    await refresh();
    await refresh();
    done(null);
  })
  .catch(error => done(String(error)));
"""


def test_training_that_fails(page, taught):
    """Why is said, and stays there while the status comes again and again."""
    page.open(taught, "train-view")
    page.click("#train-options summary")
    page.click("#train-options select[name=optimizer] option[value=sgd]")
    for name in ("learning_rate", "l2"):
        page.one(f"#train-options [name={name}]").send_keys("10")
    train(page, "softmax")
    page.wait(lambda: "diverged" in page.text("#job"))
    assert page.browser.execute_async_script(STATUS_AGAIN) is None
    assert "diverged" in page.text("#job")


def test_why_this_kind_of_head(page, taught):
    """Where the best of all was asked for, one sentence says why it is that, with the figures of all kinds."""
    page.open(taught, "train-view")
    train(page, "auto")
    page.wait(lambda: "Version 1 answers now" in page.text("#job"))
    choice = taught.get("/v1/models/1/report").json["choice"]
    said = page.wait(lambda: next(one.text for one in page.all("#results .summary .quiet") if "taken" in one.text))
    assert f"in a cross-validation on {choice['examples']} pictures: " in said
    for head in ("imprinting", "softmax regression", "linear discriminant", "nearest neighbours"):
        assert head in said
    shown = [float(figure) for figure in re.findall(r"([\d.]+) %", said)]
    expected = sorted((round(100 * share, 1) for share in choice["accuracy"].values()), reverse=True)
    assert shown == pytest.approx(expected, abs=0.11)

    page.click("#train-options select[name=activate] option[value=never]")
    page.click("#train")
    page.wait(lambda: "Version 2 is kept" in page.text("#job") and "Of all kinds" in page.text("#job"))


# What is said of kinds that did equally well, of one a little behind, and where nothing could be measured.
CHOICES = """
const done = arguments[arguments.length - 1];
import("/page/words.js").then(({choiceWords}) => {
  const of = (kind, accuracy, reason) => choiceWords({kind, accuracy, examples: 20, reason});
  const nothing = of("lda", {}, "there is only one class");
  done([of("lda", {softmax: 0.95, lda: 0.95}), of("lda", {lda: 0.9, knn: 1}), nothing]);
}, done);
"""


def test_words_for_a_choice(page, tiny_daemon):
    """No kind is said to be the best that is not, and nothing is shown as measured that was not."""
    page.open(tiny_daemon)
    equal, behind, nothing = page.browser.execute_async_script(CHOICES)
    assert "as none did better" in equal and "softmax regression 95.0 %, linear discriminant 95.0 %." in equal
    assert "as chance alone may have put it behind" in behind and "nearest neighbours 100.0 %" in behind
    assert nothing == "There is only one class."


def test_delete_a_version(page, taught):
    """One that does not answer can be deleted, once that is confirmed; the one that answers has no button for it."""
    for _ in range(2):
        taught.train(head="lda", activate="always")
    page.open(taught, "versions")
    page.wait(lambda: page.all("tr[data-version='2'] .active"))
    assert len(page.all("#versions button[aria-label^=Delete]")) == 1
    page.click("tr[data-version='1'] button[aria-label^=Delete]")
    page.wait(lambda: page.all("dialog .main"))
    page.click("dialog .main")
    page.wait(lambda: not page.all("tr[data-version='1']"))
    assert [one["version"] for one in taught.get("/v1/models").json["items"]] == ["live", 2]


def test_what_a_version_has_not_seen(page, taught, make_picture, encode):
    """A trained version stays as it was; the page says what it missed, and one press lets the live model answer."""
    taught.train(head="softmax", activate="always")
    page.open(taught)
    page.wait(lambda: "trained and fixed" in page.text("#model"))
    assert page.text("#banners") == ""
    taught.teach("blue", encode(make_picture("blue", 1)))
    page.wait(lambda: "has not seen 1 newer picture, nothing of blue" in page.text("#banners"))
    page.click("#use-live")
    page.wait(lambda: "learns with every picture" in page.text("#model") and page.text("#banners") == "")


def test_journal_and_import(page, taught, tmp_path):
    """The last step is taken back from the journal; an exported data set comes in again, and goes as a whole."""
    (tmp_path / "set.zip").write_bytes(taught.get("/v1/export").body)
    page.open(taught, "settings")
    page.click("#journal button")
    page.wait(lambda: taught.get("/v1/classes").json["items"][0]["examples"] == 12)
    page.all("#import")[0].send_keys(str(tmp_path / "set.zip"))
    page.wait(lambda: "Imported" in page.text("#toast"))
    assert taught.get("/v1/classes").json["items"][0]["examples"] == 13
    page.wait(lambda: "Undo the whole import" in page.text("#journal"))
    page.click("#journal button")
    page.wait(lambda: taught.get("/v1/classes").json["items"][0]["examples"] == 12)


def test_recordings_in_the_journal(page, tiny_daemon, make_picture, encode):
    """Each is one line with the count of its pictures, however many requests it took, and is taken back whole."""
    for name, seeds, capture in (
        ("sky", range(2), ""),
        ("apple", range(45), "&capture=first"),
        ("apple", range(45, 48), "&capture=second"),
    ):
        for seed in seeds:
            data = encode(make_picture("red", seed), "PNG")
            added = tiny_daemon.ask("POST", f"/v1/examples?class={name}{capture}", data, Content_Type="image/png")
            assert added.status == 201
    page.open(tiny_daemon, "settings")
    page.wait(lambda: len(page.all("#journal li")) == 4)
    said = [one.text for one in page.all("#journal li > span:first-child")]
    assert said == [
        "Taught apple 3 pictures",
        "Taught apple 45 pictures",
        "Taught sky 1 picture",
        "Taught sky 1 picture",
    ]
    page.click("#journal button")
    page.wait(lambda: "Undone" in page.text("#toast") and counts(tiny_daemon) == [2, 45])
    page.wait(lambda: page.text("#journal li:first-child span").startswith("Undo"))
    assert len(page.all("#journal li")) == 5


@pytest.fixture
def axe():
    """The source of axe-core."""
    core = pytest.importorskip("axe_core_python", reason="axe-core-python is not installed (it needs Python 3.10)")
    from pathlib import Path

    return (Path(core.__file__).parent / "axe.min.js").read_text(encoding="utf-8")


RUN = """
const done = arguments[arguments.length - 1];
axe.run({ resultTypes: ["violations"] }).then((result) => done(result.violations));
"""
CUT_OFF = (
    "return [...document.querySelectorAll('#versions .scroll')].filter(it => it.scrollWidth > it.clientWidth).length"
)
SIZES = {"screen": (1280, 900, False), "phone": (390, 844, True)}


@pytest.fixture(scope="module")
def trained(shared_daemon, make_picture, encode):
    """A taught daemon with a version, to be looked at only."""
    teach_mostly_right(shared_daemon, make_picture, encode)
    shared_daemon.train(head="softmax", activate="never")
    return shared_daemon


# Each size and each scheme; the other pairings are slow.
PAIRINGS = [
    ("screen", "light"),
    ("phone", "dark"),
    pytest.param("screen", "dark", marks=pytest.mark.slow),
    pytest.param("phone", "light", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("size", "scheme"), PAIRINGS)
def test_no_barriers(page, browser, trained, axe, size, scheme):
    """axe finds nothing serious in any view, in both schemes, on a screen and a phone; nothing scrolls sideways."""
    width, height, mobile = SIZES[size]
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    try:
        page.open(trained)
        browser.execute_script(axe)
        for view in ("teach", "train", "map", "versions", "review", "settings"):
            page.click(f"#tab-{view}")
            page.wait(
                lambda: (
                    browser.execute_script(
                        "return document.querySelector('[role=tabpanel]:not([hidden])').innerText.length"
                    )
                    > 30
                )
            )
            assert barriers(browser) == [], view
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width, view
            assert browser.execute_script(CUT_OFF) == 0, view
        page.click("#tab-teach")
        page.push(page.card("red").find_element("css selector", ".all"))
        page.wait(lambda: len(page.all("dialog .thumb")) == 13)
        page.click("dialog .thumb")
        page.one("dialog .large")
        assert barriers(browser) == []
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def barriers(browser) -> list:
    """What axe finds that is serious or critical, a line each."""
    found = browser.execute_async_script(RUN)
    grave = [one for one in found if one["impact"] in ("serious", "critical")]
    return [f"{one['id']}: {node['target']} {node['failureSummary']}" for one in grave for node in one["nodes"]]
