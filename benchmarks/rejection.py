"""How well `retrain train --reject` tells pictures of no class, beside other ways.

    retrain extract flower_photos --output flowers.npz
    python benchmarks/rejection.py flowers.npz --strangers imagenette.npz animals10.npz [--seeds 10] [--classes N]

Each seed divides the known pictures of each class: 60% to train on, 20% on which each way puts its threshold so that
95% of them are kept, 20% to test. All pictures of the other files are strangers. With --classes N, only N of the
classes, drawn by each seed, are known, and the pictures of the others are strangers, too: those are much alike. A row
has a way's means over the seeds: AUROC, the strangers refused, and the test pictures kept.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from retrain.cache.vectors import LabelledBottlenecks
from retrain.evaluation.likeness import likeness_to, normalised
from retrain.evaluation.strangers import auroc
from retrain.options import TrainingOptions
from retrain.training.head_trainer import HeadTrainer
from retrain.training.rejection import fit_rejection

KEPT = 0.95


class Known(NamedTuple):
    """Pictures of classes."""

    vectors: np.ndarray  # (n, d)
    labels: np.ndarray  # (n,) in [0, classes)

    @property
    def classes(self) -> int:
        return int(self.labels.max()) + 1

    def part(self, numbers: np.ndarray) -> "Known":
        return Known(self.vectors[numbers], np.unique(self.labels[numbers], return_inverse=True)[1].astype(np.int32))


# (n, d) vectors to their strangeness, (n,)
Distance = Callable[[np.ndarray], np.ndarray]


def squares(vectors: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """(n, k) and (m, k) to (n, m) squared distances."""
    return (vectors**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1) - 2 * vectors @ centres.T


def means_of(vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.stack([vectors[labels == label].mean(axis=0) for label in range(labels.max() + 1)])


def whole_mahalanobis(rows: np.ndarray, centres: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Squared distances to centres by the whole covariance of rows, shrunk by a fifth to a multiple of the identity."""
    mean = (rows**2).sum() / rows.size
    _, values, directions = np.linalg.svd(rows, full_matrices=False)
    rest = 0.2 * mean
    weights = 1 / (0.8 * values**2 / len(rows) + rest) - 1 / rest

    def distances(vectors: np.ndarray) -> np.ndarray:
        along, of_centres = vectors @ directions.T, centres @ directions.T
        products = (along * weights) @ of_centres.T
        inside = ((along**2) @ weights)[:, None] + (of_centres**2) @ weights - 2 * products
        return squares(vectors, centres) / rest + inside

    return distances


def ways(known: Known) -> Iterator[tuple[str, Distance]]:
    """All ways, fitted to training pictures; ours is fitted elsewhere, with its threshold."""
    everything = np.arange(len(known.labels))
    trainer = HeadTrainer(LabelledBottlenecks(known.vectors, known.labels), known.classes)
    head = trainer.train(everything, everything[:0], TrainingOptions(eval_step_interval=2**31 - 1)).head
    data = LabelledBottlenecks(known.vectors, known.labels)
    ours = fit_rejection(data, {"train": everything, "validation": everything}, known.classes, KEPT).rejection
    unit = normalised(known.vectors)
    means, mean = means_of(unit, known.labels), unit.mean(axis=0)
    raw_means = means_of(known.vectors, known.labels)
    gaps = unit - means[known.labels]
    near, background = whole_mahalanobis(gaps, means), whole_mahalanobis(unit - mean, mean[None])
    raw = whole_mahalanobis(known.vectors - raw_means[known.labels], raw_means)
    # D. Hendrycks and K. Gimpel, ICLR 2017
    yield "highest score", lambda vectors: -head.scores(vectors).max(axis=1)
    # W. Liu et al., Energy-based Out-of-distribution Detection, NeurIPS 2020
    yield "energy", lambda vectors: -np.logaddexp.reduce(head.exact_logits(vectors), axis=1)
    yield "cosine with class means", lambda vectors: -(normalised(vectors) @ normalised(means).T).max(axis=1)
    # Y. Sun et al., Out-of-Distribution Detection with Deep Nearest Neighbors, ICML 2022
    yield "nearest neighbour", lambda vectors: -likeness_to(vectors, known.vectors)
    # K. Lee et al., NeurIPS 2018
    yield "Mahalanobis, raw vectors", lambda vectors: raw(vectors).min(axis=1)
    yield "Mahalanobis, unit vectors", lambda vectors: near(normalised(vectors)).min(axis=1)
    # J. Ren et al., A Simple Fix to Mahalanobis Distance for Improving Near-OOD Detection, 2021
    yield "relative Mahalanobis, unit", lambda vectors: relative(normalised(vectors), near, background)
    yield "retrain train --reject", ours.distances


def relative(unit: np.ndarray, near: Distance, background: Distance) -> np.ndarray:
    return near(unit).min(axis=1) - background(unit)[:, 0]


def read(path: str) -> Known:
    with np.load(path, allow_pickle=False) as file:
        return Known(file["vector"], np.unique(file["label"], return_inverse=True)[1].astype(np.int32))


def divided(known: Known, rng: np.random.Generator) -> list[Known]:
    """60%, 20% and 20% of each class."""
    parts: list[list[np.ndarray]] = [[], [], []]
    for label in range(known.classes):
        own = rng.permutation(np.flatnonzero(known.labels == label))
        cuts = [int(0.6 * len(own)), int(0.8 * len(own))]
        for part, numbers in zip(parts, np.split(own, cuts), strict=True):
            part.append(numbers)
    return [known.part(np.concatenate(part)) for part in parts]


def figures(validation: np.ndarray, test: np.ndarray, strangers: np.ndarray) -> tuple[float, float, float]:
    """AUROC, strangers refused and test pictures kept, of distances."""
    place = min(int(np.ceil(KEPT * (len(validation) + 1))), len(validation))
    threshold = np.sort(validation)[place - 1]
    return auroc(test, strangers), float((strangers > threshold).mean()), float((test <= threshold).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("known")
    parser.add_argument("--strangers", nargs="*", default=[])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--classes", type=int, help="that are known")
    args = parser.parse_args()
    everything = read(args.known)
    others = {path: read(path).vectors for path in args.strangers}
    found: dict[str, dict[str, list[tuple[float, float, float]]]] = {}
    started = time.perf_counter()
    for seed in range(args.seeds):
        rng = np.random.default_rng(seed)
        known, strangers = everything, dict(others)
        if args.classes:
            is_own = np.isin(everything.labels, rng.permutation(everything.classes)[: args.classes])
            known, strangers["other classes"] = everything.part(is_own), everything.vectors[~is_own]
        train, validation, test = divided(known, rng)
        for name, distance in ways(train):
            held_out = distance(validation.vectors), distance(test.vectors)
            for of, vectors in strangers.items():
                found.setdefault(name, {}).setdefault(of, []).append(figures(*held_out, distance(vectors)))
    seconds = time.perf_counter() - started
    print(f"{args.known}: {known.classes} classes known, {args.seeds} seeds, {seconds:.0f} s")
    print(f"{'':28}" + "".join(f"{of:>28}" for of in strangers))
    print(f"{'':28}" + len(strangers) * f"{'AUROC':>10}{'refused':>9}{'kept':>9}")
    for name, row in found.items():
        means = (100 * np.mean(values, axis=0) for values in row.values())
        print(f"{name:28}" + "".join(f"{a / 100:10.3f}{b:8.1f}%{c:8.1f}%" for a, b, c in means))


if __name__ == "__main__":
    main()
