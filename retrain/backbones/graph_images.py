"""The decoding of `images` as TensorFlow operations, for exported graphs that take picture files.

Pixels are the same to the last bit: JPEG decoding at whatever scale (the same library, in its accurate mode), and
resizing, which computes as Pillow does. (TensorFlow's own resizing rounds 1 of 1,000 values the other way, which moves
a score by up to 0.005.)
"""

import dataclasses
import functools
import io
from collections.abc import Callable

from PIL import Image

from retrain._tensorflow import tf
from retrain.data import BACKGROUND, DEPTHS, MARGIN, PictureForm

__all__ = ["decode_jpeg", "decode_resized", "fitted", "resize"]

_EXIF_BYTES = 2**18  # at a file's start and at its end, searched for the EXIF segment
_BEFORE, _BEHIND = 16, 64  # zeros around them, so that no place is outside
_ORIENTATION_TAG = 0x0112
_TAG_SLOTS = 64  # entries of the first directory that are looked at; cameras write about a dozen


def decode_jpeg(contents: tf.Tensor, form: PictureForm) -> tf.Tensor:
    """Bytes of a JPEG or PNG (a GIF passes too) to (any, any, 3) uint8, upright; transparent parts become white.

    A JPEG far larger than the form is decoded at the scale that `data.decoding` chooses for that size.
    Only operations of TensorFlow 1.13 and later are used, so that clients of that age load the graph.
    """
    orientation = _exif_orientation(contents)
    return _upright(_scaled(contents, _stored_size(orientation, form), form.depth), orientation)


def decode_resized(contents: tf.Tensor, form: PictureForm) -> tf.Tensor:
    """Bytes of a picture to (height, width, 3) float32 in [0, 255], whole levels, upright and in a form.

    As `data.decoding` does it, which turns a picture when it is small. Of 24-bit BMP, GIF and opaque WebP the pixels
    are as TensorFlow decodes them.
    """
    orientation = _exif_orientation(contents)
    size = _stored_size(orientation, form)
    is_known = tf.logical_or(_is_jpeg(contents), _is_png(contents))
    stored = tf.cond(is_known, lambda: _scaled(contents, size, form.depth), lambda: _first_frame(contents))
    as_stored = dataclasses.replace(form, height=size[0], width=size[1])  # tensors, in the place of numbers
    small = resize(stored[tf.newaxis], as_stored)[0]
    return tf.ensure_shape(_upright(small, orientation), [*form.size, 3])


def _stored_size(orientation: tf.Tensor, form: PictureForm) -> tf.Tensor:
    """(2,) int32: height and width before a picture is turned upright."""
    return tf.where(orientation >= 5, form.size[::-1], form.size)


def resize(pixels: tf.Tensor, form: PictureForm) -> tf.Tensor:
    """(n, any, any, 3) in [0, 255] to (n, height, width, 3) float32, whole levels, in a form."""
    return fitted(pixels, form, _resized)


def fitted(
    pixels: tf.Tensor, form: PictureForm, resize: Callable[[tf.Tensor, tf.Tensor | int, tf.Tensor | int], tf.Tensor]
) -> tf.Tensor:
    """(n, any, any, 3) to (n, height, width, 3) in a form, whose height and width may be tensors.

    Args:
        resize: brings (n, any, any, 3) to a height and a width.
    """
    if form.fit == "squash":
        return resize(pixels, form.height, form.width)
    shape = tf.shape(pixels)
    cut, border = (margins(shape[1], shape[2], tf.maximum) for margins in (form.cut, form.border))
    part = pixels[:, cut.rows : shape[1] - cut.rows, cut.columns : shape[2] - cut.columns]
    inside = resize(part, form.height - 2 * border.rows, form.width - 2 * border.columns)
    beside = [[0, 0], [border.rows] * 2, [border.columns] * 2, [0, 0]]
    return tf.reshape(tf.pad(inside, beside, constant_values=BACKGROUND), [-1, form.height, form.width, 3])


