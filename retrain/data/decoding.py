"""Decode picture files to RGB pixels at the backbone's size. No other module decodes pictures.

(Exported graphs do the same with TensorFlow's operations: `graph_images`.)
"""

import io
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageChops, ImageFile

from retrain.data.deep_pixels import full_range, levels_of_numbers, stretched
from retrain.data.foreign_files import describe_foreign
from retrain.data.picture_bounds import check_structure, webp_canvas
from retrain.data.picture_form import BACKGROUND, PictureForm
from retrain.data.png_chunks import pixels_alone
from retrain.errors import UnreadableImageError
from retrain.machine import MemoryBudget, cores
from retrain.options import DEFAULT_MAX_PIXELS

__all__ = [
    "DECODER_VERSION",
    "DEPTHS",
    "FORMATS",
    "MARGIN",
    "ImageHeader",
    "decode_image",
    "is_one_colour",
    "read_header",
]

# Part of the extractor's fingerprint: raise it when the same file gives other pixels.
DECODER_VERSION = 3

# What Pillow may open; not formats that start another program (EPS) or have no pixels of their own (WMF).
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO")

# A JPEG is decoded at a scale that leaves at least this many times the backbone's size on both axes.
# With 1, 12-megapixel pictures are a quarter faster still, but their bottlenecks deviate five times as much
# (benchmarks/decoding.py).
MARGIN = 2

# How many of 16 bits cameras, microscopes and scanners use. A picture's range is the fewest that hold its values.
DEPTHS = (8, 10, 12, 14, 16)

# Memory that decoding may take per pixel. In formats that take more, pictures may have fewer pixels.
_BYTES_PER_PIXEL = 12
_HUNGRY = {"WEBP": 16, "AVIF": 16}

# Memory of all pictures being decoded. A larger one is decoded alone, so that threads don't multiply its memory.
_decoding = MemoryBudget(max(2**30, cores() * 2**27))

# A row or column with fewer pixels takes as much memory and time as one with this many.
_FEWEST_ACROSS = 64

# A picture with more pixels than this may not be narrow.
_MOST_OF_NARROW = 2**24

# How much of a picture is worked on at a time.
_ROWS_OF_PIXELS = 2**20

# Levels: the eye can't tell these apart.
_ONE_COLOUR = 2

# The raw modes of 16-bit colour that Pillow reduces to the upper bytes, and those that give the lower ones instead.
_OTHER = "B" if sys.byteorder == "little" else "L"
_LOWER_BYTES = {
    f"{channels};16{order}": f"{channels};16{swapped}"
    for channels in ("RGB", "RGBX", "RGBA")
    for order, swapped in (("B", "L"), ("L", "B"), ("N", _OTHER))
} | {"LA;16B": "RGBA"}

_Box = tuple[int, int, int, int]  # left, top, right, bottom

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
    is_on_its_side: bool = False  # as it is stored


def read_header(data: bytes, max_pixels: int = DEFAULT_MAX_PIXELS) -> ImageHeader:
    """Format and size of a picture, without decoding it.

    Raises UnreadableImageError if the bytes are not a picture, or if the header claims more than max_pixels.
    """
    with _opened(data, max_pixels) as image:
        width, height = image.size
        is_on_its_side = _orientation(image) >= 5
        if is_on_its_side:
            width, height = height, width
        return ImageHeader(str(image.format), width, height, is_on_its_side)


