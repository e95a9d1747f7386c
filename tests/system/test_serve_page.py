"""The server's page in a real browser: pictures by drop, clipboard, choice and camera; what it shows and asks for."""

import base64
from pathlib import Path

import pytest
from support.axe import complaints
from support.browser import listen, playwright, running_browser
from support.pictures import draw_picture
from support.serving import running
from support.small_network import pooled_saved_model

from retrain.model import Classifier
from retrain.options import BackboneOptions, RunOptions, TrainingOptions
from retrain.pipeline.train import train

pytestmark = pytest.mark.slow

SIGNS = {True: "\u2265", False: "<"}  # between a score and its threshold
DROP = """
([name, text, event]) => {
  const data = new DataTransfer();
  if (name) data.items.add(new File([Uint8Array.from(atob(text), (one) => one.charCodeAt(0))], name));
  const detail = { bubbles: true, cancelable: true };
  document.getElementById("drop").dispatchEvent(
    event === "paste" ? new ClipboardEvent("paste", { ...detail, clipboardData: data })
                      : new DragEvent("drop", { ...detail, dataTransfer: data }));
}
"""


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium."""
    with running_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with pictures/ and model/, of a network that has heat maps."""
    folder = tmp_path_factory.mktemp("shown")
    for label, name in enumerate(["cat", "dog"]):
        (folder / "pictures" / name).mkdir(parents=True)
        for number in range(20):
            draw_picture(number, label, 64).save(folder / "pictures" / name / f"{number}.png")
    backbone = BackboneOptions(backbone=str(pooled_saved_model(folder / "backbone")))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train("pictures", "model", RunOptions(backbone=backbone, training=TrainingOptions(optimizer="lbfgs")))
    return folder


@pytest.fixture(scope="module")
def address(folder, many_labels):
    with running({"animals": folder / "model", "many": many_labels}) as (_, (host, port)):
        yield f"http://{host}:{port}"


@pytest.fixture(scope="module")
def page(browser, address):
    """A page for all tests: another address in it costs less than another page."""
    page = browser.new_page()
    listen(page, lambda url: url.startswith((address, "data:", "blob:")))
    return page


@pytest.fixture
def show(page, address):
    """Opens the page anew: show("/"). Whatever it complains of or asks of others is in `page.heard`."""

    def open_page(path="/"):
        page.set_viewport_size({"width": 1280, "height": 900})
        page.emulate_media(color_scheme="light")
        page.context.set_offline(False)
        page.unroute_all()
        page.goto(f"{address}{path}")
        page.heard.clear()
        return page

    return open_page


def wait(page, count):
    """Wait until so many pictures have an answer; the texts of the answers, the newest first."""
    playwright.expect(page.locator(".answer")).to_have_count(count)
    playwright.expect(page.locator('.answer[aria-busy="true"]')).to_have_count(0, timeout=60_000)
    return page.locator(".answer .is").all_inner_texts()


def encoded(path):
    return base64.b64encode(path.read_bytes()).decode()


def test_pictures_by_choice_drop_and_clipboard(show, folder):
    page = show()
    cat, dog = (folder / "pictures" / name / "0.png" for name in ("cat", "dog"))
    page.set_input_files("#files", [cat, dog])
    assert [text.split()[0] for text in wait(page, 2)] == ["cat", "dog"]
    page.evaluate(DROP, ["dropped.png", encoded(dog), "drop"])
    assert wait(page, 3)[0].startswith("dog ")
    page.evaluate(DROP, ["", "", "drop"])
    assert page.inner_text("#status") == "There is no picture in that."
    page.evaluate(DROP, ["pasted.png", encoded(cat), "paste"])
    assert wait(page, 4)[0].startswith("cat ")
    assert page.inner_text("#status") == "4 pictures: 2 cat, 2 dog"
    first = page.locator(".answer").first
    assert first.locator(".scores li").count() == 2
    assert (
        first.locator(".scores li").first.inner_text().split() == page.locator(".answer .is").first.inner_text().split()
    )
    assert first.locator("canvas").get_attribute("width") == "64"
    page.click("#clear")
    assert page.locator(".answer").count() == 0
    assert page.evaluate("document.activeElement.id") == "files"
    assert page.heard == []


def test_what_is_no_picture_fails_alone(show, folder):
    page = show()
    Path("notes.txt").write_text("no picture")
    Path("empty.png").touch()
    files = ["notes.txt", folder / "pictures" / "cat" / "1.png", "empty.png"]
    page.set_input_files("#files", files)
    texts = wait(page, 3)
    assert texts[0] == "text, not a picture"
    assert texts[1].startswith("cat ")
    assert texts[2].startswith("no picture in the request")
    assert page.inner_text("#status") == "3 pictures: 2 without an answer, 1 cat"
    assert page.locator(".explain:visible").count() == 1


def test_many_pictures_stay_in_their_order(show, folder):
    page = show()
    files = sorted((folder / "pictures").rglob("*.png"))  # ten times as many as the page asks for at once
    page.set_input_files("#files", files)
    texts = wait(page, 40)
    assert page.inner_text("#status").startswith("40 pictures: ")
    assert page.locator(".answer .path").all_inner_texts() == [path.name for path in files]
    right = sum(text.startswith(path.parent.name) for text, path in zip(texts, files, strict=True))
    assert right > 36
    assert page.heard == []


