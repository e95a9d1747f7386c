"""The studio in a real browser: what people do there, what two pages see of it, and what happens to a server."""

import base64
import os
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.axe import complaints
from support.browser import listen, playwright, running_browser
from support.serving import RED
from support.studio import paint, studio_process, studio_running

pytestmark = pytest.mark.slow

expect = playwright.expect
CAMERA = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
UPLOAD = """
async (count) => {
  const { upload } = await import("/page/server.js");
  const { fetch } = window;
  const sent = [];
  window.fetch = async (path, { body }) => {
    sent.push(body.getAll("picture").length);
    return Response.json({});
  };
  await upload("red", Array(count).fill(new File(["x"], "a.png")));
  window.fetch = fetch;
  return sent;
}
"""
GIVE = """
([place, name, text, event]) => {
  const data = new DataTransfer();
  data.items.add(new File([Uint8Array.from(atob(text), (one) => one.charCodeAt(0))], name));
  const detail = { bubbles: true, cancelable: true };
  document.querySelector(place).dispatchEvent(
    event === "paste" ? new ClipboardEvent("paste", { ...detail, clipboardData: data })
                      : new DragEvent("drop", { ...detail, dataTransfer: data }));
}
"""


@pytest.fixture(scope="module")
def browser():
    with running_browser(*CAMERA) as browser:
        yield browser


@pytest.fixture
def studio():
    """A studio of nine pictures."""
    with studio_running(paint("pictures")) as server:
        yield server


@pytest.fixture(scope="module")
def pages(browser):
    """The pages of all tests, two of one browser's window: another address in a page costs less than another page."""
    context = browser.new_context(permissions=["camera"])
    return [new_page(context) for _ in range(2)]


def new_page(context):
    page = context.new_page()
    page.set_default_timeout(20_000)
    listen(page, lambda url: url.startswith((page.studio, "blob:", "data:")))
    return page


@pytest.fixture
def show(pages):
    """Opens a page: show(url), or a second one. Whatever it complains of or asks of others is in `page.heard`."""

    def open_page(url, place=0):
        page = pages[place]
        page.studio = url.partition("?")[0]
        page.bring_to_front()
        page.set_viewport_size({"width": 1280, "height": 900})
        page.emulate_media(color_scheme="light")
        page.once("framenavigated", lambda _: page.heard.clear())  # what it said of the studio before, which has ended
        page.goto(url)
        return page

    return open_page


def tiles(page, name):
    return page.locator(f'.class[data-class="{name}"] .tile')


def counts(page, **wanted):
    """Wait until classes have so many pictures."""
    for name, count in wanted.items():
        expect(page.locator(f'.class[data-class="{name}"] .class-name .count')).to_have_text(str(count))


def figures(page, text):
    """Wait for the figures of the folder as it is: those of before, on their way, may change the queue once more."""
    expect(page.locator("#figures")).to_contain_text(text)


def said(page, text):
    expect(page.locator("#said")).to_have_text(text)


def test_pictures_are_added_dragged_and_all_is_undone(show, studio):
    page = show(studio.url)
    counts(page, red=3, green=3, blue=3)
    assert page.url.endswith("/")  # the token has left the address
    encoded = base64.b64encode(RED).decode()
    page.evaluate(GIVE, ['.class[data-class="red"]', "dropped.png", encoded, "drop"])
    counts(page, red=4)
    page.set_input_files("#files", [{"name": "chosen.png", "mimeType": "image/png", "buffer": RED}])
    page.keyboard.type("re")
    page.keyboard.press("Enter")
    counts(page, red=5)
    page.evaluate(GIVE, ["body", "pasted.png", encoded, "paste"])
    page.keyboard.type("purple")
    page.keyboard.press("Enter")
    counts(page, purple=1)
    tiles(page, "blue").first.click()  # above what covers the last class for a while: what was said
    tiles(page, "blue").nth(1).click(modifiers=["Shift"])
    tiles(page, "blue").nth(1).drag_to(page.locator('.class[data-class="green"] .class-head'))
    counts(page, blue=1, green=5)
    said(page, "Moved 2 pictures from blue to green.")
    expect(page.locator("#selection")).to_be_hidden()
    tiles(page, "green").first.hover()
    page.keyboard.press("Control+z")
    counts(page, blue=3, green=3)
    page.keyboard.press("Control+Shift+Z")
    counts(page, blue=1, green=5)
    page.click("#undo")
    counts(page, blue=3, green=3)
    expect(page.locator("#stage")).to_have_text("watching the folder")
    assert page.heard == []


