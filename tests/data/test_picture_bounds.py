"""Small files that would take minutes or gigabytes are refused at once; what encoders write is not."""

import io
import struct
import time

import pytest
from PIL import Image
from support.pictures import draw_picture

from retrain.data.decoding import decode_image
from retrain.data.picture_form import PictureForm
from retrain.errors import UnreadableImageError


def encode(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def jpeg_with_scans(side, extra):
    data = encode(Image.new("RGB", (side, side), "teal"), "JPEG", progressive=True)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * extra + data[-2:]


def webp(*chunks):
    body = b"WEBP" + b"".join(kind + struct.pack("<I", len(content)) + content for kind, content in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def vp8x(side):
    return b"VP8X", struct.pack("<I", 2) + (side - 1).to_bytes(3, "little") * 2


def tiff_of_strips(count):
    tags = [(256, 1), (257, count), (258, 8), (259, 1), (262, 1), (277, 1), (278, 1)]
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags]
    entries += [struct.pack("<HHII", tag, 4, count, 200) for tag in (273, 279)]
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(100 + 4 * count)


TINY_JPEG = encode(Image.new("RGB", (8, 8)), "JPEG")
TINY_GIF = encode(Image.new("L", (8, 8)), "GIF")
BMP_RUNS = (
    struct.pack("<2sIIIIiiHHIIIIII", b"BM", 0, 0, 54 + 1024, 40, 4000, 4000, 1, 8, 1, 0, 0, 0, 256, 0)
    + bytes(1024)
    + b"\1\0" * 2_500_000
)

ATTACKS = {
    "scans": (lambda: jpeg_with_scans(1000, 1001), "more than 1,000 scans"),
    "scans of a large picture": (lambda: jpeg_with_scans(4000, 60), "more than 62 scans"),
    "segments": (lambda: TINY_JPEG[:2] + b"\xff\xfe\0\2" * 20_000 + TINY_JPEG[2:], "more than 10,000 segments"),
    "filling": (lambda: TINY_JPEG[:2] + b"\xff" * 100_000 + TINY_JPEG[2:], "bytes of filling in its header"),
    "strips": (lambda: tiff_of_strips(300_000), "more than 200,000 strips"),
    "canvas without a picture": (lambda: webp(vp8x(13_000)), "no picture in it"),
    "canvas": (lambda: webp(vp8x(12_000), (b"ANMF", bytes(16))), "12000 x 12000 pixels of WEBP, which take as much"),
    "comment": (lambda: b"P6\n#" + b"x" * 100_000 + b"\n1 1\n255\n\0\0\0", "bytes of header"),
    "plain text": (lambda: b"P3\n4000 4000\n255\n" + b"0 " * 9_000_000, "bytes of plain text: save it as PNG"),
    "run lengths": (lambda: BMP_RUNS, "bytes of run-length encoding: save it as PNG"),
    "blocks": (lambda: TINY_GIF[:19] + b"!\xfe" + b"\1x" * 100_001 + b"\0" + TINY_GIF[19:], "more than 100,000 blocks"),
    "boxes": (
        lambda: b"\0\0\0\x0cjP  \r\n\x87\n" + struct.pack(">I4s", 8, b"free") * 20_000,
        "more than 10,000 boxes",
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_work_out_of_proportion_is_refused_at_once(name):
    make, reason = ATTACKS[name]
    data = make()
    started = time.process_time()
    with pytest.raises(UnreadableImageError, match=reason):
        decode_image(data, PictureForm(32, 32))
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("JPEG", {"progressive": True}),
        ("JPEG", {"progressive": True, "exif": b"Exif\0\0" + bytes(60_000)}),
        ("JPEG", {"icc_profile": bytes(2_000_000)}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True, "icc_profile": bytes(1000)}),
        ("TIFF", {"tiffinfo": {278: 1}}),
        ("GIF", {"comment": b"x" * 1_000_000}),
        ("JPEG2000", {}),
        ("AVIF", {}),
        ("BMP", {}),
        ("ICO", {}),
        ("PPM", {}),
    ],
)
def test_what_encoders_write_is_read(format, options):
    assert decode_image(encode(draw_picture(1, 2, 200), format, **options), PictureForm(32, 32)).shape == (32, 32, 3)


def test_scans_of_pictures_that_follow_the_first_do_not_count():
    assert decode_image(jpeg_with_scans(32, 0) + jpeg_with_scans(32, 0) * 200, PictureForm(32, 32)).shape == (32, 32, 3)


def test_many_scans_of_a_small_picture_are_read():
    assert decode_image(jpeg_with_scans(32, 200), PictureForm(32, 32)).shape == (32, 32, 3)
