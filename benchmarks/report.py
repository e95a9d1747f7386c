"""The report: time for many pictures, label suspects beside cleanlab's, heat maps beside occlusion.

    python benchmarks/report.py many [--pictures 100000] [--size 1280] [--classes 10]
    python benchmarks/report.py suspects MODEL_DIR [--draws 10]      (pip install cleanlab)
    python benchmarks/report.py occlusion MODEL_DIR [--pictures 20]

`many` makes up bottlenecks and decodes no picture, except those shown, of which there is one file. `suspects` swaps
five labels of the model's pictures, again and again, and counts how many are among the first ten suspects. `occlusion`
covers a place of a picture with grey and measures how much lower the logit is; both rank the places of a picture.
"""

import argparse
import io
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from retrain.data import decode_image, read_image_folder, read_picture
from retrain.evaluation import find_label_errors
from retrain.events import Evaluated
from retrain.extraction import load_dataset
from retrain.machine import cores, processor_name
from retrain.model import Classifier, Head, Layer
from retrain.options import ExtractionOptions, ImageOptions, RunOptions, TrainingOptions
from retrain.report import (
    Absent,
    JudgedPictures,
    PictureFiles,
    Run,
    Sources,
    Work,
    build_report,
    render_report,
)
from retrain.report.heat_maps import heat_maps_of
from retrain.report.held_out import train_held_out

SWAPPED, FIRST = 5, 10


class OneFile(PictureFiles):
    """Every path leads to one picture; grey pictures, which confirm copies, are noise."""

    def thumbnails(self, paths, seconds=None):
        return super().thumbnails(["one.jpg"] * len(paths), seconds)

    def grey(self, paths):
        rng = np.random.default_rng(0)
        return [rng.random((32, 32), np.float32) for _ in paths]


def made_up(count: int, size: int, classes: int) -> JudgedPictures:
    """Bottlenecks of pictures in classes, not negative, as rectified units give them."""
    rng = np.random.default_rng(0)
    centres = rng.exponential(size=(classes, size)).astype(np.float32)
    labels = rng.integers(0, classes, count).astype(np.int32)
    vectors = np.empty((count, size), np.float32)
    for start in range(0, count, 4096):
        own = labels[start : start + 4096]
        noise = rng.standard_normal((len(own), size), dtype=np.float32)
        vectors[start : start + 4096] = np.maximum(0, centres[own] * 0.4 + noise)
    head = Head((Layer(0.02 * centres.T.copy(), np.zeros(classes, np.float32)),))
    sets = rng.choice(["train", "validation", "test"], count, p=[0.8, 0.1, 0.1])
    names = tuple(f"class {number}" for number in range(classes))
    paths = [f"{names[label]}/{number:06}.jpg" for number, label in enumerate(labels.tolist())]
    return JudgedPictures(names, paths, sets, labels, rng.integers(0, 256, (count, 32), np.uint8), vectors, head)


def record_of(options: TrainingOptions) -> dict:
    return {
        "command": ["retrain", "train", "pictures"],
        "image_dir": "pictures",
        "options": RunOptions(training=options).as_dict(),
        "backbone": {"name": "made_up", "fingerprint": "0" * 64, "height": 1, "width": 1, "bottleneck_size": 1},
        "training": {"best_step": None},
        "extraction": {"cached": 0, "extracted": 0},
        "timings": {},
        "versions": {},
    }


def many(args: argparse.Namespace) -> None:
    pictures = made_up(args.pictures, args.size, args.classes)
    stages: dict[str, float] = {}
    last = [time.perf_counter()]

    def told(what: str, *_: int) -> None:
        now = time.perf_counter()
        stages[what] = stages.get(what, 0) + now - last[0]
        last[0] = now

    with tempfile.TemporaryDirectory(prefix="retrain-benchmark-") as place:
        buffer = io.BytesIO()
        Image.fromarray(np.random.default_rng(1).integers(0, 256, (240, 320, 3), np.uint8)).save(buffer, "JPEG")
        Path(place, "one.jpg").write_bytes(buffer.getvalue())
        run = Run("model", record_of(TrainingOptions()), [Evaluated(0, 0, 0, 0, 0)], [], {}, "", "")
        sources = Sources(run, pictures, OneFile(place, ImageOptions()), "retrain report model")
        started = time.perf_counter()
        last[0] = started
        page = render_report(build_report(sources, Work(Absent("no network"), told)))
        seconds = time.perf_counter() - started
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"{processor_name()}, {cores()} cores: {args.pictures:,} pictures x {args.size}, {args.classes} classes")
    print(f"{seconds:.0f} s; up to each event: {', '.join(f'{what} {took:.0f} s' for what, took in stages.items())}")
    held = pictures.vectors.nbytes >> 20
    print(f"page {len(page) / 1e6:.1f} MB; resident {most:,.0f} MiB, of which bottlenecks {held:,}")


