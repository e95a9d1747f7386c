"""What a label is worth that `retrain label-next` asks for: accuracy against the number of labels, beside other ways.

    retrain extract IMAGE_DIR --output vectors.npz
    python benchmarks/label_next.py vectors.npz [...] [--seeds 30] [--rounds 6] [--cold] [--only TEXT]
    python benchmarks/label_next.py --pictures 50000

Each seed holds out a third of the pictures to test on. Of the others, two a class are labelled at the start (with
--cold none), and every way asks for ten more in each round. A head is trained to the optimum on what is labelled, as
label-next does; a class without a label counts as wrong. Differences to random choice are those of the mean over all
rounds, paired by seed, with their 95% intervals.

--pictures measures how long the choice among so many synthetic vectors takes.
"""

import argparse
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from retrain.cache.vectors import LabelledBottlenecks
from retrain.evaluation.labelling import labelling_order
from retrain.evaluation.likeness import likeness_to, normalised
from retrain.model.head import softmax
from retrain.options import TrainingOptions
from retrain.training.head_trainer import HeadTrainer

ASKED, AT_START, TEST_SHARE = 10, 2, 1 / 3
TRAINING = TrainingOptions(optimizer="lbfgs", eval_step_interval=2**31 - 1)


class Pool(NamedTuple):
    """What a way chooses from."""

    scores: np.ndarray  # (n, classes)
    unit: np.ndarray  # (n, d) unit vectors
    known: np.ndarray  # (m, d) unit vectors of what is labelled
    rng: np.random.Generator

    @property
    def margins(self) -> np.ndarray:
        if self.scores.shape[1] < 2:
            return np.zeros(len(self.scores))
        best = np.sort(self.scores, axis=1)
        return best[:, -1] - best[:, -2]

    @property
    def near(self) -> np.ndarray:
        """(n,) cosines with what is labelled."""
        return likeness_to(self.unit, self.known)


def ours(pool: Pool) -> np.ndarray:
    return labelling_order(pool.scores, pool.unit, pool.known, ASKED).numbers[:ASKED]


def covering_alone(pool: Pool) -> np.ndarray:
    return labelling_order(pool.scores[:, :0], pool.unit, pool.known, ASKED).numbers[:ASKED]


def at_random(pool: Pool) -> np.ndarray:
    return pool.rng.permutation(len(pool.unit))[:ASKED]


def margin(pool: Pool) -> np.ndarray:
    return np.argsort(pool.margins, kind="stable")[:ASKED]


def entropy(pool: Pool) -> np.ndarray:
    return np.argsort((pool.scores * np.log(pool.scores + 1e-12)).sum(axis=1), kind="stable")[:ASKED]


def least_confidence(pool: Pool) -> np.ndarray:
    return np.argsort(pool.scores.max(axis=1, initial=0), kind="stable")[:ASKED]


def core_set(pool: Pool) -> np.ndarray:
    """The picture farthest from all others that are labelled or chosen (Sener and Savarese, ICLR 2018)."""
    near, chosen = pool.near.copy(), []
    for _ in range(ASKED):
        chosen.append(int(near.argmin()))
        near = np.maximum(near, pool.unit @ pool.unit[chosen[-1]])
    return np.array(chosen)


def badge(pool: Pool) -> np.ndarray:
    """k-means++ on the gradients that the likeliest labels would give (Ash et al., ICLR 2020)."""
    gradients = pool.scores.copy()
    gradients[np.arange(len(gradients)), gradients.argmax(axis=1)] -= 1
    squares = (gradients**2).sum(axis=1)
    chosen, distances = [int(squares.argmax())], np.full(len(squares), np.inf)
    while len(chosen) < ASKED:
        last = chosen[-1]
        products = (gradients @ gradients[last]) * (pool.unit @ pool.unit[last])
        distances = np.minimum(distances, np.maximum(squares + squares[last] - 2 * products, 0))
        distances[chosen] = 0
        chosen.append(int(pool.rng.choice(len(distances), p=distances / distances.sum())))
    return np.array(chosen)


