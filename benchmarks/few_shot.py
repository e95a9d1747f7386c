"""How good `retrain predict --few-shot` is with 1, 2, 5 and 10 pictures of each class, beside other ways.

    retrain extract IMAGE_DIR --output vectors.npz
    python benchmarks/few_shot.py vectors.npz [...] [--seeds 30] [--only TEXT]

Each seed draws ten pictures of each class; the first 1, 2, 5 and 10 of them are the examples, and all others are
tested on. Rows show the mean accuracy in percent with its 95% interval over seeds.
"""

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid

from retrain.cache.vectors import LabelledBottlenecks
from retrain.evaluation.likeness import normalised
from retrain.model.few_shot import FewShotClassifier
from retrain.options import TrainingOptions
from retrain.training.head_trainer import HeadTrainer

SHOTS = (1, 2, 5, 10)

# vectors and labels of the examples, and vectors to classify, to labels
Way = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def few_shot(examples: np.ndarray, labels: np.ndarray, tested: np.ndarray) -> np.ndarray:
    return FewShotClassifier(examples, labels).similarities(tested).argmax(axis=1)


def head(**options: object) -> Way:
    def classify(examples: np.ndarray, labels: np.ndarray, tested: np.ndarray) -> np.ndarray:
        everything = np.arange(len(labels))
        trainer = HeadTrainer(LabelledBottlenecks(examples, labels), labels.max() + 1)
        settings = TrainingOptions(eval_step_interval=2**31 - 1, **options)
        return trainer.train(everything, everything[:0], settings).head.logits(tested).argmax(axis=1)

    return classify


def class_means(examples: np.ndarray, labels: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """SimpleShot: cosines with the class means of centred unit vectors."""
    unit = normalised(examples)
    mean = unit.mean(axis=0)
    centred = normalised(unit - mean)
    means = np.stack([centred[labels == label].mean(axis=0) for label in range(labels.max() + 1)])
    return (normalised(normalised(tested) - mean) @ normalised(means).T).argmax(axis=1)


def centroids(examples: np.ndarray, labels: np.ndarray, tested: np.ndarray) -> np.ndarray:
    return NearestCentroid().fit(examples, labels).predict(tested)


def unit_centroids(examples: np.ndarray, labels: np.ndarray, tested: np.ndarray) -> np.ndarray:
    return centroids(normalised(examples), labels, normalised(tested))


def logistic(examples: np.ndarray, labels: np.ndarray, tested: np.ndarray) -> np.ndarray:
    return LogisticRegression(max_iter=1000).fit(examples, labels).predict(tested)


WAYS: dict[str, Way] = {
    "predict --few-shot": few_shot,
    "class means of centred unit vectors": class_means,
    "scikit-learn, NearestCentroid": centroids,
    "the same, unit vectors": unit_centroids,
    "scikit-learn, LogisticRegression": logistic,
    "trained head, lbfgs": head(optimizer="lbfgs"),
    "trained head, gradient descent": head(),
}


def read(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Vectors in the space that they span, where products are the same; and labels."""
    with np.load(path, allow_pickle=False) as file:
        left, values, _ = np.linalg.svd(file["vector"].astype(np.float64), full_matrices=False)
        _, labels = np.unique(file["label"], return_inverse=True)
    return (left * values).astype(np.float32), labels.astype(np.int32)


def accuracies(vectors: np.ndarray, labels: np.ndarray, seed: int, way: Way) -> list[float]:
    order = np.random.default_rng(seed).permutation(len(labels))
    own = [order[labels[order] == label] for label in range(labels.max() + 1)]
    tested = np.concatenate([numbers[SHOTS[-1] :] for numbers in own])
    results = []
    for shots in SHOTS:
        examples = np.concatenate([numbers[:shots] for numbers in own])
        given = way(vectors[examples], labels[examples], vectors[tested])
        results.append((given == labels[tested]).mean())
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vectors", nargs="+")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--only", default="", help="ways whose name has this in it")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # of centroids that are equal in some direction
    for path in args.vectors:
        vectors, labels = read(path)
        print(f"\n{path}: {len(labels)} pictures of {labels.max() + 1} classes, {args.seeds} seeds")
        print(f"{'pictures of each class':38}{''.join(f'{shots:14}' for shots in SHOTS)}   ms a seed")
        for name, way in WAYS.items():
            if args.only in name:
                started = time.perf_counter()
                results = 100 * np.array([accuracies(vectors, labels, seed, way) for seed in range(args.seeds)])
                errors = 1.96 * results.std(axis=0, ddof=1) / np.sqrt(args.seeds)
                row = "".join(f"{a:8.1f} +- {b:.1f}" for a, b in zip(results.mean(axis=0), errors, strict=True))
                print(f"{name:38}{row}{1000 * (time.perf_counter() - started) / args.seeds:9.0f}")


if __name__ == "__main__":
    main()
