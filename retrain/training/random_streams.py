"""Random numbers that depend on seed, purpose and step alone.

So no draw depends on how many steps are drawn at once, or on what else is drawn. NumPy guarantees that its generators'
raw numbers stay the same; its distributions may change from version to version.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

__all__ = ["Stream", "generator", "random_halves", "random_words"]

_WORDS_EACH = 4  # which one count of Philox gives


class Stream(IntEnum):
    """What random numbers are for. Streams are independent of each other."""

    TRAINING = 0
    VALIDATION = 1
    DROPOUT = 2
    WEIGHTS = 3


def random_words(seed: int, stream: Stream, steps: range, count: int) -> NDArray[np.uint64]:
    """Return (steps, count) uint64, of 64 random bits each: those of each step.

    They come from the counter-based generator Philox 4x64 (Salmon, Moraes, Dror and Shaw, SC 2011), whose counter can
    be set to any step.

    Args:
        steps: consecutive ones.
        count: how many numbers a step has; always the same for a stream and a seed.
    """
    counts = -(-count // _WORDS_EACH)
    philox = np.random.Philox(key=_key(seed, stream), counter=steps.start * counts)
    words: NDArray[np.uint64] = philox.random_raw(len(steps) * counts * _WORDS_EACH)
    return words.reshape(len(steps), counts * _WORDS_EACH)[:, :count]


def random_halves(seed: int, stream: Stream, step: int, count: int) -> NDArray[np.uint16]:
    """Return (count,) uint16, of 16 random bits each, of one step.

    They come from SFC64 (C. Doty-Humphrey, PractRand), which takes half the time of Philox for many numbers. Each step
    has a generator of its own.
    """
    words: NDArray[np.uint64] = np.random.SFC64([seed, stream, step]).random_raw(-(-count // 4))
    return words.view(np.uint16)[:count]


def generator(seed: int, stream: Stream) -> np.random.Generator:
    """Return a generator of what is drawn once, and not at every step."""
    return np.random.Generator(np.random.Philox(key=_key(seed, stream)))


def _key(seed: int, stream: Stream) -> int:
    return seed | int(stream) << 64
