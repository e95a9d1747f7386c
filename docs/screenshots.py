"""Takes the pictures of the report in docs/report/, with Chromium: python docs/screenshots.py MODEL/report.html"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

FOLDER = Path(__file__).parent / "report"


def save(data: bytes, name: str) -> None:
    """Keep a screenshot in 256 colours, a third of the bytes."""
    Image.open(io.BytesIO(data)).convert("RGB").quantize(256).save(FOLDER / f"{name}.png", optimize=True)


def scroll_to(page: Page, heading: str) -> None:
    """Put a heading at the top."""
    page.evaluate("document.documentElement.style.scrollBehavior = 'auto'")
    page.locator(f"h2:text-is('{heading}'), h3:text-is('{heading}')").evaluate("one => one.scrollIntoView()")
    page.wait_for_timeout(300)


def main(report: Path) -> None:
    """Take all screenshots."""
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"))
        desktop = browser.new_page(viewport={"width": 1280, "height": 900})
        desktop.goto(report.resolve().as_uri())
        save(desktop.screenshot(), "desktop")
        scroll_to(desktop, "What is confused with what")
        links = desktop.locator(".matrix .miss a").all()
        max(links, key=lambda link: int(link.locator("small").inner_text())).click()
        scroll_to(desktop, "What is confused with what")
        save(desktop.screenshot(), "confusion")
        desktop.locator("#all-heat").check()
        scroll_to(desktop, "The surest mistakes")
        save(desktop.screenshot(), "mistakes")
        scroll_to(desktop, "What should I do about my pictures?")
        save(desktop.screenshot(), "pictures")
        phone = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
        phone.goto(report.resolve().as_uri())
        save(phone.screenshot(), "phone")
        scroll_to(phone, "What is confused with what")
        save(phone.screenshot(), "phone-confusion")
        paper = browser.new_page(viewport={"width": 794, "height": 1123}, color_scheme="dark")
        paper.emulate_media(media="print")
        paper.goto(report.resolve().as_uri())
        save(paper.screenshot(), "paper")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
