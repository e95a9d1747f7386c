"""Takes the pictures of the report in docs/report/, of the server's page in docs/serving/ and of the studio in
docs/studio/, with Chromium:

python docs/screenshots.py MODEL/report.html
python docs/screenshots.py http://127.0.0.1:8000/ PICTURE ...
python docs/screenshots.py "http://127.0.0.1:8001/?token=..."        a studio of flowers, which it changes
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

DOCS = Path(__file__).parent


def save(data: bytes, name: str) -> None:
    """Keep a screenshot in 256 colours, a third of the bytes."""
    place = DOCS / f"{name}.png"
    place.parent.mkdir(exist_ok=True)
    Image.open(io.BytesIO(data)).convert("RGB").quantize(256).save(place, optimize=True)


def scroll_to(page: Page, heading: str) -> None:
    """Put a heading at the top."""
    page.evaluate("document.documentElement.style.scrollBehavior = 'auto'")
    page.locator(f"h2:text-is('{heading}'), h3:text-is('{heading}')").evaluate("one => one.scrollIntoView()")
    page.wait_for_timeout(300)


def take_report(report: Path) -> None:
    """Take the screenshots of a report."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"))
        desktop = browser.new_page(viewport={"width": 1280, "height": 900})
        desktop.goto(report.resolve().as_uri())
        save(desktop.screenshot(), "report/desktop")
        scroll_to(desktop, "What is confused with what")
        links = desktop.locator(".matrix .miss a").all()
        max(links, key=lambda link: int(link.locator("small").inner_text())).click()
        scroll_to(desktop, "What is confused with what")
        save(desktop.screenshot(), "report/confusion")
        desktop.locator("#all-heat").check()
        scroll_to(desktop, "The surest mistakes")
        save(desktop.screenshot(), "report/mistakes")
        scroll_to(desktop, "What should I do about my pictures?")
        save(desktop.screenshot(), "report/pictures")
        phone = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
        phone.goto(report.resolve().as_uri())
        save(phone.screenshot(), "report/phone")
        scroll_to(phone, "What is confused with what")
        save(phone.screenshot(), "report/phone-confusion")
        paper = browser.new_page(viewport={"width": 794, "height": 1123}, color_scheme="dark")
        paper.emulate_media(media="print")
        paper.goto(report.resolve().as_uri())
        save(paper.screenshot(), "report/paper")
        browser.close()


def take_page(url: str, pictures: list[str]) -> None:
    """Take the screenshots of a server's page, with answers about some pictures."""
    looks = {"desktop": (1280, 900, "light"), "phone": (390, 844, "dark")}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"))
        for name, (width, height, scheme) in looks.items():
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            page.goto(url)
            page.set_input_files("#files", pictures)
            page.locator('.answer[aria-busy="true"]').first.wait_for(state="detached")
            page.locator(".explain:visible").first.click()
            page.locator('.explain[aria-pressed="true"]').wait_for()
            page.evaluate("document.activeElement.blur()")
            if name == "phone":
                page.locator("#status").evaluate("one => one.scrollIntoView()")
            page.wait_for_timeout(300)
            save(page.screenshot(), f"serving/{name}")
        browser.close()


def take_studio(url: str) -> None:
    """Take the screenshots of a studio, after two changes of the folder."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"))
        context = browser.new_context(viewport={"width": 1360, "height": 850})
        page = context.new_page()
        page.goto(url)
        for name in ("roses", "tulips"):
            before = page.locator("#figures h2").inner_text()
            page.fill("#find", name)
            page.locator(f'.class[data-class="{name}"] .wrong-answer').first.click()
            page.keyboard.press("Delete")
            page.locator("#figures h2").filter(has_not_text=before).wait_for()
        page.fill("#find", "")
        page.select_option("#sort", "worst")
        page.click("#fold")
        page.mouse.move(700, 20)
        page.locator("#said-undo").wait_for(state="hidden")
        take(page, "desktop")
        page.click("#tab-next")
        page.locator("#why").wait_for()
        take(page, "next")
        browser.close()


def take(page: Page, name: str) -> None:
    """Keep a screenshot of the studio, whose photographs would suffer from 256 colours."""
    page.evaluate("document.activeElement.blur()")
    page.wait_for_timeout(1500)
    place = DOCS / "studio" / f"{name}.jpg"
    place.parent.mkdir(exist_ok=True)
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(place, quality=78, optimize=True)


if __name__ == "__main__":
    if "token=" in sys.argv[1]:
        take_studio(sys.argv[1])
    elif sys.argv[1].startswith("http"):
        take_page(sys.argv[1], sys.argv[2:])
    else:
        take_report(Path(sys.argv[1]))
