"""Refuse picture files that would take far too long to decode, by their structure.

Decoders spend time on other things than pixels: a JPEG's scans, a TIFF's strips, the pieces of a header. A small file
can have so many of them that it takes minutes. No time limit can stop a decoder in a thread, so such files are refused.
The bounds are far beyond what encoders write.
"""

import contextlib
import re
import struct
from collections.abc import Callable, Iterator

from retrain.errors import UnreadableImageError

__all__ = ["check_structure", "webp_canvas"]

_MOST_PIECES = 10_000  # segments, boxes or chunks before the pixels; photographs have dozens
_MOST_FILLING = 2**16  # bytes between two segments of a JPEG
_MOST_BLOCKS = 100_000  # of up to 255 bytes, before the first frame of a GIF
_MOST_STRIPS = 200_000  # of a TIFF, and numbers in any of its tables: a second of work
_MOST_HEADER = 2**16  # bytes of a PPM's header

# A progressive JPEG has about 10 scans. Each visits all pixels, at 1 to 3 nanoseconds per pixel.
_ORDINARY_SCANS, _MOST_SCANS, _MOST_SCANNED_PIXELS = 20, 1000, 1_000_000_000

# Pillow reads these in Python, at 0.3 to 1 microsecond a byte.
_MOST_PLAIN_TEXT = 2**24  # bytes, of PPM
_MOST_RUN_LENGTHS = 2**22  # bytes, of BMP

_FILLING = re.compile(rb"[\x00\xff]*")
_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")
_COMMENT = re.compile(rb"#[^\r\n]*")
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_STANDALONE = {0x01, *range(0xD0, 0xDA)}  # markers without a length
_FRAME_HEADERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def check_structure(data: bytes, format: str) -> None:
    """Refuse a file that would take far longer to decode than other pictures of its size.

    Args:
        format: one of decoding.FORMATS, by the file's beginning.
    Raises UnreadableImageError. The decoder finds other damage.
    """
    check = _CHECKS.get(format)
    if check:
        with contextlib.suppress(IndexError, struct.error):  # of a file that is cut short
            check(data)


