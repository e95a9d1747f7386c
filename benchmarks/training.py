"""Pass two next to the usual ways: a session call per step, Keras's fit, scikit-learn.

    python benchmarks/training.py [--rows 3670] [--classes 5] [--steps 4000] [--rounds 3]

Synthetic bottlenecks of 2,048 numbers, as sparse and as overlapping as those of photographs: 80% for training, 10%
each for validation and the test. Batches of 100, an evaluation every 10 steps, as in the original program. All ways
take turns. Times are medians; the ratio is the median of the ratios of each turn.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from retrain._tensorflow import tf
from retrain.cache.segments import new_vectors
from retrain.cache.vectors import LabelledBottlenecks
from retrain.events import Evaluated, Event
from retrain.options import TrainingOptions
from retrain.training.gradient_descent import STEPS_PER_CALL
from retrain.training.head_trainer import HeadTrainer

LENGTH, BATCH, INTERVAL, RATE = 2048, 100, 10, 0.01
SECONDS, TIMES = 1.5, 10  # the limits: after start-up, and the speed of a session call per step


class Task(NamedTuple):
    """What each way gets."""

    data: LabelledBottlenecks
    classes: int
    train: np.ndarray  # numbers of pictures
    validation: np.ndarray
    steps: int

    def part(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.data.vectors[numbers], self.data.labels[numbers]


class Result(NamedTuple):
    logits: Callable[[np.ndarray], np.ndarray]
    start: float  # seconds up to the first step
    seconds: float  # from there on


def make_data(rows: int, classes: int) -> LabelledBottlenecks:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, rows).astype(np.int32)
    centres = rng.normal(0, 0.03, (classes, LENGTH))
    vectors = new_vectors(rows, LENGTH)  # as the cache gives them
    vectors[:] = np.maximum(centres[labels] + rng.normal(0, 0.5, (rows, LENGTH)), 0)
    return LabelledBottlenecks(vectors, labels)


def ours(task: Task) -> Result:
    """Start-up is everything but the steps: building the trainer, tracing and compiling.

    The first block of steps includes compiling; it is assumed to take as long as the others.
    """
    moments: list[float] = []

    def emit(event: Event) -> None:
        if isinstance(event, Evaluated):
            moments.append(time.perf_counter())

    started = time.perf_counter()
    options = TrainingOptions(steps=task.steps, batch_size=BATCH, learning_rate=RATE, eval_step_interval=INTERVAL)
    trained = HeadTrainer(task.data, task.classes).train(task.train, task.validation, options, emit)
    ended = time.perf_counter()
    seconds = (ended - moments[0]) * task.steps / (task.steps - STEPS_PER_CALL)
    return Result(trained.head.logits, ended - started - seconds, seconds)


def per_step(task: Task) -> Result:
    """As in the original program: batches drawn in Python, one session call with feeds per step."""
    rng = np.random.default_rng(0)
    (train, train_labels), (held_out, held_out_labels) = task.part(task.train), task.part(task.validation)
    members = [np.flatnonzero(train_labels == label) for label in range(task.classes)]
    started = time.perf_counter()
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

            step(0)
            first = time.perf_counter()
            for number in range(task.steps):
                step(number)
            ended = time.perf_counter()
            weights, biases = session.run([weights, biases])
            return Result(lambda vectors: vectors @ weights + biases, first - started, ended - first)


def keras_fit(task: Task) -> Result:
    """As many epochs as amount to the same steps, with an evaluation on the validation set after each."""
    import keras

    train, train_labels = task.part(task.train)
    model = keras.Sequential([keras.Input((LENGTH,)), keras.layers.Dense(task.classes)])
    model.compile(keras.optimizers.SGD(RATE), keras.losses.SparseCategoricalCrossentropy(True), metrics=["accuracy"])
    epochs = max(1, round(task.steps / (len(train) / BATCH)))
    ends: list[float] = []
    each = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(time.perf_counter()))
    held_out = task.part(task.validation)
    started = time.perf_counter()
    model.fit(train, train_labels, BATCH, epochs, verbose=0, validation_data=held_out, callbacks=[each])
    ended = time.perf_counter()
    seconds = (ended - ends[0]) * epochs / max(1, epochs - 1)
    return Result(lambda vectors: model.predict(vectors, verbose=0), ended - started - seconds, seconds)


def scikit_learn(task: Task) -> Result:
    """The optimum of the regularised problem, with scikit-learn's defaults."""
    from sklearn.linear_model import LogisticRegression

    train, labels = task.part(task.train)
    started = time.perf_counter()
    model = LogisticRegression(max_iter=1000).fit(train, labels)
    return Result(model.predict_log_proba, 0.0, time.perf_counter() - started)


WAYS: dict[str, Callable[[Task], Result]] = {
    "retrain": ours,
    "one session call per step": per_step,
    "Keras fit": keras_fit,
    "scikit-learn LogisticRegression": scikit_learn,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=3670)
    parser.add_argument("--classes", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4000, help=f"more than {STEPS_PER_CALL}")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if args.steps <= STEPS_PER_CALL:
        parser.error(f"--steps must be more than {STEPS_PER_CALL}")
    data = make_data(args.rows, args.classes)
    train, validation, test = np.split(np.arange(args.rows), [args.rows * 8 // 10, args.rows * 9 // 10])
    task = Task(data, args.classes, train, validation, args.steps)
    vectors, labels = task.part(test)
    results: dict[str, list[tuple[float, float, float]]] = {way: [] for way in WAYS}
    for _ in range(args.rounds):
        for way, run in WAYS.items():
            logits, start, seconds = run(task)
            accuracy = float((logits(vectors).argmax(axis=1) == labels).mean())
            results[way].append((start, seconds, accuracy))
    print(
        f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores; {args.rows} x {LENGTH}, {args.classes} classes, "
        f"{args.steps} steps of {BATCH}, evaluated every {INTERVAL}; medians of {args.rounds}"
    )
    print(f"{'':34} start-up      then   to retrain's   test accuracy   limit")
    limits = {
        "retrain": f"then: {SECONDS} s",
        "one session call per step": f"to retrain's: at least {TIMES}",
    }
    for way, runs in results.items():
        start, seconds, accuracy = (statistics.median(values) for values in zip(*runs, strict=True))
        ratio = statistics.median(theirs[1] / own[1] for theirs, own in zip(runs, results["retrain"], strict=True))
        print(f"{way:34} {start:6.2f} s {seconds:7.2f} s {ratio:14.1f} {accuracy:15.1%}   {limits.get(way, '')}")


if __name__ == "__main__":
    main()