def clusters(unit: np.ndarray, count: int, weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n, count) squared distances to the means that weighted k-means finds from k-means++."""
    chosen = [int(rng.choice(len(unit), p=weights / weights.sum()))]
    distances = 2 - 2 * unit @ unit[chosen[0]]
    while len(chosen) < count:
        drawn = np.maximum(weights * distances, 1e-12)
        chosen.append(int(rng.choice(len(unit), p=drawn / drawn.sum())))
        distances = np.minimum(distances, 2 - 2 * unit @ unit[chosen[-1]])
    means = unit[chosen].copy()
    for _ in range(20):
        nearest = ((means**2).sum(axis=1) - 2 * unit @ means.T).argmin(axis=1)
        for number in np.unique(nearest):
            own = nearest == number
            means[number] = np.average(unit[own], axis=0, weights=weights[own])
    return 1 + (means**2).sum(axis=1) - 2 * unit @ means.T


def margin_clusters(pool: Pool) -> np.ndarray:
    """Of the hundred least certain, those next to ten weighted means (F. Zhdanov, arXiv 1901.05954)."""
    weights = 1 - pool.margins + 1e-9
    unsure = np.argsort(-weights, kind="stable")[: 10 * ASKED]
    distances = clusters(pool.unit[unsure], ASKED, weights[unsure], pool.rng)
    chosen: list[int] = []
    for number in range(ASKED):
        distances[chosen, number] = np.inf
        chosen.append(int(distances[:, number].argmin()))
    return unsure[chosen]


def typical(pool: Pool) -> np.ndarray:
    """The most typical pictures of the largest clusters without a label: TypiClust (Hacohen et al., ICML 2022)."""
    everything = np.concatenate([pool.unit, pool.known])
    count = min(len(pool.known) + ASKED, len(everything))
    nearest = clusters(everything, count, np.ones(len(everything)), pool.rng).argmin(axis=1)
    own, covered = nearest[: len(pool.unit)], np.bincount(nearest[len(pool.unit) :], minlength=count)
    order = np.lexsort([-np.bincount(own, minlength=count), covered])
    chosen: list[int] = []
    while len(chosen) < ASKED:
        for number in order[: ASKED - len(chosen)]:
            members = np.setdiff1d(np.flatnonzero(own == number), chosen)
            if len(members):
                products = np.sort(pool.unit[members] @ pool.unit[members].T, axis=1)[:, -21:]
                chosen.append(int(members[np.sqrt(np.maximum(2 - 2 * products, 0)).mean(axis=1).argmin()]))
        order = np.roll(order, -ASKED)
    return np.array(chosen[:ASKED])


WAYS: dict[str, Callable[[Pool], np.ndarray]] = {
    "random choice": at_random,
    "label-next": ours,
    "covering without uncertainty": covering_alone,
    "margin": margin,
    "entropy": entropy,
    "least confidence": least_confidence,
    "core-set (k-center)": core_set,
    "BADGE": badge,
    "margin and k-means": margin_clusters,
    "TypiClust": typical,
}
NEED_SCORES = (margin, entropy, least_confidence, badge)


class Data(NamedTuple):
    """A set of pictures."""

    vectors: np.ndarray  # (n, d)
    unit: np.ndarray
    labels: np.ndarray  # (n,)


def read(path: str) -> Data:
    with np.load(path, allow_pickle=False) as file:
        vectors = file["vector"].astype(np.float64)
        _, labels = np.unique(file["label"], return_inverse=True)
    # in the space that they span, products are the same and heads are trained sooner
    left, values, _ = np.linalg.svd(vectors, full_matrices=False)
    vectors = (left * values).astype(np.float32)
    return Data(vectors, normalised(vectors), labels.astype(np.int32))


def scores_of(data: Data, labelled: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(n, all classes) of some pictures; 0 for classes without a label."""
    present = np.unique(data.labels[labelled])
    scores = np.zeros((len(wanted), data.labels.max() + 1))
    if len(present) < 2:
        scores[:, present] = 1
        return scores
    vectors = data.vectors[labelled]
    trainer = HeadTrainer(
        LabelledBottlenecks(vectors, np.searchsorted(present, data.labels[labelled]).astype(np.int32)), len(present)
    )
    everything = np.arange(len(labelled))
    scores[:, present] = softmax(trainer.train(everything, everything[:0], TRAINING).head.logits(data.vectors[wanted]))
    return scores


