"""Pictures with made-up bottlenecks, and a head that judges them."""

import hashlib

import numpy as np

from retrain.model.head import Head, Layer
from retrain.report.judged import JudgedPictures


def keys_of(names):
    digests = [hashlib.sha256(str(name).encode()).digest() for name in names]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)


def make_judged(counts=(30, 30, 30), sets="train train train validation test", size=16, noise=0.35, seed=0):
    """Classes around points of their own; the head has these points as weights, and is mostly right.

    Args:
        counts: pictures of each class.
        sets: of the pictures of each class, in turns.
    """
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(len(counts), size)).astype(np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    vectors = (centres[labels] + noise * rng.normal(size=(len(labels), size))).astype(np.float32)
    names = tuple(f"class{number}" for number in range(len(counts)))
    turns = sets.split()
    numbers = [number for count in counts for number in range(count)]
    return JudgedPictures(
        names,
        [f"{names[label]}/{number}.png" for label, number in zip(labels, numbers, strict=True)],
        np.array([turns[number % len(turns)] for number in numbers]),
        labels,
        keys_of(range(len(labels))),
        vectors,
        Head((Layer(4 * centres.T.copy(), np.zeros(len(counts), np.float32)),)),
    )


class Shown(list):
    """Remembers what is put on a page; a picture's place is its own number."""

    def __call__(self, numbers):
        self.extend(numbers)
        return tuple(numbers)
