"""Keep only what makes the pixels of a PNG. Comments, colour profiles and animation are not even checked."""

import zlib
from collections.abc import Iterator
from typing import NamedTuple

from retrain.errors import UnreadableImageError

__all__ = ["SIGNATURE", "pixels_alone"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_END = b"\0\0\0\0IEND\xaeB`\x82"
_MOST_CHUNKS = 1_000_000  # the walk takes a second; encoders write a thousand in 10 MB

# If one of these is missing or damaged, the pixels change. (tRNS: which are transparent)
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")


class _Chunk(NamedTuple):
    kind: bytes
    body: memoryview
    is_sound: bool  # its checksum is right


def pixels_alone(data: bytes) -> bytes:
    """The same picture with only its header, palette, transparency, orientation and pixels.

    Other chunks are left out: they may be damaged, of any length, and unpack to anything.

    Raises UnreadableImageError if the file is cut short (its end marker may be missing) or one of the kept is damaged.
    """
    kept: dict[bytes, list[memoryview]] = {kind: [] for kind in (*_PIXEL_CHUNKS, b"eXIf")}
    for chunk in _chunks(data):
        if chunk.kind in kept:
            if chunk.is_sound:
                kept[chunk.kind].append(chunk.body)
            elif chunk.kind in _PIXEL_CHUNKS:
                raise UnreadableImageError(f"damaged PNG: wrong checksum of its {chunk.kind.decode()} chunk")
    if len(kept[b"IHDR"]) != 1 or not kept[b"IDAT"]:
        raise UnreadableImageError("damaged PNG: it has no header or no pixels")
    parts: list[bytes | memoryview] = [SIGNATURE]
    for kind in (b"IHDR", b"eXIf", b"PLTE", b"tRNS"):
        parts += _written(kind, kept[kind][:1])
    return b"".join([*parts, *_written(b"IDAT", kept[b"IDAT"]), _END])


def _chunks(data: bytes) -> Iterator[_Chunk]:
    """The chunks before the end marker."""
    view = memoryview(data)
    place = len(SIGNATURE)
    for _ in range(_MOST_CHUNKS):
        rest = len(data) - place
        if rest < len(_END) and _END.startswith(bytes(view[place:])):  # only the end marker is missing
            return
        length = int.from_bytes(view[place : place + 4], "big")
        kind = bytes(view[place + 4 : place + 8])
        if kind == b"IEND":
            return
        if length > rest - 12:
            raise UnreadableImageError("damaged PNG: it is cut short")
        if not kind.isalpha():
            raise UnreadableImageError("damaged PNG: bytes that are not a chunk")
        body = view[place + 8 : place + 8 + length]
        is_checked = kind in _PIXEL_CHUNKS or kind == b"eXIf"
        checksum = int.from_bytes(view[place + 8 + length : place + 12 + length], "big")
        yield _Chunk(kind, body, not is_checked or zlib.crc32(body, zlib.crc32(kind)) == checksum)
        place += length + 12
    raise UnreadableImageError(f"more than {_MOST_CHUNKS:,} chunks: no encoder writes such a PNG")


def _written(kind: bytes, bodies: list[memoryview]) -> list[bytes | memoryview]:
    """One chunk made of several bodies; none if there is no body."""
    if not bodies:
        return []
    checksum = zlib.crc32(kind)
    for body in bodies:
        checksum = zlib.crc32(body, checksum)
    return [sum(map(len, bodies)).to_bytes(4, "big"), kind, *bodies, checksum.to_bytes(4, "big")]
