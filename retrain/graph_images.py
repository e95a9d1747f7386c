"""The decoding of `images` as TensorFlow operations, for exported graphs that take picture files.

JPEG decoding, at whatever scale, is the same to the last bit (the same library, in its accurate mode). Resizing
follows Pillow: a horizontal pass, then a vertical one, each rounded to whole levels; a few values in a hundred differ,
by one level.
"""

import io

from PIL import Image

from retrain.images import MARGIN
from retrain.quiet import tf

__all__ = ["decode_any", "decode_jpeg", "resize"]

_EXIF_BYTES = 2**18  # of a file's start that are looked at for its EXIF segment
_ORIENTATION_TAG = 0x0112
_TAG_SLOTS = 64  # entries of the first directory that are looked at; cameras write about a dozen


def decode_jpeg(contents: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Bytes of a JPEG (a PNG or GIF passes too) to (any, any, 3) uint8, upright.

    A JPEG far larger than height x width comes at the scale that `images` chooses for that size.
    Every operation used exists since TensorFlow 1.13, so that clients of that age load the graph.
    """
    orientation = _exif_orientation(contents)
    return _upright(_scaled(contents, tf.where(orientation >= 5, [width, height], [height, width])), orientation)


def decode_any(contents: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Bytes of a picture to (any, any, 3) uint8; a large JPEG scaled as by decode_jpeg.

    JPEG and PNG as `images` decodes them (transparent parts become white), but for the rare PNG with an EXIF
    orientation; 24-bit BMP, GIF and opaque WebP as TensorFlow does.
    """
    start = tf.strings.substr(contents, 0, 4)
    return tf.case(
        [
            (_is_jpeg(contents), lambda: decode_jpeg(contents, height, width)),
            (tf.equal(start, b"\x89PNG"), lambda: _on_white(tf.io.decode_png(contents))),
        ],
        default=lambda: _first_frame(contents),
        exclusive=True,
    )


def resize(pixels: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """(n, any, any, 3) float32 in [0, 255] to (n, height, width, 3), whole levels; bilinear with antialiasing."""
    narrow = tf.image.resize(pixels, [tf.shape(pixels)[1], width], method="bilinear", antialias=True)
    small = tf.image.resize(tf.floor(narrow + 0.5), [height, width], method="bilinear", antialias=True)
    return tf.floor(small + 0.5)


def _is_jpeg(contents: tf.Tensor) -> tf.Tensor:
    return tf.equal(tf.strings.substr(contents, 0, 3), b"\xff\xd8\xff")


def _scaled(contents: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Decode at the smallest scale that keeps MARGIN times size: (2,) int32, height and width as stored.

    The scale is an attribute of the operation, so there is one operation for each. Three of the four get a picture of
    one pixel: conditions would be functions, or operations that can't be cut off from a graph that is fed behind them.
    """
    pixel = tf.constant(_one_pixel())
    stored = tf.io.extract_jpeg_shape(tf.where(_is_jpeg(contents), contents, pixel))[:2]
    is_enough = tf.reduce_all(stored >= MARGIN * size * [[2], [4], [8]], axis=1)
    chosen = tf.reduce_sum(tf.cast(is_enough, tf.int32))
    shapes, rows = [], []
    for number, ratio in enumerate((1, 2, 4, 8)):
        is_chosen = tf.equal(chosen, number)
        source = tf.where(is_chosen, contents, pixel)
        decoded = tf.io.decode_jpeg(source, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")
        shapes.append(tf.shape(decoded))
        rows.append(tf.reshape(decoded[: tf.where(is_chosen, shapes[-1][0], 0)], [-1, 3]))
    return tf.reshape(tf.concat(rows, 0), tf.gather(tf.stack(shapes), chosen))


def _one_pixel() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (1, 1)).save(buffer, "JPEG")
    return buffer.getvalue()


def _first_frame(contents: tf.Tensor) -> tf.Tensor:
    frames = tf.io.decode_image(contents, channels=3, expand_animations=False)
    shape = tf.shape(frames)
    return tf.reshape(frames, tf.concat([[-1], shape[-3:]], 0))[0]


def _on_white(pixels: tf.Tensor) -> tf.Tensor:
    """(height, width, 1 to 4) uint8, grey or RGB, without or with alpha, to (height, width, 3) uint8."""
    values, channels = tf.cast(pixels, tf.float32), tf.shape(pixels)[2]
    has_alpha = tf.equal(channels % 2, 0)
    alpha = tf.where(has_alpha, values[..., -1:] / 255.0, tf.ones_like(values[..., -1:]))
    colour = tf.gather(values, tf.where(channels < 3, [0, 0, 0], [0, 1, 2]), axis=2)
    return tf.cast(tf.round(colour * alpha + 255.0 * (1.0 - alpha)), tf.uint8)


def _exif_orientation(contents: tf.Tensor) -> tf.Tensor:
    """EXIF orientation of a JPEG, 1 to 8, int32; 1 where it has none. (EXIF 2.3, JEITA CP-3451C, 4.5 and 4.6)"""
    head = tf.cast(tf.io.decode_raw(tf.strings.substr(contents, 0, _EXIF_BYTES), tf.uint8), tf.int32)
    head = tf.concat([head, tf.zeros([64], tf.int32)], 0)
    size = tf.size(head)

    def byte(place: tf.Tensor) -> tf.Tensor:
        return tf.gather(head, tf.clip_by_value(place, 0, size - 1))

    places = tf.range(size - 10)
    is_marker = tf.ones([size - 10], tf.bool)
    for offset, letter in ((0, 0xFF), (1, 0xE1), *enumerate(b"Exif\0\0", 4)):  # APP1, its length, the name
        is_marker = tf.logical_and(is_marker, tf.equal(byte(places + offset), letter))
    has_exif = tf.reduce_any(is_marker)
    tiff = tf.argmax(tf.cast(is_marker, tf.int32), output_type=tf.int32) + 10
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
    known = tf.logical_and(tf.logical_and(has_exif, tf.reduce_any(is_tag)), (value >= 1) & (value <= 8))
    return tf.where(known, value, tf.ones_like(value))


def _upright(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turn stored pixels upright: swap the axes for orientations 5 to 8, then mirror."""
    swapped = orientation >= 5
    pixels = tf.transpose(pixels, tf.where(swapped, [1, 0, 2], [0, 1, 2]))
    # after the swap: which of 1 to 8 are mirrored top to bottom, and left to right
    vertical = tf.reduce_any(tf.equal(orientation, [3, 4, 7, 8]))
    horizontal = tf.reduce_any(tf.equal(orientation, [2, 3, 6, 7]))
    return tf.raw_ops.Reverse(tensor=pixels, dims=tf.stack([vertical, horizontal, False]))
