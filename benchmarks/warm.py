"""What a second run costs: whole processes, next to the import of TensorFlow that most of them need.

    python benchmarks/warm.py IMAGE_DIR [--rounds 5] [--place DIR] [-- --backbone NAME ...]

A first run of `retrain train` fills the cache, so the rounds have nothing to extract. The commands take turns, so
that a busy machine slows all of them. Options after -- go to `retrain train`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TENSORFLOW, PLAIN = "import of TensorFlow, as retrain does it", "import of TensorFlow, plain"
TRAIN, HELP, INFO = "retrain train, nothing to extract", "retrain --help", "retrain cache info"


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image_dir", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--place", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("options", nargs="*", help="for retrain train, after --")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="retrain-benchmark-", dir=args.place) as place:
        cache, model = f"--cache-dir={place}/cache", f"{place}/model"
        retrain = ["-m", "retrain"]
        train = [*retrain, "train", os.fspath(args.image_dir), cache, "--model-dir", model, "--quiet", *args.options]
        commands = {
            TENSORFLOW: ["-c", "from retrain import _tensorflow; _tensorflow.prepare_process(); _tensorflow.tf"],
            PLAIN: ["-c", "import tensorflow"],
            TRAIN: train,
            HELP: [*retrain, "--help"],
            INFO: [*retrain, "cache", "info", cache],
        }
        print(f"{'the first run, which extracts everything':44} {seconds(train):6.2f} s")
        measured: dict[str, list[float]] = {name: [] for name in commands}
        timings: dict[str, list[float]] = {}
        for _ in range(args.rounds):
            for name, command in commands.items():
                measured[name].append(seconds(command))
            for name, value in json.loads(Path(model, "run.json").read_text())["timings"].items():
                timings.setdefault(name, []).append(value)
    median = {name: statistics.median(values) for name, values in measured.items()}
    limits = {TRAIN: median[TENSORFLOW] + 3, HELP: 0.3, INFO: 0.3}
    for name, value in median.items():
        limit = f"at most {limits[name]:.2f} s" if name in limits else ""
        print(f"{name:44} {value:6.2f} s   {limit}")
    print("in train: " + ", ".join(f"{name} {statistics.median(values):.2f}" for name, values in timings.items()))


if __name__ == "__main__":
    main()