def webp_canvas(data: bytes) -> tuple[int, int]:
    """Width and height of a WebP, from its header. Its decoder allocates the memory when it opens the file.

    Raises UnreadableImageError if the file is cut short or has no picture in it.
    """
    size: tuple[int, int] | None = None
    for kind, place in _webp_chunks(data):
        head = data[place : place + 10]
        if kind == b"VP8X" and len(head) == 10:
            size = 1 + int.from_bytes(head[4:7], "little"), 1 + int.from_bytes(head[7:10], "little")
        elif kind == b"VP8L" and len(head) >= 5:
            bits = int.from_bytes(head[1:5], "little")
            return size or (1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
        elif kind == b"VP8 " and len(head) == 10:
            width, height = struct.unpack("<HH", head[6:10])
            return size or (width & 0x3FFF, height & 0x3FFF)
        elif kind == b"ANMF" and size:
            return size
    raise UnreadableImageError("damaged WEBP: no picture in it")


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Kind and place of the content of each chunk."""
    place = 12
    for _ in range(_MOST_PIECES):
        if place + 8 > len(data):
            return
        yield data[place : place + 4], place + 8
        length = int.from_bytes(data[place + 4 : place + 8], "little")
        place += 8 + length + length % 2


def _check_jpeg(data: bytes) -> None:
    place, pixels, channels, is_sequential = 2, 1, 0, False
    for _ in range(_MOST_PIECES):
        filling = _FILLING.match(data, place)
        start, place = place, filling.end() if filling else place
        if place - start > _MOST_FILLING:
            raise UnreadableImageError(
                f"{place - start:,} bytes of filling in its header: no encoder writes such a JPEG"
            )
        marker = data[place]
        if marker == _START_OF_SCAN:
            break
        if marker in _FRAME_HEADERS:
            height, width, channels = struct.unpack_from(">HHB", data, place + 4)
            pixels, is_sequential = max(1, height * width), marker in (0xC0, 0xC1)
        place += 1 if marker in _STANDALONE else 1 + max(2, *struct.unpack_from(">H", data, place + 1))
    else:
        raise _too_many(_MOST_PIECES, "segments", "JPEG")
    if is_sequential and data[place + 3] == channels:  # all channels in one scan: no other scan is read
        return
    most = max(_ORDINARY_SCANS, min(_MOST_SCANS, _MOST_SCANNED_PIXELS // pixels))
    if data.count(b"\xff\xda", place - 1) > most and _scans(data, place - 1, most) > most:
        raise _too_many(most, "scans", "JPEG of this size")


def _scans(data: bytes, place: int, most: int) -> int:
    """The number of scans from a place to the picture's end; once it is above `most`, counting may stop."""
    count = 0
    for _ in range(_MOST_PIECES):
        marker = _MARKER.search(data, place)
        if marker is None or data[marker.end() - 1] == _END_OF_IMAGE or count > most:
            return count
        count += data[marker.end() - 1] == _START_OF_SCAN
        place = marker.end() + max(2, *struct.unpack_from(">H", data, marker.end()))
    return most + 1


def _check_tiff(data: bytes) -> None:
    order = "<" if data[:2] == b"II" else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    start, count, entry = ("Q", "Q", "HHQQ") if is_big else ("I", "H", "HHII")
    place = struct.unpack_from(order + start, data, 8 if is_big else 4)[0]
    entries = struct.unpack_from(order + count, data, place)[0]
    place += struct.calcsize("=" + count)
    if entries > _MOST_PIECES:
        raise _too_many(_MOST_PIECES, "entries", "TIFF")
    for number in range(entries):
        _, kind, length, _ = struct.unpack_from(order + entry, data, place + number * struct.calcsize("=" + entry))
        if length > _MOST_STRIPS and kind not in (1, 2, 6, 7):  # bytes and texts are read in one piece
            raise _too_many(_MOST_STRIPS, "strips, tiles or other numbers in a table", "TIFF")


def _check_gif(data: bytes) -> None:
    flags, place = data[10], 13
    place += 3 << (flags & 7) + 1 if flags & 0x80 else 0
    blocks = 0
    while data[place] not in b",;":
        is_extension = data[place] == ord("!")
        place += 2 if is_extension else 1
        while is_extension and data[place]:
            place += data[place] + 1
            blocks = _counted(blocks)
        place += is_extension
        blocks = _counted(blocks)


def _counted(blocks: int) -> int:
    if blocks == _MOST_BLOCKS:
        raise _too_many(_MOST_BLOCKS, "blocks before its pixels", "GIF")
    return blocks + 1


def _check_jpeg2000(data: bytes) -> None:
    if data.startswith(b"\xff\x4f"):  # no boxes
        return
    place = 0
    for _ in range(_MOST_PIECES):
        length, kind = struct.unpack_from(">I4s", data, place)
        if length == 1:
            length = struct.unpack_from(">Q", data, place + 8)[0]
        if kind == b"jp2c" or length < 8:
            return
        # the boxes inside this one are read, too
        place += 8 if kind in (b"jp2h", b"res ") else length
    raise _too_many(_MOST_PIECES, "boxes", "JPEG 2000")


def _check_bmp(data: bytes) -> None:
    header, compression = struct.unpack_from("<I", data, 14)[0], struct.unpack_from("<I", data, 30)[0]
    if header >= 40 and compression in (1, 2) and len(data) > _MOST_RUN_LENGTHS:
        raise UnreadableImageError(f"{len(data):,} bytes of run-length encoding: save it as PNG")


def _check_ppm(data: bytes) -> None:
    if data[:2] in (b"P1", b"P2", b"P3") and len(data) > _MOST_PLAIN_TEXT:
        raise UnreadableImageError(f"{len(data):,} bytes of plain text: save it as PNG")
    words = _COMMENT.sub(b"", data[:_MOST_HEADER]).split(None, 4)
    if len(words) < 4 and len(data) > _MOST_HEADER:
        raise UnreadableImageError(f"more than {_MOST_HEADER:,} bytes of header: no encoder writes such a PPM")


def _too_many(most: int, pieces: str, format: str) -> UnreadableImageError:
    return UnreadableImageError(f"more than {most:,} {pieces}: no encoder writes such a {format}")


_CHECKS: dict[str, Callable[[bytes], None]] = {
    "JPEG": _check_jpeg,
    "TIFF": _check_tiff,
    "GIF": _check_gif,
    "JPEG2000": _check_jpeg2000,
    "BMP": _check_bmp,
    "PPM": _check_ppm,
}
