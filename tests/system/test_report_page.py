"""The report in a real browser: what it shows, what it refuses, and what axe-core finds."""

import functools
from dataclasses import replace
from pathlib import Path

import pytest
from support.axe import complaints
from support.browser import listen, running_browser
from support.reports import HOSTILE, make_comparison, make_label_report, make_quick_report, make_report

from retrain.report.page import render_comparison, render_report

pytestmark = pytest.mark.slow

REPORT = make_report()
PAGES = {
    "full": lambda: render_report(REPORT),
    "quick": lambda: render_report(make_quick_report()),
    "hostile": lambda: render_report(make_report(HOSTILE)),
    "dense": lambda: render_report(make_report(tuple(f"class {n}" for n in range(26)))),  # of a matrix
    "pairs": lambda: render_report(make_report(tuple(f"class {n}" for n in range(60)))),  # too many for a matrix
    "labels": lambda: render_report(make_label_report()),
    "hostile labels": lambda: render_report(make_label_report(HOSTILE)),
    "comparison": lambda: render_comparison(make_comparison(HOSTILE[:3])),
}

# What axe-core looks at, in light on a screen and in dark on a phone: of cards and rows that repeat, the first. Hostile
# names are in the same elements as others, a quick report has those of a full one, and only the matrix gets dense.
REPEATED = (".card:nth-child(n+3)", ".plain tbody tr:nth-child(n+4)")
BESIDE_MATRIX = (".card", ".chart", ".plain", ".matrix tbody tr:nth-child(n+7)")
IN_LIGHT = {"hostile": REPEATED, "hostile labels": REPEATED, "comparison": REPEATED, "dense": BESIDE_MATRIX}
IN_DARK = {"full": REPEATED, "labels": REPEATED, "comparison": REPEATED, "quick": REPEATED}


