"""What commands cost when the cache knows the pictures: time and memory of whole processes, beside TensorFlow's import.

    python benchmarks/warm.py IMAGE_DIR [--backbone inception_v3] [--rounds 5] [--pictures N] [--place DIR]

A first run of `retrain train` fills the cache. Then the commands take turns, so that a busy machine slows all of them.
With --pictures, the folder is filled up to N with copies that differ in a byte behind the picture; their bottlenecks
are those of the pictures.
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from retrain.backbones.backbone import locate_backbone
from retrain.cache.segments import Rows
from retrain.extraction.pass_one import open_cache
from retrain.machine import cores, processor_name
from retrain.options import BackboneOptions, ExtractionOptions

PLAIN = "import tensorflow"
NEW = 20  # pictures
TRAIN, AFTER_NEW = "train, nothing to extract", f"train, {NEW} new pictures"


def measured(command: list[str]) -> tuple[float, float]:
    """Seconds and MiB of resident memory of a process."""
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen([sys.executable, *command], stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        took = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            sys.exit(f"{' '.join(command)}\n{output.read().decode()}")
    return took, usage.ru_maxrss / 1024


def pictures_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*/*") if path.is_file())


def add_copies(folder: Path, count: int, mark: str) -> list[tuple[Path, Path]]:
    """Add pictures that differ from others in a byte behind them; returns pairs of a picture and its copy."""
    originals, added = [path for path in pictures_of(folder) if not path.name.startswith("copy_")], []
    for number in range(count):
        path = originals[number % len(originals)]
        copy = path.with_name(f"copy_{mark}_{number}_{path.name}")
        copy.write_bytes(path.read_bytes() + f"{mark} {number}".encode())
        added.append((path, copy))
    return added


def fill_cache(pairs: list[tuple[Path, Path]], backbone: BackboneOptions, cache_dir: Path) -> None:
    """Give copies the bottlenecks of their pictures."""
    cache = open_cache(locate_backbone(backbone), ExtractionOptions(cache_dir=os.fspath(cache_dir)))

    def keys(paths: list[Path]) -> np.ndarray:
        digests = b"".join(hashlib.sha256(path.read_bytes()).digest() for path in paths)
        return np.frombuffer(digests, np.uint8).reshape(-1, 32)

    originals, copies = zip(*pairs, strict=True)
    vectors = cache.read(cache.find(keys([*originals])))
    cache.add(Rows(keys([*copies]), np.zeros(len(copies), np.uint32), vectors))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image_dir", type=Path)
    parser.add_argument("--backbone", default="inception_v3")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=0)
    parser.add_argument("--place", type=Path, default=Path(tempfile.gettempdir()))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="retrain-benchmark-", dir=args.place) as name:
        place = Path(name)
        pictures = place / "pictures"
        shutil.copytree(args.image_dir, pictures)
        pictures.chmod(0o755)
        for folder in pictures.rglob("*/"):
            folder.chmod(0o755)
        own = [f"--cache-dir={place}/cache", "--quiet"]
        train = [
            "-m",
            "retrain",
            "train",
            f"{pictures}",
            *own,
            "--backbone",
            args.backbone,
            "--model-dir",
            f"{place}/model",
        ]
        first = measured(train)
        more = args.pictures - len(pictures_of(pictures))
        if more > 0:
            fill_cache(add_copies(pictures, more, "more"), BackboneOptions(backbone=args.backbone), place / "cache")
        count = len(pictures_of(pictures))
        some = os.fspath(pictures_of(pictures)[0])
        commands = {
            PLAIN: ["-c", "import tensorflow"],
            TRAIN: train,
            AFTER_NEW: train,
            "crossval --folds 10": [
                *("-m", "retrain", "crossval", f"{pictures}", *own, "--backbone", args.backbone, "--folds", "10")
            ],
            "predict, one picture": ["-m", "retrain", "predict", f"{place}/model", some],
            "evaluate": ["-m", "retrain", "evaluate", f"{place}/model", f"{pictures}", *own],
            "extract": ["-m", "retrain", "extract", f"{pictures}", *own, "--backbone", args.backbone],
            "cache info": ["-m", "retrain", "cache", "info", f"--cache-dir={place}/cache"],
            "--help": ["-m", "retrain", "--help"],
        }
        figures: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        network: list[float] = []
        timings: dict[str, list[float]] = {}
        for turn in range(args.rounds):
            for name, command in commands.items():
                added = add_copies(pictures, NEW, f"round{turn}") if name == AFTER_NEW else []
                figures[name].append(measured(command))
                run = json.loads(Path(place, "model", "run.json").read_text())
                if name == AFTER_NEW:
                    network.append(NEW / run["extraction"]["pictures_per_second"])
                if name == TRAIN:
                    for part, value in run["timings"].items():
                        timings.setdefault(part, []).append(value)
                for _, path in added:
                    path.unlink()
    median = {name: statistics.median(seconds for seconds, _ in pairs) for name, pairs in figures.items()}
    print(f"{processor_name()}, {cores()} cores; {args.backbone}, {count} pictures, medians of {args.rounds}")
    print(f"the first train, which converts and extracts: {first[0]:.1f} s, {first[1]:,.0f} MiB\n")
    print(f"| {'command':26} | seconds | x import tensorflow | MiB |\n|---|---|---|---|")
    for name, pairs in figures.items():
        memory = statistics.median(memory for _, memory in pairs)
        print(f"| {name:26} | {median[name]:.2f} | {median[name] / median[PLAIN]:.2f} | {memory:,.0f} |")
    print("\nin train: " + ", ".join(f"{part} {statistics.median(values):.2f}" for part, values in timings.items()))
    beyond = median[AFTER_NEW] - median[TRAIN] - statistics.median(network)
    print(f"{NEW} new pictures: {beyond:.2f} s beyond the warm run and pass one's {statistics.median(network):.2f} s")


if __name__ == "__main__":
    main()
