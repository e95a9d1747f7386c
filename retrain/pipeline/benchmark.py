"""`extract --benchmark`: how fast pass one is on this machine, in each precision, and what to use."""

import contextlib
import random
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrain.backbones import Backbone, Extractor, RepresentativePictures, choose_backbone, choose_extractor
from retrain.data import LabelledPictures, read_source
from retrain.errors import RetrainError
from retrain.events import Emit, Event, Extracted, Noted, Warned, ignore
from retrain.extraction import extract_bottlenecks, open_cache
from retrain.machine import cores, processor_name
from retrain.options import PRECISIONS, ExtractionOptions, ImageOptions, PictureSource, RunOptions

__all__ = ["MachineBenchmark", "PrecisionRates", "benchmark", "benchmark_machine", "draw_pictures", "without_network"]

_SECONDS = 6.0  # that each measurement takes
_MOST_PICTURES = 2000
_BUSY = 1.15  # times as fast as one of its parts: more than the whole can be
_WORTH_IT = 1.2  # times as fast: less is no reason to leave float32


@dataclass(frozen=True)
class PrecisionRates:
    """What one precision reaches on this machine."""

    precision: str
    backbone: float | None = None  # pictures/s, fed from memory
    pipeline: float | None = None  # pictures/s of the whole of pass one
    preparation_seconds: float = 0.0  # loading the backbone, and for int8 making the quantised model, which is kept
    warning: str | None = None  # what the user should know of it
    reason: str | None = None  # why there are no figures


@dataclass(frozen=True)
class MachineBenchmark:
    """What was measured, and what follows from it."""

    processor: str
    cores: int  # that this process may use
    backbone: str
    pictures: int  # files in the folder
    decoding: float  # pictures/s of reading, hashing, decoding and resizing, on all cores
    precisions: tuple[PrecisionRates, ...]
    recommendation: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class _Enough(Exception):
    """The time for a measurement is over."""


def without_network(height: int, width: int) -> Extractor:
    """An extractor that does nothing, to measure the rest: reading, hashing, decoding, resizing."""
    return Extractor("nothing", dict, lambda: _NoNetwork(height, width))


