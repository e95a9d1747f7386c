"""Chromium, and packages of npm that run models in it."""

import contextlib
import functools
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from support.pictures import REPOSITORY

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright drives the browser: pip install playwright")

PACKAGES = {"@litertjs/core": "2.5.3", "onnxruntime-web": "1.30.0"}


@contextlib.contextmanager
def running_browser(*arguments: str) -> Iterator[playwright.Browser]:
    """Debian's Chromium, running, with arguments of its own; without one, the test is skipped."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium to show the page in: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


def listen(page: playwright.Page, is_own: Callable[[str], bool]) -> None:
    """From now on, `page.heard` has what the page complains of, and the addresses it asks that are not its own."""
    page.heard = []
    page.on("console", lambda message: page.heard.append(message.text))
    page.on("pageerror", lambda error: page.heard.append(str(error)))
    page.on("dialog", lambda dialog: (page.heard.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: None if is_own(request.url) else page.heard.append(request.url))


def node_modules() -> Path:
    """A folder with PACKAGES, installed once for all tests, in build/; if that can't be, the test is skipped."""
    wanted = [f"{name}@{version}" for name, version in PACKAGES.items()]
    folder = REPOSITORY / "build" / "npm" / "_".join(name.replace("/", "-") for name in wanted)
    if folder.is_dir():
        return folder / "node_modules"
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip(f"there is no npm to install {', '.join(wanted)} with: apt-get install npm")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]
        done = subprocess.run(
            [npm, "install", "--prefix", place, *options, *wanted],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"npm can't install {', '.join(wanted)}: {done.stderr.strip().splitlines()[-1:]}")
        with contextlib.suppress(OSError):  # another process was first
            os.replace(place, folder)
            os.mkdir(place)  # for its removal
    return folder / "node_modules"


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The files of a folder on loopback; gives the address."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_address[1]}/"
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
