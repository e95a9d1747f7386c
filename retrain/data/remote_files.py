"""Files by URL, as s3://bucket/photos/cat/1.jpg, through fsspec: whatever file systems are installed for it.

A path may be a URL (of which Path makes s3:/bucket/photos). Servers answer late, too often, or wrongly: what fails is
tried again, and what was read is compared with what the server says of it.
"""

import errno
import functools
import hashlib
import importlib
import os
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from retrain.errors import MissingPackageError
from retrain.files import whole_file

__all__ = [
    "RemoteFile",
    "copies_folder",
    "copy_remote",
    "is_remote_file",
    "is_url",
    "list_remote",
    "names_at",
    "read_remote",
    "remote_file",
    "tried",
    "url_of",
    "with_file_system",
]

_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+):/{1,3}(?=[^/])", re.IGNORECASE)
_TRIES = 6
_BLOCK_BYTES = 8 * 2**20  # of a large file, in a request
_PAUSE_SECONDS = 0.25  # before the second try; doubled each time, with some chance, so that many don't come at once
_MD5 = re.compile("[0-9a-f]{32}")  # what S3 gives as ETag of an object that was put in one piece, unencrypted
_63_BITS = 2**63 - 1
# what their libraries raise where a request fails, beside OSError
_ERRORS = (("botocore.exceptions", "BotoCoreError"), ("botocore.exceptions", "ClientError"), ("aiohttp", "ClientError"))

Given = TypeVar("Given")


def copies_folder(kind: str) -> Path:
    """Where this user's copies of what is on servers are kept: below XDG_CACHE_HOME, by default ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "retrain" / kind


class RemoteFile(NamedTuple):
    """What a server says of a file, apart from its content."""

    size: int  # bytes
    changed_at: int  # ns since 1970; 0 if it does not say
    etag: str  # changes with the content; "" if there is none

    @property
    def signature(self) -> tuple[int, int, int, int]:
        """As that of a file on a disk: equal as long as the file is unchanged."""
        digest = hashlib.sha256(self.etag.encode()).digest()
        return self.size, self.changed_at, 0, int.from_bytes(digest[:8], "big") & _63_BITS


def is_url(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a URL, and not a folder here that is called like one."""
    found = _URL.match(os.fspath(path))
    return found is not None and not os.path.lexists(f"{found['scheme']}:")


def url_of(path: str | os.PathLike[str]) -> str:
    """The URL that a path was made from."""
    return _URL.sub(
        lambda found: f"{found['scheme']}:{'///' if found['scheme'] == 'file' else '//'}", os.fspath(path), 1
    )


