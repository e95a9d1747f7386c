"""What --sampling and --class-weight do where some classes are rare, beside scikit-learn's class_weight.

    retrain extract IMAGE_DIR --output vectors.npz
    python benchmarks/rare_classes.py vectors.npz [...] [--rare 5] [--seeds 20] [--only TEXT]

Each seed holds out half of the pictures of each class, and of the rest keeps all pictures of every second class and
--rare pictures of the others. Figures are of the held-out pictures, all classes alike: the mean over seeds in percent,
with its 95% interval.
"""

import argparse
import warnings
from collections.abc import Callable

import numpy as np
from sklearn.linear_model import LogisticRegression

from retrain.cache.vectors import LabelledBottlenecks
from retrain.evaluation.metrics import evaluate_logits
from retrain.options import TrainingOptions
from retrain.training.head_trainer import HeadTrainer

# vectors and labels to train on, whether each class is rare, and vectors to test, to logits
Way = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def ours(rare_weight: float | None = None, **options: object) -> Way:
    """rare_weight: of the labels of rare classes, by name."""

    def logits(vectors: np.ndarray, labels: np.ndarray, is_rare: np.ndarray, tested: np.ndarray) -> np.ndarray:
        named = {} if rare_weight is None else {"class_weight": _named(is_rare, rare_weight)}
        settings = TrainingOptions(eval_step_interval=2**31 - 1, **options, **named)
        data = LabelledBottlenecks(vectors, labels)
        data = data.weighted(settings.weights_of([str(number) for number in range(len(is_rare))]))
        everything = np.arange(len(labels))
        return HeadTrainer(data, len(is_rare)).train(everything, everything[:0], settings).head.logits(tested)

    return logits


def _named(is_rare: np.ndarray, weight: float) -> str:
    return ",".join(f"{number}={weight:g}" for number in np.flatnonzero(is_rare))


def scikit_learn(class_weight: str | None) -> Way:
    def logits(vectors: np.ndarray, labels: np.ndarray, _: np.ndarray, tested: np.ndarray) -> np.ndarray:
        model = LogisticRegression(C=1.0, class_weight=class_weight, max_iter=1000).fit(vectors, labels)
        found = model.decision_function(tested)
        return np.stack([-found, found], axis=1) if found.ndim == 1 else found

    return logits


WAYS: dict[str, Way] = {
    "the defaults (class-balanced)": ours(),
    "--sampling uniform": ours(sampling="uniform"),
    "--class-weight balanced": ours(class_weight="balanced"),
    "lbfgs (class-balanced)": ours(optimizer="lbfgs"),
    "lbfgs --sampling uniform": ours(optimizer="lbfgs", sampling="uniform"),
    "lbfgs --class-weight balanced": ours(optimizer="lbfgs", class_weight="balanced"),
    "lbfgs --class-weight RARE=3": ours(3.0, optimizer="lbfgs"),
    "lbfgs --class-weight RARE=30": ours(30.0, optimizer="lbfgs"),
    "scikit-learn": scikit_learn(None),
    "scikit-learn, class_weight balanced": scikit_learn("balanced"),
}


def figures(vectors: np.ndarray, labels: np.ndarray, seed: int, rare: int, way: Way) -> list[float]:
    """Accuracy, macro F1, recall of the rare and of the other classes."""
    order, count = np.random.default_rng(seed).permutation(len(labels)), labels.max() + 1
    own = [order[labels[order] == number] for number in range(count)]
    is_rare = np.arange(count) % 2 == 1
    tested = np.concatenate([numbers[: len(numbers) // 2] for numbers in own])
    kept = [numbers[len(numbers) // 2 :][: rare if is_rare[label] else None] for label, numbers in enumerate(own)]
    train = np.sort(np.concatenate(kept))
    logits = way(vectors[train], labels[train], is_rare, vectors[tested]).astype(np.float32)
    metrics = evaluate_logits(logits, labels[tested], [str(number) for number in range(count)])
    recalls = np.array([found.recall for found in metrics.per_class])
    return [metrics.accuracy, metrics.macro_f1, recalls[is_rare].mean(), recalls[~is_rare].mean()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vectors", nargs="+")
    parser.add_argument("--rare", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", default="", help="ways whose name has this in it")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    for path in args.vectors:
        with np.load(path, allow_pickle=False) as file:
            left, values, _ = np.linalg.svd(file["vector"].astype(np.float64), full_matrices=False)
            _, labels = np.unique(file["label"], return_inverse=True)
        vectors, labels = (left * values).astype(np.float32), labels.astype(np.int32)  # products stay the same
        print(f"\n{path}: {len(labels)} pictures, {args.rare} of each rare class, {args.seeds} seeds")
        print(f"{'':38}      accuracy      macro F1   rare, recall  others, recall")
        for name, way in WAYS.items():
            if args.only in name:
                found = 100 * np.array([figures(vectors, labels, seed, args.rare, way) for seed in range(args.seeds)])
                errors = 1.96 * found.std(axis=0, ddof=1) / np.sqrt(args.seeds)
                row = "".join(f"{mean:8.1f} +- {e:.1f}" for mean, e in zip(found.mean(axis=0), errors, strict=True))
                print(f"{name:38}{row}")


if __name__ == "__main__":
    main()
