"""The head: the layers trained on top of the bottlenecks, and their file."""

import dataclasses
import hashlib
import io
import itertools
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import h5py
import numpy as np
from numpy.typing import NDArray

from retrain.cache import VectorSource, chunks
from retrain.errors import ModelFolderError
from retrain.evaluation import AnyOutcomes, LabelOutcomes, Outcomes, logistic, outcomes_of
from retrain.files import write_whole
from retrain.model.rejection import Limit, Rejection
from retrain.paths import display_path

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Activation",
    "ArrayIdentity",
    "Head",
    "Layer",
    "array_identity",
    "judge",
    "parse_head",
    "read_head",
    "scores_of",
    "softmax",
    "write_head",
]

FORMAT = 1

_PREFIXES = ("hidden_", "")  # of the names of each layer's arrays in head.h5, from the bottleneck upwards

# What `Rejection` has: arrays and their dimensions, and numbers.
_REJECTION = {"directions": 2, "slopes": 2, "offsets": 1}
_LIMIT = ("threshold", "scale")


# How logits become scores. softmax: a picture has one label, and scores add up to 1; sigmoid: each label on its own.
Activation = Literal["softmax", "sigmoid"]

ArrayIdentity = tuple[tuple[int, ...], bytes]  # shape, SHA-256 of the content


@dataclass(frozen=True)
class Layer:
    """A fully connected layer: values @ weights + biases."""

    weights: NDArray[np.float32]  # (inputs, outputs)
    biases: NDArray[np.float32]  # (outputs,)


@dataclass(frozen=True)
class Head:
    """A layer from bottlenecks to labels, with or without hidden layers of rectified units below it."""

    layers: tuple[Layer, ...]  # from the bottleneck upwards; the last one gives the logits
    # (classes,) in [0, 1], if a picture can have several labels: it has those whose scores are at least this. None: it
    # has one label
    thresholds: NDArray[np.float32] | None = None
    rejection: Rejection | None = None  # tells pictures of no class; None: every picture gets a label

    @property
    def activation(self) -> Activation:
        """How logits become scores."""
        return "softmax" if self.thresholds is None else "sigmoid"

    @property
    def exact_thresholds(self) -> tuple[float, ...] | None:
        """The thresholds as numbers that files have, equal to the float32 ones; None for a head of one label."""
        return None if self.thresholds is None else tuple(self.thresholds.tolist())

    @property
    def bottleneck_size(self) -> int:
        """Length of a bottleneck."""
        return int(self.layers[0].weights.shape[0])

    def scores(self, bottlenecks: VectorSource) -> NDArray[np.float64]:
        """Map (n, d) float32 bottlenecks to (n, classes) scores in [0, 1]."""
        return scores_of(self.logits(bottlenecks), self.activation)

    def answers(self, bottlenecks: VectorSource) -> NDArray[np.float64]:
        """Map (n, d) float32 bottlenecks to all that a model gives: scores and, if it tells it, `known` behind them."""
        scores = self.scores(bottlenecks)
        return scores if self.rejection is None else np.hstack([scores, self.rejection.known(bottlenecks)])

    def logits(self, bottlenecks: VectorSource) -> NDArray[np.float32]:
        """Map (n, d) float32 bottlenecks to (n, classes) float32 logits."""
        logits = np.empty((bottlenecks.shape[0], self.layers[-1].biases.size), np.float32)
        for rows in chunks(len(logits)):
            logits[rows] = self._logits(bottlenecks[rows])
        return logits

    def exact_logits(self, bottlenecks: NDArray[np.float32]) -> NDArray[np.float64]:
        """The same in float64: those of a row are equal to about 15 digits, whatever rows are beside it."""
        logits = np.empty((len(bottlenecks), self.layers[-1].biases.size), np.float64)
        for rows in chunks(len(logits)):
            logits[rows] = self._logits(bottlenecks[rows].astype(np.float64))
        return logits

    def _logits(self, values: NDArray[Any]) -> NDArray[Any]:
        for layer in self.layers[:-1]:
            values = np.maximum(values @ layer.weights + layer.biases, 0)
        logits: NDArray[Any] = values @ self.layers[-1].weights + self.layers[-1].biases
        return logits

    def tempered(self, temperature: float) -> "Head":
        """Return the head with logits divided by a temperature > 0. Above 1, scores become less extreme."""
        last = self.layers[-1]
        # float32 as before: a Python float takes the type of the array
        layers = (*self.layers[:-1], Layer(last.weights / temperature, last.biases / temperature))
        return dataclasses.replace(self, layers=layers)


