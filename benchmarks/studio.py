"""The studio's page on a large folder, in Chromium: how much is sent and held, and how smoothly it scrolls.

    python benchmarks/studio.py [--pictures 50000] [--classes 1000]

The folder has that many names of 100 drawn pictures. No network is in it: the model says at random what pictures are.
Frames are timed while the page scrolls by 400 pixels a frame, and jumps anywhere.
"""

import argparse
import contextlib
import os
import random
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from retrain.data import FolderEdits
from retrain.model import Prediction
from retrain.options import ImageOptions, StudioOptions
from retrain.report import LiveReport
from retrain.report.live import LiveClass, LivePicture
from retrain.serving import StudioParts, StudioServer, WorthALabel, read_folder

SCROLL = """
async ([frames, jumps]) => {
  const board = document.getElementById("board");
  const times = [];
  let [most, last] = [0, performance.now()];
  for (let frame = 0; frame < frames; frame += 1) {
    board.scrollTop = jumps ? Math.random() * board.scrollHeight : board.scrollTop + 400;
    await new Promise(requestAnimationFrame);
    times.push(performance.now() - last);
    last = performance.now();
    most = Math.max(most, document.querySelectorAll("*").length);
  }
  return [times, most];
}
"""
FIND = """
(text) => {
  const [field, start] = [document.getElementById("find"), performance.now()];
  field.value = text;
  field.dispatchEvent(new Event("input"));
  return performance.now() - start;
}
"""


class RandomModel:
    """Takes one picture in twenty for something else."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def update(self) -> LiveReport:
        content = read_folder(self._root)
        labels, draw = content.class_names, random.Random(0)
        pictures = [
            LivePicture(one.path, "train", str(one.class_name), "", one.class_name, 0.9)
            if draw.random() < 0.95
            else LivePicture(one.path, "test", str(one.class_name), "", draw.choice(labels), 0.6)
            for one in content.pictures
        ]
        count = len(pictures) // len(labels)
        classes = tuple(LiveClass(name, name, count, 0, 0, count, count - 2) for name in labels)
        return LiveReport(1, labels, classes=classes, pictures=tuple(pictures), suspects=())

    def look_closer(self) -> LiveReport:
        return self.update()

    def classify(self, contents: Sequence[bytes]) -> Sequence[Prediction]:
        raise NotImplementedError

    def save(self, model_dir: str) -> None:
        raise NotImplementedError

    def load_network(self) -> None:
        pass

    def worth_a_label(self) -> Sequence[WorthALabel]:
        return ()


def make_folder(root: Path, classes: int, pictures: int) -> None:
    drawn = root.parent / "drawn"
    drawn.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (100, 6, 8, 3)).astype(np.uint8)
    for number, one in enumerate(pixels):
        Image.fromarray(one).resize((320, 240)).save(drawn / f"{number}.jpg")
    for number in range(pictures):
        folder = root / f"class {number % classes:04}"
        folder.mkdir(parents=True, exist_ok=True)
        os.link(drawn / f"{number % 100}.jpg", folder / f"picture_{number:06}.jpg")


@contextlib.contextmanager
def running(root: Path) -> Iterator[StudioServer]:
    with contextlib.closing(FolderEdits(root)) as edits:
        model = RandomModel(root)
        parts = StudioParts(root, lambda: read_folder(root), edits, lambda *_: model, ImageOptions())
        with contextlib.closing(StudioServer(parts, StudioOptions(port=0))) as server:
            thread = threading.Thread(target=server.run)
            thread.start()
            try:
                while server.workbench.figures is None:
                    time.sleep(0.1)
                yield server
            finally:
                server.stop()
                thread.join()


def measure(page: Page, url: str) -> None:
    sizes: dict[str, Any] = {}
    page.on("response", lambda response: sizes.update({response.url.rpartition("/")[2]: response}))
    start = time.perf_counter()
    page.goto(url)
    page.locator(".tile img[src]").first.wait_for()
    print(f"first pictures on the page: {time.perf_counter() - start:.1f} s")
    page.locator("#state[data-stage=resting]").wait_for()
    for name in ("listing", "figures"):
        print(f"{name}: {len(sizes[name].body()) / 1e6:.2f} MB")
    for what, jumps in (("scrolling", False), ("jumping", True)):
        times, most = page.evaluate(SCROLL, [240, jumps])
        slow = statistics.quantiles(times, n=20)[-1]
        print(f"{what}: a frame in {statistics.median(times):.1f} ms (p95 {slow:.1f} ms), {most} elements at most")
    print(f"finding a file: {page.evaluate(FIND, '0777'):.1f} ms")
    page.evaluate(FIND, "")
    page.locator(".tile").first.click()
    page.keyboard.press("Delete")
    start = time.perf_counter()
    page.locator("#toast:not([hidden])").wait_for()
    print(f"removing a picture: {time.perf_counter() - start:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=50_000)
    parser.add_argument("--classes", type=int, default=1000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, sync_playwright() as driver:
        root = Path(place) / "pictures"
        make_folder(root, args.classes, args.pictures)
        times = []
        for _ in range(3):
            start = time.perf_counter()
            read_folder(root)
            times.append(time.perf_counter() - start)
        print(f"reading the folder: {statistics.median(times):.2f} s")
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"))
        with running(root) as server:
            measure(browser.new_page(viewport={"width": 1360, "height": 900}), server.url)
        browser.close()


if __name__ == "__main__":
    main()