def test_what_spoke_for_it_is_laid_over_the_picture(show, folder):
    page = show()
    page.set_input_files("#files", [folder / "pictures" / "cat" / "0.png"])
    wait(page, 1)
    picture, button = page.locator(".shown"), page.locator(".explain")
    plain = picture.screenshot()
    button.click()
    playwright.expect(button).to_have_attribute("aria-pressed", "true")
    page.locator(".heat").evaluate("image => image.decode()")
    assert picture.screenshot() != plain
    assert page.inner_text(".said .note").startswith("The red places spoke for the label.")
    button.click()
    assert picture.screenshot() == plain
    assert page.locator(".said .note").is_hidden()
    assert page.heard == []


def test_labels_that_a_picture_has_are_ticked(show, many_labels, trained):
    predicted = Classifier(many_labels).predict(sorted((trained[0] / "pictures").glob("*/*.png")))
    by_count = {}
    for one in predicted:
        by_count.setdefault(len(one.labels), []).append(one)
    assert by_count.keys() >= {0, 1, 2}
    found = [one for several in by_count.values() for one in several[:3]]
    page = show("/?model=many")
    page.set_input_files("#files", [one.path for one in found])
    shown = wait(page, len(found))
    assert shown == [
        ", ".join(f"{label} {100 * one.scores[label]:.1f}%" for label in one.labels) or "no label" for one in found
    ]
    for card, one in zip(page.locator(".answer").all(), found, strict=True):
        bars = [text.split("\n") for text in card.locator(".scores li").all_inner_texts()]
        assert {text[2:] for text, _ in bars if text.startswith("\u2713")} == {*one.labels}
        assert card.locator(".explain").inner_text() == f"What spoke for {one.first_label}"
        assert [share.split()[1] for _, share in bars] == [SIGNS[label in one.labels] for label in one.scores]
    assert "without a label" in page.inner_text("#status")
    assert complaints(page) == []
    assert page.heard == []


def test_without_a_connection_it_can_be_tried_again(show, folder):
    page = show()
    page.context.set_offline(True)
    page.set_input_files("#files", [folder / "pictures" / "dog" / "0.png"])
    assert wait(page, 1) == ["the server can't be reached"]
    page.context.set_offline(False)
    page.click(".again")
    playwright.expect(page.locator(".explain")).to_be_visible()
    assert wait(page, 1)[0].startswith("dog ")


def test_a_busy_server_is_asked_again(show, folder):
    page = show()
    turned_away = []

    def refuse(route):
        if len(turned_away) < 2:
            turned_away.append(1)
            route.fulfill(status=503, headers={"Retry-After": "0.1"}, json={"error": "busy"})
        else:
            route.continue_()

    page.route("**/predict/*", refuse)
    page.set_input_files("#files", [folder / "pictures" / "dog" / "0.png"])
    assert wait(page, 1)[0].startswith("dog ")


@pytest.mark.parametrize("path", ["/", "/api"])
def test_nothing_is_too_wide_and_axe_finds_nothing(show, folder, path):
    page = show(path)
    if path != "/api":
        Path("a name that is as long as names of pictures sometimes are, because of the date and the place.txt").touch()
        page.set_input_files("#files", [folder / "pictures" / "cat" / "0.png", *Path().glob("*.txt")])
        wait(page, 2)
        page.locator(".explain:visible").click()
        playwright.expect(page.locator('.explain[aria-pressed="true"]')).to_be_visible()
    for width, scheme in ((1280, "light"), (390, "dark")):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert complaints(page) == [], f"in {scheme}, {width} pixels wide"


def test_the_keyboard_does_it_all(show, folder):
    page = show()
    reached = []
    for _ in range(4):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
    assert reached[:3] == ["animals", "many", "files"]
    page.focus("#files")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files([folder / "pictures" / "cat" / "0.png"])
    wait(page, 1)
    page.keyboard.press("Tab")  # past the camera, if there is one, to "Remove all"
    while page.evaluate("document.activeElement.id") != "clear":
        page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    playwright.expect(page.locator('.explain[aria-pressed="true"]')).to_be_visible()
    assert page.evaluate("document.activeElement.className") == "button explain"


def test_a_phone_offers_its_camera(browser, address):
    page = browser.new_page(viewport={"width": 390, "height": 900}, has_touch=True, is_mobile=True)
    page.goto(address)
    camera = page.locator("#camera")
    assert page.locator(".camera").is_visible()
    assert (camera.get_attribute("capture"), camera.get_attribute("accept")) == ("environment", "image/*")


def test_the_policy_refuses_scripts_from_elsewhere(show):
    page = show()
    page.evaluate("addEventListener('securitypolicyviolation', () => { window.refused = (window.refused ?? 0) + 1; })")
    for attack in (
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'}))",
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran = 1\">')",
        "document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/'}))",
        "fetch('http://127.0.0.1:9/').catch(() => 0)",
    ):
        page.evaluate(attack)
    page.wait_for_function("() => window.refused >= 4")
    assert page.evaluate("window.ran") is None