def with_file_system(url: str) -> tuple[Any, str]:
    """The file system that a URL belongs to, and the path in it. Raises MissingPackageError."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise MissingPackageError(f"{url} needs the package fsspec: pip install 'retrain[remote]'") from error
    try:
        settings = {"max_concurrency": 1} if url.startswith("s3:") else {}  # else each reading asks for the size first
        fs, path = url_to_fs(url, use_listings_cache=False, **settings)
    except (ImportError, ValueError) as error:
        raise MissingPackageError(f"{url} can't be opened: {error}") from error
    return fs, str(path)


@functools.cache
def _failures() -> tuple[type[Exception], ...]:
    """What a request may raise."""
    found: list[type[Exception]] = [OSError, TimeoutError]
    for module, name in _ERRORS:
        try:
            found.append(getattr(importlib.import_module(module), name))
        except ImportError:
            continue
    return tuple(found)


def tried(request: Callable[[], Given]) -> Given:
    """What a request gives; one that fails is tried again for some seconds. Raises OSError."""
    pause = _PAUSE_SECONDS
    for number in range(1, _TRIES + 1):
        try:
            return request()
        except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError):
            raise
        except _failures() as error:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise
            if number == _TRIES:
                reason = " ".join(str(error).split()) or type(error).__name__
                raise OSError(errno.EIO, f"{reason} ({_TRIES} tries)") from error
        time.sleep(pause * random.uniform(0.5, 1.5))
        pause *= 2
    raise AssertionError("unreachable")


def list_remote(url: str) -> dict[str, RemoteFile]:
    """All files at any depth below a URL, by their paths relative to it. Raises OSError, MissingPackageError."""
    fs, top = with_file_system(url.rstrip("/"))
    found = tried(lambda: fs.find(top, detail=True))
    start = len(top.rstrip("/")) + 1
    return {path[start:]: _facts(entry) for path, entry in found.items() if path[start:] and not path.endswith("/")}


def remote_file(url: str) -> RemoteFile:
    """What the server says of a file. Raises OSError, MissingPackageError."""
    fs, path = with_file_system(url)
    return _facts(tried(lambda: fs.info(path)))


def _facts(entry: dict[str, Any]) -> RemoteFile:
    changed = next((entry[name] for name in ("LastModified", "mtime", "last_modified", "created") if name in entry), 0)
    stamp = changed.timestamp() if hasattr(changed, "timestamp") else changed
    nanoseconds = int(stamp * 10**9) if isinstance(stamp, int | float) else 0
    etag = str(entry.get("ETag") or entry.get("etag") or entry.get("md5Hash") or "").strip('"')
    return RemoteFile(int(entry.get("size") or 0), nanoseconds, etag)


def read_remote(url: str, facts: RemoteFile) -> bytes:
    """The content of a file of which the server said this before, if it is believed. Raises OSError."""
    fs, path = with_file_system(url)
    content = b""

    def read() -> tuple[int, str]:
        nonlocal content
        content = fs.cat_file(path)
        return len(content), hashlib.md5(content, usedforsecurity=False).hexdigest()

    _until_believed(read, url, facts)
    return content


def copy_remote(url: str, facts: RemoteFile, target: str | os.PathLike[str]) -> None:
    """Make a file here, which appears whole, of one of which the server said this before, if it is believed.

    It is never in memory as a whole. Raises OSError.
    """
    fs, path = with_file_system(url)
    block = 0 if url.startswith(("http://", "https://")) else _BLOCK_BYTES  # 0: many can only send all of it
    with whole_file(target) as file:

        def read() -> tuple[int, str]:
            file.seek(0)
            file.truncate()
            digest = hashlib.md5(usedforsecurity=False)
            with fs.open(path, "rb", block_size=block, cache_type="readahead") as content:
                while part := content.read(_BLOCK_BYTES):
                    digest.update(part)
                    file.write(part)
            return file.tell(), digest.hexdigest()

        _until_believed(read, url, facts)


def _until_believed(read: Callable[[], tuple[int, str]], url: str, facts: RemoteFile) -> None:
    """Read a file until its content is believed; reading gives its size and MD5. Raises OSError.

    It is believed if its MD5 is the ETag. Where that is no MD5, or another one's (as of encrypted files), two readings
    that agree are believed, if the server says the same of the file as before.
    """
    before = ""
    for _ in range(_TRIES):
        size, digest = tried(read)
        if size == facts.size:
            if digest == facts.etag or (not _MD5.fullmatch(facts.etag) and remote_file(url) == facts):
                return
            if digest == before and remote_file(url) == facts:
                return
        before = digest
    raise OSError(errno.EIO, f"it changes while it is read, or comes damaged ({_TRIES} tries)")


def is_remote_file(url: str) -> bool:
    """Whether there is a file at a URL, and not a folder or nothing. Raises OSError, MissingPackageError."""
    fs, path = with_file_system(url)
    try:
        return bool(tried(lambda: fs.info(path))["type"] == "file")
    except FileNotFoundError:
        return False


def names_at(url: str) -> dict[str, bool]:
    """The names of what lies directly below a URL, each with whether it is a folder.

    Raises OSError, MissingPackageError.
    """
    fs, top = with_file_system(url.rstrip("/"))
    found = tried(lambda: fs.ls(top, detail=True))
    start = len(top.rstrip("/")) + 1
    names = {entry["name"].rstrip("/")[start:]: entry["type"] == "directory" for entry in found}
    names.pop("", None)
    return names