@overload
def judge(head: Head, vectors: VectorSource, labels: NDArray[np.int32], label_sets: None = None) -> Outcomes: ...


@overload
def judge(
    head: Head, vectors: VectorSource, labels: NDArray[np.int32], label_sets: NDArray[np.bool_] | None
) -> AnyOutcomes: ...


def judge(
    head: Head, vectors: VectorSource, labels: NDArray[np.int32], label_sets: NDArray[np.bool_] | None = None
) -> AnyOutcomes:
    """Apply a head to labelled pictures. Bottlenecks are read some thousands at a time.

    Args:
        vectors: (n, d) float32 bottlenecks.
        labels: (n,) int32, in [0, classes); with label_sets, in [0, sets).
        label_sets: (sets, classes) which labels each number stands for, if pictures may have several labels.
    """
    if label_sets is not None:
        thresholds = np.full(label_sets.shape[1], 0.5, np.float32) if head.thresholds is None else head.thresholds
        return LabelOutcomes(head.logits(vectors), label_sets[labels], thresholds)
    return Outcomes.joined([outcomes_of(head.logits(vectors[rows]), labels[rows]) for rows in chunks(len(labels))])


def softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """(n, classes) logits to scores in [0, 1]."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    scores: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return scores


def scores_of(logits: NDArray[np.floating[Any]], activation: Activation) -> NDArray[np.float64]:
    """(n, classes) logits to scores in [0, 1]."""
    if activation == "softmax":
        return softmax(logits)
    return logistic(logits)


def array_identity(array: NDArray[np.float32]) -> ArrayIdentity:
    """Two arrays have the same identity if they are equal bit for bit."""
    return array.shape, hashlib.sha256(array.tobytes()).digest()


def write_head(head: Head, labels: "Sequence[str]", path: str | os.PathLike[str]) -> None:
    """Write head.h5.

    weights (d, classes) float32, biases (classes,) float32, labels (classes,) UTF-8. With a hidden layer of h units
    also hidden_weights (d, h) and hidden_biases (h,) float32; weights are then (h, classes). A head of several labels
    also has thresholds (classes,) float32. One that tells pictures of no class also has rejection_directions (d, k),
    rejection_slopes (d, classes), rejection_offsets (classes,), rejection_threshold (1,) and rejection_scale (1,),
    float32: what `Rejection` and its limit have.
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["format"] = FORMAT
        if head.thresholds is not None:
            file["thresholds"] = head.thresholds
        if head.rejection is not None:
            for name in _REJECTION:
                file[f"rejection_{name}"] = getattr(head.rejection, name)
            for name in _LIMIT:
                file[f"rejection_{name}"] = np.array([getattr(head.rejection.limit, name)], np.float32)
        for prefix, layer in zip(_PREFIXES[-len(head.layers) :], head.layers, strict=True):
            file[f"{prefix}weights"], file[f"{prefix}biases"] = layer.weights, layer.biases
        encoded = [label.encode() for label in labels]
        # of fixed length, because damaged labels of variable length can hang the library
        kind = h5py.string_dtype("utf-8", max(1, *map(len, encoded)))
        file.create_dataset("labels", data=np.array(encoded, kind), dtype=kind)
    write_whole(path, buffer.getvalue())