@functools.cache
def rendered(name):
    return PAGES[name]()


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium."""
    with running_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(browser):
    """One page with scripts and one without: pages(has_scripts). Another file in it costs less than another page."""

    @functools.cache
    def page_of(has_scripts):
        page = browser.new_context(java_script_enabled=has_scripts).new_page()
        listen(page, lambda url: url.startswith(("file:", "data:")))
        return page

    return page_of


@pytest.fixture
def show(pages, tmp_path):
    """Shows a page: show(html). Whatever the page complains of or asks for is in `page.heard`."""

    def open_page(html, address="", has_scripts=True, **media):
        path = tmp_path / "report.html"
        path.write_bytes(html)
        page = pages(has_scripts)
        page.set_viewport_size({"width": 1280, "height": 900})
        page.emulate_media(**{"media": "screen", "color_scheme": "light", "reduced_motion": "no-preference"} | media)
        page.heard.clear()
        page.goto(f"{path.as_uri()}{address}")
        return page

    return open_page


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_asked_for_complained_of_or_too_wide(show, name):
    page = show(rendered(name))
    for width, scheme, left_out in ((1280, "light", IN_LIGHT), (390, "dark", IN_DARK)):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        if name in left_out:
            assert complaints(page, *left_out[name]) == [], f"in {scheme}, {width} pixels wide"
    assert page.heard == []


@pytest.mark.parametrize("name", ["hostile", "hostile labels"])
def test_hostile_names_are_shown_and_run_nothing(show, name):
    page = show(rendered(name))
    table = page.inner_text("#classes")
    for name in (
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(2)>'",
        "two\\x0alines",
        "{{ 7 * 7 }}{% for %}",
    ):
        assert name in table
    assert page.locator("img, iframe, object, embed").count() == 0
    assert page.locator("script").count() == page.locator("style").count() == 1
    assert page.heard == []


@pytest.mark.parametrize(
    "attack",
    [
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'}))",
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran = 1\">')",
        "document.body.insertAdjacentHTML('beforeend', '<p style=\"position:fixed\">')",
        "document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/'}))",
        "fetch('http://127.0.0.1:9/').catch(() => 0)",
        "document.body.append(Object.assign(document.createElement('iframe'), {src: 'http://127.0.0.1:9/'}))",
    ],
)
def test_the_policy_refuses_what_gets_past_the_escaping(show, attack):
    page = show(rendered("quick"))
    page.evaluate(
        "addEventListener('securitypolicyviolation', (event) => { window.refused = event.violatedDirective; })"
    )
    page.evaluate(f"void ({attack})")
    page.wait_for_function("window.refused")
    assert page.evaluate("window.ran") is None


def test_a_click_on_a_cell_shows_its_pictures(show):
    page = show(rendered("full"))
    assert page.locator(".cell:visible").count() == 0
    page.click('.matrix a[href="#cell-2-3"]')
    (cell,) = page.locator(".cell:visible").all()
    assert cell.locator("h4").inner_text() == "roses called sunflowers: 3 pictures, 2 shown"
    assert cell.locator(".card .path").all_inner_texts() == ["roses/0007.jpg test", "sunflowers/0008.jpg test"]
    page.click('.matrix a[href="#cell-0-0"]')
    assert [cell.get_attribute("id") for cell in page.locator(".cell:visible").all()] == ["cell-0-0"]
    assert page.locator(".matrix a[aria-current]").get_attribute("href") == "#cell-0-0"


def test_an_address_with_a_cell_opens_it(show):
    page = show(rendered("full"), address="#cell-2-3")
    assert page.locator(".cell:visible").get_attribute("id") == "cell-2-3"


def test_many_classes_have_a_click_too(show):
    page = show(rendered("pairs"))
    page.click("text=4 pictures >> nth=0")
    assert page.locator(".cell:visible .card").count() == 2


def test_the_slider_moves_all_figures(show):
    page = show(rendered("full"))
    thresholds = REPORT.thresholds
    for number, threshold in ((0, "0.00"), (15, "0.75"), (20, "1.00")):
        page.locator("#threshold").fill(str(number))
        answered, right = thresholds.answered[number], thresholds.right[number]
        assert page.inner_text("output") == threshold
        assert page.inner_text('[data-shows="answered-of"]') == f"{answered} of 100"
        assert page.inner_text('[data-shows="right"]') == f"{right / answered:.1%}"
        row = page.locator("#class-thresholds tbody tr").nth(2).locator("td").all_inner_texts()
        per_class = thresholds.per_class[2]
        counts = per_class.answered[number], per_class.right[number]
        assert row == ["20", *map(str, counts), f"{counts[1] / counts[0]:.1%}"]
    assert page.heard == []


def test_a_threshold_that_nothing_reaches_has_no_share(show):
    nothing = replace(
        REPORT.thresholds, answered=(*REPORT.thresholds.answered[:-1], 0), right=(*REPORT.thresholds.right[:-1], 0)
    )
    page = show(render_report(replace(REPORT, thresholds=nothing)))
    page.locator("#threshold").fill("20")
    assert page.inner_text('[data-shows="right"]') == "-"


def test_a_heading_sorts_both_ways(show):
    page = show(rendered("full"))

    def column(number):
        return page.locator(f"#classes tbody tr > :nth-child({number})").all_inner_texts()

    unsorted = column(6)
    page.click('#classes button:text-is("recall")')
    assert column(6) == sorted(unsorted, key=lambda text: float(text[:-1])) != unsorted
    page.click('#classes button:text-is("recall")')
    assert column(6) == sorted(unsorted, key=lambda text: -float(text[:-1]))
    assert page.locator("#classes th[aria-sort]").get_attribute("aria-sort") == "descending"
    page.click('#classes button:text-is("class")')
    assert column(1) == sorted(column(1))


def test_classes_called_by_numbers_are_sorted_by_them(show):
    page = show(render_report(make_report(("10", "9", "b2", "b10"))))
    page.click('#classes button:text-is("class")')
    assert page.locator("#classes tbody th").all_inner_texts() == ["9", "10", "b2", "b10"]


def test_heat_maps_come_with_the_pointer_and_stay_after_a_tap(show):
    page = show(rendered("full"), reduced_motion="reduce")
    heat = [page.locator(".heated .heat").nth(number) for number in (-1, -2)]

    def opacities():
        page.evaluate("Promise.all(document.getAnimations().map((one) => one.finished))")
        return [one.evaluate("element => getComputedStyle(element).opacity") for one in heat]

    def opacities_alone():
        page.mouse.move(0, 0)
        return opacities()

    assert opacities_alone() == ["0", "0"]
    button = page.locator(".heated:visible").last
    button.hover()
    assert opacities() == ["1", "0"]
    button.click()
    assert opacities_alone() == ["1", "0"]
    button.click()
    assert opacities_alone() == ["0", "0"]
    page.check("#all-heat")
    assert opacities_alone() == ["1", "1"]


def test_pictures_are_drawn(show):
    page = show(rendered("full"))
    thumbnail = page.locator(".card:visible svg.thumbnail").first
    drawn = thumbnail.screenshot()
    page.evaluate("document.querySelector('.store').remove()")
    assert thumbnail.screenshot() != drawn


def test_without_scripts_everything_is_there(show):
    page = show(rendered("full"), has_scripts=False)
    assert page.locator(".cell:visible").count() == 10
    assert page.locator("#threshold").is_hidden()
    assert page.locator("#class-thresholds tbody tr:visible").count() == 5
    page.click("text=All thresholds")
    assert page.locator("#thresholds tbody tr:visible").count() == 21
    assert page.heard == []


@pytest.mark.parametrize("has_scripts", [True, False])
def test_a_list_is_saved_with_the_paths_as_they_are(show, has_scripts):
    page = show(rendered("hostile"), has_scripts=has_scripts)
    with page.expect_download() as found:
        page.click('a[download="suspects.txt"]')
    assert found.value.suggested_filename == "suspects.txt"
    suspects = next(one for one in make_report(HOSTILE).findings if one.name == "suspects")
    expected = b"".join(path.encode("utf-8", "surrogateescape") + b"\0" for path in suspects.paths)
    assert Path(found.value.path()).read_bytes() == expected


def test_paper_is_white_and_has_no_switches(show):
    page = show(rendered("full"), color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    for name in ("nav", ".slider", ".save"):
        assert page.locator(f"{name}:visible").count() == 0
    assert page.pdf().startswith(b"%PDF")


def test_the_keyboard_reaches_cells_and_pictures(show):
    page = show(rendered("full"))
    page.locator('.matrix a[href="#cell-2-3"]').focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.id === 'cell-2-3'")
    page.keyboard.press("Tab")
    label = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert label == "Heat map of sunflowers: roses/0007.jpg"
