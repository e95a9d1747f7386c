import csv
import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.pictures import STORED_AS, draw_picture

from retrain.data import decoding as images
from retrain.data.decoding import decode_image, read_header
from retrain.data.picture_form import PictureForm
from retrain.errors import UnreadableImageError


def encode(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def quarters():
    """Red, green / blue, white: every way of turning it shows."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:20, :30, 0] = pixels[:20, 30:, 1] = pixels[20:, :30, 2] = 255
    pixels[20:, 30:] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM"])
def test_every_format_gives_the_same_picture(format):
    options = {"quality": 100, "subsampling": 0} if format == "JPEG" else {"lossless": True} if format == "WEBP" else {}
    pixels = decode_image(encode(quarters(), format, **options), PictureForm(40, 60))
    assert pixels.shape == (40, 60, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - np.asarray(quarters())).max() <= 6


def test_grey_palette_and_16_bit_pictures_become_rgb():
    grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    expected = np.repeat(np.arange(256).reshape(16, 16, 1), 3, axis=2)
    assert np.array_equal(decode_image(encode(grey, "PNG"), PictureForm(16, 16)), expected)
    deep = Image.fromarray((np.arange(256, dtype=np.uint16) * 257).reshape(16, 16))
    assert np.array_equal(decode_image(encode(deep, "PNG"), PictureForm(16, 16)), expected)
    assert np.array_equal(decode_image(encode(deep, "TIFF"), PictureForm(16, 16)), expected)
    palette = quarters().quantize(4)
    assert np.array_equal(decode_image(encode(palette, "PNG"), PictureForm(40, 60)), np.asarray(quarters()))


def test_cmyk_becomes_rgb():
    pixels = decode_image(encode(quarters().convert("CMYK"), "JPEG", quality=100, subsampling=0), PictureForm(40, 60))
    assert np.abs(pixels.astype(int) - np.asarray(quarters())).max() <= 8


def test_transparent_parts_become_white():
    image = quarters().convert("RGBA")
    image.putalpha(Image.fromarray(np.repeat(np.uint8([[0], [255]]), 20, axis=0).repeat(60, axis=1)))
    for data in (encode(image, "PNG"), encode(image, "WEBP", lossless=True)):
        pixels = decode_image(data, PictureForm(40, 60))
        assert (pixels[:18] == 255).all()
        assert np.abs(pixels[22:].astype(int) - np.asarray(quarters())[22:]).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(orientation):
    stored = quarters().transpose(STORED_AS[orientation]) if orientation in STORED_AS else quarters()
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(stored, "JPEG", exif=exif, quality=100, subsampling=0)
    assert np.abs(decode_image(data, PictureForm(40, 60)).astype(int) - np.asarray(quarters())).max() <= 6
    header = read_header(data)
    assert (header.format, header.width, header.height) == ("JPEG", 60, 40)


def test_a_turned_tiff_is_turned_once():
    stored = quarters().transpose(Image.Transpose.ROTATE_90)
    data = encode(stored, "TIFF", tiffinfo={0x0112: 6})
    assert np.array_equal(decode_image(data, PictureForm(40, 60)), np.asarray(quarters()))


def test_resizing_is_antialiased():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    pixels = decode_image(encode(Image.fromarray(stripes), "PNG"), PictureForm(8, 8))
    assert np.abs(pixels.astype(int) - 127).max() <= 8  # without it: 0 or 255


def test_the_first_frame_of_an_animation_counts():
    frames = [quarters(), Image.new("RGB", (60, 40), "black")]
    for format in ("GIF", "WEBP", "PNG"):
        data = encode(frames[0], format, save_all=True, append_images=frames[1:], duration=10)
        assert decode_image(data, PictureForm(40, 60))[5, 5, 0] > 200


@settings(deadline=None)
@given(
    stored=st.tuples(st.integers(1, 700), st.integers(1, 700)),
    target=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    orientation=st.integers(1, 8),
    format=st.sampled_from(["JPEG", "MPO", "PNG"]),
)
def test_a_jpeg_is_decoded_at_the_smallest_scale_of_twice_the_size(stored, target, orientation, format):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.new("RGB", stored), format, exif=exif)
    height, width = target
    decoded = []
    with pytest.MonkeyPatch.context() as patch:
        to_rgb = images._to_rgb
        patch.setattr(images, "_to_rgb", lambda image, *rest: decoded.append(image.size) or to_rgb(image, *rest))
        assert decode_image(data, PictureForm(height, width)).shape == (height, width, 3)
    if orientation >= 5:
        height, width = width, height
    enough = [scale for scale in (2, 4, 8) if stored[0] / scale >= 2 * width and stored[1] / scale >= 2 * height]
    scale = max(enough, default=1) if format != "PNG" else 1
    assert decoded == [(-(-stored[0] // scale), -(-stored[1] // scale))]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("ratio", [2, 4, 8])
def test_the_scale_changes_next_to_nothing(mode, orientation, ratio):
    exif = Image.Exif()
    exif[0x0112] = orientation
    smooth = draw_picture(ratio, orientation, 5).resize((641, 479), Image.Resampling.BICUBIC)
    jpeg = encode(smooth.convert(mode), "JPEG", exif=exif, quality=95)
    with Image.open(io.BytesIO(jpeg)) as image:
        whole = encode(image.convert("RGB"), "PNG", exif=exif)
    size = 479 // ratio // 2
    difference = np.abs(
        decode_image(jpeg, PictureForm(size, size)).astype(int) - decode_image(whole, PictureForm(size, size))
    )
    assert difference.max() <= 8
    assert difference.mean() < 2


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("size", [200, 100, 50, 25])
def test_a_truncated_large_jpeg_is_refused_at_every_scale(progressive, share, size):
    data = encode(draw_picture(1, 2, 400), "JPEG", progressive=progressive)
    with pytest.raises(UnreadableImageError, match=r"damaged picture: .*truncated"):
        decode_image(data[: int(len(data) * share)], PictureForm(size, size))


@pytest.mark.parametrize(
    ("format", "options", "size", "held"),
    [
        ("JPEG", {}, 60, 200 * 200),  # not scaled
        ("JPEG", {}, 50, 100 * 100),
        ("JPEG", {"progressive": True}, 50, 200 * 200),
        ("PNG", {}, 50, 200 * 200),
    ],
)
def test_what_is_decoded_counts_in_the_memory_budget(format, options, size, held, monkeypatch):
    wanted = []
    hold = images._decoding.hold
    monkeypatch.setattr(images._decoding, "hold", lambda amount: wanted.append(amount) or hold(amount))
    decode_image(encode(draw_picture(1, 2, 200), format, **options), PictureForm(size, size))
    assert wanted == [12 * held]


def test_the_limit_of_pixels_is_that_of_the_picture_as_stored():
    with pytest.raises(UnreadableImageError, match="400 x 400 pixels: more than --max-pixels 159999"):
        decode_image(encode(draw_picture(1, 2, 400), "JPEG"), PictureForm(20, 20), max_pixels=159_999)


def png_chunk(kind, body, checksum=None):
    checksum = zlib.crc32(kind + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def png_claiming(width, height):
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", bytes(16)) + png_chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"\1\2\3", "not a picture in a known format"),
        (b"hello, I am a text", "text, not a picture"),
        (b"\n<!DOCTYPE html><html>404</html>", "HTML page .*: download it again"),
        (b"<?xml version='1.0'?><svg/>", "SVG drawing"),
        (b'{"error": "denied"}', "JSON text .*: download it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer: run git lfs pull"),
        (b"/annex/objects/SHA256E-s1--0.jpg\n", "git-annex pointer: run git annex get"),
        (b"\0\0\0\x18ftypheic" + bytes(100), "HEIC .*: convert it to JPEG"),
        (b"\0\0\0\x18ftypmp42" + bytes(100), "video"),
        (bytes(1000), "nothing but zeros"),
        (b"\xff\xd8\xff\xe0" + bytes(50), "damaged"),
        (png_claiming(60_000, 60_000), "60000 x 60000 pixels: more than --max-pixels 178956970"),
        (png_claiming(13_000, 13_000), "damaged"),
    ],
)
def test_what_is_no_picture_is_refused_with_a_reason(data, reason):
    with pytest.raises(UnreadableImageError, match=reason):
        decode_image(data, PictureForm(10, 10))


def test_the_limit_of_pixels_can_be_lowered():
    data = encode(quarters(), "PNG")
    assert decode_image(data, PictureForm(10, 10), max_pixels=2400).shape == (10, 10, 3)
    with pytest.raises(UnreadableImageError, match="60 x 40 pixels: more than --max-pixels 2399"):
        decode_image(data, PictureForm(10, 10), max_pixels=2399)
    with pytest.raises(UnreadableImageError, match="more than --max-pixels 2399"):
        read_header(data, max_pixels=2399)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_picture_is_refused(format, share):
    noise = np.random.default_rng(1).integers(0, 255, (50, 50, 3), np.uint8)
    data = encode(Image.fromarray(noise), format)
    with pytest.raises(UnreadableImageError):
        decode_image(data[: int(len(data) * share)], PictureForm(10, 10))


@pytest.mark.parametrize("lost", range(1, 13))
def test_a_png_that_lacks_its_end_marker_only_is_read(lost):
    assert np.array_equal(decode_image(encode(quarters(), "PNG")[:-lost], PictureForm(40, 60)), np.asarray(quarters()))


def test_a_png_with_a_wrong_checksum_is_refused():
    data = bytearray(encode(quarters(), "PNG"))
    place = data.index(b"IDAT") + 20
    data[place] ^= 0x10
    with pytest.raises(UnreadableImageError, match="damaged"):
        decode_image(bytes(data), PictureForm(10, 10))


@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"zTXt", b"XML:com.adobe.xmp\0\0" + zlib.compress(bytes(2_000_000))),
        png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(2_000_000))),
        png_chunk(b"tEXt", b"Comment\0hello", 0),
        png_chunk(b"gAMA", b"\0\0\0\0"),
        png_chunk(b"gAMA", b"\0"),
        png_chunk(b"pHYs", b"\0"),
        png_chunk(b"tIME", b"", 1),
        png_chunk(b"iCCP", b"name\0\7garbage"),
        png_chunk(b"eXIf", b"garbage", 1),
        png_chunk(b"acTL", b"\0"),
    ],
    ids=lambda chunk: repr(chunk[4:8]),
)
def test_a_png_is_read_whatever_its_comments_are_like(chunk):
    data = encode(quarters(), "PNG")
    data = data[:33] + chunk + data[33:]
    assert np.array_equal(decode_image(data, PictureForm(40, 60)), np.asarray(quarters()))
    assert read_header(data).width == 60


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE", b"IDAT"])
def test_a_png_is_refused_where_its_pixels_are_damaged(kind):
    data = bytearray(encode(quarters().quantize(4), "PNG"))
    place = data.index(kind)
    data[place + 4 + int.from_bytes(data[place - 4 : place], "big")] ^= 1  # its checksum
    with pytest.raises(UnreadableImageError, match=f"wrong checksum of its {kind.decode()} chunk"):
        decode_image(bytes(data), PictureForm(10, 10))


def png_16(channels, colour_type, samples):
    """samples: (height, width, channels)."""
    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize(("channels", "colour_type"), [(1, 0), (3, 2), (2, 4), (4, 6)])
def test_16_bit_pictures_that_use_fewer_bits_keep_their_upper_8(bits, channels, colour_type):
    samples = np.random.default_rng(bits).integers(0, 2**bits, (12, 9, channels), np.uint16)
    samples[0, 0, :] = 2**bits - 1
    colours = channels - 1 if channels in (2, 4) else channels
    samples[..., colours:] = 65535
    expected = np.broadcast_to(samples[..., :colours] >> (bits - 8), (12, 9, 3))
    assert np.array_equal(decode_image(png_16(channels, colour_type, samples), PictureForm(12, 9)), expected)
    if channels == 1:
        data = encode(Image.fromarray(samples[..., 0]), "TIFF")
        assert np.array_equal(decode_image(data, PictureForm(12, 9)), expected)


@pytest.mark.parametrize("maximum", [100, 1000, 4095, 65535])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_ppm_says_its_range(maximum, channels):
    samples = np.random.default_rng(1).integers(0, maximum + 1, (12, 9, channels))
    samples[0, 0] = maximum
    content = samples.astype(">u2" if maximum > 255 else np.uint8).tobytes()
    data = b"P%d\n# 1\n9 12\n%d\n" % (5 if channels == 1 else 6, maximum) + content
    expected = np.broadcast_to(samples / maximum * 255, (12, 9, 3))
    assert np.abs(decode_image(data, PictureForm(12, 9)) - expected).max() <= 1


def test_the_limit_of_pixels_can_be_raised():
    data = png_claiming(13_400, 13_400)
    with pytest.raises(UnreadableImageError, match="13400 x 13400 pixels: more than --max-pixels 178956970"):
        read_header(data)
    header = read_header(data, 300_000_000)
    assert (header.width, header.height) == (13_400, 13_400)
    jpeg = bytearray(encode(Image.new("RGB", (16, 16)), "JPEG"))
    place = jpeg.index(b"\xff\xc0") + 5
    jpeg[place : place + 4] = struct.pack(">HH", 15_000, 15_000)
    assert read_header(bytes(jpeg), 300_000_000).width == 15_000


def test_too_little_memory_is_a_reason(monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(images, "_to_rgb", fail)
    with pytest.raises(UnreadableImageError, match="not enough memory to decode it"):
        decode_image(encode(quarters(), "PNG"), PictureForm(10, 10))


@pytest.mark.parametrize("size", [(1, 178_956_970), (178_956_970, 1), (2, 3_000_000)])
def test_rows_and_columns_count_beside_pixels(size):
    with pytest.raises(UnreadableImageError, match=r"which cost as much as \d+ x \d+: more than --max-pixels"):
        decode_image(png_claiming(*size), PictureForm(10, 10))


@pytest.mark.parametrize(("size", "columns_first"), [((60, 100), False), ((60, 200), True), ((20, 100), True)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_order_of_axes_is_that_of_pillow_13_whatever_pillow_is_installed(size, columns_first, mode):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], len(mode)), np.uint8))
    expected = image.convert("RGBa") if mode == "RGBA" else image
    for between in ((size[0], 40) if columns_first else (30, size[1]), (30, 40)):
        expected = expected.resize(between, Image.Resampling.BILINEAR)
    if mode == "RGBA":
        white = Image.new("RGBA", expected.size, "white")
        expected = Image.alpha_composite(white, expected.convert("RGBA")).convert("RGB")
    assert np.array_equal(decode_image(encode(image, "PNG"), PictureForm(40, 30)), np.asarray(expected))


def test_one_colour_is_told_from_a_dot():
    pixels = np.full((224, 224, 3), (10, 200, 30), np.uint8)
    assert images.is_one_colour(pixels)
    pixels[101, 77, 1] = 203
    assert not images.is_one_colour(pixels)
    assert images.is_one_colour(np.zeros((1, 1, 3), np.uint8))


def test_pixels_of_32_bits_are_refused():
    image = Image.fromarray(np.ones((4, 4), np.float32))
    float_map = b"Pf\n4 4\n-1.0\n" + bytes(64)
    for data in (encode(image, "TIFF"), float_map):
        with pytest.raises(UnreadableImageError, match=r"32-bit pixels \(F\) have no agreed range: train with --depth"):
            decode_image(data, PictureForm(4, 4))


def by_percentiles(samples):
    ordered = np.sort(samples.reshape(-1)).astype(float)
    low, high = ordered[len(ordered) // 100], ordered[-1 - len(ordered) // 100]
    return np.floor(np.clip((samples - low) / (high - low), 0, 1) * 255 + 0.5)


@pytest.mark.parametrize("depth", ["full", "percentiles"])
@pytest.mark.parametrize(("channels", "colour_type"), [(1, 0), (3, 2), (2, 4), (4, 6)])
def test_16_bits_are_scaled_by_a_rule(channels, colour_type, depth):
    samples = np.random.default_rng(channels).integers(3000, 9000, (24, 18, channels), np.uint16)
    samples[0, :3], samples[1, :2] = 60_000, 0
    colours = channels - 1 if channels in (2, 4) else channels
    samples[..., colours:] = 65535
    deep = samples[..., :colours]
    expected = np.floor(deep / 65535 * 255 + 0.5) if depth == "full" else by_percentiles(deep)
    form = PictureForm(24, 18, depth=depth)
    found = decode_image(png_16(channels, colour_type, samples), form).astype(int)
    assert np.abs(found - expected).max() <= (1 if depth == "percentiles" else 0)  # a half may be rounded either way
    if channels == 1:
        assert np.array_equal(decode_image(encode(Image.fromarray(samples[..., 0]), "TIFF"), form), found)
    ppm = b"P%d\n18 24\n65535\n" % (5 if colours == 1 else 6) + deep.astype(">u2").tobytes()
    assert np.array_equal(decode_image(ppm, form), found)


@pytest.mark.parametrize("depth", ["full", "percentiles"])
def test_8_bits_stay_as_they_are(depth):
    for data in (encode(quarters(), "PNG"), encode(quarters().convert("L"), "TIFF"), encode(quarters(), "JPEG")):
        assert np.array_equal(
            decode_image(data, PictureForm(40, 60, depth=depth)), decode_image(data, PictureForm(40, 60))
        )


@pytest.mark.parametrize(("kind", "scale"), [(np.float32, 1.0), (np.float32, -7e9), (np.int32, 2e9)])
def test_percentiles_of_32_bits(kind, scale):
    samples = (np.random.default_rng(0).random((20, 30)) * scale).astype(kind)
    found = decode_image(encode(Image.fromarray(samples), "TIFF"), PictureForm(20, 30, depth="percentiles"))
    assert np.abs(found[..., 0] - by_percentiles(samples)).max() <= 1
    assert (found[..., 0] == 255).sum() > 600 // 100


def test_the_full_range_of_floats_is_from_0_to_1():
    samples = np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 6)
    form = PictureForm(4, 6, depth="full")
    found = decode_image(encode(Image.fromarray(samples), "TIFF"), form)
    assert np.array_equal(found[..., 0], np.floor(samples * 255 + 0.5))
    whole = (samples * 65535).astype(np.int32)
    of_16_bits = decode_image(encode(Image.fromarray(whole.astype(np.uint16)), "TIFF"), form)
    assert np.array_equal(decode_image(encode(Image.fromarray(whole), "TIFF"), form), of_16_bits)
    for beyond, told in (
        (samples * 3, "floats from 0 to 3, where"),
        (whole * 2, "whole numbers of 32 bits from 0 to 1310"),
    ):
        with pytest.raises(UnreadableImageError, match=f"{told}.*--depth full takes.*use --depth percentiles"):
            decode_image(encode(Image.fromarray(beyond), "TIFF"), form)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("depth", ["full", "percentiles"])
def test_what_is_no_number_is_told(depth, value):
    samples = np.zeros((4, 6), np.float32)
    samples[1, 2:4] = value
    with pytest.raises(UnreadableImageError, match=r"2 of its 24 pixels are not numbers \(NaN or infinite\)"):
        decode_image(encode(Image.fromarray(samples), "TIFF"), PictureForm(4, 6, depth=depth))


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_a_picture_of_nearly_one_value_keeps_its_range(kind):
    samples = np.full((20, 20), 100, kind)
    flat = decode_image(encode(Image.fromarray(samples), "TIFF"), PictureForm(20, 20, depth="percentiles"))
    assert not flat.any()
    samples[3, 3] = 300
    dotted = decode_image(encode(Image.fromarray(samples), "TIFF"), PictureForm(20, 20, depth="percentiles"))
    assert dotted[3, 3].tolist() == [255] * 3
    assert dotted.sum() == 3 * 255


ZOO = """
import resource, sys, csv, warnings
from pathlib import Path
from retrain.errors import UnreadableImageError
from retrain.data.decoding import decode_image
from retrain.data.picture_form import PictureForm
warnings.simplefilter("ignore")
resource.setrlimit(resource.RLIMIT_AS, (2 * 2**30, 2 * 2**30))
zoo = Path(sys.argv[1])
with (zoo / "INDEX.tsv").open(newline="", encoding="utf-8") as index:
    for row in csv.DictReader(index, delimiter="\\t", quoting=csv.QUOTE_NONE):
        try:
            pixels = decode_image((zoo / row["file"]).read_bytes(), PictureForm(32, 48))
            assert pixels.shape == (32, 48, 3) and pixels.dtype == "uint8"
            print(row["file"], "read", sep="\\t")
        except UnreadableImageError as error:
            assert str(error), "no reason"
            print(row["file"], "refused", error, sep="\\t")
"""

# Pillow shows these, though their image data are damaged or cut short.
DAMAGED = {"pillow/broken_data_stream.png", "pillow/truncated_end_chunk.png", "pngsuite/xcsn0g01.png"}

# Pillow refuses these for a comment and a colour profile.
SOUND = {"pillow/png_decompression_dos.png", "pillow/unknown_compression_method.png"}


def test_every_file_of_the_zoo_is_read_or_refused_with_a_reason_in_2_gib(test_data):
    zoo = test_data / "images" / "zoo"
    done = subprocess.run(
        [sys.executable, "-c", ZOO, str(zoo)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    verdicts = dict(line.split("\t")[:2] for line in done.stdout.splitlines())
    with (zoo / "INDEX.tsv").open(newline="", encoding="utf-8") as index:
        rows = list(csv.DictReader(index, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert len(verdicts) == len(rows) == 352
    for row in rows:
        verdict = next(value for column, value in row.items() if "Pillow" in column)
        readable = ("load ok" in verdict and row["file"] not in DAMAGED) or row["file"] in SOUND
        assert verdicts[row["file"]] == ("read" if readable else "refused"), row["file"]


def test_turned_photographs_of_the_zoo_look_alike(test_data):
    for name in ("Landscape", "Portrait"):
        pictures = [
            decode_image(
                (test_data / "images" / "zoo" / "exif" / f"{name}_{i}.jpg").read_bytes(), PictureForm(60, 60)
            ).astype(int)
            for i in range(1, 9)
        ]
        for picture in pictures[1:]:
            assert np.abs(picture - pictures[0]).mean() < 2


def test_cmyk_and_rgb_of_one_picture_look_alike(test_data):
    zoo = test_data / "images" / "zoo" / "pillow"
    cmyk, rgb = (
        decode_image((zoo / f"pil_sample_{kind}.jpg").read_bytes(), PictureForm(50, 50)) for kind in ("cmyk", "rgb")
    )
    assert np.abs(cmyk.astype(int) - rgb).mean() < 25
