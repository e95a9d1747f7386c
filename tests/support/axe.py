"""axe-core, which looks for what people who see, hear or move otherwise can't use in a page."""

from pathlib import Path

import pytest

from support.browser import playwright

axe = pytest.importorskip("axe_playwright_python", reason="axe-core: pip install axe-playwright-python")

_SCRIPT = Path(axe.__file__).with_name("axe.min.js").read_text("utf-8")
_FEWEST_RULES = 15  # that had something to look at


def complaints(page: playwright.Page, *left_out: str) -> list[tuple[str, str, str]]:
    """What axe-core finds wrong in the page: how bad, by which rule, the element. It leaves out what selectors name.

    Where nothing is wrong, it doesn't list the elements: that takes long.
    """
    if not page.evaluate("'axe' in window"):
        page.evaluate(_SCRIPT)
    found = page.evaluate("exclude => axe.run({exclude}, {resultTypes: ['violations']})", left_out)
    assert len(found["passes"]) >= _FEWEST_RULES
    return [(one["impact"], one["id"], one["nodes"][0]["html"]) for one in found["violations"]]
