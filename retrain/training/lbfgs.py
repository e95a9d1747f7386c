"""Find the optimum over all pictures at once, with SciPy's L-BFGS-B."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import threadpoolctl
from numpy.typing import NDArray

from retrain.cache import Vectors
from retrain.training.layers import Layers
from retrain.training.loss import Loss
from retrain.training.parameters import Parameters, aligned
from retrain.training.penalties import Penalties
from retrain.training.products import Products, rows_at_once

if TYPE_CHECKING:
    import scipy.optimize

__all__ = ["Figures", "FullBatch", "Part", "find_optimum"]

Flat = NDArray[np.float64]  # all parameters in one vector

_TOLERANCE = 1e-8  # relative gain of a step below which to stop; products of float32 are no more exact
_GRADIENT_TOLERANCE = 1e-6  # of any parameter
_NO_GAIN = 1e-3  # share of the objective that may be left to gain at an optimum


class Part(NamedTuple):
    """Some pictures, and how much each counts."""

    vectors: Vectors  # (m, d) float32
    labels: NDArray[np.int32]  # (m,)
    shares: NDArray[np.float32]  # (m,), which add up to 1 over all parts


class Figures(NamedTuple):
    """The result of a pass over the pictures: means, weighted by picture."""

    accuracy: float
    cross_entropy: float  # without smoothing
    loss: float  # with smoothing, without penalties


class FullBatch:
    """The loss over all pictures of a set, and its gradients.

    Args:
        parts: returns the pictures, at most so many at a time.
        count: how many there are.
        like: parameters of the head's form.
        products: what multiplies.
        loss: of the pictures, without penalties.
    """

    def __init__(
        self,
        parts: Callable[[int], Iterable[Part]],
        count: int,
        like: Parameters,
        products: Products,
        loss: Loss,
    ) -> None:
        self._parts, self._products, self._loss = parts, products, loss
        self._rows = rows_at_once(like.widths, count)
        self._parameters, self._gradients = (like.like(aligned(like.flat.size)) for _ in range(2))
        self._layers = Layers(self._parameters, products, self._rows)

    def figures(self, point: Flat) -> Figures:
        """Compute the figures at a point (p,)."""
        return self._pass(point, None)

    def gradients(self, point: Flat) -> tuple[Figures, Parameters]:
        """Compute the figures at a point (p,), and the gradients of the loss in float64.

        Products are of float32, as in training in batches; sums are of float64.
        """
        gradients = self._parameters.like(np.zeros_like(point))
        return self._pass(point, gradients), gradients

    def _pass(self, point: Flat, gradients: Parameters | None) -> Figures:
        total = np.zeros(3)
        self._parameters.flat[:] = point
        for part in self._parts(self._rows):
            total += self._add(part, gradients)
        return Figures(*total.tolist())

    def _add(self, part: Part, gradients: Parameters | None) -> NDArray[np.float64]:
        """Add the gradients of some pictures. Returns their figures."""
        vectors, labels, shares = part.vectors, part.labels, part.shares.astype(np.float64)
        layers = self._layers if len(labels) == self._rows else Layers(self._parameters, self._products, len(labels))
        products = layers.forward(vectors)
        logits = products.astype(np.float64)
        plain = self._loss.cross_entropies(logits, labels)
        losses = self._loss.objectives(logits, labels, plain)
        right = self._loss.are_right(logits, labels).astype(np.float64)
        if gradients:
            self._loss.to_gradients(logits, labels, shares)
            products[:] = logits
            layers.backward(products, self._gradients)
            gradients.flat += self._gradients.flat
        return np.array([right, plain, losses]) @ shares


def find_optimum(
    objective: FullBatch,
    start: Parameters,
    penalties: Penalties,
    steps: int,
    on_step: Callable[[int, Flat, Figures], bool],
) -> tuple[Flat, int, bool]:
    """Minimise loss + l1 * sum(|weights|) + l2 / 2 * sum(weights**2) by L-BFGS-B (Byrd, Lu, Nocedal and Zhu, 1995).

    L1 has a kink at 0. So every weight becomes the difference of two non-negative ones: a smooth problem with bounds,
    whose solution has true zeros.

    Args:
        start: where to begin.
        steps: the most to take.
        on_step: called after each step with its number from 0 on, parameters (p,) and figures. True stops the search.
    Returns: the parameters (p,), how many steps were taken, and whether the optimum is reached: the Newton decrement,
    with L-BFGS's own estimate of the Hessian, leaves less than a thousandth of the objective to gain.
    """
    import scipy.optimize

    l1, l2 = penalties
    shape = _Shape(start, split=l1 > 0)
    seen: dict[bytes, Figures] = {}
    taken = 0

    def value(point: Flat) -> tuple[float, Flat]:
        flat = shape.parameters(point)
        figures, gradients = objective.gradients(flat)
        seen.clear()
        seen[point.tobytes()] = figures
        weights = np.where(shape.is_weight, flat, 0.0)
        loss = figures.loss + l2 / 2 * float(weights @ weights) + l1 * shape.magnitudes(point)
        gradients.flat += l2 * weights
        return loss, shape.gradient(gradients.flat, l1)

    def after_step(intermediate_result: "scipy.optimize.OptimizeResult") -> None:
        nonlocal taken
        point = intermediate_result.x
        flat = shape.parameters(point)
        figures = seen.get(point.tobytes()) or objective.figures(flat)
        taken += 1
        if on_step(taken - 1, flat, figures):
            raise StopIteration

    # SciPy has a BLAS library of its own
    with threadpoolctl.threadpool_limits(1, "blas"):
        result = scipy.optimize.minimize(
            value,
            shape.point(start.flat),
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
    """Parameters as SciPy gets them. If split, the negative parts of the weights follow."""

    def __init__(self, like: Parameters, split: bool) -> None:
        self.is_weight = np.zeros(like.flat.size, bool)
        for layer in like.like(self.is_weight).layers:
            layer.weights[:] = True
        self._split = split

    def point(self, flat: Flat) -> Flat:
        point: Flat = flat.astype(np.float64)
        if not self._split:
            return point
        weights = point[self.is_weight]
        point[self.is_weight] = np.maximum(weights, 0)
        return np.concatenate([point, np.maximum(-weights, 0)])

    def parameters(self, point: Flat) -> Flat:
        flat: Flat = point[: self.is_weight.size].copy()
        if self._split:
            flat[self.is_weight] -= point[flat.size :]
        return flat

    def magnitudes(self, point: Flat) -> float:
        """Return the sum of the weights' magnitudes if they are split, else 0."""
        if not self._split:
            return 0.0
        return float(point[: self.is_weight.size][self.is_weight].sum() + point[self.is_weight.size :].sum())

    def gradient(self, flat: Flat, l1: float) -> Flat:
        if not self._split:
            return flat
        weights = flat[self.is_weight]
        flat[self.is_weight] = weights + l1
        return np.concatenate([flat, l1 - weights])

    def slope(self, point: Flat, gradient: Flat) -> Flat:
        """Return the gradient, without the parts that lead out of bounds."""
        if not self._split:
            return gradient
        free = np.concatenate([~self.is_weight, np.zeros(point.size - self.is_weight.size, bool)])
        return np.where((point > 0) | (gradient < 0) | free, gradient, 0.0)

    def bounds(self) -> "scipy.optimize.Bounds | None":
        if not self._split:
            return None
        import scipy.optimize

        lowest = np.concatenate([np.where(self.is_weight, 0.0, -np.inf), np.zeros(int(self.is_weight.sum()))])
        return scipy.optimize.Bounds(lowest, np.inf)
