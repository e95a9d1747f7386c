"""Heat maps: which places of a picture spoke for a label.

Where a network takes the mean over all places of its last activations A (rows, columns, channels), and one layer of
weights W stands on that, the logit of a label is

    bias + sum over places and channels of A[y, x, c] * W[c, label] / (rows * columns)

so the place y, x spoke for it with the sum over its channels. That is exact: the places add up to the logit less its
bias (class activation maps; Zhou, Khosla, Lapedriza, Oliva and Torralba, Learning Deep Features for Discriminative
Localization, CVPR 2016). With a hidden layer, or where a network takes the maximum, it is the gradient of the logit
times the activation, which tells how the logit changes for small changes only.
"""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrain.backbones import LastActivations, LiteRTError
from retrain.data import PictureForm
from retrain.errors import ModelFolderError
from retrain.model import Activation, Classifier, Head
from retrain.paths import display_path

__all__ = ["HeatMaps", "Mapped", "heat_maps_of", "overlay"]

# What becomes of logits.
_MADE: dict[Activation, str] = {
    "softmax": "all scores are made to add up to 1",
    "sigmoid": "it is made a number from 0 to 1",
}

Places = NDArray[np.floating[Any]]

_COLOUR = (255, 64, 0)
_OPAQUE = 190  # of 255, where a picture spoke most for the label
_LONGEST_SIDE = 96  # pixels, of a map that is not one pixel for each place


@dataclass(frozen=True)
class Mapped:
    """A picture's heat map."""

    places: NDArray[np.float32]  # (rows, columns) how much each place spoke for the label; it may be negative
    label: int
    logit: float  # of the label


@dataclass(frozen=True)
class HeatMaps:
    """Makes heat maps of a model's answers."""

    activations: LastActivations
    head: Head
    form: PictureForm  # in which the network sees pictures

    @property
    def is_exact(self) -> bool:
        """Whether the places of a map add up to the logit less its bias, whatever the picture."""
        return self.activations.is_mean and len(self.head.layers) == 1

    @property
    def sentence(self) -> str:
        """How the maps were made, for people."""
        if self.is_exact:
            return (
                "The red places spoke for the label. The map is exact: its places add up to the score that the label "
                f"got, before {_MADE[self.head.activation]}."
            )
        why = "has a hidden layer" if self.activations.is_mean else "takes the maximum over all places, not their mean"
        return (
            f"The red places spoke for the label. The map is an estimate (gradient times activation), because the "
            f"model {why}."
        )

    def of(self, pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> list[Mapped]:
        """Map pictures.

        Args:
            pixels: (n, height, width, 3) uint8, RGB, as the network sees them.
            labels: (n,) the label of each map.
        """
        found = []
        for values, label in zip(self.activations.of(pixels), labels.tolist(), strict=True):
            pooled = values.mean(axis=(0, 1)) if self.activations.is_mean else values.max(axis=(0, 1))
            gradient, logit = _gradient(self.head, pooled, label)
            if self.activations.is_mean:
                places = values @ gradient / np.float32(values.shape[0] * values.shape[1])
            else:
                highest = values == pooled
                places = (np.where(highest, values, 0) / highest.sum(axis=(0, 1))) @ gradient
            found.append(Mapped(places, label, logit))
        return found


def _on_picture(
    places: NDArray[np.floating[Any]], form: PictureForm, size: tuple[int, int]
) -> NDArray[np.floating[Any]]:
    """What a network saw, as (rows, columns) places of its input, as places of the picture; 0 where it saw nothing."""
    if form.fit == "squash":
        return places
    (height, width), shrunk = size, max(1.0, max(size) / _LONGEST_SIDE)
    cut, border = form.cut(height, width), form.border(height, width)
    matrix: list[float] = []
    for length, outside, beside, full, count in (
        (width, cut.columns, border.columns, form.width, places.shape[1]),
        (height, cut.rows, border.rows, form.height, places.shape[0]),
    ):
        scale = (full - 2 * beside) / (length - 2 * outside) * count / full  # places to a pixel of the picture
        matrix += [scale * shrunk, beside * count / full - outside * scale]
    shown = (max(1, round(width / shrunk)), max(1, round(height / shrunk)))
    image = Image.fromarray(np.asarray(places, np.float32))
    affine = (matrix[0], 0, matrix[1], 0, matrix[2], matrix[3])
    return np.asarray(image.transform(shown, Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR))


def heat_maps_of(classifier: Classifier) -> HeatMaps:
    """What makes the heat maps of a model's answers. Raises ModelFolderError if there can be none of this model."""
    where = display_path(classifier.model_dir)
    if classifier.litert_model is None:
        remedy = "leave" if classifier.description.is_onnx else "train it again, or leave"
        raise ModelFolderError(
            f"there are no heat maps of {where}: they need its classifier.tflite; {remedy} --explain out"
        )
    try:
        return HeatMaps(
            LastActivations(classifier.litert_model, "bottleneck"), classifier.head(), classifier.description.form
        )
    except LiteRTError as error:
        raise ModelFolderError(f"there are no heat maps of {where}: {error}; leave --explain out") from error


def _gradient(head: Head, bottleneck: NDArray[np.float32], label: int) -> tuple[NDArray[np.float32], float]:
    """How a label's logit changes with each number of a bottleneck, (d,), and the logit."""
    active, values = [], bottleneck
    for layer in head.layers[:-1]:
        values = values @ layer.weights + layer.biases
        active.append(values > 0)
        values = np.maximum(values, 0)
    last = head.layers[-1]
    gradient = last.weights[:, label]
    logit = float(values @ gradient + last.biases[label])
    for layer, is_active in zip(reversed(head.layers[:-1]), reversed(active), strict=True):
        gradient = layer.weights @ np.where(is_active, gradient, 0)
    return np.asarray(gradient, np.float32), logit


def overlay(mapped: Mapped, form: PictureForm, size: tuple[int, int]) -> bytes:
    """A PNG to lay over the picture, stretched to its size: red where a place spoke for the label.

    Places that spoke against it are clear. Where the network sees the whole picture, and nothing else, it has a pixel
    for each place.

    Args:
        form: in which the network saw the picture.
        size: height and width of the picture, or others with its proportions.
    """
    places = np.maximum(mapped.places, 0)
    strength = _on_picture(places / max(float(places.max()), 1e-12), form, size)
    image = np.empty((*strength.shape, 4), np.uint8)
    image[..., :3] = _COLOUR
    image[..., 3] = np.round(strength * _OPAQUE)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
