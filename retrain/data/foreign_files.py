"""Files among the pictures that are not pictures: what they are, and what to do about them."""

__all__ = ["describe_foreign"]

_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}

# beginning of a file -> what it is, and what to do
_BEGINNINGS = {
    b"version https://git-lfs.github.com/spec/": "Git LFS pointer: run git lfs pull",
    b"version https://hawser.github.com/spec/": "Git LFS pointer: run git lfs pull",
    b"/annex/objects/": "git-annex pointer: run git annex get",
    b"../.git/annex/": "git-annex pointer: run git annex get",
    b".git/annex/": "git-annex pointer: run git annex get",
    b"%PDF": "PDF document: save its pages as PNG or JPEG",
    b"%!PS": "PostScript: save it as PNG or JPEG",
    b"\xc5\xd0\xd3\xc6": "PostScript: save it as PNG or JPEG",
    b"8BPS": "Photoshop document: save it as PNG or JPEG",
    b"PK\3\4": "ZIP archive: unpack it",
    b"Rar!": "RAR archive: unpack it",
    b"7z\xbc\xaf": "7z archive: unpack it",
    b"\x1f\x8b": "gzip archive: unpack it",
    b"\xff\x0a": "JPEG XL, which can't be read: convert it to JPEG or PNG",
    b"\0\0\0\x0cJXL ": "JPEG XL, which can't be read: convert it to JPEG or PNG",
    b"\x1aE\xdf\xa3": "video, which can't be read: save frames of it as JPEG or PNG",
    b"\x76\x2f\x31\x01": "OpenEXR, which can't be read: convert it to PNG",
    b"SIMPLE  =": "FITS, which can't be read: convert it to PNG",
    b"\x93NUMPY": "NumPy array: save it as PNG",
    b"\x89HDF": "HDF5 file: save its pictures as PNG",
}

_DAMAGED = {
    b"\xff\xd8\xff": "damaged JPEG, or a kind that can't be read (12-bit, lossless): convert it to baseline JPEG",
    b"\x89PNG": "damaged PNG",
    b"GIF8": "damaged GIF",
    b"BM": "damaged BMP",
    b"II*\0": "damaged TIFF, or a camera's raw format: convert it to JPEG or PNG",
    b"MM\0*": "damaged TIFF, or a camera's raw format: convert it to JPEG or PNG",
}


def describe_foreign(data: bytes) -> str:
    """What a file is that no decoder accepts: the reason to skip it, and the way out."""
    if not data:
        return "the file is empty"
    for table in (_BEGINNINGS, _DAMAGED):
        for beginning, meaning in table.items():
            if data.startswith(beginning):
                return meaning
    if data[4:8] == b"ftyp":
        return _of_iso_media(data)
    if data[:4] == b"RIFF":
        return "damaged WEBP" if data[8:12] == b"WEBP" else "sound or video: not a picture"
    if data[128:132] == b"DICM":
        return "DICOM, which can't be read: convert it to PNG"
    return _of_text(data[:1024]) or "not a picture in a known format"


def _of_iso_media(data: bytes) -> str:
    brand = data[8:12]
    if brand in _HEIC:
        return "HEIC (a phone's photograph), which can't be read: convert it to JPEG, as with heif-convert"
    if brand in (b"avif", b"avis"):
        return "damaged AVIF"
    if brand == b"crx ":
        return "a camera's raw format, which can't be read: convert it to JPEG or PNG"
    return "video, which can't be read: save frames of it as JPEG or PNG"


def _of_text(start: bytes) -> str | None:
    """What a text is, by its beginning; None if it is not a text."""
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not any(start):
        return "nothing but zeros, as after a failed download or copy: get it again"
    if b"<svg" in text and text.startswith(b"<"):
        return "SVG drawing, which can't be read: convert it to PNG"
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")) or (text[:1] == b"<" and b"<html" in text):
        return "HTML page (an error page, most likely), not the picture itself: download it again"
    if text[:1] == b"<":
        return "XML text, not the picture itself: download it again"
    if text[:1] in (b"{", b"[") and _is_text(start):
        return "JSON text (an error message, most likely), not the picture itself: download it again"
    return "text, not a picture" if _is_text(start) else None


def _is_text(start: bytes) -> bool:
    return not any(byte < 32 and byte not in b"\t\n\r\f" for byte in start) and _is_utf8(start)


def _is_utf8(start: bytes) -> bool:
    try:
        start.decode()
    except UnicodeDecodeError as error:
        return error.start >= len(start) - 3  # a character was cut in two
    return True
