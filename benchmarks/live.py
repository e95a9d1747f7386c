"""From a change of a folder to the figures of a new model, as `retrain watch` and the studio give them.

    python benchmarks/live.py flower_photos [--backbone mobilenet_v2_1.0_224 --weights FILE] [--pictures 3670]
        [--changes 1 20 200] [--rounds 5] [--cache-dir DIR] [--page]
    python benchmarks/live.py --synthetic [--pictures 50000] [--classes 1000] [--length 2048] [--rounds 3]

The first fills a folder up to --pictures with copies that differ in a byte behind the picture; their bottlenecks are
those of the pictures. Then, while the folder is watched, it moves pictures to another class; takes some away and moves
them in again (cached); moves new ones in, which go through the network (not cached). Seconds are from before the first
move to the report: noticing the change, and the parts of the update. Medians, with the fastest and CPU seconds, since
others may use the machine. At the end, `retrain train` from the shell, which writes a model folder, too. With --page,
instead, the seconds are from before the first move to the new figures on the studio's page, in Chromium.

The second measures an update alone, on vectors around the centres of classes, one of them relabelled.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from warm import add_copies, fill_cache, measured, pictures_of

from retrain._tensorflow import prepare_process
from retrain.data import LabelledPictures, Sample
from retrain.machine import cores, processor_name
from retrain.options import BackboneOptions, ExtractionOptions, RunOptions, StudioOptions
from retrain.pipeline import live
from retrain.pipeline.live import LiveModel
from retrain.pipeline.live_pictures import Look
from retrain.pipeline.studio import open_studio
from retrain.pipeline.watch import Follower
from retrain.report import LiveReport

STAGES = ("scan", "extraction", "training", "evaluation")


@dataclass(frozen=True)
class Measured:
    """One change."""

    seconds: float  # from before the first move to the report
    cpu: float
    report: LiveReport


class Watched:
    """A folder that is watched in another thread, and the reports as they come."""

    def __init__(self, root: Path, options: RunOptions) -> None:
        self.follower = Follower(root, options)
        self.reports: list[tuple[float, LiveReport]] = []
        threading.Thread(target=self._run, daemon=True).start()
        self._wait(0)

    def _run(self) -> None:
        for report in self.follower.reports():
            self.reports.append((time.monotonic(), report))

    def _wait(self, seen: int) -> None:
        while len(self.reports) == seen:
            time.sleep(0.005)

    def move(self, pairs: list[tuple[Path, Path]]) -> Measured:
        """Move files, and wait for the report."""
        seen, began, cpu = len(self.reports), time.monotonic(), time.process_time()
        for source, target in pairs:
            os.rename(source, target)
        self._wait(seen)
        ended, report = self.reports[-1]
        assert report.problem is None, report.problem
        return Measured(ended - began, time.process_time() - cpu, report)


def row(name: str, found: list[Measured]) -> str:
    """A line of the table."""
    middle = sorted(found, key=lambda one: one.seconds)[len(found) // 2]
    timings = middle.report.timings
    figures = [
        middle.seconds,
        min(one.seconds for one in found),
        statistics.median(one.cpu for one in found),
        middle.seconds - timings["total"],
        *(timings.get(stage, 0.0) for stage in STAGES),
    ]
    return f"| {name:20} | {' | '.join(f'{figure:.2f}' for figure in figures)} |"


def changes(watched: Watched, root: Path, count: int, rounds: int) -> None:
    """Measure changes of `count` pictures."""
    first, second = sorted(folder for folder in root.iterdir() if folder.is_dir())[:2]
    chosen, aside = pictures_of(root)[:count], root.parent / "aside"
    aside.mkdir(exist_ok=True)
    away = [(path, second / f"moved_{path.name}") for path in chosen]
    out = [(path, aside / path.name) for path in chosen]
    relabelled, cached, uncached = [], [], []
    for turn in range(rounds):
        relabelled += [watched.move(pairs) for pairs in (away, [(there, here) for here, there in away])]
        watched.move(out)
        cached.append(watched.move([(there, here) for here, there in out]))
        new = []
        for number, path in enumerate(chosen):
            copy = aside / f"new_{count}_{turn}_{number}_{path.name}"
            copy.write_bytes(path.read_bytes() + f"{time.time_ns()} {number}".encode())
            new.append((copy, first / copy.name))
        time.sleep(2.5)  # as pictures that were taken before: those of the last two seconds are waited for
        uncached.append(watched.move(new))
        assert uncached[-1].report.extracted == count
        watched.move([(there, here) for here, there in new])
    print(row(f"{count} relabelled", relabelled))
    print(row(f"{count} new, cached", cached))
    print(row(f"{count} new, not cached", uncached), flush=True)


def changes_on_page(root: Path, options: RunOptions, counts: list[int], rounds: int) -> None:
    """Measure changes, from the first move to the figures that the studio's page shows."""
    from playwright.sync_api import sync_playwright

    second = sorted(folder for folder in root.iterdir() if folder.is_dir())[1]
    with open_studio(root, StudioOptions(port=0), options) as server, sync_playwright() as driver:
        thread = threading.Thread(target=server.run)
        thread.start()
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(viewport={"width": 1360, "height": 900})
        page.goto(server.url)
        heading = page.locator("#figures h2").first
        heading.filter(has_text="Model").wait_for(timeout=300_000)
        print("| change | seconds | fastest |\n|---|---:|---:|")
        for count in counts:
            pairs = [(path, second / f"moved_{path.name}") for path in pictures_of(root)[:count]]
            times = []
            for _ in range(rounds):
                for moves in (pairs, [(there, here) for here, there in pairs]):
                    page.locator("#state[data-stage=resting]").wait_for(timeout=300_000)
                    time.sleep(2.5)
                    before, began = heading.inner_text(), time.monotonic()
                    for source, target in moves:
                        os.rename(source, target)
                    page.wait_for_function(
                        "before => document.querySelector('#figures h2').innerText !== before",
                        arg=before,
                        polling="raf",
                        timeout=300_000,
                    )
                    times.append(time.monotonic() - began)
            print(f"| {count} relabelled | {statistics.median(times):.2f} | {min(times):.2f} |", flush=True)
        browser.close()
        server.stop()
        thread.join()


