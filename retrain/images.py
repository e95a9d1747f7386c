"""Picture files to RGB pixels at the backbone's size; the only decoder of picture files in the project.

(Exported graphs carry their own copy of this in TensorFlow's operations: `graph_images`.)
"""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from retrain.config import DEFAULT_MAX_PIXELS
from retrain.errors import UnreadableImageError

__all__ = ["DECODER_VERSION", "FORMATS", "MARGIN", "ImageHeader", "decode_image", "read_header"]

# Part of the extractor's fingerprint: raise it whenever the same file would give other pixels.
DECODER_VERSION = 2

# What Pillow may open; formats that start another program (EPS) or hold no pixels of their own (WMF) stay out.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO")

# A JPEG's scale leaves at least this many times the backbone's size in both axes, for the resizing to work with.
# With 1, 12-megapixel pictures are a quarter faster still, but their bottlenecks deviate five times as much
# (benchmarks/decoding.py).
MARGIN = 2

# Pictures larger than this are decoded one at a time, so that threads don't multiply their memory.
_LARGE_PIXELS = 16_000_000
_large_picture = threading.Lock()

_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"

# EXIF orientation -> how to turn the stored picture upright
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class ImageHeader:
    """What a picture's header says, with its orientation applied."""

    format: str  # one of FORMATS, or MPO (several JPEGs in one file)
    width: int  # pixels
    height: int  # pixels


def read_header(data: bytes, max_pixels: int = DEFAULT_MAX_PIXELS) -> ImageHeader:
    """Format and size of a picture, without decoding it.

    Raises UnreadableImageError where the bytes are no picture, or the header claims more than max_pixels.
    """
    with _opened(data, max_pixels) as image:
        width, height = image.size
        if _orientation(image) >= 5:
            width, height = height, width
        return ImageHeader(str(image.format), width, height)


def decode_image(data: bytes, height: int, width: int, max_pixels: int = DEFAULT_MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode a picture file, turn it upright, and resize it (bilinear, antialiased) without keeping its proportions.

    The content decides the format, not the file's name. Transparent parts become white, 16-bit channels keep their
    upper 8 bits, of an animation the first frame counts.

    A JPEG far larger than that is decoded at 1/2, 1/4 or 1/8 of its size (libjpeg's scaled DCT): the smallest that
    keeps MARGIN times the height and width asked for.

    Returns: (height, width, 3) uint8, RGB.
    Raises UnreadableImageError with the reason.
    """
    with _opened(data, max_pixels) as image:
        orientation = _orientation(image)
        size = (height, width) if orientation >= 5 else (width, height)
        stored_pixels = image.width * image.height
        image.draft(None, (MARGIN * size[0], MARGIN * size[1]))  # nothing happens to other formats than JPEG and MPO
        # of a progressive JPEG, all coefficients are held in memory, whatever the scale
        held_pixels = stored_pixels if "progressive" in image.info else image.width * image.height
        with _large_picture if held_pixels > _LARGE_PIXELS else _no_lock():
            image.load()
            pixels = _to_rgb(image, size)
        if orientation in _TRANSPOSE:
            pixels = pixels.transpose(_TRANSPOSE[orientation])
        return np.asarray(pixels)


@contextmanager
def _no_lock() -> Iterator[None]:
    yield


@contextmanager
def _opened(data: bytes, max_pixels: int) -> Iterator[Image.Image]:
    if not data:
        raise UnreadableImageError("the file is empty")
    try:
        if data.startswith(b"\x89PNG"):
            data = _checked_png(data)
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise _too_large(f"{image.width} x {image.height}", max_pixels)
            yield image
    except (UnreadableImageError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise UnreadableImageError(_describe_unknown(data)) from None
    except Image.DecompressionBombError as error:
        raise _too_large(str(error).split("(")[-1].split(" pixels")[0], max_pixels) from None
    except Exception as error:  # damaged files make Pillow's plugins raise nearly anything; the reason is kept
        raise UnreadableImageError(f"damaged picture: {error or type(error).__name__}") from error


def _checked_png(data: bytes) -> bytes:
    """Refuse a PNG that is cut short or fails its checksums; Pillow would show it with black parts.

    Returns: the same, with its end marker completed where nothing but that is missing.
    """
    there = next(n for n in range(len(_PNG_END), -1, -1) if data.endswith(_PNG_END[:n]))
    for whole in (data, data + _PNG_END[there:]):
        try:
            with Image.open(io.BytesIO(whole), formats=("PNG",)) as image:
                image.verify()
            return whole
        except UnidentifiedImageError:
            raise
        except (OSError, SyntaxError) as error:
            reason = error
    raise UnreadableImageError(f"damaged picture: {reason}")


def _too_large(pixels: str, max_pixels: int) -> UnreadableImageError:
    return UnreadableImageError(f"{pixels} pixels: more than --max-pixels {max_pixels}")


def _describe_unknown(data: bytes) -> str:
    if data[4:8] == b"ftyp":
        return "HEIF or a video, which can't be read: convert it to JPEG or PNG"
    if data[:3] == b"\xff\xd8\xff":
        return "damaged JPEG, or a kind that can't be read (12-bit, lossless): convert it to baseline JPEG"
    if data.startswith(b"\x89PNG"):
        return "damaged PNG"
    if data[:256].lstrip()[:1] == b"<":
        return "not a picture: an HTML or XML page"
    return "not a picture in a known format"


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none or it is damaged. (Pillow turns TIFFs by itself.)"""
    if "exif" not in image.info:
        return 1
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001  # damaged EXIF raises nearly anything, and says nothing about the pixels
        return 1
    return orientation if orientation in range(1, 9) else 1


def _to_rgb(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize and convert to RGB, in the order that needs the least memory for the image's mode."""
    if image.mode in ("I", "F") and image.format != "PPM":
        raise UnreadableImageError(f"pixels of 32 bits ({image.mode}) have no agreed range: convert it to 8 or 16 bits")
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA").resize(size, Image.Resampling.BILINEAR)
        white = Image.new("RGBA", size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    if image.mode == "1":
        image = image.convert("L")
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    image = image.resize(size, Image.Resampling.BILINEAR)
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """A 16-bit grey picture as 8 bits; TIFF says how many bits of the 16 it uses."""
    bits = 16
    if image.format == "TIFF":
        bits = int(image.tag_v2.get(258, (16,))[0])  # type: ignore[attr-defined]
    samples = np.asarray(image).astype(np.uint32)
    return Image.fromarray((samples >> (bits - 8)).clip(0, 255).astype(np.uint8))
