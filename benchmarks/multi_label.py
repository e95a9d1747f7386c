"""How good --multi-label is, beside scikit-learn's logistic regression of one label against the rest, on the same
vectors.

    python benchmarks/multi_label.py make IMAGE_DIR MOSAICS [--pictures 1000] [--seed 0]
    retrain extract MOSAICS/mosaics.csv --multi-label --output vectors.npz
    python benchmarks/multi_label.py compare vectors.npz [--splits 5]
    python benchmarks/multi_label.py thresholds vectors.npz

`make` puts four pictures of an image folder beside each other, of one class or of several, so that a mosaic has one to
four labels; a sixth of the mosaics is of noise and has none. No picture is in two mosaics of which one could be trained
on and the other tested: a part of the folder's pictures is for each of ten groups, which splits do not take apart.

`compare` trains on four fifths of the groups and tests on the rest, with the same L2 penalty on both sides
(C = 1 / (n * l2)). It prints the mean average precision of both, its standard error, and the largest difference of two
scores.

`thresholds` trains on 400 pictures, and chooses thresholds on some of the others in three ways: 0.5 for all labels,
that with the highest F1, and that nearest to 0.5 within a standard error of it. The figures are of the rest, means over
60 draws: F1 (micro and macro), and the share of pictures with exactly the right labels.
"""

import argparse
import csv
import os
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.multiclass import OneVsRestClassifier

from retrain.cache.vectors import LabelledBottlenecks
from retrain.evaluation.metrics import Z_95
from retrain.evaluation.multi_label import LabelOutcomes, best_thresholds, precision_recall, summarize_labels
from retrain.options import TrainingOptions
from retrain.training.head_trainer import HeadTrainer

_SIDE = 112  # pixels of a picture in a mosaic
_GROUPS = 10