def decode_image(data: bytes, form: PictureForm, max_pixels: int = DEFAULT_MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode a picture file, turn it upright, and bring it to a form. Resizing is bilinear and antialiased.

    The content decides the format, not the file's name. Transparent parts become white. Only the first frame of an
    animation counts. 16-bit channels keep their upper 8 bits; if all values of a picture fit into 8, 10, 12 or 14 bits
    (DEPTHS), they keep the upper 8 of those. The form may have another rule for them (`deep_pixels`).

    A JPEG that is far larger is decoded at 1/2, 1/4 or 1/8 of its size (libjpeg's scaled DCT): the smallest that
    keeps MARGIN times the height and width asked for, whatever the fit.

    Takes at most 12 x max_pixels bytes of memory. Returns: (height, width, 3) uint8, RGB.
    Raises UnreadableImageError with the reason.
    """
    with _opened(data, max_pixels) as image:
        orientation = _orientation(image)
        form = form.turned if orientation >= 5 else form  # as the picture is stored
        stored_pixels = image.width * image.height
        # nothing happens to other formats than JPEG and MPO
        image.draft(None, (MARGIN * form.width, MARGIN * form.height))
        # of a progressive JPEG, all coefficients are held in memory, whatever the scale
        pixels_held = stored_pixels if "progressive" in image.info else image.width * image.height
        with _decoding.hold(_memory_held(image, pixels_held)):
            pixels = _fitted(_loaded(image, data, form.depth), form)
        if orientation in _TRANSPOSE:
            pixels = pixels.transpose(_TRANSPOSE[orientation])
        return np.asarray(pixels)


def is_one_colour(pixels: NDArray[np.uint8]) -> bool:
    """Whether a picture, (height, width, 3), is of one colour, as far as the eye can tell."""
    few = pixels[:: max(1, len(pixels) // 8), :: max(1, pixels.shape[1] // 8)]  # enough to rule out nearly all others
    return all(np.ptp(part.reshape(-1, 3), axis=0).max() <= _ONE_COLOUR for part in (few, pixels))


@contextmanager
def _opened(data: bytes, max_pixels: int) -> Iterator[ImageFile.ImageFile]:
    if not data:
        raise UnreadableImageError(describe_foreign(data))
    format = _format_of(data)
    check_structure(data, format)
    try:
        if format == "PNG":
            data = pixels_alone(data)
        elif format == "WEBP":  # opening takes the memory
            canvas = webp_canvas(data)
            _check_size(canvas, format, _HUNGRY[format], max_pixels)
            with _decoding.hold(canvas[0] * canvas[1] * _HUNGRY[format]), _open(data, format) as image:
                yield image
            return
        with _open(data, format) as image:
            _check_size(image.size, format, _bytes_per_pixel(image), max_pixels)
            yield image
    except UnreadableImageError:
        raise
    except MemoryError:
        raise UnreadableImageError("not enough memory to decode it: make it smaller, or lower --max-pixels") from None
    except Image.DecompressionBombError as error:  # of a part of the picture
        raise _too_large(str(error).split("(")[-1].split(" pixels")[0] + " pixels", max_pixels) from None
    except Exception as error:  # damaged files make Pillow's plugins raise nearly anything; the reason is kept
        raise UnreadableImageError(f"damaged picture: {error or type(error).__name__}") from error


def _format_of(data: bytes) -> str:
    """The one of FORMATS that a file begins like."""
    for format in FORMATS:
        if format not in Image.OPEN:
            Image.init()
        accept = Image.OPEN[format][1]
        if accept and accept(data[:16]) is True:
            return format
    raise UnreadableImageError(describe_foreign(data))


def _open(data: bytes, format: str) -> ImageFile.ImageFile:
    """Do what Image.open does, but without its bound on pixels, which holds for the whole process."""
    try:
        return Image.OPEN[format][0](io.BytesIO(data), "")
    except (SyntaxError, IndexError, TypeError, struct.error):
        raise UnreadableImageError(describe_foreign(data)) from None


def _bytes_per_pixel(image: ImageFile.ImageFile) -> int:
    """Bytes that decoding takes per pixel."""
    if image.format == "JPEG2000":  # OpenJPEG computes in 32 bits
        return 5 * len(image.getbands()) + 4
    return _HUNGRY.get(str(image.format), _BYTES_PER_PIXEL)


def _memory_held(image: ImageFile.ImageFile, pixels: int) -> int:
    """Bytes that decoding takes, besides those held since the picture was opened."""
    if image.format == "WEBP":
        return 0
    if image.format == "ICO":  # the pictures in it may be of any size
        return _decoding.size
    return pixels * _bytes_per_pixel(image)


def _check_size(size: tuple[int, int], format: str, needed: int, max_pixels: int) -> None:
    """Refuse more than max_pixels, or in formats that need more than 12 bytes per pixel, as much memory as those."""
    pixels = size[0] * size[1]
    if pixels > max_pixels:
        raise _too_large(f"{size[0]} x {size[1]} pixels", max_pixels)
    # a row or column takes memory and time of its own, as much as some pixels do
    counted = max(size[0], _FEWEST_ACROSS) * max(size[1], _FEWEST_ACROSS)
    if counted > max(max_pixels, _MOST_OF_NARROW):
        costs = " x ".join(str(max(side, _FEWEST_ACROSS)) for side in size)
        raise _too_large(f"{size[0]} x {size[1]} pixels, which cost as much as {costs}", max_pixels)
    if pixels * needed > max_pixels * _BYTES_PER_PIXEL:
        equal = pixels * needed // _BYTES_PER_PIXEL
        raise _too_large(f"{size[0]} x {size[1]} pixels of {format}, which take as much memory as {equal}", max_pixels)


def _too_large(what: str, max_pixels: int) -> UnreadableImageError:
    return UnreadableImageError(f"{what}: more than --max-pixels {max_pixels}")


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 if it is missing or damaged. (Pillow turns TIFFs by itself.)"""
    if "exif" not in image.info:
        return 1
    exif = Image.Exif()
    try:
        exif.load(image.info["exif"])  # not getexif(), which also looks into comments; exported graphs don't
        orientation = exif.get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001  # damaged EXIF raises nearly anything, and says nothing about the pixels
        return 1
    return orientation if orientation in range(1, 9) else 1


def _loaded(image: ImageFile.ImageFile, data: bytes, depth: str) -> Image.Image:
    """The decoded picture, 8 bits per channel. The file's bytes are for a second look at the lower bits of 16."""
    if image.format == "PPM" and image.tile[0].codec_name == "ppm":
        return _scaled_ppm(image, data, depth)
    raw_mode, declared_bits = _raw_mode(image), _declared_bits(image)
    image.load()
    if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):
        if depth == "bits":
            raise UnreadableImageError(
                f"32-bit pixels ({image.mode}) have no agreed range: train with --depth full or percentiles, or "
                "convert it to 8 or 16 bits"
            )
        return Image.fromarray(levels_of_numbers(np.asarray(image), depth))
    if image.mode.startswith("I"):
        if depth == "bits":
            return _upper_bits(image, declared_bits)
        samples = np.asarray(image)
        return Image.fromarray(_levels(depth, declared_bits, [samples])[samples])
    if raw_mode in _LOWER_BYTES:
        if depth == "bits":
            return _upper_bits_of_colours(image, data, raw_mode)
        return _scaled_colours(image, data, raw_mode, depth)
    return image


def _levels(depth: str, bits: int | None, parts: Iterable[NDArray[Any]]) -> NDArray[np.uint8]:
    """(65536,) the level of each value of 16 bits, by a rule.

    Args:
        bits: that are used; None: all.
        parts: all values of the picture.
    """
    if depth == "full":
        return full_range(bits or 16)
    counts = np.zeros(2**16, np.int64)
    for part in parts:
        for rows in np.array_split(part, -(-part.size // _ROWS_OF_PIXELS)):
            counts += np.bincount(rows.reshape(-1), minlength=len(counts))
    return stretched(counts)


def _raw_mode(image: ImageFile.ImageFile) -> str:
    """How the pixels are stored, as Pillow's decoders name it."""
    if not image.tile:
        return ""
    args: Any = image.tile[0].args
    return str(args[0] if isinstance(args, tuple) and args else args)


def _declared_bits(image: ImageFile.ImageFile) -> int | None:
    """How many bits a grey picture claims to use; None if it claims 16, because pictures with fewer do so, too."""
    if image.format == "TIFF":
        bits = int(image.tag_v2.get(258, (16,))[0])  # type: ignore[attr-defined]
        return bits if bits < 16 else None
    if image.format == "PPM" and image.tile[0].codec_name == "ppm_plain":
        return 16  # Pillow scales them
    return None


def _upper_bits(image: Image.Image, bits: int | None) -> Image.Image:
    """A 16-bit grey picture as an 8-bit one."""
    samples = np.array(image)
    samples >>= (bits or _depth(int(samples.max()))) - 8
    return Image.fromarray(np.minimum(samples, 255, out=samples).astype(np.uint8))


def _scaled_colours(image: ImageFile.ImageFile, data: bytes, raw_mode: str, depth: str) -> Image.Image:
    """A 16-bit colour picture, given its upper bytes, in levels by a rule. Transparency keeps its upper bits."""
    with _lower_bytes(image, data, raw_mode) as lower:
        levels = _levels(depth, None, (colours for _, colours in _strips(image, lower, raw_mode)))
        for box, colours in _strips(image, lower, raw_mode):
            part = Image.fromarray(levels[colours])
            if image.mode == "RGBA":
                part.putalpha(image.crop(box).getchannel("A"))
            image.paste(part, box)
    return image


@contextmanager
def _lower_bytes(image: ImageFile.ImageFile, data: bytes, raw_mode: str) -> Iterator[ImageFile.ImageFile]:
    """The same picture with the lower bytes of its channels, in the order in which they are stored."""
    with _open(data, str(image.format)) as lower:
        lower.tile = [_with_raw_mode(tile, _LOWER_BYTES[raw_mode]) for tile in lower.tile]
        lower.load()
        yield lower


def _strips(image: Image.Image, lower: Image.Image, raw_mode: str) -> Iterator[tuple[_Box, NDArray[np.uint16]]]:
    """Part by part: where it is, and (height, width, 3) its colours in 16 bits."""
    rows = max(1, _ROWS_OF_PIXELS // image.width)
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(image.height, top + rows))
        upper, below = (np.asarray(one.crop(box)).astype(np.uint16) for one in (image, lower))
        if raw_mode.startswith("LA"):  # the bytes as they are stored: grey, then transparency
            below = below[..., [1, 1, 1]]
        yield box, upper[..., :3] * np.uint16(256) + below[..., :3]


def _upper_bits_of_colours(image: ImageFile.ImageFile, data: bytes, raw_mode: str) -> Image.Image:
    """A 16-bit colour picture, given its upper bytes, as its upper bits. Transparency keeps its range."""
    extrema: Any = image.getextrema()
    spare = _depth(max(high for _, high in extrema[:3]) << 8) - 8  # the lower bytes make no difference
    if spare == 8:
        return image
    from_upper = [min(255, level << 8 - spare) for level in range(256)]
    from_lower = [level >> spare for level in range(256)]
    same, nothing = list(range(256)), [0] * 256
    alpha = image.mode == "RGBA"
    with _lower_bytes(image, data, raw_mode) as lower:
        rows = max(1, _ROWS_OF_PIXELS // image.width)
        for top in range(0, image.height, rows):  # in place, for the memory
            box = (0, top, image.width, min(image.height, top + rows))
            below = lower.crop(box)
            if raw_mode.startswith("LA"):  # the bytes as they are stored: grey, then transparency
                below = Image.merge("RGBA", [below.getchannel("G")] * 4)
            upper_part = image.crop(box).point(from_upper * 3 + same * alpha)
            image.paste(ImageChops.add(upper_part, below.point(from_lower * 3 + nothing * alpha)), box)
    return image


def _with_raw_mode(tile: Any, raw_mode: str) -> Any:
    args = (raw_mode, *tile.args[1:]) if isinstance(tile.args, tuple) else raw_mode
    return tile._replace(args=args)


def _depth(highest: int) -> int:
    """The smallest of DEPTHS that holds a value."""
    return next(bits for bits in DEPTHS if highest < 2**bits)


def _scaled_ppm(image: ImageFile.ImageFile, data: bytes, depth: str) -> Image.Image:
    """A PPM or PGM whose highest value is not a power of two. Pillow reads these in Python, which is too slow."""
    tile: Any = image.tile[0]
    maximum, bands = tile.args[-1], len(image.getbands())
    count = image.width * image.height * bands
    kind: np.dtype[Any] = np.dtype(np.uint8 if maximum < 256 else ">u2")
    samples = np.minimum(np.frombuffer(data, kind, count, tile.offset), maximum)
    if depth == "percentiles" and maximum > 255:
        levels = _levels(depth, None, [samples])
    else:  # it says its range
        levels = (np.arange(maximum + 1) * (255 / maximum)).round().astype(np.uint8)
    pixels = levels[samples].reshape(image.height, image.width, bands)
    return Image.fromarray(pixels if bands == 3 else pixels[..., 0])


def _fitted(image: Image.Image, form: PictureForm) -> Image.Image:
    """Bring a picture to a form, as it is stored."""
    border = form.border(image.height, image.width)
    inside = _to_rgb(image, form, (form.width - 2 * border.columns, form.height - 2 * border.rows))
    if inside.size == (form.width, form.height):
        return inside
    whole = Image.new("RGB", (form.width, form.height), (BACKGROUND,) * 3)
    whole.paste(inside, (border.columns, border.rows))
    return whole


def _to_rgb(image: Image.Image, form: PictureForm, size: tuple[int, int]) -> Image.Image:
    """Cut, resize and convert to RGB, in the order that needs the least memory for the image's mode."""
    if image.has_transparency_data:
        image = _resized(_cut(image if image.mode == "RGBA" else image.convert("RGBA"), form), size)
        white = Image.new("RGBA", size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    if image.mode == "1":
        image = image.convert("L")
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    image = _resized(_cut(image, form), size)
    return image if image.mode == "RGB" else image.convert("RGB")


def _cut(image: Image.Image, form: PictureForm) -> Image.Image:
    """The part that counts. Nothing beyond it plays into the pixels at its edge."""
    cut = form.cut(image.height, image.width)
    if not (cut.rows or cut.columns):
        return image
    return image.crop((cut.columns, cut.rows, image.width - cut.columns, image.height - cut.rows))


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize (bilinear, antialiased), one axis after the other, each to whole levels.

    The order of axes decides on a level here and there. It is that of Pillow 13, which asks whether the height shrinks
    by more than twice as much as the width; earlier versions always took the rows first.
    """
    kept = image.mode
    if kept == "RGBA":
        image = image.convert("RGBa")  # as Pillow does it, and only once
    columns_first = image.height - size[1] > max(0, 2 * (image.width - size[0]))
    between = (image.width, size[1]) if columns_first else (size[0], image.height)
    for target in (between, size):
        image = image.resize(target, Image.Resampling.BILINEAR)
    return image.convert(kept)