def test_the_keyboard_moves_splits_and_removes(show, studio):
    page = show(studio.url)
    tiles(page, "red").first.focus()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("m")
    page.keyboard.type("crimson")
    expect(page.locator("#choose-list")).to_contain_text("New class: crimson")
    expect(page.locator('#choose-list [aria-selected="true"]')).to_contain_text("crimson")  # what Enter takes is marked
    page.keyboard.press("Enter")
    counts(page, red=1, crimson=2)
    page.locator('.class[data-class="crimson"] [aria-haspopup]').click()
    page.get_by_role("menuitem", name="Select all pictures").click()
    expect(page.locator("#selected")).to_have_text("2 pictures selected")
    tiles(page, "crimson").first.focus()
    page.keyboard.press("Delete")
    counts(page, crimson=0)
    page.keyboard.press("Control+z")
    counts(page, crimson=2)
    tiles(page, "blue").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#large-path")).to_have_text("blue/blue0.png")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#large-path")).to_have_text("blue/blue1.png")
    page.keyboard.press("Escape")
    expect(page.locator("#large")).not_to_be_visible()
    assert page.heard == []


def test_classes_are_renamed_and_merged(show, studio):
    page = show(studio.url)
    page.locator('.class[data-class="red"] [aria-haspopup]').click()
    page.get_by_role("menuitem", name="Rename ...").click()
    page.fill("#name-text", "scarlet & <b>")
    page.keyboard.press("Enter")
    counts(page, **{"scarlet & <b>": 3})
    page.locator('.class[data-class="green"] [aria-haspopup]').click()
    page.get_by_role("menuitem", name="Merge into another ...").click()
    page.keyboard.type("blu")
    page.keyboard.press("Enter")
    counts(page, blue=6)
    expect(page.locator(".class")).to_have_count(2)
    page.click("#undo")
    expect(page.locator(".class")).to_have_count(3)
    assert sorted(path.name for path in Path("pictures").glob("[!.]*")) == ["blue", "green", "scarlet & <b>"]


def test_pictures_of_the_queue_are_labelled_with_keys(show):
    root = paint("pictures", count=5)
    for number in range(4):
        os.rename(root / "red" / f"red{number}.png", root / "blue" / f"red{number}.png")
    with studio_running(root) as studio:
        page = show(studio.url)
        expect(page.locator("#waiting")).to_have_text("4")
        page.click("#tab-next")
        for number in range(4):
            expect(page.locator("#why")).to_have_text("Looks like red, not blue.")
            expect(page.locator("#next .note").first).to_contain_text(f"{4 - number} to look at")
            page.keyboard.press("3")  # blue, green, red
            expect(page.locator("#next")).to_contain_text(f"{3 - number} to look at" if number < 3 else "All done")
        counts(page, red=5, blue=5)
        figures(page, "100.0% of answers are right")
        page.keyboard.press("Control+z")
        figures(page, "93.3% of answers are right")
        expect(page.locator("#next .note").first).to_contain_text("1 to look at")
        page.keyboard.press("Enter")  # it is right as it is
        expect(page.locator("#next")).to_contain_text("All done")
        page.keyboard.press("Control+z")  # which can be undone, too, and changes nothing else
        expect(page.locator("#next .note").first).to_contain_text("1 to look at")
        counts(page, red=4, blue=6)
        page.keyboard.press("Enter")
        expect(page.locator("#next")).to_contain_text("All done")
        assert page.heard == []


