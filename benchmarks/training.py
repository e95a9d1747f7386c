"""Pass two beside the ways it is usually done: a session call per step, Keras fit, scikit-learn.

python benchmarks/training.py [--rows 3670] [--classes 5] [--steps 4000] [--rounds 3]

Synthetic bottlenecks of 2,048 numbers, as sparse and as overlapping as photographs': 80% for training, 10% each for
validation and test. Batches of 100, an evaluation every 10 steps, as the original program has it.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np

from retrain.batches import LabelledBottlenecks
from retrain.config import TrainingOptions
from retrain.quiet import tf
from retrain.training import train_head

LENGTH, BATCH, INTERVAL, RATE = 2048, 100, 10, 0.01


def make_data(rows: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, rows).astype(np.int32)
    centres = rng.normal(0, 0.03, (classes, LENGTH))
    return np.maximum(centres[labels] + rng.normal(0, 0.5, (rows, LENGTH)), 0).astype(np.float32), labels


def per_step(train: LabelledBottlenecks, validation: LabelledBottlenecks, classes: int, steps: int):
    """As the original program writes it: batches drawn in Python, one session call with feeds per step."""
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(train.labels == label) for label in range(classes)]
    with tf.Graph().as_default():
        bottlenecks = tf.compat.v1.placeholder(tf.float32, [None, LENGTH])
        labels = tf.compat.v1.placeholder(tf.int64, [None])
        weights = tf.compat.v1.Variable(tf.random.truncated_normal([LENGTH, classes], stddev=0.001), use_resource=True)
        biases = tf.compat.v1.Variable(tf.zeros([classes]), use_resource=True)
        logits = tf.matmul(bottlenecks, weights) + biases
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
        accuracy = tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, 1), labels), tf.float32))
        train_step = tf.compat.v1.train.GradientDescentOptimizer(RATE).minimize(loss)
        with tf.compat.v1.Session() as session:
            session.run(tf.compat.v1.global_variables_initializer())

            def step(number: int) -> None:
                batch = [rng.choice(members[label]) for label in rng.integers(0, classes, BATCH)]
                feeds = {bottlenecks: train.vectors[batch], labels: train.labels[batch]}
                session.run(train_step, feeds)
                if number % INTERVAL == 0:
                    session.run([accuracy, loss], feeds)
                    some = rng.integers(0, len(validation), BATCH)
                    session.run(accuracy, {bottlenecks: validation.vectors[some], labels: validation.labels[some]})

            step(0)
            started = time.perf_counter()
            for number in range(steps):
                step(number)
            seconds = time.perf_counter() - started
            weights, biases = session.run([weights, biases])
            return (lambda vectors: vectors @ weights + biases), 0.0, seconds


def ours(train: LabelledBottlenecks, validation: LabelledBottlenecks, classes: int, steps: int):
    """Start-up is up to the first block of steps: tracing and compiling."""
    moments: list[float] = []
    started = time.perf_counter()
    options = TrainingOptions(steps=steps, batch_size=BATCH, learning_rate=RATE, eval_step_interval=INTERVAL)
    head, _ = train_head(train, validation, classes, options, lambda row: moments.append(time.perf_counter()))
    first = moments[0] - started
    return head.logits, first, time.perf_counter() - started - first


def keras_fit(train: LabelledBottlenecks, validation: LabelledBottlenecks, classes: int, steps: int):
    """As many epochs as have the same number of steps, an evaluation on the validation set after each."""
    import keras

    model = keras.Sequential([keras.Input((LENGTH,)), keras.layers.Dense(classes)])
    model.compile(keras.optimizers.SGD(RATE), keras.losses.SparseCategoricalCrossentropy(True), metrics=["accuracy"])
    epochs = max(1, round(steps / (len(train) / BATCH)))
    started = time.perf_counter()
    held_out = (validation.vectors, validation.labels)
    model.fit(train.vectors, train.labels, BATCH, epochs, verbose=0, validation_data=held_out)
    return (lambda vectors: model.predict(vectors, verbose=0)), 0.0, time.perf_counter() - started


def scikit_learn(train: LabelledBottlenecks, *_):
    """The optimum of the regularised problem, with its defaults."""
    from sklearn.linear_model import LogisticRegression

    started = time.perf_counter()
    model = LogisticRegression(max_iter=1000).fit(train.vectors, train.labels)
    return model.predict_log_proba, 0.0, time.perf_counter() - started


WAYS: dict[str, Callable] = {
    "retrain": ours,
    "one session call per step": per_step,
    "Keras fit": keras_fit,
    "scikit-learn LogisticRegression": scikit_learn,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=3670)
    parser.add_argument("--classes", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    vectors, labels = make_data(args.rows, args.classes)
    train, validation, test = (
        LabelledBottlenecks(vectors[part], labels[part])
        for part in np.split(np.arange(args.rows), [args.rows * 8 // 10, args.rows * 9 // 10])
    )
    results: dict[str, list[tuple[float, float, float]]] = {way: [] for way in WAYS}
    for _ in range(args.rounds):
        for way, run in WAYS.items():
            logits, start, seconds = run(train, validation, args.classes, args.steps)
            accuracy = float((logits(test.vectors).argmax(axis=1) == test.labels).mean())
            results[way].append((start, seconds, accuracy))
    print(
        f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores; {args.rows} x {LENGTH}, "
        f"{args.classes} classes, {args.steps} steps of {BATCH}, evaluated every {INTERVAL}; medians of {args.rounds}"
    )
    print(f"{'':34} start-up     then   to retrain's   test accuracy")
    base = statistics.median(seconds for _, seconds, _ in results["retrain"])
    for way, runs in results.items():
        start, seconds, accuracy = (statistics.median(values) for values in zip(*runs, strict=True))
        print(f"{way:34} {start:6.2f} s {seconds:6.2f} s {seconds / base:14.1f} {accuracy:15.1%}")


if __name__ == "__main__":
    main()
