"""Large JPEGs decoded at a reduced scale and whole: time, and the effect on the bottlenecks.

    python benchmarks/decoding.py IMAGE_DIR [--backbone NAME] [--pictures N] [--size WIDTH HEIGHT]

The large pictures are made from those of IMAGE_DIR: enlarged, with sensor noise, and compressed as a camera would.
"""

import argparse
import io
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from retrain.backbones.backbone import locate_backbone
from retrain.data.decoding import MARGIN, decode_image
from retrain.data.image_folder import read_image_folder
from retrain.data.labelled_pictures import LabelledPictures
from retrain.data.picture_form import PictureForm
from retrain.options import BackboneOptions

NOISE = 3.0  # levels, standard deviation
ROUNDS = 3


def make_pictures(folder: LabelledPictures, count: int, size: tuple[int, int], place: Path) -> list[Path]:
    """Camera-like JPEGs, made from pictures of all classes."""
    rng = np.random.default_rng(0)
    made = []
    for number in np.linspace(0, len(folder.samples) - 1, count).astype(int).tolist():
        with Image.open(folder.root / folder.samples[number].path) as image:
            large = np.asarray(image.convert("RGB").resize(size, Image.Resampling.LANCZOS), np.float32)
        noisy = large + NOISE * rng.standard_normal(large.shape, np.float32)
        made.append(place / f"{len(made)}.jpg")
        pixels = noisy.round().clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(made[-1], quality=92, subsampling="4:2:0")
    return made


def with_margin(data: bytes, height: int, width: int, margin: int | None) -> np.ndarray:
    """Decode a JPEG as decode_image does, with another margin; None decodes it whole."""
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        if margin is not None:
            image.draft(None, (margin * width, margin * height))
        return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def timed(decode: Callable[[bytes], np.ndarray], data: bytes) -> tuple[float, np.ndarray]:
    started = time.perf_counter()
    pixels = decode(data)
    return time.perf_counter() - started, pixels


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image_dir")
    parser.add_argument("--backbone", default="inception_v3")
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--size", type=int, nargs=2, default=(4000, 3000), metavar=("WIDTH", "HEIGHT"))
    args = parser.parse_args()
    network = locate_backbone(BackboneOptions(backbone=args.backbone)).network
    height, width = network.height, network.width
    ways: dict[str, Callable[[bytes], np.ndarray]] = {
        "whole": lambda data: with_margin(data, height, width, None),
        "scaled, margin 1": lambda data: with_margin(data, height, width, 1),
        f"scaled, margin {MARGIN} (decode_image)": lambda data: decode_image(data, PictureForm(height, width)),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    pixels: dict[str, list[np.ndarray]] = {way: [] for way in ways}
    megabytes = 0.0
    with tempfile.TemporaryDirectory() as place:
        for path in make_pictures(read_image_folder(args.image_dir), args.pictures, tuple(args.size), Path(place)):
            data = path.read_bytes()
            megabytes += len(data) / 1e6 / args.pictures
            for way, decode in ways.items():
                runs = [timed(decode, data) for _ in range(ROUNDS)]
                seconds[way].append(statistics.median(run[0] for run in runs))
                pixels[way].append(runs[0][1])
    vectors = {way: network.bottlenecks(np.stack(pixels[way])) for way in ways}
    per_second = {way: 1 / statistics.median(seconds[way]) for way in ways}
    print(f"{platform.processor() or platform.machine()}, one thread; {args.pictures} JPEGs of {megabytes:.1f} MB")
    print(f"{'{} x {} to {} x {}'.format(*args.size, width, height):34}  pictures/s  to whole   mean cosine    lowest")
    for way in ways:
        cosine = cosines(vectors["whole"], vectors[way])
        speed = per_second[way]
        print(
            f"{way:34}  {speed:10.1f}  {speed / per_second['whole']:8.2f}   {cosine.mean():11.5f}  {cosine.min():8.5f}"
        )


if __name__ == "__main__":
    main()