def test_the_worst_pictures_come_first_and_only_what_is_shown_is_selected(show):
    root = paint("pictures")
    for number in range(2):
        os.rename(root / "red" / f"red{number}.png", root / "blue" / f"red{number}.png")
    with studio_running(root) as studio:
        page = show(studio.url)
        expect(tiles(page, "blue").first).to_have_attribute("title", "blue0.png")
        page.select_option("#sort", "worst")
        expect(tiles(page, "blue").first).to_have_attribute("title", re.compile("^red0.png\ntaken for red"))
        page.select_option("#show", "wrong")
        expect(page.locator(".tile")).to_have_count(2)
        more = page.locator('.class[data-class="blue"] [aria-haspopup]')
        more.click()
        page.get_by_role("menuitem", name="Select all pictures").click()
        expect(page.locator("#selected")).to_have_text("2 pictures selected")
        page.select_option("#show", "all")
        page.fill("#find", "green")
        expect(page.locator("#selected")).to_have_text("2 pictures selected, 2 of them not shown")
        page.fill("#find", "")
        page.click("#fold")
        tiles(page, "blue").first.focus()
        page.keyboard.press("Control+a")
        expect(page.locator("#selected")).to_have_text("5 pictures selected")
        assert page.evaluate(UPLOAD, 10_001) == [10_000, 1]  # pictures of each request
        assert page.heard == []


def test_two_pages_stay_in_step_and_see_changes_from_outside(show, studio):
    one = show(studio.url)
    other = show(studio.url.partition("?")[0], 1)
    counts(other, red=3)
    one.bring_to_front()  # a click on a page behind another takes two seconds
    tiles(one, "red").first.click()
    one.keyboard.press("m")
    one.keyboard.type("green")
    one.keyboard.press("Enter")
    counts(other, red=2, green=4)
    other.bring_to_front()
    other.click("#undo")
    counts(one, red=3, green=3)
    one.bring_to_front()
    one.click("#said-undo")  # of the move that the other page took back
    expect(one.locator("#said")).to_contain_text("can't be taken back")
    shutil.copy("pictures/red/red0.png", "pictures/green/outside.png")
    studio.workbench.look()
    for page in (one, other):
        counts(page, green=4)
        expect(page.locator("#figures")).to_contain_text("of 10 test pictures")
    one.locator('#figures [aria-label="green taken for red: 1"]').click()
    expect(one.locator(".tile")).to_have_count(1)
    assert one.locator(".tile").get_attribute("aria-label") == "outside.png, taken for red"


def test_a_server_that_was_killed_and_came_back(show):
    root = paint("pictures")
    with studio_process(root) as (process, url):
        page = show(url)
        counts(page, red=3)
        port = int(url.rpartition(":")[2].partition("/")[0])
        process.kill()
        expect(page.locator("#lost")).to_contain_text("does not answer")
        expect(page.locator("#stage")).to_have_text("not connected")
    os.unlink(root / "red" / "red0.png")
    with studio_process(root, port) as (process, url):
        expect(page.locator("#lost")).to_contain_text("was started again", timeout=20_000)
        show(url, 1)
        page.bring_to_front()
        expect(page.locator("#lost")).to_be_hidden()
        counts(page, red=2)
        tiles(page, "red").first.click()
        page.keyboard.press("Delete")
        counts(page, red=1)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stderr.read() == "the studio has ended\n"


