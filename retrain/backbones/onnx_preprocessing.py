"""How pixels become what an ONNX network takes: from options, or from the preprocessor_config.json beside the file.

That file comes with networks of Hugging Face's library `transformers` (its image processors write it).
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from retrain.errors import BackboneError
from retrain.json_fields import FieldError, Fields, parse_json
from retrain.options import BackboneOptions
from retrain.paths import display_path
from retrain.text import listing

__all__ = ["CONFIG", "CROPPED", "PADDED", "PROPORTIONAL", "Preprocessing", "preprocessing_of"]

CONFIG = "preprocessor_config.json"

# What may be asked for and is not done by itself.
CROPPED, PADDED, PROPORTIONAL = "a crop of the middle", "padding", "a size that keeps the picture's proportions"

Triple = tuple[float, float, float]

_ZEROS, _ONES = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
# what torchvision and timm, which most ONNX networks come from, normalise with
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_RANGES = {"0..1": (0.0, 1.0), "-1..1": (-1.0, 1.0), "0..255": (0.0, 255.0)}
_BILINEAR = 2  # as PIL numbers its filters
_FILTERS = {0: "nearest-neighbour", 1: "Lanczos", 3: "bicubic", 4: "box", 5: "Hamming"}
_MOST_PIXELS = 4096  # of a side
_UNCROPPED = 384  # pixels: from this side on, crop_pct has no effect


@dataclass(frozen=True)
class Preprocessing:
    """Of a pixel p in [0, 1], the network gets ((low + p * (high - low)) - mean) / std."""

    low: float
    high: float
    mean: Triple  # of the channels, in the network's order
    std: Triple  # above 0
    channels: str  # the network's order: "rgb" or "bgr"
    origin: str  # who says so, for people
    size: tuple[int, int] | None = None  # height and width that the network was trained on, in pixels, if that is known
    unmet: tuple[str, ...] = ()  # what was asked for and is not done, for people

    @property
    def scale(self) -> Triple:
        """What p is multiplied with."""
        first, second, third = ((self.high - self.low) / std for std in self.std)
        return first, second, third

    @property
    def offset(self) -> Triple:
        """What is added then."""
        first, second, third = ((self.low - mean) / std for mean, std in zip(self.mean, self.std, strict=True))
        return first, second, third


def preprocessing_of(file: Path, options: BackboneOptions) -> Preprocessing:
    """The preprocessing of an ONNX file: an option goes before its preprocessor_config.json.

    Where neither says anything, pixels are normalised as most networks that were trained on ImageNet want it.

    Raises BackboneError if that file can't be read or understood.
    """
    given = [name for name in ("input_range", "input_mean", "input_std") if getattr(options, name) is not None]
    config = _config_of(file)
    if config is not None:
        found = _read(config)
    elif given:
        found = Preprocessing(0.0, 1.0, _ZEROS, _ONES, "rgb", "by your options")
    else:
        found = Preprocessing(0.0, 1.0, _IMAGENET_MEAN, _IMAGENET_STD, "rgb", f"assumed, there is no {CONFIG}")
    if config is not None and given:
        found = replace(found, origin=f"by {CONFIG} and your options")
    low, high = _RANGES[options.input_range] if options.input_range else (found.low, found.high)
    return replace(
        found,
        low=low,
        high=high,
        mean=options.of_channels("input_mean") or found.mean,
        std=options.of_channels("input_std") or found.std,
        channels=options.input_channels or found.channels,
    )


def _config_of(file: Path) -> Path | None:
    """The file beside the network; where that lies in a folder onnx/, as on Hugging Face's hub, also the one above."""
    folders = [file.parent]
    if file.absolute().parent.name == "onnx":
        folders.append(file.absolute().parent.parent)
    return next((folder / CONFIG for folder in folders if (folder / CONFIG).is_file()), None)


def _read(path: Path) -> Preprocessing:
    where = display_path(path)
    remedy = "correct or remove it, and say with --input-mean and the like what the network takes"
    try:
        return _parsed(Fields(parse_json(path.read_bytes())))
    except OSError as error:
        raise BackboneError(f"can't read {where}: {error.strerror}; {remedy}") from error
    except FieldError as error:
        raise BackboneError(f"{where} can't be used: {error}; {remedy}") from error


def _parsed(config: Fields) -> Preprocessing:
    """What an image processor does, in its order: resize, crop, rescale, normalise, flip channels."""
    low, high = 0.0, 255.0
    if config.truth("do_rescale", True):
        factor = config.reals("rescale_factor", 1)[0] if "rescale_factor" in config else 1 / 255
        # under two names, pixels are shifted to begin at -1
        low = -1.0 if config.truth("offset", False) or config.truth("rescale_offset", False) else 0.0
        high = low + 255 * factor
    mean, std = _ZEROS, _ONES
    if config.truth("do_normalize", "image_mean" in config):
        mean, std = _triple(config, "image_mean"), _triple(config, "image_std")
        if min(std) <= 0:
            raise FieldError(f"image_std is {list(std)}, expected numbers above 0")
    channels = "rgb"
    if config.truth("do_flip_channel_order", False):
        channels, mean, std = "bgr", (mean[2], mean[1], mean[0]), (std[2], std[1], std[0])
    size, unmet = _size_of(config)
    return Preprocessing(low, high, mean, std, channels, f"by {CONFIG}", size, unmet)


def _triple(config: Fields, name: str) -> Triple:
    first, second, third = config.reals(name, 3)
    return first, second, third


def _size_of(config: Fields) -> tuple[tuple[int, int] | None, tuple[str, ...]]:
    """The size of what the network sees; and what is done to the picture otherwise than by resizing all of it."""
    unmet = []
    size = _sides(config, "size")
    if "crop_size" in config and config.truth("do_center_crop", True):
        before, size = size, _sides(config, "crop_size")
        if before != size or not _has(config, "height"):  # a single number was that of the shorter side
            unmet.append(CROPPED)
    elif "crop_pct" in config and size and max(size) < _UNCROPPED and config.reals("crop_pct", 1)[0] < 1:
        unmet.append(CROPPED)
    elif _has(config, "shortest_edge") or _has(config, "longest_edge"):
        unmet.append(PROPORTIONAL)
    if config.truth("do_pad", False):
        unmet.append(PADDED)
    if config.truth("include_top", False):
        unmet.append("a second division by image_std")
    resample = config.number("resample", 0, 5) if "resample" in config else _BILINEAR
    if config.truth("do_resize", True) and resample != _BILINEAR:
        unmet.append(f"{_FILTERS[resample]} resizing")
    return size, tuple(unmet)


def _has(config: Fields, side: str) -> bool:
    size = config.values.get("size")
    return isinstance(size, dict) and side in size


def _sides(config: Fields, name: str) -> tuple[int, int] | None:
    """Height and width under a name, in any of the forms that there were; None if it is missing."""
    if name not in config:
        return None
    value: Any = config.values[name]
    if not isinstance(value, dict):
        side = config.number(name, 1, _MOST_PIXELS)
        return side, side
    sides = config.fields(name)
    if "height" in sides:
        return sides.number("height", 1, _MOST_PIXELS), sides.number("width", 1, _MOST_PIXELS)
    edge = next((edge for edge in ("shortest_edge", "longest_edge") if edge in sides), None)
    if edge is None:
        raise FieldError(f"{name} has {listing(sorted(value)) or 'nothing'}, expected height and width")
    side = sides.number(edge, 1, _MOST_PIXELS)
    return side, side
