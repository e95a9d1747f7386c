"""Every format of every kind of model: size, speed, and how it answers.

    RETRAIN_BACKBONES=... python benchmarks/exports.py FLOWERS [--backbones NAME ...] [--kinds KIND ...] [--formats ...]

FLOWERS is a folder with a sub-folder per class, of at least 40 pictures each. 20 of each class are for the test, and 10
for validation. Each model is trained and exported by the installed command. Loading, speed (one picture at a time, with
resizing where the format has it) and differences are those that `retrain export` finds with 20 test pictures; accuracy
is that on all test pictures. Where scores differ by less than 0.001, it is that of `retrain predict`. The output is
Markdown; a format that a model can't have has the reason in its row.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
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
COLUMNS = ("backbone", "model", "format", "MB", "load, s", "pictures/s", "largest difference", "accuracy")


def retrain(*args: object) -> dict[str, Any]:
    """What a command says as JSON. Raises RuntimeError with its error."""
    command = [sys.executable, "-m", "retrain", *map(str, args), "--json", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("retrain: error: ")]
        raise RuntimeError((errors or ["retrain: error: no reason"])[-1].removeprefix("retrain: error: "))
    return dict(json.loads(done.stdout))


def rows_of(model: Path, accuracy: float, formats: list[str]) -> Iterator[list[str]]:
    """A row for each format of a model, without the first two columns.

    Args:
        accuracy: of `retrain predict` on the test pictures.
    """
    for name in formats:
        try:
            [export] = retrain("export", model, "--format", name, "--max-accuracy-drop", 100)["exports"]
        except RuntimeError as error:
            yield [name, *[""] * 4, str(error).replace("|", "\\|")]
            continue
        found = next((one["accuracy"] for one in export["accuracy"] if one["set"] == "test"), accuracy)
        rate = export["pictures_per_second"]
        yield [
            name,
            f"{export['bytes'] / 1e6:.1f}",
            f"{export['load_seconds']:.1f}",
            f"{rate:.0f}" if rate and rate > 9.5 else f"{rate or 0:.1f}",
            f"{export['largest_difference']:.1e}",
            f"{found:.1%}",
        ]


def show(row: list[str]) -> None:
    print(f"| {' | '.join(row)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image_dir", metavar="FLOWERS")
    parser.add_argument("--backbones", nargs="+", default=BACKBONES, metavar="NAME")
    parser.add_argument("--kinds", nargs="+", default=[*KINDS], choices=KINDS)
    parser.add_argument("--formats", nargs="+", default=[*FORMATS], choices=FORMATS)
    parser.add_argument("--folder", help="for the cache and the models; left out: a temporary one")
    args = parser.parse_args()
    print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores\n")
    show([*COLUMNS])
    show(["---", "---", "---", *["---:"] * 5])
    with tempfile.TemporaryDirectory(prefix="retrain-benchmark-") as place:
        folder = Path(args.folder or place)
        for backbone in args.backbones:
            for kind in args.kinds:
                model = folder / f"{backbone}-{kind.replace(' ', '-')}"
                where = ["--backbone", backbone, "--model-dir", model, "--cache-dir", folder / "cache"]
                run = retrain("train", args.image_dir, *where, *SPLIT, *KINDS[kind])
                accuracy = run["results"]["test"]["accuracy"]
                show([backbone, kind, "retrain predict", "", "", "", "", f"{accuracy:.1%}"])
                for row in rows_of(model, accuracy, args.formats):
                    show([backbone, kind, *row])


if __name__ == "__main__":
    main()
