"""What distorted copies cost in pass one, and what they change in pass two.

    python benchmarks/augmentation.py IMAGE_DIR [--smaller DIR] [--rounds 2] [--splits 5] [--copies 5]

Speed: pass one over the pictures and over distorted copies of all of them, in turns; then the copies again, from the
cache. The network has run before anything is timed. Accuracy: random splits of 80 and 20 percent of each class of the
smaller folder, the same for all rows. Heads train on the training pictures with copies or without.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from retrain.backbones.backbone import locate_backbone
from retrain.data.image_folder import read_image_folder
from retrain.evaluation.metrics import evaluate_logits
from retrain.events import ignore
from retrain.extraction.augmentation import DistortedExtractor, add_copies
from retrain.extraction.dataset import load_dataset
from retrain.extraction.pass_one import extract_bottlenecks, open_cache
from retrain.options import AugmentationOptions, BackboneOptions, ExtractionOptions, RunOptions, TrainingOptions
from retrain.training.head_trainer import HeadTrainer

DISTORTIONS = {
    "--flip --crop 10 --brightness 20": {"flip": True, "crop": 10, "brightness": 20},
    "all": {
        "flip": True, "rotate": 10, "shift": 5, "zoom": 20, "crop": 5, "stretch": 10, "brightness": 20, "contrast": 20
    },
}  # fmt: skip
SPEED_COPIES = 2
HEADS = {
    "4,000 steps": TrainingOptions(),
    "lbfgs, --l2 0.01": TrainingOptions(optimizer="lbfgs", l2=0.01, eval_step_interval=1000),
}


def options_of(args: argparse.Namespace, place: Path, copies: int = 0, distortions: dict | None = None) -> RunOptions:
    return RunOptions(
        backbone=BackboneOptions(backbone=args.backbone, input_size=args.input_size),
        extraction=ExtractionOptions(cache_dir=os.fspath(place)),
        augmentation=AugmentationOptions(augment=copies, **(distortions or {})),
    )


def show_speed(args: argparse.Namespace, place: Path, backbone) -> None:
    folder = read_image_folder(args.image_dir)
    network = backbone.network
    for size in range(1, network.batch_size + 1, network.batch_size - 1):
        network.bottlenecks(np.zeros((size, network.height, network.width, 3), np.uint8))

    def measure(name: str, options: RunOptions) -> float:
        extractor = DistortedExtractor(backbone, options.augmentation) if options.augmentation.augment else backbone
        started = time.perf_counter()
        cache = open_cache(extractor, options.extraction)
        done = extract_bottlenecks(folder, extractor, cache, options)
        seconds = time.perf_counter() - started
        text = f"{done.extracted / seconds:8.1f} rows/s" if done.extracted else f"{done.cached} were cached"
        print(f"{name:52} {done.extracted:6} rows {seconds:7.2f} s {text}", flush=True)
        return done.extracted / seconds

    shares: dict[str, list[float]] = {}
    for turn in range(args.rounds):
        own = place / str(turn)
        plain = measure("the pictures themselves", options_of(args, own))
        for name, distortions in DISTORTIONS.items():
            options = options_of(args, own, SPEED_COPIES, distortions)
            rate = measure(f"--augment {SPEED_COPIES} {name}", options)
            shares.setdefault(name, []).append(rate / plain)
    measure("the same again", options)
    for name, values in shares.items():
        print(f"{name:52} {statistics.median(values):.2f} of the pictures themselves")


def show_accuracy(args: argparse.Namespace, place: Path, backbone) -> None:
    folder = read_image_folder(args.smaller)
    plain = options_of(args, place)
    rows = {"no copies": plain} | {
        f"--augment {args.copies} {name}": options_of(args, place, args.copies, distortions)
        for name, distortions in DISTORTIONS.items()
    }
    data = load_dataset(folder, backbone, plain, ignore)
    everything = np.arange(len(data.labels))
    splits = []
    for seed in range(args.splits):
        order = np.random.default_rng(seed).permutation(everything)
        own = [order[data.labels[order] == label] for label in np.unique(data.labels)]
        splits.append(np.concatenate([part[: len(part) // 5] for part in own]))
    baselines: dict[str, np.ndarray] = {}
    for name, options in rows.items():
        with_copies, _ = add_copies(data, everything, backbone, options, ignore)
        trainer = HeadTrainer(with_copies.bottlenecks, len(folder.class_names))
        for head, training in HEADS.items():
            results = []
            for test in splits:
                trained = trainer.train(np.setdiff1d(everything, test), everything[:0], training).head
                logits = trained.logits(with_copies.vectors[test])
                metrics = evaluate_logits(logits, data.labels[test], folder.class_names)
                results.append((metrics.accuracy, metrics.cross_entropy))
            figures = np.array(results)
            change = figures - baselines.setdefault(head, figures)
            error, change_error = (part.std(axis=0, ddof=1) / len(part) ** 0.5 for part in (figures, change))
            mean, more = figures.mean(axis=0), change.mean(axis=0)
            print(
                f"{name:46} {head:17} accuracy {mean[0]:6.1%} +- {error[0]:4.1%} "
                f"({more[0]:+5.1%} +- {change_error[0]:4.1%})"
                f"  cross-entropy {mean[1]:.3f} ({more[1]:+.3f} +- {change_error[1]:.3f})",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image_dir", type=Path)
    parser.add_argument("--smaller", type=Path, help="folder that accuracy is measured on; left out: only speed")
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--input-size", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--splits", type=int, default=5, help="at least 2")
    parser.add_argument("--copies", type=int, default=5)
    args = parser.parse_args()
    print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores")
    with tempfile.TemporaryDirectory(prefix="retrain-benchmark-") as place:
        backbone = locate_backbone(options_of(args, Path(place)).backbone)
        show_speed(args, Path(place), backbone)
        if args.smaller:
            show_accuracy(args, Path(place), backbone)


if __name__ == "__main__":
    main()
