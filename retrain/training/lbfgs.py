"""Find the optimum over all pictures at once, with SciPy's L-BFGS-B."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import scipy.optimize
import threadpoolctl
from numpy.typing import NDArray

from retrain._tensorflow import tf
from retrain.training.loss import Parameters, cross_entropies, logits_of

__all__ = ["Figures", "FullBatch", "Penalties", "find_optimum"]

Arrays = list[NDArray[np.float64]]
Flat = NDArray[np.float64]  # all parameters in one vector
Part = tuple[tf.Tensor, tf.Tensor, tf.Tensor]

_TOLERANCE = 1e-8  # relative gain of a step below which to stop; products of float32 are no more exact
_GRADIENT_TOLERANCE = 1e-6  # of any parameter
_NO_GAIN = 1e-3  # share of the objective that may be left to gain at an optimum


class Figures(NamedTuple):
    """The result of a pass over the pictures: means, weighted by picture."""

    accuracy: float
    cross_entropy: float  # without smoothing
    loss: float  # with smoothing, without penalties


class Penalties(NamedTuple):
    """How much large weights cost. Biases cost nothing."""

    l1: float  # times the sum of the weights' magnitudes
    l2: float  # half of it times the sum of their squares


class FullBatch:
    """The loss over all pictures of a set, and its gradients.

    Args:
        parts: returns the pictures, some thousands at a time: vectors (m, d) float32, labels (m,) int32, and weights
            (m,) float32, which add up to 1 over all pictures.
        smoothing: label smoothing, in [0, 1).
    """

    def __init__(self, parts: Callable[[], Iterable[Part]], smoothing: float = 0.0) -> None:
        self._parts, self._smoothing = parts, smoothing
        self._of_part = tf.function(self._figures_of_part, reduce_retracing=True, autograph=False)

    def __call__(self, parameters: Arrays) -> tuple[Figures, Arrays]:
        """Compute the figures, and the gradients of the loss.

        Parameters and gradients are weights (outputs, inputs) and biases, in float64. Products are of float32, as in
        training in batches; sums are of float64.
        """
        tensors = tuple(tf.constant(part, tf.float64) for part in parameters)
        total, gradients = np.zeros(3), [np.zeros(part.shape) for part in parameters]
        for part in self._parts():
            figures, added = self._of_part(tensors, *part)
            total += figures.numpy()
            for gradient, more in zip(gradients, added, strict=True):
                gradient += more.numpy()
        return Figures(*total.tolist()), gradients

    def _figures_of_part(
        self, parameters: Parameters, vectors: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        weights = tf.cast(weights, tf.float64)
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            logits = tf.cast(logits_of(tuple(tf.cast(part, tf.float32) for part in parameters), vectors), tf.float64)
            loss = tf.reduce_sum(weights * cross_entropies(logits, labels, self._smoothing))
        right = tf.cast(tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), labels), tf.float64)
        plain = cross_entropies(logits, labels)
        figures = tf.stack([tf.reduce_sum(weights * right), tf.reduce_sum(weights * plain), loss])
        return figures, tape.gradient(loss, parameters)


def find_optimum(
    objective: FullBatch,
    start: Arrays,
    penalties: Penalties,
    steps: int,
    on_step: Callable[[int, Arrays, Figures], bool],
) -> tuple[Arrays, int, bool]:
    """Minimise loss + l1 * sum(|weights|) + l2 / 2 * sum(weights**2) by L-BFGS-B (Byrd, Lu, Nocedal and Zhu, 1995).

    L1 has a kink at 0. So every weight becomes the difference of two non-negative ones: a smooth problem with bounds,
    whose solution has true zeros.

    Args:
        start: weights (outputs, inputs) and biases (outputs,) of each layer.
        steps: the most to take.
        on_step: called after each step with its number from 0 on, parameters and figures. True stops the search.
    Returns: the parameters, how many steps were taken, and whether the optimum is reached: the Newton decrement, with
    L-BFGS's own estimate of the Hessian, leaves less than a thousandth of the objective to gain.
    """
    l1, l2 = penalties
    shape = _Shape(start, split=l1 > 0)
    seen: dict[bytes, Figures] = {}
    taken = 0

    def value(point: Flat) -> tuple[float, Flat]:
        parameters = shape.parameters(point)
        figures, gradients = objective(parameters)
        seen.clear()
        seen[point.tobytes()] = figures
        weights = parameters[::2]
        loss = figures.loss + l2 / 2 * sum(float(np.vdot(part, part)) for part in weights)
        for part, gradient in zip(weights, gradients[::2], strict=True):
            gradient += l2 * part
        loss += l1 * shape.magnitudes(point)
        return loss, shape.gradient(gradients, l1)

    def after_step(intermediate_result: scipy.optimize.OptimizeResult) -> None:
        nonlocal taken
        point = intermediate_result.x
        parameters = shape.parameters(point)
        figures = seen.get(point.tobytes()) or objective(parameters)[0]
        taken += 1
        if on_step(taken - 1, parameters, figures):
            raise StopIteration

    # on several threads, SciPy's products of some thousand numbers take ten times as long if the machine is busy
    with threadpoolctl.threadpool_limits(1, "blas"):
        result = scipy.optimize.minimize(
            value,
            shape.point(start),
            jac=True,
            method="L-BFGS-B",
            bounds=shape.bounds(),
            callback=after_step,
            options={"maxiter": steps, "maxfun": 20 * steps + 20, "ftol": _TOLERANCE, "gtol": _GRADIENT_TOLERANCE},
        )
        slope = shape.slope(result.x, result.jac)
        gain = float(slope @ (result.hess_inv @ slope)) / 2  # half of the squared Newton decrement
    return shape.parameters(result.x), taken, gain <= _NO_GAIN * float(result.fun)


class _Shape:
    """Parameters as one long vector for SciPy. If split, the negative parts of the weights follow."""

    def __init__(self, like: Arrays, split: bool) -> None:
        self._shapes = [part.shape for part in like]
        self._ends = np.cumsum([part.size for part in like])
        self._split = split
        self._is_weight = np.concatenate([np.full(part.size, part.ndim == 2) for part in like])

    def point(self, parameters: Arrays) -> Flat:
        flat = _flat(parameters)
        if not self._split:
            return flat
        weights = flat[self._is_weight]
        flat[self._is_weight] = np.maximum(weights, 0)
        return np.concatenate([flat, np.maximum(-weights, 0)])

    def parameters(self, point: Flat) -> Arrays:
        flat = point[: self._ends[-1]].copy()
        if self._split:
            flat[self._is_weight] -= point[self._ends[-1] :]
        parts = np.split(flat, self._ends[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, self._shapes, strict=True)]

    def magnitudes(self, point: Flat) -> float:
        """Return the sum of the weights' magnitudes if they are split, else 0."""
        if not self._split:
            return 0.0
        return float(point[: self._ends[-1]][self._is_weight].sum() + point[self._ends[-1] :].sum())

    def gradient(self, gradients: Arrays, l1: float) -> Flat:
        flat = _flat(gradients)
        if not self._split:
            return flat
        weights = flat[self._is_weight]
        flat[self._is_weight] = weights + l1
        return np.concatenate([flat, l1 - weights])

    def slope(self, point: Flat, gradient: Flat) -> Flat:
        """Return the gradient, without the parts that lead out of bounds."""
        if not self._split:
            return gradient
        free = np.concatenate([~self._is_weight, np.zeros(len(point) - self._ends[-1], bool)])
        return np.where((point > 0) | (gradient < 0) | free, gradient, 0.0)

    def bounds(self) -> scipy.optimize.Bounds | None:
        if not self._split:
            return None
        lowest = np.concatenate([np.where(self._is_weight, 0.0, -np.inf), np.zeros(int(self._is_weight.sum()))])
        return scipy.optimize.Bounds(lowest, np.inf)


def _flat(parts: Arrays) -> Flat:
    return np.concatenate([np.asarray(part, np.float64).ravel() for part in parts])
