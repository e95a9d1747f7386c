"""The exported decoder beside Pillow: the same pixels at every scale."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from support.pictures import draw_picture

from retrain._tensorflow import tf
from retrain.backbones.graph_images import decode_jpeg, decode_resized, resize
from retrain.data.decoding import MARGIN, decode_image
from retrain.data.picture_form import PictureForm
from retrain.options import FITS

pytestmark = pytest.mark.network


def encode(image, format="JPEG", orientation=1, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, format, exif=exif, **options)
    return buffer.getvalue()


def by_pillow(data, height, width):
    """Pixels before resizing, and the scale."""
    with Image.open(io.BytesIO(data)) as image:
        stored = image.width
        if image.getexif().get(0x0112, 1) >= 5:
            height, width = width, height
        image.draft(None, (MARGIN * width, MARGIN * height))
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB")), round(stored / image.width)


def by_graph(data, height, width):
    return decode_jpeg(tf.constant(data), PictureForm(height, width)).numpy()


KINDS = {
    "4:2:0": ("RGB", {"subsampling": "4:2:0"}),
    "4:2:2": ("RGB", {"subsampling": "4:2:2"}),
    "4:4:4": ("RGB", {"subsampling": "4:4:4"}),
    "4:1:1": ("RGB", {"subsampling": "4:1:1"}),
    "grey": ("L", {}),
    "cmyk": ("CMYK", {}),
    "progressive": ("RGB", {"progressive": True}),
    "progressive grey": ("L", {"progressive": True}),
}


@pytest.mark.parametrize("ratio", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_those_of_pillow_bit_for_bit(kind, ratio):
    """Each kind in both sizes, of which one is no multiple of a JPEG's blocks."""
    size = [(321, 257), (256, 320)][(ratio.bit_length() + [*KINDS].index(kind)) % 2]
    mode, options = KINDS[kind]
    data = encode(draw_picture(1, 2, 330).crop((0, 0, *size)).convert(mode), **options)
    side = 257 // ratio // MARGIN
    expected, scale = by_pillow(data, side, side)
    assert scale == ratio
    assert np.array_equal(by_graph(data, side, side), expected)


@pytest.mark.parametrize(
    ("orientation", "ratio"), [*zip(range(1, 9), [1, 2, 4, 8] * 2, strict=True), (5, 8), (6, 1), (7, 2), (8, 4)]
)
def test_the_scale_is_chosen_for_the_picture_as_turned(orientation, ratio):
    """A third as high as wide: for the picture on its side, the scale would be another."""
    data = encode(draw_picture(1, 2, 330).crop((0, 0, 323, 107)), orientation=orientation)
    height, width = 107 // ratio // MARGIN, 323 // ratio // MARGIN
    if orientation >= 5:
        height, width = width, height
    expected, scale = by_pillow(data, height, width)
    assert scale == ratio
    assert np.array_equal(by_graph(data, height, width), expected)


@pytest.mark.slow
@settings(deadline=None, max_examples=50)
@given(
    stored=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    target=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    orientation=st.integers(1, 8),
    format=st.sampled_from(["JPEG", "PNG"]),
    fit=st.sampled_from(FITS),
)
def test_pictures_are_resized_as_the_decoder_does_bit_for_bit(stored, target, orientation, format, fit):
    """Whatever the order of axes that their form asks for, and however they are turned."""
    pixels = np.random.default_rng(stored).integers(0, 256, (*stored, 3), np.uint8)
    data = encode(Image.fromarray(pixels), format, orientation)
    form = PictureForm(*target, fit)
    assert np.array_equal(decode_resized(tf.constant(data), form).numpy(), decode_image(data, form))


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("stored", [(60, 90), (90, 60), (200, 40), (20, 30), (40, 16), (32, 24)])
def test_a_batch_is_resized_as_the_decoder_does_bit_for_bit(stored, fit):
    form = PictureForm(32, 24, fit)
    pixels = np.random.default_rng(0).integers(0, 256, (3, *stored, 3), np.uint8)
    expected = [decode_image(encode(Image.fromarray(picture), "PNG"), form) for picture in pixels]
    assert np.array_equal(resize(tf.constant(pixels), form).numpy(), expected)


@pytest.mark.slow
@settings(deadline=None, max_examples=20)
@given(
    stored=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    target=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    orientation=st.integers(1, 8),
)
def test_the_scale_is_that_of_the_decoder(stored, target, orientation):
    data = encode(Image.new("RGB", stored, "teal"), orientation=orientation)
    expected, _ = by_pillow(data, *target)
    assert np.array_equal(by_graph(data, *target), expected)


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_other_formats_keep_their_size(format):
    buffer = io.BytesIO()
    draw_picture(1, 2, 200).save(buffer, format)
    with Image.open(buffer) as image:
        expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(by_graph(buffer.getvalue(), 10, 10), expected)


def test_several_jpegs_in_one_file_are_the_first():
    frames = [draw_picture(number, 1, 200) for number in range(2)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "MPO", save_all=True, append_images=frames[1:])
    expected, scale = by_pillow(buffer.getvalue(), 25, 25)
    assert scale == 4
    assert np.array_equal(by_graph(buffer.getvalue(), 25, 25), expected)
    with Image.open(buffer) as image:
        assert image.format == "MPO"
    resized = Image.fromarray(expected).resize((25, 25), Image.Resampling.BILINEAR)
    assert np.array_equal(decode_image(buffer.getvalue(), PictureForm(25, 25)), np.asarray(resized))


@pytest.mark.parametrize("side", [200, 100, 50, 25])
@pytest.mark.parametrize("length", [2, 10, 300, 5000])
def test_a_truncated_jpeg_is_an_error_at_every_scale(side, length):
    data = encode(draw_picture(1, 2, 400))
    with pytest.raises(tf.errors.InvalidArgumentError):
        by_graph(data[:length], side, side)


@pytest.mark.parametrize("depth", ["full", "percentiles"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_of_16_bits_are_scaled_as_the_decoder_does(channels, depth):
    samples = np.random.default_rng(channels).integers(2000, 50_000, (30, 40, channels), np.uint16)
    form = PictureForm(30, 40, depth=depth)
    for deep in (samples, samples // 7, np.full_like(samples, 900)):
        data = png_of_16_bits(deep)
        assert np.array_equal(decode_resized(tf.constant(data), form).numpy(), decode_image(data, form))


def png_of_16_bits(samples):
    height, width, channels = samples.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, 0 if channels == 1 else 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
