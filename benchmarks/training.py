"""Pass two next to the usual ways: a session call per step, Keras's fit, scikit-learn.

    python benchmarks/training.py [--rows 3670] [--classes 5] [--steps 4000] [--rounds 5] [--only TEXT]

Synthetic bottlenecks of 2,048 numbers, as sparse and as overlapping as those of photographs: 80% for training, 10%
each for validation and the test. Batches of 100, an evaluation every 10 steps, as in the original program. Every way is
a process of its own, which reads the bottlenecks from a file; all ways take turns. Times are medians of whole
processes; steps per second are after the start-up. `import tensorflow` alone stands beside them.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

LENGTH, BATCH, INTERVAL, RATE = 2048, 100, 10, 0.01
SECONDS = 1.2  # the limit for the whole process of `retrain`


class Task(NamedTuple):
    """What each way gets."""

    vectors: np.ndarray
    labels: np.ndarray
    classes: int
    steps: int
    train: np.ndarray  # numbers of pictures
    validation: np.ndarray

    def part(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.vectors[numbers], self.labels[numbers]


class Result(NamedTuple):
    logits: Callable[[np.ndarray], np.ndarray]
    seconds: float  # from the first step on


def ours(task: Task) -> Result:
    from retrain.cache.vectors import LabelledBottlenecks
    from retrain.options import TrainingOptions
    from retrain.training.head_trainer import HeadTrainer

    options = TrainingOptions(steps=task.steps, batch_size=BATCH, learning_rate=RATE, eval_step_interval=INTERVAL)
    trainer = HeadTrainer(LabelledBottlenecks(task.vectors, task.labels), task.classes)
    started = time.perf_counter()
    trained = trainer.train(task.train, task.validation, options)
    return Result(trained.head.logits, time.perf_counter() - started)


def per_step(task: Task) -> Result:
    """As in the original program: batches drawn in Python, one session call with feeds per step."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    (train, train_labels), (held_out, held_out_labels) = task.part(task.train), task.part(task.validation)
    members = [np.flatnonzero(train_labels == label) for label in range(task.classes)]
    with tf.Graph().as_default():
        bottlenecks = tf.compat.v1.placeholder(tf.float32, [None, LENGTH])
        labels = tf.compat.v1.placeholder(tf.int64, [None])
        start = tf.random.truncated_normal([LENGTH, task.classes], stddev=0.001)
        weights = tf.compat.v1.Variable(start, use_resource=True)
        biases = tf.compat.v1.Variable(tf.zeros([task.classes]), use_resource=True)
        logits = tf.matmul(bottlenecks, weights) + biases
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
        accuracy = tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, 1), labels), tf.float32))
        train_step = tf.compat.v1.train.GradientDescentOptimizer(RATE).minimize(loss)
        with tf.compat.v1.Session() as session:
            session.run(tf.compat.v1.global_variables_initializer())

            def step(number: int) -> None:
                batch = [rng.choice(members[label]) for label in rng.integers(0, task.classes, BATCH)]
                feeds = {bottlenecks: train[batch], labels: train_labels[batch]}
                session.run(train_step, feeds)
                if number % INTERVAL == 0:
                    session.run([accuracy, loss], feeds)
                    some = rng.integers(0, len(held_out), BATCH)
                    session.run(accuracy, {bottlenecks: held_out[some], labels: held_out_labels[some]})

            started = time.perf_counter()
            for number in range(task.steps):
                step(number)
            ended = time.perf_counter()
            weights, biases = session.run([weights, biases])
            return Result(lambda vectors: vectors @ weights + biases, ended - started)


def keras_fit(task: Task) -> Result:
    """As many epochs as amount to the same steps, with an evaluation on the validation set after each."""
    import keras

    train, train_labels = task.part(task.train)
    model = keras.Sequential([keras.Input((LENGTH,)), keras.layers.Dense(task.classes)])
    model.compile(keras.optimizers.SGD(RATE), keras.losses.SparseCategoricalCrossentropy(True), metrics=["accuracy"])
    epochs = max(1, round(task.steps / (len(train) / BATCH)))
    held_out = task.part(task.validation)
    started = time.perf_counter()
    model.fit(train, train_labels, BATCH, epochs, verbose=0, validation_data=held_out)
    return Result(lambda vectors: model.predict(vectors, verbose=0), time.perf_counter() - started)


def scikit_learn(task: Task) -> Result:
    """The optimum of the regularised problem, with scikit-learn's defaults."""
    from sklearn.linear_model import LogisticRegression

    train, labels = task.part(task.train)
    started = time.perf_counter()
    model = LogisticRegression(max_iter=1000).fit(train, labels)
    return Result(model.predict_log_proba, time.perf_counter() - started)


WAYS: dict[str, Callable[[Task], Result]] = {
    "retrain": ours,
    "scikit-learn LogisticRegression": scikit_learn,
    "one session call per step": per_step,
    "Keras fit": keras_fit,
}
ALONE = "import tensorflow, alone"


def write_data(place: Path, rows: int, classes: int) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, rows).astype(np.int32)
    centres = rng.normal(0, 0.03, (classes, LENGTH))
    vectors = np.maximum(centres[labels] + rng.normal(0, 0.5, (rows, LENGTH)), 0)
    np.save(place / "vectors.npy", vectors.astype(np.float32))
    np.save(place / "labels.npy", labels)


def run_way(args: argparse.Namespace) -> None:
    """Train in this process, and print what came of it."""
    vectors, labels = np.load(args.place / "vectors.npy"), np.load(args.place / "labels.npy")
    train, validation, test = np.split(np.arange(len(labels)), [len(labels) * 8 // 10, len(labels) * 9 // 10])
    result = WAYS[args.way](Task(vectors, labels, args.classes, args.steps, train, validation))
    accuracy = float((result.logits(vectors[test]).argmax(axis=1) == labels[test]).mean())
    print(json.dumps({"rate": args.steps / result.seconds, "accuracy": accuracy}))


def measure(command: list[str]) -> tuple[float, str]:
    """Return the seconds that a process takes, and what it prints."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
    return time.perf_counter() - started, done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=3670)
    parser.add_argument("--classes", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", metavar="TEXT", help="ways with this in their names")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        run_way(args)
        return
    ways = [way for way in WAYS if args.only in way]
    whole: dict[str, list[float]] = {way: [] for way in (*ways, ALONE)}
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as place:
        write_data(Path(place), args.rows, args.classes)
        options = [f"--classes={args.classes}", f"--steps={args.steps}", f"--place={place}"]
        for _ in range(args.rounds):
            for way in ways:
                seconds, printed = measure([__file__, *options, f"--way={way}"])
                whole[way].append(seconds)
                found[way].append(json.loads(printed))
            whole[ALONE].append(measure(["-c", "import tensorflow"])[0])
    print(
        f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores; {args.rows} x {LENGTH}, {args.classes} classes, "
        f"{args.steps} steps of {BATCH}, evaluated every {INTERVAL}; medians of {args.rounds}"
    )
    print(f"{'':34} whole process   steps/s   test accuracy   limit")
    for way in ways:
        rate, accuracy = (statistics.median(one[name] for one in found[way]) for name in ("rate", "accuracy"))
        limit = f"{SECONDS} s" if way == "retrain" else ""
        print(f"{way:34} {statistics.median(whole[way]):11.2f} s {rate:9,.0f} {accuracy:15.1%}   {limit}")
    print(f"{ALONE:34} {statistics.median(whole[ALONE]):11.2f} s")


if __name__ == "__main__":
    main()
