"""What the options of pass two do on real bottlenecks: test accuracy, cross-entropy and time, next to scikit-learn.

    python benchmarks/optimizers.py [--splits 10] [--only adam]

Uses the original program's bottlenecks of 500 flowers (reference/flowers.h5 in the shared folder of test data, which
RETRAIN_TEST_DATA names): random splits of 80 training and 20 test pictures per class, the same for all rows. Times are
medians of the splits.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from retrain.cache.segments import new_vectors
from retrain.cache.vectors import LabelledBottlenecks
from retrain.evaluation.metrics import evaluate_logits
from retrain.options import TrainingOptions
from retrain.training.head_trainer import HeadTrainer

DATA = Path(os.environ.get("RETRAIN_TEST_DATA", Path(__file__).resolve().parent.parent.parent / "shared"))
TEST, VALIDATION = 20, 16  # pictures a class; validation pictures only where a row has them

# (text, options, whether some training pictures are held out for validation)
ROWS: list[tuple[str, dict, bool]] = [
    ("gradient-descent (the defaults)", {}, False),
    ("label smoothing 0.1", {"label_smoothing": 0.1}, False),
    ("class-weight balanced", {"class_weight": "balanced"}, False),
    ("adam", {"optimizer": "adam"}, False),
    ("adam, dropout 0.5", {"optimizer": "adam", "dropout": 0.5}, False),
    ("adam, 64 hidden units", {"optimizer": "adam", "hidden_units": 64}, False),
    ("adam, of the pictures that the next has", {"optimizer": "adam"}, True),
    ("adam, patience 200", {"optimizer": "adam", "patience": 200}, True),
    ("lbfgs (L2 1 / training pictures = 0.0025)", {"optimizer": "lbfgs"}, False),
    *(
        (f"lbfgs, L2 {l2:g}", {"optimizer": "lbfgs", "l2": l2}, False)
        for l2 in (0.0, 0.0001, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1)
    ),
]


class Split(NamedTuple):
    seed: int
    train: np.ndarray
    validation: np.ndarray  # part of train
    test: np.ndarray


class Result(NamedTuple):
    accuracy: float
    cross_entropy: float
    seconds: float
    steps: int


def read_data(path: Path) -> tuple[LabelledBottlenecks, list[str]]:
    with h5py.File(path) as file:
        values = file["bottleneck"]
        vectors = new_vectors(*values.shape)
        values.read_direct(vectors)
        folders = [name.decode().split("/")[0] for name in file["path"][:]]
    names = sorted(set(folders))
    return LabelledBottlenecks(vectors, np.array([names.index(folder) for folder in folders], np.int32)), names


def splits(labels: np.ndarray, count: int) -> Iterator[Split]:
    for seed in range(count):
        order = np.random.default_rng(seed).permutation(len(labels))
        own = [order[labels[order] == label] for label in np.unique(labels)]
        test = np.concatenate([part[:TEST] for part in own])
        validation = np.concatenate([part[TEST : TEST + VALIDATION] for part in own])
        yield Split(seed, np.setdiff1d(order, test), validation, test)


def by_trainer(trainer: HeadTrainer, names: list[str], options: dict, holds_out: bool, split: Split) -> Result:
    train, validation = split.train, split.validation[:0]
    if holds_out:
        train, validation = np.setdiff1d(train, split.validation), split.validation
    started = time.perf_counter()
    trained = trainer.train(train, validation, TrainingOptions(seed=split.seed, **options))
    seconds = time.perf_counter() - started
    data = trainer.data
    metrics = evaluate_logits(trained.head.logits(data.vectors[split.test]), data.labels[split.test], names)
    return Result(metrics.accuracy, metrics.cross_entropy, seconds, trained.steps)


def by_scikit_learn(data: LabelledBottlenecks, names: list[str], split: Split) -> Result:
    from sklearn.linear_model import LogisticRegression

    started = time.perf_counter()
    model = LogisticRegression(C=1, max_iter=1000).fit(data.vectors[split.train], data.labels[split.train])
    seconds = time.perf_counter() - started
    logits = model.predict_log_proba(data.vectors[split.test])
    metrics = evaluate_logits(logits, data.labels[split.test], names)
    return Result(metrics.accuracy, metrics.cross_entropy, seconds, int(model.n_iter_[0]))


def show(text: str, results: list[Result], defaults: list[Result]) -> None:
    accuracies = np.array([result.accuracy for result in results])
    losses = np.array([result.cross_entropy for result in results])
    paired = accuracies - [result.accuracy for result in defaults]
    error = paired.std(ddof=1) / len(paired) ** 0.5
    seconds = statistics.median(result.seconds for result in results)
    steps = statistics.median(result.steps for result in results)
    print(
        f"{text:43} {accuracies.mean():6.1%} ({accuracies.std(ddof=1):4.1%})  {paired.mean():+6.1%} +- {error:4.1%}"
        f"  {losses.mean():5.3f} ({losses.std(ddof=1):5.3f})  {steps:6.0f} "
        f"{seconds:7.2f} s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=10, help="at least 2")
    parser.add_argument("--only", default="", metavar="TEXT", help="rows with this in their names, and the defaults")
    args = parser.parse_args()
    data, names = read_data(DATA / "reference" / "flowers.h5")
    trainer = HeadTrainer(data, len(names))
    rows: list[tuple[str, Callable[[Split], Result]]] = [
        (text, lambda split, options=options, part=part: by_trainer(trainer, names, options, part, split))
        for text, options, part in ROWS
    ]
    rows.append(("scikit-learn LogisticRegression(C=1)", lambda split: by_scikit_learn(data, names, split)))
    print(
        f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores; {args.splits} splits, standard deviations in ()"
    )
    print(f"{'':43} accuracy       to the defaults  cross-entropy   steps      time")
    defaults: list[Result] = []
    for text, run in rows:
        if defaults and args.only not in text:
            continue
        results = [run(split) for split in splits(data.labels, args.splits)]
        defaults = defaults or results
        show(text, results, defaults)


if __name__ == "__main__":
    main()
