"""Vectors to classes: pass two as a scikit-learn classifier."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array, check_random_state
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from retrain.cache import LabelledBottlenecks
from retrain.errors import UsageError
from retrain.model import softmax
from retrain.options import TrainingOptions
from retrain.sklearn.parameters import options_of, parameters_named
from retrain.text import counted
from retrain.training import HeadTrainer

__all__ = ["RetrainClassifier"]

_NEVER = 2**31 - 1  # an interval: without patience nobody looks at the evaluations


class RetrainClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Train a softmax layer on vectors, with or without a hidden layer, as `retrain train` does.

    The same vectors, order and options give the same weights as `retrain train`, bit for bit.

    Args:
        optimizer, steps, epochs, batch_size, learning_rate, l1, l2, dropout, label_smoothing, hidden_units, sampling,
            patience, eval_step_interval: as `retrain.TrainingOptions`.
        class_weight: None, "balanced", or a dictionary from class to weight. With either of the latter, pictures are
            drawn uniformly unless sampling says otherwise.
        validation_fraction: share of the pictures of each class, in (0, 1), that patience looks at and that are not
            trained on; without patience there are none.
        random_state: the seed of a run, a numpy.random.RandomState, or None for another seed each time.

    Attributes, after fit:
        classes_: (c,) the classes, sorted.
        n_features_in_: length d of the vectors.
        n_iter_: steps that were done.
        head_: the trained layers; `head_.layers` have `weights` (d, c) and `biases` (c,) float32.
    """

    def __init__(
        self,
        *,
        optimizer: str = "gradient-descent",
        steps: int | None = None,
        epochs: float | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        l1: float = 0.0,
        l2: float | None = None,
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
        hidden_units: int = 0,
        sampling: str | None = None,
        class_weight: Any = None,
        patience: int | None = None,
        eval_step_interval: int = 10,
        validation_fraction: float = 0.1,
        random_state: Any = 0,
    ) -> None:
        self.optimizer = optimizer
        self.steps = steps
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.l1 = l1
        self.l2 = l2
        self.dropout = dropout
        self.label_smoothing = label_smoothing
        self.hidden_units = hidden_units
        self.sampling = sampling
        self.class_weight = class_weight
        self.patience = patience
        self.eval_step_interval = eval_step_interval
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "RetrainClassifier":  # noqa: N803
        """Train.

        Args:
            X: (n, d) finite numbers; float32 is not copied.
            y: (n,) classes, two at least.
            sample_weight: (n,) >= 0, how many samples each counts as; not all 0.
        Raises ValueError if these don't fit, UsageError for a wrong parameter, TrainingError if training diverges.
        """
        X, y = validate_data(self, X, y, dtype=np.float32, order="C")  # noqa: N806
        check_classification_targets(y)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        weights = self._weights(y, sample_weight)
        chosen = np.arange(len(y)) if weights is None else np.flatnonzero(weights)
        present = len(np.unique(numbers[chosen]))
        if present < 2:
            raise ValueError(
                f"{type(self).__name__} needs samples of two classes at least, found {counted(present, 'class')} with "
                "weights above zero"
            )
        seed = self._seed()
        train, validation = chosen, chosen[:0]
        if self.patience is not None:
            train, validation = train_test_split(
                chosen, test_size=self.validation_fraction, stratify=numbers[chosen], random_state=seed
            )
            train, validation = np.sort(train), np.sort(validation)
        names = {name: name for name in self._get_param_names()} | {"seed": "random_state"}
        with parameters_named(names):
            options = self._options(seed)
            data = LabelledBottlenecks(X, numbers.astype(np.int32), weights=weights)
            trained = HeadTrainer(data, len(self.classes_)).train(train, validation, options)
        for warning in trained.warnings(options.resolved(len(train))):
            warnings.warn(warning, ConvergenceWarning, stacklevel=2)
        self.head_, self.n_iter_ = trained.head, trained.steps
        return self

    def decision_function(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """(n, d) vectors to logits, (n, c); of two classes (n,), the second's less the first's."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """(n, d) vectors to the most likely classes, (n,)."""
        chosen = self._logits(X).argmax(axis=1)
        classes: NDArray[Any] = self.classes_[chosen]
        return classes

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """(n, d) vectors to probabilities, (n, c) in [0, 1], in the order of `classes_`."""
        return softmax(self._logits(X))

    def _logits(self, vectors: Any) -> NDArray[np.float64]:
        check_is_fitted(self)
        return self.head_.exact_logits(validate_data(self, vectors, dtype=np.float32, reset=False))

    def _options(self, seed: int) -> TrainingOptions:
        """The parameters as options. Raises UsageError."""
        parameters = self.get_params(deep=False)
        has_weights = isinstance(self.class_weight, Mapping)
        if isinstance(self.class_weight, str) and self.class_weight != "balanced":
            raise UsageError(
                f'class_weight {self.class_weight}: expected None, "balanced", or a dictionary from class to weight'
            )
        parameters["class_weight"] = "none" if self.class_weight is None or has_weights else self.class_weight
        if has_weights:
            options_of(TrainingOptions, parameters | {"class_weight": "balanced"})  # may weights go with sampling?
            parameters["sampling"] = "uniform"
        if self.patience is None:
            parameters["eval_step_interval"] = _NEVER
        return options_of(TrainingOptions, parameters | {"seed": seed})

    def _weights(self, y: NDArray[Any], sample_weight: Any) -> NDArray[np.float32] | None:
        """(n,) of the samples and their classes together; None if all are 1. Raises ValueError."""
        weights = None
        if sample_weight is not None:
            weights = check_array(sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight")
            if weights.ndim != 1:
                raise ValueError(f"sample_weight has the shape {weights.shape}: give one number for each sample")
            check_consistent_length(y, weights)
            if (weights < 0).any() or not weights.any():
                raise ValueError("sample_weight has negative numbers, or is zero for all samples: give some above zero")
        if isinstance(self.class_weight, Mapping):
            of_classes = compute_sample_weight(self.class_weight, y)
            weights = of_classes if weights is None else weights * of_classes
        return None if weights is None else np.asarray(weights, np.float32)

    def _seed(self) -> int:
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))