def measure_folder(args: argparse.Namespace, place: Path) -> None:
    """Measure changes of a folder of pictures."""
    root, cache_dir = place / "pictures", args.cache_dir or place / "cache"
    shutil.copytree(args.image_dir, root)
    for folder in (root, *root.rglob("*/")):
        folder.chmod(0o755)
    backbone = BackboneOptions(backbone=args.backbone, weights=args.weights)
    own = [f"--cache-dir={cache_dir}", "--quiet", "--backbone", args.backbone]
    own += ["--weights", args.weights] if args.weights else []
    train = ["-m", "retrain", "train", f"{root}", f"--model-dir={place}/model", *own]
    measured(train)  # converts, extracts
    fill_cache(add_copies(root, args.pictures - len(pictures_of(root)), "more"), backbone, cache_dir)
    measured(["-m", "retrain", "extract", f"{root}", *own])  # so that the index knows the files
    print(f"{processor_name()}, {cores()} cores; {args.backbone}, {len(pictures_of(root))} pictures")
    options = RunOptions(backbone=backbone, extraction=ExtractionOptions(cache_dir=str(cache_dir)))
    prepare_process()
    if args.page:
        changes_on_page(root, options, args.changes, args.rounds)
        return
    print(f"| {'change':20} | seconds | fastest | CPU | noticing | {' | '.join(STAGES)} |")
    print("|---|" + "---:|" * (4 + len(STAGES)), flush=True)
    watched = Watched(root, options)
    for count in args.changes:
        changes(watched, root, count, args.rounds)
    watched.follower.close()
    seconds = [measured(train)[0] for _ in range(args.rounds)]
    print(f"retrain train from the shell, nothing new: {statistics.median(seconds):.2f} s, fastest {min(seconds):.2f}")


def measure_synthetic(args: argparse.Namespace) -> None:
    """Measure updates on vectors, without files."""
    rng = np.random.default_rng(0)
    labels = (np.arange(args.pictures) % args.classes).astype(np.int32)
    centres = rng.exponential(size=(args.classes, args.length)).astype(np.float32)
    vectors = np.maximum(centres[labels] + rng.standard_normal((args.pictures, args.length), np.float32), 0)
    keys = rng.integers(0, 256, (args.pictures, 32), np.uint8)
    names = tuple(f"class{number:04}" for number in range(args.classes))
    model = LiveModel(".", RunOptions())
    model._pictures = SimpleNamespace(vectors=lambda _: vectors)
    totals = []
    for turn in range(args.rounds):
        labels[turn] = (labels[turn] + 1) % args.classes
        samples = tuple(Sample(f"{n}.jpg", label, names[label]) for n, label in enumerate(labels.tolist()))
        folder = LabelledPictures(Path("."), names, samples)
        look = Look(folder, np.arange(len(samples)), keys, labels.copy(), {}, (), 0)
        cpu, run = time.process_time(), live._Run(lambda event: None, lambda: False, set())
        model._model = model._trained(look, names, run)
        model._report = model._model.report
        totals.append({**model._report.timings, "CPU": time.process_time() - cpu})
    middle = sorted(totals, key=lambda timings: timings["total"])[len(totals) // 2]
    parts = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in middle.items())
    print(f"{args.pictures:,} pictures in {args.classes:,} classes, vectors of {args.length:,}: {parts} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image_dir", type=Path, nargs="?")
    parser.add_argument("--backbone", default="inception_v3")
    parser.add_argument("--weights")
    parser.add_argument("--synthetic", action="store_true")
    parser.add_argument("--pictures", type=int)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--changes", type=int, nargs="*", default=[1, 20, 200])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cache-dir", type=Path)
    parser.add_argument("--page", action="store_true")
    args = parser.parse_args()
    if args.synthetic:
        args.pictures = args.pictures or 50_000
        measure_synthetic(args)
        return
    if args.image_dir is None:
        sys.exit("give a folder of pictures, or --synthetic")
    args.pictures = args.pictures or 3670
    with tempfile.TemporaryDirectory(prefix="retrain-benchmark-") as name:
        measure_folder(args, Path(name))


if __name__ == "__main__":
    main()