def accuracies(data: Data, seed: int, rounds: int, is_cold: bool, way: Callable[[Pool], np.ndarray]) -> list[float]:
    """After each round, the accuracy on pictures that were never to be labelled; the first is at the start."""
    order = np.random.default_rng(seed).permutation(len(data.labels))
    test, rest = np.split(order, [int(len(order) * TEST_SHARE)])
    classes = range(0 if is_cold else data.labels.max() + 1)
    labelled = np.concatenate([rest[:0], *(rest[data.labels[rest] == number][:AT_START] for number in classes)])
    rng, results = np.random.default_rng(1000 + seed), []
    for number in range(rounds + 1):
        rest = np.setdiff1d(rest, labelled)
        scores = scores_of(data, labelled, np.concatenate([test, rest]))
        if len(labelled):
            results.append((scores[: len(test)].argmax(axis=1) == data.labels[test]).mean())
        if number < rounds:
            present = np.unique(data.labels[labelled])
            pool = Pool(scores[len(test) :, present], data.unit[rest], data.unit[labelled], rng)
            labelled = np.concatenate([labelled, rest[way(pool)]])
    return results


def compare(path: str, args: argparse.Namespace) -> None:
    data, reference = read(path), None
    at_start = 0 if args.cold else AT_START * (data.labels.max() + 1)
    counts = [at_start + ASKED * number for number in range(args.rounds + 1)][1 if args.cold else 0 :]
    print(f"\n{path}: {len(data.labels)} pictures of {data.labels.max() + 1} classes, {args.seeds} seeds")
    print(f"{'labels':30}{''.join(f'{count:7}' for count in counts)}   mean, and difference to random choice")
    for name, way in WAYS.items():
        if (args.cold and way in NEED_SCORES) or (args.only not in name and way is not at_random):
            continue
        results = np.array([accuracies(data, seed, args.rounds, args.cold, way) for seed in range(args.seeds)])
        reference = results if reference is None else reference
        differences = (results - reference).mean(axis=1)
        error = 1.96 * differences.std(ddof=1) / np.sqrt(args.seeds)
        row = "".join(f"{100 * value:7.1f}" for value in results.mean(axis=0))
        print(f"{name:30}{row}   {100 * results.mean():.1f}, {100 * differences.mean():+.1f} +- {100 * error:.1f}")


def measure(count: int) -> None:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((10, 2048), dtype=np.float32)
    vectors = np.maximum(rng.standard_normal((count, 2048), dtype=np.float32) + centres[rng.integers(0, 10, count)], 0)
    known = np.maximum(rng.standard_normal((1000, 2048), dtype=np.float32) + centres[rng.integers(0, 10, 1000)], 0)
    scores = rng.dirichlet(np.ones(10), count)
    for most in (20, 100):
        started = time.perf_counter()
        labelling_order(scores, vectors, known, most)
        print(f"{most} of {count:,} pictures, 1,000 labelled: {time.perf_counter() - started:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vectors", nargs="*")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--cold", action="store_true", help="nothing is labelled at the start")
    parser.add_argument("--only", default="", help="ways whose name has this in it, and random choice")
    parser.add_argument("--pictures", type=int)
    args = parser.parse_args()
    for path in args.vectors:
        compare(path, args)
    if args.pictures:
        measure(args.pictures)


if __name__ == "__main__":
    main()
