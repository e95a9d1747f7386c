"""Heads of five folds, each tested on pictures that it never saw: for figures of few pictures, and for suspects."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrain.cache import LabelledBottlenecks, VectorSource
from retrain.data import Sample, stable_folds
from retrain.events import Emit
from retrain.options import TrainingOptions
from retrain.report import FoldHeads, JudgedPictures

__all__ = ["train_folds"]

_FOLDS = 5
_NEVER = 2**31 - 1  # an interval: nobody looks at evaluations in between
_JITTER = 1e-9  # share of the squared lengths that is added, so that copies don't make the system singular


def train_folds(
    pictures: JudgedPictures, samples: Sequence[Sample], options: TrainingOptions, emit: Emit
) -> FoldHeads | None:
    """Train a head on all folds but one, for each fold.

    If there are no more pictures than numbers in a vector, heads are trained to the optimum by L-BFGS, unless the
    options ask for a hidden layer, dropout or L1: that takes a second, and the vectors' own span is all that matters
    (see _coordinates). Otherwise they are trained as the options say, without patience.

    Args:
        samples: (n,) of the pictures.
        options: of the model's head.
    Returns: None if there are not two classes of which two pictures differ.
    """
    from retrain.training import HeadTrainer

    folds = stable_folds(samples, pictures.keys, _FOLDS)
    numbers = np.unique(folds[folds >= 0])
    if len(np.unique(pictures.labels[folds >= 0])) < 2 or len(numbers) < 2:
        return None
    vectors: VectorSource = pictures.vectors
    used = dataclasses.replace(options, patience=None, eval_step_interval=_NEVER)
    if len(pictures) <= vectors.shape[1] and not (options.hidden_units or options.dropout or options.l1):
        vectors = _coordinates(vectors[:])
        used = _to_optimum(options)
    data = LabelledBottlenecks(vectors, pictures.labels).weighted(options.weights_of(pictures.names))
    trainer = HeadTrainer(data, len(pictures.names))
    nothing = np.zeros(0, np.int64)
    heads = [trainer.train(np.flatnonzero(folds != number), nothing, used, emit).head for number in numbers]
    places = np.searchsorted(numbers, folds).astype(np.int32)
    return FoldHeads(vectors, np.where(folds >= 0, places, np.int32(-1)), tuple(heads))


def _to_optimum(options: TrainingOptions) -> TrainingOptions:
    """What the options ask for of the loss, by L-BFGS."""
    return TrainingOptions(
        optimizer="lbfgs",
        l2=options.l2 or None,  # without any, there may be no optimum
        label_smoothing=options.label_smoothing,
        sampling=options.sampling,
        class_weight=options.class_weight,
        eval_step_interval=_NEVER,
        seed=options.seed,
    )


def _coordinates(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, d) vectors, n <= d, to (n, n) with the same inner products: the vectors in a basis of their own span.

    At an optimum with L2 alone, the weights are sums of the vectors (the representer theorem; Kimeldorf and Wahba,
    1971), so a head of n numbers a class says the same as one of d, and takes a fraction of the time.
    """
    import threadpoolctl

    wide = vectors.astype(np.float64)
    with threadpoolctl.threadpool_limits(1, "blas"):  # threads that wait for each other are slower where others work
        products = wide @ wide.T
        products[np.diag_indices_from(products)] += _JITTER * max(float(np.trace(products)) / len(products), 1e-30)
        return np.asarray(np.linalg.cholesky(products), np.float32)
