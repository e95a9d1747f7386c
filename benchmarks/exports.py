"""Every format of every kind of model: size, speed, and how it answers.

    RETRAIN_BACKBONES=... python benchmarks/exports.py FLOWERS [--backbones NAME ...] [--kinds KIND ...] [--formats ...]

FLOWERS is a folder with a sub-folder per class, of at least 40 pictures each. 20 of each class are for the test, and 10
for validation. Each model is trained and exported by the installed command. Loading, speed (one picture at a time, with
resizing where the format has it) and differences are those that `retrain export` finds with 20 test pictures; accuracy
is that on all test pictures. Where scores differ by less than 0.001, it is that of `retrain predict`.

The output is Markdown, a row for each backbone and format: medians over the kinds of model for size, loading and speed;
a number for each kind for differences and accuracy. What can't be exported is told on stderr, and a dash in the table.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from retrain.export import FORMATS

BACKBONES = ("inception_v3", "mobilenet_v2", "efficientnet_lite0")
KINDS = {
    "plain": (),
    "fine-tuned": ("--fine-tune-layers", "8", "--fine-tune-epochs", "1"),
    "hidden layer": ("--hidden-units", "128"),
    "calibrated": ("--calibrate",),
}
SPLIT = ("--test-per-class", "20", "--validation-per-class", "10", "--seed", "1")

Row = dict[str, float]  # MB, load, rate, difference, accuracy


def retrain(*args: object) -> dict[str, Any]:
    """What a command says as JSON. Raises RuntimeError with its error."""
    command = [sys.executable, "-m", "retrain", *map(str, args), "--json", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("retrain: error: ")]
        raise RuntimeError((errors or ["retrain: error: no reason"])[-1].removeprefix("retrain: error: "))
    return dict(json.loads(done.stdout))


def exported(model: Path, name: str, accuracy: float) -> Row | None:
    """What is found of an export; None if there is none.

    Args:
        accuracy: of `retrain predict` on the test pictures.
    """
    try:
        [export] = retrain("export", model, "--format", name, "--max-accuracy-drop", 100)["exports"]
    except RuntimeError as error:
        print(f"{model.name}: {error}", file=sys.stderr)
        return None
    row = {
        "MB": export["bytes"] / 1e6,
        "load": export["load_seconds"],
        "rate": export["pictures_per_second"] or 0.0,
        "difference": export["largest_difference"],
        "accuracy": next((one["accuracy"] for one in export["accuracy"] if one["set"] == "test"), accuracy),
    }
    print(f"{model.name} {name}: {row}", file=sys.stderr)
    return row


def show(backbone: str, name: str, rows: list[Row | None]) -> None:
    """Print a row of the table; a row is None for a kind of model that has no such export."""
    found = [row for row in rows if row is not None]
    size, load, rate = ("-", "-", "-")
    if found:
        middle = {key: statistics.median(row[key] for row in found) for key in found[0]}
        size, load = f"{middle['MB']:.1f}", f"{middle['load']:.1f}"
        rate = f"{middle['rate']:.0f}" if middle["rate"] > 9.5 else f"{middle['rate']:.1f}"
    differences = ", ".join("-" if row is None else f"{row['difference']:.0e}" for row in rows)
    accuracies = ", ".join("-" if row is None else f"{100 * row['accuracy']:.0f}" for row in rows)
    print(f"| {backbone} | `{name}` | {size} | {load} | {rate} | {differences} | {accuracies} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image_dir", metavar="FLOWERS")
    parser.add_argument("--backbones", nargs="+", default=BACKBONES, metavar="NAME")
    parser.add_argument("--kinds", nargs="+", default=[*KINDS], choices=KINDS)
    parser.add_argument("--formats", nargs="+", default=[*FORMATS], choices=FORMATS)
    parser.add_argument("--folder", help="for the cache and the models; left out: a temporary one")
    args = parser.parse_args()
    print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores; kinds: {', '.join(args.kinds)}\n")
    print("| backbone | format | MB | load, s | pictures/s | largest difference | accuracy, % |")
    print("|---|---|---:|---:|---:|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="retrain-benchmark-") as place:
        folder = Path(args.folder or place)
        for backbone in args.backbones:
            models: dict[Path, float] = {}
            for kind in args.kinds:
                model = folder / f"{backbone}-{kind.replace(' ', '-')}"
                where = ["--backbone", backbone, "--model-dir", model, "--cache-dir", folder / "cache"]
                run = retrain("train", args.image_dir, *where, *SPLIT, *KINDS[kind])
                models[model] = run["results"]["test"]["accuracy"]
            print(f"{backbone}: accuracy of retrain predict {[*models.values()]}", file=sys.stderr)
            for name in args.formats:
                show(backbone, name, [exported(model, name, accuracy) for model, accuracy in models.items()])


if __name__ == "__main__":
    main()