def _resized(pixels: tf.Tensor, height: tf.Tensor | int, width: tf.Tensor | int) -> tf.Tensor:
    """(n, any, any, 3) in [0, 255] to (n, height, width, 3) float32, whole levels; bilinear, antialiased.

    One axis comes after the other, in the order of `data.decoding`, each to whole levels.
    """
    shape = tf.shape(pixels)
    columns_first = shape[1] - height > tf.maximum(0, 2 * (shape[2] - width))
    # first the last of the two axes; the other way round they change places before, and again behind
    order = tf.where(columns_first, [1, 0, 2, 3], [2, 0, 1, 3])
    lengths = tf.where(columns_first, [height, width], [width, height])
    levels = tf.transpose(tf.floor(tf.cast(pixels, tf.float64) + 0.5), order)
    between = tf.transpose(_shortened(levels, lengths[0]), [2, 1, 0, 3])
    small = tf.transpose(_shortened(between, lengths[1]), tf.where(columns_first, [1, 2, 0, 3], [1, 0, 2, 3]))
    return tf.reshape(tf.cast(small, tf.float32), [-1, height, width, 3])


def _shortened(levels: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """Bring the first axis of float64 levels to a length, rounded."""
    shape = tf.shape(levels)
    sums = tf.sparse.sparse_dense_matmul(_weights(shape[0], length), tf.reshape(levels, [shape[0], -1]))
    return tf.reshape(tf.floor(sums + 0.5), tf.concat([[length], shape[1:]], 0))


def _weights(size: tf.Tensor, length: tf.Tensor) -> tf.SparseTensor:
    """(length, size) float64: the share of each of `size` levels in each of `length`.

    A triangle around each place, as wide as the scale, in multiples of 2^-22 (Pillow's Resample.c, precompute_coeffs
    and normalize_coeffs_8bpc). So sums of whole levels are exact.
    """
    one = tf.constant(1.0, tf.float64)
    scale = tf.cast(size, tf.float64) / tf.cast(length, tf.float64)
    support = tf.maximum(scale, one)
    numbers = tf.range(tf.cast(length, tf.float64))
    centres = (numbers + 0.5) * scale
    first = tf.nn.relu(tf.floor(centres - support + 0.5))
    last = tf.minimum(tf.floor(centres + support + 0.5), tf.cast(size, tf.float64))
    taps = tf.range(tf.reduce_max(last - first))
    places = first[:, tf.newaxis] + taps[tf.newaxis]
    triangle = tf.nn.relu(one - tf.abs((places - centres[:, tf.newaxis] + 0.5) * (one / support)))
    inside = triangle * tf.cast(places < last[:, tf.newaxis], tf.float64)
    shares = inside * (one / tf.reduce_sum(inside, 1, keepdims=True))
    rows = tf.zeros_like(places) + numbers[:, tf.newaxis]
    columns = tf.minimum(places, tf.cast(size - 1, tf.float64))
    indices = tf.cast(tf.reshape(tf.stack([rows, columns], 2), [-1, 2]), tf.int64)
    shape = tf.cast(tf.stack([length, size]), tf.int64)
    return tf.SparseTensor(indices, tf.reshape(tf.floor(shares * 2.0**22 + 0.5) / 2.0**22, [-1]), shape)


def _substring(contents: tf.Tensor, start: int, length: int) -> tf.Tensor:
    """A part of some bytes; shorter, or empty, if they end before."""
    return tf.strings.substr(contents, tf.minimum(start, tf.strings.length(contents)), length)


def _is_jpeg(contents: tf.Tensor) -> tf.Tensor:
    return tf.equal(tf.strings.substr(contents, 0, 3), b"\xff\xd8\xff")


def _is_png(contents: tf.Tensor) -> tf.Tensor:
    return tf.equal(tf.strings.substr(contents, 0, 4), b"\x89PNG")


def _scaled(contents: tf.Tensor, size: tf.Tensor, depth: str) -> tf.Tensor:
    """Decode at the smallest scale that keeps MARGIN times size: (2,) int32, height and width as stored.

    The scale is an attribute of the operation, so each scale has an operation, and PNG has two. All but one of them get
    a picture of one pixel: conditions would be functions, or operations that can't be cut off from a graph that is fed
    after them.
    """
    pixel, png_pixel = tf.constant(_one_pixel("JPEG")), tf.constant(_one_pixel("PNG"))
    stored = tf.io.extract_jpeg_shape(tf.where(_is_jpeg(contents), contents, pixel))[:2]
    is_enough = tf.reduce_all(stored >= MARGIN * size * [[2], [4], [8]], axis=1)
    is_deep = tf.equal(_substring(contents, 24, 1), b"\x10")  # 16 bits, should it be a PNG
    of_png = 4 + tf.cast(is_deep, tf.int32)
    chosen = tf.where(_is_png(contents), of_png, tf.reduce_sum(tf.cast(is_enough, tf.int32)))

    def source(number: int, other: tf.Tensor) -> tf.Tensor:
        return tf.where(tf.equal(chosen, number), contents, other)

    decoded = [
        tf.io.decode_jpeg(source(number, pixel), channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")
        for number, ratio in enumerate((1, 2, 4, 8))
    ]
    decoded.append(_on_white(tf.io.decode_png(source(4, png_pixel))))
    decoded.append(_on_white(_of_16_bits(tf.io.decode_png(source(5, png_pixel), dtype=tf.uint16), depth)))
    shapes = [tf.shape(pixels) for pixels in decoded]
    rows = [
        tf.reshape(pixels[: tf.where(tf.equal(chosen, number), shapes[number][0], 0)], [-1, 3])
        for number, pixels in enumerate(decoded)
    ]
    return tf.reshape(tf.concat(rows, 0), tf.gather(tf.stack(shapes), chosen))


def _one_pixel(format: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (1, 1)).save(buffer, format)
    return buffer.getvalue()


def _first_frame(contents: tf.Tensor) -> tf.Tensor:
    frames = tf.io.decode_image(contents, channels=3, expand_animations=False)
    shape = tf.shape(frames)
    return tf.reshape(frames, tf.concat([[-1], shape[-3:]], 0))[0]


def _of_16_bits(pixels: tf.Tensor, depth: str) -> tf.Tensor:
    """(height, width, 1 to 4) uint16 to uint8, as `data.decoding` does it by a rule."""
    colour, alpha = _colour_and_alpha(pixels)
    if depth != "bits":
        values = tf.cast(colour, tf.int32)
        levels = (values * 255 + 32767) // 65535 if depth == "full" else _stretched(values)
        return tf.cast(tf.concat([tf.cast(levels, tf.float32), tf.floor(alpha / 256.0)], 2), tf.uint8)
    bounds = tf.constant([2.0**bits for bits in DEPTHS[:-1]])
    number = tf.reduce_sum(tf.cast(tf.reduce_max(colour) >= bounds, tf.int32))
    step = tf.gather(tf.constant([2.0 ** (bits - 8) for bits in DEPTHS]), number)
    return tf.cast(tf.concat([tf.floor(colour / step), tf.floor(alpha / 256.0)], 2), tf.uint8)


def _stretched(values: tf.Tensor) -> tf.Tensor:
    """Whole numbers below 65,536, int32, to levels, by `deep_pixels.stretched`."""
    counts = tf.raw_ops.Bincount(arr=tf.reshape(values, [-1]), size=65536, weights=tf.constant([], tf.int32))

    def ends(left_out: tf.Tensor | int) -> tuple[tf.Tensor, tf.Tensor]:
        below, above = (tf.cumsum(counts, reverse=reverse) for reverse in (False, True))
        low, high = (tf.reduce_sum(tf.cast(sums <= left_out, tf.int32)) for sums in (below, above))
        return low, 65535 - high

    (low, high), (lowest, highest) = ends(tf.size(values) // 100), ends(0)
    is_range = high > low
    first, last = tf.where(is_range, low, lowest), tf.where(is_range, high, highest)
    width = tf.maximum(last - first, 1)
    return tf.clip_by_value(((values - first) * 255 + width // 2) // width, 0, 255)


def _on_white(pixels: tf.Tensor) -> tf.Tensor:
    """(height, width, 1 to 4) uint8 to (height, width, 3) uint8."""
    colour, alpha = _colour_and_alpha(pixels)
    alpha = alpha / 255.0
    return tf.cast(tf.round(colour * alpha + 255.0 * (1.0 - alpha)), tf.uint8)


def _colour_and_alpha(pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(height, width, 1 to 4), grey or RGB, without or with alpha, as float32: RGB, and alpha (opaque if missing).

    decode_png is not asked for four channels: in pictures of 1, 2 and 4 bits, it makes opaque parts nearly transparent.
    """
    values, channels = tf.cast(pixels, tf.float32), tf.shape(pixels)[2]
    opaque = tf.ones_like(values[..., -1:]) * pixels.dtype.max
    alpha = tf.where(tf.equal(channels % 2, 0), values[..., -1:], opaque)
    return tf.gather(values, tf.where(channels < 3, [0, 0, 0], [0, 1, 2]), axis=2), alpha


def _exif_orientation(contents: tf.Tensor) -> tf.Tensor:
    """EXIF orientation of a JPEG, PNG or WebP, 1 to 8, int32; 1 if it has none.

    (EXIF 2.3, JEITA CP-3451C, 4.5 and 4.6; PNG, third edition, 11.3.4.5; WebP container specification)
    """
    length = tf.strings.length(contents)
    tail = tf.minimum(length, tf.maximum(_EXIF_BYTES, length - _EXIF_BYTES))
    parts = [tf.strings.substr(contents, 0, _EXIF_BYTES), tf.strings.substr(contents, tail, _EXIF_BYTES)]
    read = [tf.io.decode_raw(part, tf.uint8) for part in parts]
    data = tf.concat([tf.zeros([_BEFORE], tf.uint8), *read, tf.zeros([_BEHIND], tf.uint8)], 0)
    size = tf.size(data)
    places = size - _BEFORE - _BEHIND

    def stands(text: bytes, offset: int) -> tf.Tensor:
        """The places after which a text follows, at a distance in bytes."""
        start = _BEFORE + offset
        found = [tf.equal(data[start + i : start + i + places], letter) for i, letter in enumerate(text)]
        return functools.reduce(tf.logical_and, found)

    named = stands(b"Exif\0\0", -6)
    in_jpeg = tf.logical_and(_is_jpeg(contents), tf.logical_and(named, stands(b"\xff\xe1", -10)))
    in_png = tf.logical_or(stands(b"eXIf", -4), tf.logical_and(named, stands(b"eXIf", -10)))
    in_webp = tf.logical_or(stands(b"EXIF", -8), tf.logical_and(named, stands(b"EXIF", -14)))
    is_webp = tf.equal(tf.strings.substr(contents, 0, 4), b"RIFF")
    in_other = tf.logical_or(tf.logical_and(_is_png(contents), in_png), tf.logical_and(is_webp, in_webp))
    is_header = tf.logical_or(stands(b"II*\0", 0), stands(b"MM\0*", 0))
    is_start = tf.logical_and(is_header, tf.logical_or(in_jpeg, in_other))
    start = tf.argmax(tf.cast(is_start, tf.int32), output_type=tf.int32) + _BEFORE
    orientation = _orientation_in(data, start)
    return tf.where(tf.reduce_any(is_start), orientation, tf.ones_like(orientation))


def _orientation_in(data: tf.Tensor, tiff: tf.Tensor) -> tf.Tensor:
    """The orientation in a block of EXIF that starts at a place in the bytes; 1 if it has none."""

    def byte(place: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.gather(data, tf.clip_by_value(place, 0, tf.size(data) - 1)), tf.int32)

    little_endian = tf.equal(byte(tiff), ord("I"))

    def number(place: tf.Tensor, length: int) -> tf.Tensor:
        digits = [byte(place + i) for i in range(length)]
        little = sum(digit * 256**i for i, digit in enumerate(digits))
        big = sum(digit * 256 ** (length - 1 - i) for i, digit in enumerate(digits))
        return tf.where(little_endian, little, big)

    directory = tiff + number(tiff + 4, 4)
    slots = tf.range(_TAG_SLOTS)
    entries = directory + 2 + 12 * slots
    is_tag = tf.logical_and(tf.equal(number(entries, 2), _ORIENTATION_TAG), slots < number(directory, 2))
    value = number(tf.gather(entries, tf.argmax(tf.cast(is_tag, tf.int32), output_type=tf.int32)) + 8, 2)
    known = tf.logical_and(tf.reduce_any(is_tag), (value >= 1) & (value <= 8))
    return tf.where(known, value, tf.ones_like(value))


def _upright(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turn stored pixels upright: swap the axes for orientations 5 to 8, then mirror."""
    swapped = orientation >= 5
    pixels = tf.transpose(pixels, tf.where(swapped, [1, 0, 2], [0, 1, 2]))
    # after the swap: which of 1 to 8 are mirrored top to bottom, and left to right
    vertical = tf.reduce_any(tf.equal(orientation, [3, 4, 7, 8]))
    horizontal = tf.reduce_any(tf.equal(orientation, [2, 3, 6, 7]))
    return tf.raw_ops.Reverse(tensor=pixels, dims=tf.stack([vertical, horizontal, False]))