def make(image_dir: Path, target: Path, pictures: int, seed: int) -> None:
    """Write mosaics and mosaics.csv."""
    rng = np.random.default_rng(seed)
    target.mkdir(parents=True)
    parts = [_parts(folder, rng) for folder in sorted(image_dir.iterdir()) if folder.is_dir()]
    names = [folder.name for folder in sorted(image_dir.iterdir()) if folder.is_dir()]
    with open(target / "mosaics.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "group"])
        for number in range(pictures):
            group = number % _GROUPS
            shown = rng.choice(len(names), rng.integers(0, 5) if number % 6 else 0, replace=False).tolist()
            tiles = [shown[place % len(shown)] if shown else None for place in range(4)]
            mosaic = Image.new("RGB", (2 * _SIDE, 2 * _SIDE))
            for place, label in enumerate(rng.permutation(np.array(tiles, object))):
                mosaic.paste(_tile(parts, label, group, rng), (place % 2 * _SIDE, place // 2 * _SIDE))
            mosaic.save(target / f"{number:05}.jpg", quality=90)
            rows.writerow([f"{number:05}.jpg", "|".join(sorted(names[label] for label in shown)), f"group{group}"])


def _parts(folder: Path, rng: np.random.Generator) -> list[list[Path]]:
    """The pictures of a class, for each group."""
    files = sorted(folder.iterdir())
    order = rng.permutation(len(files))
    return [[files[number] for number in order[group::_GROUPS]] for group in range(_GROUPS)]


def _tile(parts: list[list[list[Path]]], label: int | None, group: int, rng: np.random.Generator) -> Image.Image:
    if label is None:
        return Image.fromarray(rng.integers(0, 256, (_SIDE, _SIDE, 3), dtype=np.uint8))
    own = parts[label][group]
    with Image.open(own[rng.integers(len(own))]) as picture:
        return picture.convert("RGB").resize((_SIDE, _SIDE))


def _read(vectors_file: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors (n, d), labels (n, classes) and groups (n,)."""
    with np.load(vectors_file) as file:
        vectors, labels = file["vector"].astype(np.float32), [text.split("|") for text in file["label"].tolist()]
        groups = np.array([int(Path(path).stem) % _GROUPS for path in file["path"].tolist()])
    names = sorted({name for own in labels for name in own if name})
    has = np.array([[name in own for name in names] for own in labels])
    each = f"{has.sum(axis=1).mean():.2f} labels a picture"
    print(f"{len(vectors)} pictures, {len(names)} labels, {each}, {os.cpu_count()} cores")
    return vectors, has, groups


def compare(vectors_file: Path, splits: int) -> None:
    """Print the figures of both on the same vectors."""
    vectors, has, groups = _read(vectors_file)
    print("split  pictures   retrain  scikit-learn  difference  standard error  largest difference of two scores")
    for split in range(splits):
        tested = np.isin(groups, [2 * split % _GROUPS, (2 * split + 1) % _GROUPS])
        scores = _ours(vectors, has, ~tested)[tested]
        theirs = OneVsRestClassifier(LogisticRegression(C=1.0, max_iter=5000, tol=1e-6))
        wanted = theirs.fit(vectors[~tested], has[~tested]).predict_proba(vectors[tested])
        ours, other = (average_precision_score(has[tested], found) for found in (scores, wanted))
        print(
            f"{split + 1:5}  {int(tested.sum()):8}  {ours:8.4%}  {other:12.4%}  {ours - other:+10.4%}  "
            f"{_standard_error(scores, has[tested]):14.4%}  {np.abs(scores - wanted).max():.1e}"
        )


def thresholds(vectors_file: Path) -> None:
    """Print what three ways to choose thresholds bring."""
    vectors, has, _ = _read(vectors_file)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(has))
    scores = _ours(vectors, has, np.isin(np.arange(len(has)), order[:400]))
    ways = {"0.5": _halves, "highest F1": _highest_f1, "within a standard error": best_thresholds}
    print("validation pictures  way                      F1 micro  F1 macro  exact match")
    for count in (50, 100, 200, 300):
        draws = [rng.permutation(order[400:]) for _ in range(60)]
        for name, way in ways.items():
            figures = []
            for drawn in draws:
                chosen, tested = drawn[:count], drawn[count:]
                figures.append(_figures(scores[tested] >= way(scores[chosen], has[chosen]), has[tested]))
            micro, macro, exact = np.mean(figures, axis=0)
            print(f"{count:19}  {name:23}  {micro:8.1%}  {macro:8.1%}  {exact:11.1%}")


def _halves(scores: np.ndarray, _: np.ndarray) -> np.ndarray:
    return np.full(scores.shape[1], 0.5)


def _highest_f1(scores: np.ndarray, has: np.ndarray) -> np.ndarray:
    found = _halves(scores, has)
    for label in np.flatnonzero(has.any(axis=0)):
        curve = precision_recall(scores[:, label], has[:, label])
        best = int((curve.right / (curve.given + curve.positives)).argmax())
        below = np.append(curve.thresholds[1:], 0.0)[best]
        found[label] = 0.5 if below < 0.5 <= curve.thresholds[best] else (below + curve.thresholds[best]) / 2
    return found


def _figures(given: np.ndarray, has: np.ndarray) -> tuple[float, float, float]:
    right, total = (given & has).sum(axis=0), given.sum(axis=0) + has.sum(axis=0)
    macro = float(np.mean(2 * right / np.maximum(total, 1)))
    return float(2 * right.sum() / total.sum()), macro, float((given == has).all(axis=1).mean())


def _ours(vectors: np.ndarray, has: np.ndarray, trained: np.ndarray) -> np.ndarray:
    """(n, classes) scores by --optimizer lbfgs, whose default penalty is 1 / training pictures."""
    sets, numbers = np.unique(has, axis=0, return_inverse=True)
    data = LabelledBottlenecks(vectors, numbers.reshape(-1).astype(np.int32), label_sets=sets)
    options = TrainingOptions(optimizer="lbfgs", sampling="uniform", eval_step_interval=2**31 - 1)
    return (
        HeadTrainer(data, has.shape[1]).train(np.flatnonzero(trained), np.zeros(0, int), options).head.scores(vectors)
    )


def _standard_error(scores: np.ndarray, has: np.ndarray) -> float:
    logits = np.log(scores) - np.log1p(-scores)
    outcomes = LabelOutcomes(logits, has, np.full(has.shape[1], 0.5, np.float32))
    names = [str(number) for number in range(has.shape[1])]
    found = summarize_labels(outcomes, np.zeros(len(has), np.int32), names)
    low, high = found.mean_average_precision_interval
    return (high - low) / 2 / Z_95


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make")
    making.add_argument("image_dir", type=Path)
    making.add_argument("target", type=Path)
    making.add_argument("--pictures", type=int, default=1000)
    making.add_argument("--seed", type=int, default=0)
    comparing = commands.add_parser("compare")
    comparing.add_argument("vectors", type=Path)
    comparing.add_argument("--splits", type=int, default=5)
    choosing = commands.add_parser("thresholds")
    choosing.add_argument("vectors", type=Path)
    args = parser.parse_args()
    if args.command == "make":
        make(args.image_dir, args.target, args.pictures, args.seed)
    elif args.command == "thresholds":
        thresholds(args.vectors)
    else:
        compare(args.vectors, args.splits)
