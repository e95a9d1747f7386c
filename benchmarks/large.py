"""Pass two on more bottlenecks than memory should hold: from the cache's files, and from memory.

    python benchmarks/large.py [--rows 1000000] [--length 2048] [--classes 1000] [--steps 2000] [--rounds 3]
        [--place DIR]

Writes --rows vectors into a temporary cache in --place (8 GiB with the defaults, removed afterwards), and keeps a
second copy in memory to compare with. If there isn't memory for both, that copy has fewer rows. Every measurement has
a process of its own. Vectors lie around the centres of --classes classes and are read from the page cache.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from cache import FINGERPRINT, keys_for
from retrain.cache.segments import Rows
from retrain.cache.store import BottleneckCache
from retrain.cache.vectors import CachedVectors, LabelledBottlenecks
from retrain.machine import memory
from retrain.options import TrainingOptions

PER_SEGMENT = 16_384
HELD_OUT = 2000
FEW = 5  # classes, where the time of reading is to be seen and not that of the head


def labels_of(rows: int, classes: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, classes, rows).astype(np.int32)


def write_cache(args: argparse.Namespace) -> None:
    """Write segments of the size that compaction makes."""
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 0.1, (args.classes, args.length)).astype(np.float32)
    labels = labels_of(args.rows, args.classes)
    cache = BottleneckCache(args.place, "large", FINGERPRINT, {})
    cache.prepare()
    for start in range(0, args.rows, PER_SEGMENT):
        own = labels[start : start + PER_SEGMENT]
        vectors = rng.standard_normal((len(own), args.length), np.float32)
        vectors *= 0.5
        vectors += centres[own]
        np.maximum(vectors, 0, out=vectors)
        cache._write_segment(Rows(keys_for(start, len(own)), np.zeros(len(own), np.uint32), vectors))


def open_data(args: argparse.Namespace, classes: int) -> LabelledBottlenecks:
    """Open the rows in their files; this checks all rows, and so brings them into the page cache."""
    cache = BottleneckCache(args.place, "large", FINGERPRINT, {})
    rows = cache.find(keys_for(0, args.rows))
    return LabelledBottlenecks(CachedVectors(cache, rows), labels_of(args.rows, args.classes) % classes)


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def train(trainer, steps: int, optimizer: str = "gradient-descent"):
    """Train a head; return it and the seconds per step after the first tenth of them."""

    from retrain.events import Evaluated

    moments: list[tuple[int, float]] = []

    def emit(event) -> None:
        if isinstance(event, Evaluated):
            moments.append((event.step, time.perf_counter()))

    numbers = np.arange(len(trainer.data))
    options = TrainingOptions(optimizer=optimizer, steps=steps)
    trained = trainer.train(numbers[HELD_OUT:], numbers[:HELD_OUT], options, emit)
    (first, start), (last, end) = next(item for item in moments if item[0] >= steps // 10), moments[-1]
    return trained, (end - start) / (last - first)


# each of these is a process of its own, and prints what it found


def from_files(args: argparse.Namespace) -> dict:
    from retrain.training.head_trainer import HeadTrainer

    trainer = HeadTrainer(open_data(args, FEW), FEW)
    _, seconds = train(trainer, args.steps)
    return {"rate": 100 / seconds, "peak": peak_mib()}


def both(args: argparse.Namespace) -> dict:
    """Rows per second from files and from memory, in turns."""
    from retrain.training.head_trainer import HeadTrainer

    data = open_data(args, FEW)
    few = min(args.rows, memory() // 3 // (4 * args.length))
    copy = LabelledBottlenecks(data.vectors[slice(few)], data.labels[:few])
    ways = {"files": HeadTrainer(data, FEW), "memory": HeadTrainer(copy, FEW)}
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(args.rounds):
        for way, trainer in ways.items():
            rates[way].append(100 / train(trainer, args.steps)[1])
    ratio = statistics.median(one / other for one, other in zip(rates["files"], rates["memory"], strict=True))
    return {way: statistics.median(values) for way, values in rates.items()} | {"ratio": ratio, "copied": few}


def many_classes(args: argparse.Namespace, optimizer: str) -> dict:
    from retrain.training.head_trainer import HeadTrainer

    data = open_data(args, args.classes)
    trained, seconds = train(HeadTrainer(data, args.classes), args.steps, optimizer)
    right = trained.head.logits(data.vectors[slice(HELD_OUT)]).argmax(axis=1) == data.labels[:HELD_OUT]
    return {"seconds": 1000 * seconds, "accuracy": float(right.mean()), "peak": peak_mib()}


PARTS = {
    "from_files": from_files,
    "both": both,
    "gradient-descent": lambda args: many_classes(args, "gradient-descent"),
    "adam": lambda args: many_classes(args, "adam"),
}


def in_process(part: str, args: argparse.Namespace) -> dict:
    options = [f"--{name}={getattr(args, name)}" for name in ("rows", "length", "classes", "steps", "rounds", "place")]
    command = [sys.executable, __file__, *options, "--part", part]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def row(text: str, value: str, limit: str = "") -> None:
    print(f"{text:66} {value:>16}   {limit}", flush=True)


def report(args: argparse.Namespace) -> None:
    files = in_process("from_files", args)
    row("a process that trains from files: peak", f"{files['peak']:,.0f} MiB", "under 1,024")
    figures = in_process("both", args)
    text = f"random batches of 100, {FEW} classes"
    row(f"{text}, from memory ({figures['copied']:,} rows)", f"{figures['memory']:,.0f} rows/s")
    share = f"{figures['ratio']:.2f} of that from memory"
    row(f"{text}, from files ({args.rows:,} rows)", f"{figures['files']:,.0f} rows/s", share)
    for optimizer in ("gradient-descent", "adam"):
        found = in_process(optimizer, args)
        row(f"{args.classes:,} classes from files, {optimizer}: 1,000 steps", f"{found['seconds']:.1f} s")
        row("    peak", f"{found['peak']:,.0f} MiB")
        row(f"    accuracy after {args.steps:,} steps", f"{found['accuracy']:.1%}", f"guessing: {1 / args.classes:.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--place", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        print(json.dumps(PARTS[args.part](args)))
        return
    needed, free = args.rows * (4 * args.length + 64), shutil.disk_usage(args.place).free
    if needed > 0.9 * free:
        parser.error(
            f"{args.rows:,} rows take {needed / 2**30:.1f} GiB, and {args.place} has {free / 2**30:.1f} GiB free: "
            "give fewer --rows, or another --place"
        )
    args.place = Path(tempfile.mkdtemp(prefix="retrain-benchmark-", dir=args.place))
    try:
        write_cache(args)
        print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores; {args.rows:,} x {args.length}", flush=True)
        report(args)
    finally:
        shutil.rmtree(args.place)


if __name__ == "__main__":
    main()
