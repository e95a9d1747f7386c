"""The options of the backbone and of pass one."""

import dataclasses
import math
from typing import ClassVar

from retrain.errors import UsageError
from retrain.options.fields import Checked, flag_of, option

__all__ = ["DEPTH_RULES", "FITS", "PRECISIONS", "BackboneOptions", "ExtractionOptions"]

PRECISIONS = ("float32", "bfloat16", "int8")

FITS = ("squash", "crop", "pad")

DEPTH_RULES = ("bits", "full", "percentiles")


@dataclasses.dataclass(frozen=True)
class BackboneOptions(Checked):
    """The frozen network that turns pictures into bottlenecks."""

    backbone: str | None = option(
        None,
        "the frozen network: a name that retrain backbones lists (resnet50; with width and input size, "
        "mobilenet_v2_0.50_160), a SavedModel folder, an ONNX file (pip install 'retrain[onnx]'), a TensorFlow Hub or "
        "Kaggle URL, or the URL of a .tar.gz "
        "(default: inception_v3, or the bundled efficientnet_lite0 if its weights can't be downloaded)",
        metavar="NAME|URL|DIR|FILE",
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
    fit: str = option(
        "squash",
        "how a picture that is not square becomes so: squash ignores its proportions; crop takes the largest part in "
        "its middle; pad shows all of it on grey. The model, and everything exported of it, sees all pictures so",
        choices=FITS,
    )
    depth: str = option(
        "bits",
        "how pixels of more than 8 bits become 8: bits keeps the upper 8 of the 8, 10, 12, 14 or 16 bits that a "
        "picture uses, and takes none of 32 bits; full scales the whole range of 16 bits, and of floats from 0 to 1; "
        "percentiles stretches each picture between its own 1st and 99th percentile. Pictures of 8 bits stay as they "
        "are",
        choices=DEPTH_RULES,
    )
    input_range: str | None = option(
        None,
        "pixel range that a SavedModel, Hub or ONNX backbone expects; backbones given by name have their own "
        "(default: 0..1)",
        choices=("0..1", "-1..1", "0..255"),
    )
    input_mean: str | None = option(
        None,
        "what an ONNX backbone wants subtracted from pixels in its --input-range: a number, or one for each channel "
        "(default: as its preprocessor_config.json says; without one and without these options, ImageNet's "
        "0.485,0.456,0.406)",
        metavar="NUMBER[,NUMBER,NUMBER]",
    )
    input_std: str | None = option(
        None,
        "what an ONNX backbone wants pixels divided by after that (default: as for --input-mean; ImageNet's are "
        "0.229,0.224,0.225)",
        metavar="NUMBER[,NUMBER,NUMBER]",
    )
    input_channels: str | None = option(
        None,
        "order of the channels that an ONNX backbone expects (default: as its preprocessor_config.json says, or rgb)",
        choices=("rgb", "bgr"),
    )
    input_layout: str | None = option(
        None,
        "order of the axes that an ONNX backbone expects (default: by the shape of its input, or nchw)",
        choices=("nchw", "nhwc"),
    )
    backbone_output: str | None = option(
        None,
        "which output of an ONNX backbone is the vector, if it has several, or what inside of it: before the last "
        "layer of a classifier (default: image_embeds, pooler_output or last_hidden_state)",
        metavar="NAME",
    )
    pooling: str | None = option(
        None,
        "how a vector is made of the output of an ONNX backbone: cls takes the first element of a sequence, mean the "
        "mean over a sequence or over all places of a picture, none all numbers (default: cls for a sequence, mean for "
        "places)",
        choices=("cls", "mean", "none"),
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

    def __post_init__(self) -> None:
        super().__post_init__()
        self.of_channels("input_mean")
        if min(self.of_channels("input_std") or (1,)) <= 0:
            raise UsageError(f"--input-std {self.input_std}: must be above 0")

    def of_channels(self, name: str) -> tuple[float, float, float] | None:
        """The value of an option for each of the three channels; None if it is not given."""
        text = getattr(self, name)
        if text is None:
            return None
        try:
            values = [float(word) for word in text.split(",")]
        except ValueError:
            values = []
        if len(values) not in (1, 3) or not all(map(math.isfinite, values)):
            raise UsageError(f"{flag_of(name)} {text}: expected a number, or one for each channel: 0.485,0.456,0.406")
        first, second, third = values * 3 if len(values) == 1 else values
        return first, second, third


@dataclasses.dataclass(frozen=True)
class ExtractionOptions(Checked):
    """Pass one: pictures to cached bottlenecks."""

    cache_dir: str = option(
        "cache",
        "folder of the bottleneck cache; a URL is that of one on a server, of which a copy is kept here "
        "(s3://bucket/cache; pip install 'retrain[remote]')",
        metavar="URL|DIR",
        common=True,
    )
    strict: bool = option(False, "stop at the first picture that can't be read, instead of skipping it")
    rehash: bool = option(False, "read every picture again, even if its file's size and times are unchanged")