def read_head(path: str | os.PathLike[str]) -> tuple[Head, list[str] | None]:
    """Read head.h5, as `parse_head` does. Raises ModelFolderError."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ModelFolderError(f"can't read {display_path(path)}: {error}; train the model again") from error
    return parse_head(data, display_path(path))


def parse_head(data: bytes, where: str) -> tuple[Head, list[str] | None]:
    """Parse head.h5: the head and its labels, which are None in files of earlier versions.

    Those have labels of variable length. They are not read, because damaged ones can hang the library.

    Args:
        data: the file's content.
        where: the file, for messages.
    Raises ModelFolderError.
    """
    try:
        # from memory, so that no file that it names is opened
        with h5py.File(io.BytesIO(data), "r") as file:
            parts = [prefix for prefix in _PREFIXES if f"{prefix}weights" in file or not prefix]
            layers = [
                Layer(*(_array(file, f"{prefix}{name}", rank, data) for name, rank in (("weights", 2), ("biases", 1))))
                for prefix in parts
            ]
            labels = _labels(file, data)
            thresholds = _array(file, "thresholds", 1, data) if "thresholds" in file else None
            rejection = _rejection(file, data) if "rejection_slopes" in file else None
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError, OverflowError) as error:
        reason = str(error).strip("'\"") or type(error).__name__
        raise ModelFolderError(f"can't read {where}: {reason}; train the model again") from error
    widths = [layers[0].weights.shape[0], *(layer.biases.size for layer in layers)]
    fits = labels is None or widths[-1] == len(labels)
    if [layer.weights.shape for layer in layers] != list(itertools.pairwise(widths)) or not fits:
        raise ModelFolderError(f"{where} is damaged: its parts don't fit each other; train the model again")
    if not all(np.isfinite(part).all() for layer in layers for part in (layer.weights, layer.biases)):
        raise ModelFolderError(f"{where} is damaged: it has weights that are not finite; train the model again")
    if thresholds is not None and (thresholds.size != widths[-1] or not ((thresholds >= 0) & (thresholds <= 1)).all()):
        raise ModelFolderError(f"{where} is damaged: its thresholds don't fit its labels; train the model again")
    if rejection is not None and not _fits(rejection, widths):
        raise ModelFolderError(f"{where} is damaged: its rejection does not fit its layers; train the model again")
    return Head(tuple(layers), thresholds, rejection), labels


def _rejection(file: h5py.File, data: bytes) -> Rejection:
    arrays = {name: _array(file, f"rejection_{name}", rank, data) for name, rank in _REJECTION.items()}
    limit = Limit(*(_array(file, f"rejection_{name}", 1, data).item() for name in _LIMIT))
    return Rejection(**arrays, limit=limit)


def _fits(rejection: Rejection, widths: "Sequence[int]") -> bool:
    """Whether a rejection is of the sizes of a head's layers, and can be computed with.

    Args:
        widths: of the bottleneck, of hidden layers, of the scores.
    """
    size, classes = widths[0], widths[-1]
    shapes = rejection.directions.shape[0], rejection.slopes.shape, rejection.offsets.shape
    numbers = (
        rejection.directions,
        rejection.slopes,
        rejection.offsets,
        rejection.limit.threshold,
        rejection.limit.scale,
    )
    is_finite = all(np.isfinite(values).all() for values in numbers)
    return shapes == (size, (size, classes), (classes,)) and is_finite and rejection.limit.scale > 0


def _dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """Return a dataset of this very file. Raises KeyError, or ValueError for a link to another file."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} is a link to somewhere else")
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        raise ValueError(f"{name} is not a dataset")
    return found


def _content(dataset: h5py.Dataset, data: bytes) -> bytes:
    """Return its bytes, taken from the file without the library. Raises ValueError if they are not in one piece."""
    start, size = dataset.id.get_offset(), dataset.dtype.itemsize * math.prod(dataset.shape)
    if start is None or dataset.chunks is not None or dataset.external or start + size > len(data):
        raise ValueError(f"{dataset.name} is not in one piece in the file")
    return data[start : start + size]


def _array(file: h5py.File, name: str, rank: int, data: bytes) -> NDArray[np.float32]:
    dataset = _dataset(file, name)
    if dataset.dtype != np.dtype("<f4") or dataset.shape is None or len(dataset.shape) != rank or 0 in dataset.shape:
        raise ValueError(f"{name} is {dataset.dtype} {dataset.shape}, expected float32 of {rank} dimensions")
    array: NDArray[np.float32] = np.frombuffer(_content(dataset, data), "<f4").reshape(dataset.shape)
    return array


def _labels(file: h5py.File, data: bytes) -> list[str] | None:
    dataset = _dataset(file, "labels")
    kind = h5py.check_string_dtype(dataset.dtype)
    if kind is None or dataset.shape is None or len(dataset.shape) != 1:
        raise ValueError(f"labels is {dataset.dtype} {dataset.shape}, expected a list of texts")
    if kind.length is None:
        return None
    return [bytes(label).decode() for label in np.frombuffer(_content(dataset, data), f"S{kind.length}")]
