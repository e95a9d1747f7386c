"""Which backbone to take: the accuracy of heads on its vectors, and its speed.

    python benchmarks/backbones.py IMAGE_DIR ... [--backbones inception_v3 efficientnet_lite0 ...] [--cache-dir DIR]

Accuracy: cross-validation over each folder, with the same folds for all backbones. Every picture is labelled by a
head that was trained without it; the table shows the share of right labels and its standard error. The second table
shows the difference to the first backbone, with the standard error of the picture-by-picture difference. Speed: each
network, fed from memory, in turns; medians. The output is Markdown.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retrain.backbones.backbone import Backbone, locate_backbone
from retrain.data.folds import assign_folds
from retrain.events import ignore
from retrain.options import BackboneOptions, ExtractionOptions, RunOptions, TrainingOptions
from retrain.pipeline.training_data import load_training_data, read_classes
from retrain.training.fold_trainer import FoldTrainer
from retrain.training.head_trainer import HeadTrainer

BACKBONES = ("inception_v3", "efficientnet_lite0", "efficientnet_lite2", "mobilenet_v2")


@dataclass
class Row:
    """What was measured of one backbone."""

    backbone: Backbone
    right: list[np.ndarray]  # of each folder: (n,) bool, whether a picture got its label
    rates: list[float]  # pictures/s, of each round


def tested(image_dir: str, backbone: Backbone, args: argparse.Namespace, cache_dir: str) -> np.ndarray:
    """(n,) bool: whether the head that was trained without a picture gives it its label."""
    options = RunOptions(
        extraction=ExtractionOptions(cache_dir=cache_dir), training=TrainingOptions(eval_step_interval=2**31 - 1)
    )
    folder, labels = read_classes(image_dir, options, ignore)
    data = load_training_data(folder, backbone, options, ignore)
    folds = assign_folds(data.samples, data.keys, args.folds, options.training.seed)
    right = np.zeros(len(folds), bool)
    trainer = FoldTrainer(HeadTrainer(data.bottlenecks, len(labels)), folds, labels)
    for result in trainer.train_all(options.training):
        right[result.tested] = result.outcomes.given == data.labels[result.tested]
    return right[folds >= 0]


def rate(backbone: Backbone, seconds: float) -> float:
    """Pictures per second of a network that is fed from memory."""
    network = backbone.network
    pixels = np.random.default_rng(0).integers(0, 256, (network.batch_size, network.height, network.width, 3), np.uint8)
    network.bottlenecks(pixels)  # the first call is the one that prepares
    times: list[float] = []
    end = time.monotonic() + seconds
    while len(times) < 3 or time.monotonic() < end:
        started = time.monotonic()
        network.bottlenecks(pixels)
        times.append(time.monotonic() - started)
    return len(pixels) / statistics.median(times)


def error_of(values: np.ndarray) -> float:
    """The standard error of a mean."""
    return float(values.std(ddof=1) / len(values) ** 0.5)


def show(rows: list[Row], folders: list[str]) -> None:
    names = [f"{Path(folder).name} (N={len(right)})" for folder, right in zip(folders, rows[0].right, strict=True)]
    first = rows[0]
    head = ["backbone", "pixels", "vector", *names, "pictures/s", f"of {first.backbone.name}"]
    print(f"| {' | '.join(head)} |\n|---|{'---:|' * (len(head) - 1)}")
    for row in rows:
        cells = [f"{right.mean():.1%} ± {error_of(right):.1%}" for right in row.right]
        if row is not first:
            for number, (right, other) in enumerate(zip(row.right, first.right, strict=True)):
                change = right.astype(float) - other
                cells[number] += f"<br>({change.mean():+.1%} ± {error_of(change):.1%})"
        network, speed = row.backbone.network, "| |"
        if row.rates:
            median = statistics.median(row.rates)
            speed = f"{median:.0f} | {median / statistics.median(first.rates):.1f} times |"
        print(f"| {row.backbone.name} | {network.width} | {network.bottleneck_size} | {' | '.join(cells)} | {speed}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image_dirs", nargs="+", metavar="IMAGE_DIR")
    parser.add_argument("--backbones", nargs="+", default=BACKBONES, metavar="NAME")
    parser.add_argument("--cache-dir", help="bottlenecks are kept there; left out: in a temporary folder")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3, help="of measuring the speed; 0: it is not measured")
    parser.add_argument("--seconds", type=float, default=5.0, help="that each measurement of the speed takes")
    args = parser.parse_args()
    rows = [Row(locate_backbone(BackboneOptions(name)), [], []) for name in args.backbones]
    with tempfile.TemporaryDirectory(prefix="retrain-benchmark-") as place:
        for row in rows:
            row.right = [tested(folder, row.backbone, args, args.cache_dir or place) for folder in args.image_dirs]
    for _ in range(args.rounds):
        for row in rows:
            row.rates.append(rate(row.backbone, args.seconds))
    print(
        f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores; {args.folds}-fold cross-validation, "
        f"{TrainingOptions().with_steps(1).steps:,} steps\n"
    )
    show(rows, args.image_dirs)


if __name__ == "__main__":
    main()
