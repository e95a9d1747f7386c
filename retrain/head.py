"""The head: the layer that is trained on top of the bottlenecks, and its file."""

import io
import itertools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import h5py
import numpy as np
from numpy.typing import NDArray

from retrain.errors import ModelFolderError
from retrain.files import write_whole
from retrain.image_folder import display_path
from retrain.vectors import VectorSource, chunks

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Head", "Layer", "read_head", "write_head"]

FORMAT = 1

_PREFIXES = ("hidden_", "")  # of the names of a layer's arrays in head.h5, from the bottleneck upwards


@dataclass(frozen=True)
class Layer:
    """A fully connected layer: values @ weights + biases."""

    weights: NDArray[np.float32]  # (inputs, outputs)
    biases: NDArray[np.float32]  # (outputs,)


@dataclass(frozen=True)
class Head:
    """A softmax layer, perhaps over hidden layers of rectified units: scores = softmax(logits(bottlenecks))."""

    layers: tuple[Layer, ...]  # from the bottleneck upwards; the last one gives the logits

    @property
    def bottleneck_size(self) -> int:
        """Length of the bottlenecks that it takes."""
        return int(self.layers[0].weights.shape[0])

    def logits(self, bottlenecks: VectorSource) -> NDArray[np.float32]:
        """(n, d) float32 bottlenecks to (n, classes) float32 logits."""
        logits = np.empty((bottlenecks.shape[0], self.layers[-1].biases.size), np.float32)
        for rows in chunks(len(logits)):
            logits[rows] = self._logits(bottlenecks[rows])
        return logits

    def _logits(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        for layer in self.layers[:-1]:
            values = np.maximum(values @ layer.weights + layer.biases, 0)
        return np.asarray(values @ self.layers[-1].weights + self.layers[-1].biases, np.float32)

    def tempered(self, temperature: float) -> "Head":
        """The head whose logits are these divided by a temperature > 0: above 1, scores are less extreme."""
        last = self.layers[-1]
        # float32 as before: a Python float takes the type of the array
        return Head((*self.layers[:-1], Layer(last.weights / temperature, last.biases / temperature)))


def write_head(head: Head, labels: "Sequence[str]", path: str | os.PathLike[str]) -> None:
    """Write head.h5.

    weights (d, classes) float32, biases (classes,) float32, labels (classes,) UTF-8. With a hidden layer of h units
    also hidden_weights (d, h) and hidden_biases (h,) float32; weights are then (h, classes).
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["format"] = FORMAT
        for prefix, layer in zip(_PREFIXES[-len(head.layers) :], head.layers, strict=True):
            file[f"{prefix}weights"], file[f"{prefix}biases"] = layer.weights, layer.biases
        file.create_dataset("labels", data=list(labels), dtype=h5py.string_dtype())
    write_whole(path, buffer.getvalue())


def read_head(path: str | os.PathLike[str]) -> tuple[Head, list[str]]:
    """Read head.h5: the head and its labels. Raises ModelFolderError."""
    try:
        with h5py.File(path, "r") as file:
            layers = [
                Layer(file[f"{prefix}weights"][:], file[f"{prefix}biases"][:])
                for prefix in _PREFIXES
                if f"{prefix}weights" in file or not prefix
            ]
            labels = [label.decode() for label in file["labels"][:]]
    except (OSError, KeyError) as error:
        raise ModelFolderError(f"can't read {display_path(path)}: {error}; train the model again") from error
    widths = [layers[0].weights.shape[0], *(layer.biases.size for layer in layers)]
    if [layer.weights.shape for layer in layers] != list(itertools.pairwise(widths)) or widths[-1] != len(labels):
        raise ModelFolderError(
            f"{display_path(path)} is damaged: its parts don't fit each other; train the model again"
        )
    return Head(tuple(layers)), labels
