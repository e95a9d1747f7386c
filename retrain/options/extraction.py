"""The options of the backbone and of pass one."""

import dataclasses
from typing import ClassVar

from retrain.options.fields import Checked, option

__all__ = ["PRECISIONS", "BackboneOptions", "ExtractionOptions"]

PRECISIONS = ("float32", "bfloat16", "int8")


@dataclasses.dataclass(frozen=True)
class BackboneOptions(Checked):
    """The frozen network that turns pictures into bottlenecks."""

    backbone: str | None = option(
        None,
        "the frozen network: a name that retrain backbones lists (resnet50; with width and input size, "
        "mobilenet_v2_0.50_160), a SavedModel folder, a TensorFlow Hub or Kaggle URL, or the URL of a .tar.gz "
        "(default: inception_v3, or the bundled efficientnet_lite0 if its weights can't be downloaded)",
        metavar="NAME|URL|DIR",
        common=True,
    )
    weights: str | None = option(
        None,
        "weights file for a backbone that is given by name: .weights.h5 or .h5 from Keras; for efficientnet_lite0, 1 "
        "and 2, also a .pth file in PyTorch's legacy format",
        metavar="FILE",
    )
    input_size: int | None = option(
        None,
        "side of the square picture that the backbone sees, if it takes several sizes",
        metavar="PIXELS",
    )
    input_range: str | None = option(
        None,
        "pixel range that a SavedModel or Hub backbone expects; backbones given by name have their own (default: 0..1)",
        choices=("0..1", "-1..1", "0..255"),
    )
    precision: str = option(
        "float32",
        "number format of the backbone: float32 is the reference; bfloat16 is about twice as fast on processors that "
        "support it; int8 (pip install 'retrain[int8]') is faster still, and is quantized once on your own pictures",
        choices=PRECISIONS,
    )
    trust: bool = option(
        False,
        "run a SavedModel or Hub backbone even if it has operations that can read or write files, start programs or "
        "call Python; such a backbone can do anything that you can do on this machine",
    )

    RANGES: ClassVar = {"input_size": (1, 4096)}


@dataclasses.dataclass(frozen=True)
class ExtractionOptions(Checked):
    """Pass one: pictures to cached bottlenecks."""

    cache_dir: str = option("cache", "folder of the bottleneck cache", metavar="DIR", common=True)
    strict: bool = option(False, "stop at the first picture that can't be read, instead of skipping it")
    rehash: bool = option(False, "read every picture again, even if its file's size and times are unchanged")