class _NoNetwork:
    """Gives zeros."""

    batch_size = 32

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width

    def bottlenecks(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, height, width, 3) uint8 to (n, 1) float32 zeros."""
        return np.zeros((len(pixels), 1), np.float32)


def benchmark(
    image_dir: PictureSource | None, options: RunOptions = RunOptions(), emit: Emit = ignore
) -> MachineBenchmark:
    """How fast pass one is on this machine, on pictures of a folder, or on drawn ones if it is None."""
    backbone, options = choose_backbone(options, emit)
    with tempfile.TemporaryDirectory() as place:
        if image_dir is None:
            draw_pictures(Path(place))
        folder = read_source(image_dir or place, [options.extraction.cache_dir])
        return benchmark_machine(folder, backbone, options.images, emit)


def benchmark_machine(
    folder: LabelledPictures,
    backbone: Backbone,
    images: ImageOptions = ImageOptions(),
    emit: Emit = ignore,
) -> MachineBenchmark:
    """Measure pass one over pictures of a folder, each part and precision for a few seconds.

    Leaves the cache alone: its own files are in a temporary folder.

    Args:
        folder: typical pictures.
        backbone: in float32.
        emit: told what is measured next.
    Raises RetrainError if the backbone can't run in float32.
    """
    some = random.Random(0).sample(folder.samples, min(len(folder.samples), _MOST_PICTURES))
    sample = LabelledPictures(folder.root, folder.class_names, tuple(some))
    started = time.monotonic()
    network = backbone.network  # all precisions need it at first
    loading = time.monotonic() - started
    emit(Noted("reading and decoding alone"))
    decoding = _pipeline_rate(sample, without_network(network.height, network.width), images)
    rates = []
    for precision in PRECISIONS:
        making = "making the model, " if precision == "int8" else ""
        emit(Noted(f"{precision}: {making}the backbone alone, all of pass one"))
        rates.append(_rates(sample, backbone, precision, images, loading))
    return MachineBenchmark(
        processor_name(),
        cores(),
        backbone.name,
        len(folder.samples),
        decoding,
        tuple(rates),
        _recommendation(rates, decoding, len(folder.samples)),
    )


def draw_pictures(folder: Path, count: int = 256) -> None:
    """Fill a folder with JPEGs of 500 x 375 pixels in two classes, about as busy as photographs."""
    for number in range(count):
        rng = np.random.default_rng(number)
        shapes = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).resize(
            (500, 375), Image.Resampling.BICUBIC
        )
        grain = rng.normal(0, 8, (375, 500, 1))
        picture = Image.fromarray((np.asarray(shapes) + grain).clip(0, 255).astype(np.uint8))
        place = folder / ("even", "odd")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        picture.save(place / f"{number}.jpg", quality=90)


def _rates(
    folder: LabelledPictures, backbone: Backbone, precision: str, images: ImageOptions, loading: float
) -> PrecisionRates:
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as place:
            warnings: list[str] = []

            def hear(event: Event) -> None:
                if isinstance(event, Warned):
                    warnings.append(event.message)

            extractor = choose_extractor(backbone, precision, RepresentativePictures(folder, place, images), hear)
            network = extractor.network
            prepared = loading + time.monotonic() - started
            alone = _network_rate(network)
            whole = _pipeline_rate(folder, extractor, images)
        return PrecisionRates(precision, alone, whole, prepared, "; ".join(warnings) or None)
    except RetrainError as error:
        if precision == "float32":
            raise
        return PrecisionRates(precision, reason=str(error))


def _network_rate(network: Any) -> float:
    """Pictures per second of a network that is fed from memory."""
    shape = (network.batch_size, network.height, network.width, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    network.bottlenecks(pixels)  # the first call also prepares
    seconds: list[float] = []
    end = time.monotonic() + _SECONDS
    while not seconds or time.monotonic() < end:
        started = time.monotonic()
        network.bottlenecks(pixels)
        seconds.append(time.monotonic() - started)
    return float(network.batch_size / statistics.median(seconds))


def _pipeline_rate(folder: LabelledPictures, extractor: Extractor, images: ImageOptions) -> float:
    """Pictures per second of pass one into empty caches, repeated for a few seconds."""
    extracted, seconds = 0, 0.0
    while seconds < _SECONDS:
        last = Extracted(0)

        def watch(event: Event, left: float = _SECONDS - seconds) -> None:
            nonlocal last
            if isinstance(event, Extracted):
                last = event
                if last.extracted and last.seconds > left:
                    raise _Enough

        with tempfile.TemporaryDirectory() as place, contextlib.suppress(_Enough):
            options = RunOptions(extraction=ExtractionOptions(cache_dir=place), images=images)
            extract_bottlenecks(folder, extractor, open_cache(extractor, options.extraction), options, watch)
        if not last.extracted:
            return 0.0
        extracted, seconds = extracted + last.extracted, seconds + last.seconds
    return extracted / seconds


def _recommendation(rates: list[PrecisionRates], decoding: float, pictures: int) -> str:
    """What to use, and why, in a sentence or two."""
    reference = rates[0].pipeline or 0.0
    if not reference:
        return "no picture could be read: give a folder of pictures"
    best = max(rates, key=lambda rate: rate.pipeline or 0.0)
    fastest = best.pipeline or 0.0
    if fastest < _WORTH_IT * reference:
        text = f"use --precision float32: nothing is {_WORTH_IT} times as fast here"
    else:
        text = f"use --precision {best.precision}: {fastest / reference:.1f} times as fast as float32"
        saved = 1 / reference - 1 / fastest  # seconds a picture
        even = max(0.0, best.preparation_seconds - rates[0].preparation_seconds) / saved
        if even > pictures:
            text += (
                f", from about {even:,.0f} pictures on; for these {pictures} preparing it takes longer than it saves"
            )
        elif even:
            text += f"; preparing it, once, pays off from about {even:,.0f} pictures on"
        if best.warning:
            text += f"; but {best.warning}"
    if decoding < 1.5 * fastest:
        text += "; reading and decoding take much of the time: a faster disk or more cores help"
    if any(rate.pipeline > _BUSY * rate.backbone for rate in rates if rate.pipeline and rate.backbone):
        text += "; the figures contradict each other, so the machine is probably busy: measure again"
    return text
