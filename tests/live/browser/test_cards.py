"""The page in a real Chromium: the names of classes, what other pages do to them, and the bars of many."""

import json

import pytest

LONG = 95 * "x"  # and a colour: 100 letters, and no place to break
WIDER = "return document.scrollingElement.scrollWidth - innerWidth"
# What stands out of the card it is in, and is not cut off or scrolled there.
OUTSIDE = """
const inside = one => one.closest(".scroll") || one.closest(".unseen, [hidden]")
return [...document.querySelectorAll(".card *, #verdict *")].filter(one => {
  const card = one.closest(".card, #verdict").getBoundingClientRect(), box = one.getBoundingClientRect()
  return box.width && !inside(one) && box.right > card.right + 1
}).map(one => one.outerHTML.slice(0, 100))
"""


def edit(page, name: str):
    """The field of a class's name, opened by F2."""
    from selenium.webdriver import Keys

    page.browser.execute_script("arguments[0].focus()", page.card(name).find_element("css selector", ".name"))
    page.press(Keys.F2)
    return page.wait(lambda: page.card(name).find_element("css selector", ".rename"))


def test_enter_leaves_a_name_as_it_is(page, tiny_daemon):
    """Enter on a name that was not changed closes its field, with the focus on the title, as Escape does."""
    from selenium.webdriver import Keys

    tiny_daemon.ask("POST", "/v1/classes", b'{"name": "apple"}', Content_Type="application/json")
    page.open(tiny_daemon)
    for key in (Keys.ENTER, Keys.ESCAPE):
        edit(page, "apple")
        page.press(key)
        assert page.all(".rename") == []
        assert page.focused().text == "apple"


def test_leave_a_name_for_another_field(page, tiny_daemon):
    """A click into another field saves the name and takes nothing of what is typed there."""
    from selenium.webdriver import ActionChains, Keys

    tiny_daemon.ask("POST", "/v1/classes", b'{"name": "apple"}', Content_Type="application/json")
    page.open(tiny_daemon)
    edit(page, "apple").send_keys("pear")
    ActionChains(page.browser).click(page.one("#name")).send_keys("plum and so on").perform()
    page.card("pear")
    page.press(" again")
    assert page.one("#name").get_attribute("value") == "plum and so on again"

    page.one("#name").clear()
    page.add_class("sky")
    edit(page, "pear").send_keys("sky", Keys.ENTER)  # to be merged, which is not wanted
    page.one("dialog .main")
    page.press(Keys.ESCAPE)
    page.wait(lambda: page.focused().text == "pear")


def test_what_other_pages_do(page, taught):
    """While a numbered version answers, classes that others add, rename and delete are read again, once a change."""
    taught.train(head="lda", activate="always")
    page.open(taught)
    page.card("green")
    for method, path, body, names in (
        ("POST", "/v1/classes", {"name": "blue"}, ["red", "green", "blue"]),
        ("PATCH", "/v1/classes/blue", {"name": "azure"}, ["red", "green", "azure"]),
        ("DELETE", "/v1/classes/green", None, ["red", "azure"]),
    ):
        data = None if body is None else json.dumps(body).encode()
        assert taught.ask(method, path, data, Content_Type="application/json").status in (200, 201)
        page.wait(lambda: [one.get_attribute("data-name") for one in page.all("#classes > li")] == names)  # noqa: B023


# How often the classes are read when the daemon tells of changes as given, and this page asks itself after some.
READ = """
const done = arguments[arguments.length - 1], told = arguments[0]
Promise.all([import("/page/known.js"), import("/page/news.js")]).then(async ([{refresh}, {hear, tell}]) => {
  const pause = () => new Promise(resolve => setTimeout(resolve, 1000))
  await pause()
  let read = 0
  hear("classes", () => read++)
  for (const change of told) {
    if (change === null) refresh()
    else tell("taught", {change})
  }
  await pause()
  done(read)
}, error => done(String(error)))
"""


@pytest.mark.slow
def test_no_change_is_read_twice(page, tiny_daemon):
    """Of one change, told again or made by this page itself, the classes are read once; of a later one anew."""
    page.open(tiny_daemon)
    for told, times in (([90], 1), ([90], 0), ([91, None], 1), ([92, 93, 93], 1)):
        assert page.browser.execute_async_script(READ, told) == times, told


# The bars after many answers of which eight classes were the best, and then one of another.
BEST = """
const done = arguments[arguments.length - 1];
Promise.all([import("/page/known.js"), import("/page/news.js")]).then(([{known}, {tell}]) => {
  Object.assign(known, {camera: {state: "online"}, extractor: {state: "ready"}});
  const answer = best => {
    const predictions = Array.from({length: 57}, (_, index) =>
      ({class: `c${index}`, score: index === best ? 0.9 : index < 8 ? 0.01 : 0.0001}));
    tell("classification", {class: `c${best}`, score: 0.9, predictions, device: "cpu", timing_ms: {total: 1}});
    return [...document.querySelectorAll("#scores .bar-name")].map(one => one.textContent);
  };
  for (let turn = 0; turn < 200; turn++) answer(turn % 8);
  done([answer(3), answer(56), answer(56)]);
}, error => done(String(error)));
"""


def test_the_best_of_many_has_a_bar(page, tiny_daemon):
    """Of more classes than there are bars the one that is answered has a bar at once; the others stay."""
    page.open(tiny_daemon)
    before, after, later = page.browser.execute_async_script(BEST)
    assert len(before) == len(after) == 8
    assert "c56" in after and after == later
    assert len(set(after) & set(before)) == 7


def test_long_names(page, browser, shared_daemon, make_picture, encode):
    """A name of 100 letters without a space makes no view wider than the window, and stays in its card."""
    for colour in ("red", "green"):
        for seed in range(4):
            shared_daemon.teach(LONG + colour, encode(make_picture(colour, seed)))
    shared_daemon.teach(f"{LONG}green", encode(make_picture("red", 9)))  # for the doctor to find
    shared_daemon.train(head="softmax", activate="always")
    shared_daemon.teach(f"{LONG}blue", encode(make_picture("blue", 9)))
    try:
        for width in (1280, 390):
            metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            page.open(shared_daemon)
            page.wait(lambda: "has not seen" in page.text("#banners"))
            for view in ("teach", "train", "map", "versions", "review", "settings"):
                page.click(f"#tab-{view}")
                page.wait(lambda: len(page.text("[role=tabpanel]:not([hidden])")) > 30)
                assert browser.execute_script(WIDER) <= 0, (width, view)
                assert browser.execute_script(OUTSIDE) == [], (width, view)
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
