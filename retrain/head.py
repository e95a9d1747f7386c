"""The head: the layer that is trained on top of the bottlenecks, and its file."""

import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import h5py
import numpy as np
from numpy.typing import NDArray

from retrain.errors import ModelFolderError
from retrain.files import write_whole
from retrain.image_folder import display_path

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Head", "read_head", "write_head"]

FORMAT = 1


@dataclass(frozen=True)
class Head:
    """A softmax layer: scores = softmax(bottleneck @ weights + biases)."""

    weights: NDArray[np.float32]  # (d, classes)
    biases: NDArray[np.float32]  # (classes,)

    def logits(self, bottlenecks: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, d) float32 bottlenecks to (n, classes) float32 logits."""
        return np.asarray(bottlenecks @ self.weights + self.biases, np.float32)


def write_head(head: Head, labels: "Sequence[str]", path: str | os.PathLike[str]) -> None:
    """Write head.h5: weights (d, classes) float32, biases (classes,) float32, labels (classes,) UTF-8."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["format"] = FORMAT
        file["weights"] = head.weights
        file["biases"] = head.biases
        file.create_dataset("labels", data=list(labels), dtype=h5py.string_dtype())
    write_whole(path, buffer.getvalue())


def read_head(path: str | os.PathLike[str]) -> tuple[Head, list[str]]:
    """Read head.h5: the head and its labels. Raises ModelFolderError."""
    try:
        with h5py.File(path, "r") as file:
            head = Head(file["weights"][:], file["biases"][:])
            return head, [label.decode() for label in file["labels"][:]]
    except (OSError, KeyError) as error:
        raise ModelFolderError(f"can't read {display_path(path)}: {error}; train the model again") from error