def pictures_of(model_dir: str) -> tuple[Classifier, JudgedPictures, Path]:
    classifier = Classifier(model_dir)
    record = classifier.record()
    options = RunOptions(extraction=ExtractionOptions(cache_dir=record["options"]["cache_dir"]))
    folder = read_image_folder(record["image_dir"])
    data = load_dataset(folder, classifier.extractor(options.extraction.cache_dir), options, lambda event: None)
    paths = [sample.path for sample in data.samples]
    sets = np.array(["train"] * len(paths))
    found = JudgedPictures(classifier.labels, paths, sets, data.labels, data.keys, data.vectors, classifier.head())
    return classifier, found, folder.root


def suspects(args: argparse.Namespace) -> None:
    from cleanlab.filter import find_label_issues

    _, pictures, _ = pictures_of(args.model_dir)
    classes = len(pictures.names)
    hits: dict[str, list[int]] = {}
    shared = []
    for draw in range(args.draws):
        rng = np.random.default_rng(draw)
        swapped = rng.choice(len(pictures), SWAPPED, replace=False)
        labels = pictures.labels.copy()
        labels[swapped] = (labels[swapped] + rng.integers(1, classes, SWAPPED)) % classes
        wrong = JudgedPictures(**(vars(pictures) | {"labels": labels}))
        held_out = train_held_out(wrong, TrainingOptions(), wrong.keys, lambda done, total: None)
        scores = np.empty((len(pictures), classes))
        for numbers, part in held_out.scores():
            scores[numbers] = part
        ours = find_label_errors(held_out.scores, labels).numbers
        for way in ("confident_learning", "prune_by_noise_rate", "both"):
            theirs = find_label_issues(
                labels, scores, return_indices_ranked_by="normalized_margin", filter_by=way, n_jobs=1
            )
            hits.setdefault(f"cleanlab, {way}", []).append(len({*theirs[:FIRST]} & {*swapped}))
            if way == "confident_learning":
                shared.append((len({*ours} & {*theirs}), len(ours), len(theirs)))
        hits.setdefault("retrain", []).append(len({*ours[:FIRST]} & {*swapped}))
    print(f"of {SWAPPED} swapped labels, among the first {FIRST} suspects ({args.draws} draws):")
    for name, counts in hits.items():
        print(f"| {name} | {np.mean(counts):.1f} | {counts} |")
    print("suspects of both, of retrain, of cleanlab (confident_learning):", shared)


def occlusion(args: argparse.Namespace) -> None:
    from scipy.stats import spearmanr

    classifier, pictures, root = pictures_of(args.model_dir)
    maps = heat_maps_of(classifier)
    height, width = maps.form.size
    rows, columns, _ = maps.activations.shape
    chosen = np.linspace(0, len(pictures) - 1, args.pictures).astype(int)
    found = []
    for number in chosen.tolist():
        pixels = decode_image(read_picture(root / pictures.paths[number]), maps.form)
        label = pictures.given[number, :1]
        [mapped] = maps.of(pixels[np.newaxis], label)
        covered = np.repeat(pixels[np.newaxis], rows * columns, axis=0)
        for place in range(rows * columns):
            y, x = divmod(place, columns)
            # two places wide, around the middle of the place
            top, left = ((n + 0.5) * side / count for n, side, count in ((y, height, rows), (x, width, columns)))
            down, right = height / rows, width / columns
            box = [max(0, round(v)) for v in (top - down, top + down, left - right, left + right)]
            covered[place, box[0] : box[1], box[2] : box[3]] = 128
        drops = [mapped.logit - one.logit for one in maps.of(covered, np.repeat(label, len(covered)))]
        found.append(float(spearmanr(mapped.places.ravel(), drops).statistic))
    print(f"{processor_name()}, {cores()} cores: {args.pictures} pictures, {rows} x {columns} places")
    print(f"rank correlation with occlusion: median {np.median(found):.2f}, {min(found):.2f} to {max(found):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ways = parser.add_subparsers(required=True)
    way = ways.add_parser("many")
    way.add_argument("--pictures", type=int, default=100_000)
    way.add_argument("--size", type=int, default=1280)
    way.add_argument("--classes", type=int, default=10)
    way.set_defaults(run=many)
    way = ways.add_parser("suspects")
    way.add_argument("model_dir")
    way.add_argument("--draws", type=int, default=10)
    way.set_defaults(run=suspects)
    way = ways.add_parser("occlusion")
    way.add_argument("model_dir")
    way.add_argument("--pictures", type=int, default=20)
    way.set_defaults(run=occlusion)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