def test_two_thousand_pictures_scroll_with_few_elements(show):
    root = Path("pictures")
    for label in range(10):
        (root / f"class {label}").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (2000, 4, 4, 3), np.uint8)
    for number in range(2000):
        Image.fromarray(pixels[number]).save(root / f"class {number % 10}" / f"{number:04}.ppm")
    with studio_running(root) as studio:
        page = show(studio.url)
        counts(page, **{"class 0": 200})
        most = page.evaluate(
            """async () => {
              const board = document.getElementById("board");
              let most = 0;
              while (board.scrollTop + board.clientHeight < board.scrollHeight - 1) {
                board.scrollTop += 3 * board.clientHeight;
                await new Promise(requestAnimationFrame);
                await new Promise(requestAnimationFrame);
                most = Math.max(most, document.querySelectorAll("*").length);
              }
              return most;
            }"""
        )
        assert most < 1500
        last = page.locator('.tile[aria-label^="1999.ppm"] img')
        page.wait_for_function("(image) => image.naturalWidth === 4", arg=last.element_handle())
        assert page.heard == []


def test_a_picture_is_tried_from_a_file_and_from_the_camera(show, studio):
    page = show(studio.url)
    counts(page, red=3)
    page.click("#tab-try")
    page.set_input_files("#try-file", [{"name": "one.png", "mimeType": "image/png", "buffer": RED}])
    expect(page.locator("#try .scores li").first).to_contain_text("red90.0%")
    page.set_input_files("#try-file", [{"name": "two.txt", "mimeType": "text/plain", "buffer": b"text"}])
    expect(page.locator("#try [role=status]")).to_have_text("not a picture")
    expect(page.locator("#try img.tried")).to_be_hidden()
    page.get_by_role("button", name="Use the camera").click()
    expect(page.locator("#try .scores li").first).to_contain_text("90.0%")
    page.get_by_role("button", name="Add it to a class ...").click()
    page.keyboard.type("green")
    page.keyboard.press("Enter")
    counts(page, green=4)
    page.get_by_role("button", name="Stop the camera").click()
    page.click("#save")
    page.fill("#name-text", "../elsewhere")
    page.keyboard.press("Enter")
    expect(page.locator("#toast.bad")).to_contain_text("is no place for a model")
    page.click("#save")
    page.keyboard.press("Enter")
    expect(page.locator("#said")).to_contain_text(f"Saved the model in {os.getcwd()}/model.")
    assert page.heard == [
        "Failed to load resource: the server responded with a status of 415 (Unsupported Media Type)",
        "Failed to load resource: the server responded with a status of 422 (Unprocessable Entity)",
    ]


def test_nothing_is_too_wide_and_axe_finds_nothing(show, studio):
    shutil.copy("pictures/red/red0.png", "pictures/blue/wrong.png")
    studio.workbench.look()
    page = show(studio.url)
    page.locator("#figures .matrix").wait_for(state="attached")
    for width, scheme, tabs in (
        (1280, "light", ("next", "try", "figures")),
        (390, "dark", ("pictures", "next", "try", "figures")),  # on a phone, pictures are a tab, too
    ):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        for tab in tabs:
            page.click(f"#tab-{tab}")
            if tab == "pictures" or width > 900:
                page.keyboard.press("Escape")  # nothing is selected
                tiles(page, "red").first.click()
            assert page.evaluate("document.documentElement.scrollWidth") == width
            seen = ["#board"] * (tab != tabs[0])
            assert complaints(page, *seen) == [], f"{tab} in {scheme}, {width} pixels wide"
    assert page.heard == []


def test_hostile_names_are_only_shown(show):
    root = paint("pictures")
    evil = '"><img src=x onerror=document.title=1>'
    os.rename(root / "red", root / evil)
    shutil.copy(root / "blue" / "blue0.png", root / "blue" / f"{evil}.png")
    with studio_running(root) as studio:
        page = show(studio.url)
        expect(page.locator(".class-name").first).to_contain_text(evil)
        page.get_by_role("button", name=f"More for {evil}").click()
        page.get_by_role("menuitem", name="Rename ...").click()
        page.keyboard.press("Escape")
        page.click("#tab-next")
        expect(page.locator("#next")).to_contain_text("Nothing needs a look")
        assert page.title() == "pictures - retrain studio"
        assert page.heard == []
