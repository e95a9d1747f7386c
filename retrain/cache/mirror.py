"""A cache by URL: its segments are on a server, and whoever uses them has a local copy of those that there are.

A segment is sent whole, under its final name, before it appears in the local copy. So what the copy has and the server
has not was removed there, merged or pruned by another machine.
"""

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from retrain.cache.folder import CORRUPT_SUFFIX, NOTE
from retrain.data import RemoteFile, copies_folder, is_url, list_remote, read_remote, tried, url_of, with_file_system
from retrain.errors import CacheError
from retrain.files import write_whole

__all__ = ["Mirror", "local_cache_dir"]

_ADDRESS = ".url"  # in a local copy: whose copy it is
_PATTERN = "segment-*.h5"

# A file that is sent to these is there when it is whole. To others it goes under another name first.
_WHOLE_AT_ONCE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "memory"})

Given = TypeVar("Given")


def local_cache_dir(cache_dir: str | os.PathLike[str]) -> str:
    """The folder of a cache: of one by URL, that of its local copy, which is made; any other as it is.

    Raises CacheError.
    """
    if not is_url(cache_dir):
        return os.fspath(cache_dir)
    url = url_of(cache_dir).rstrip("/")
    folder = copies_folder("caches") / hashlib.sha256(url.encode()).hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / _ADDRESS, url.encode())
    except OSError as error:
        raise CacheError(
            f"can't keep a local copy of the cache {url} in {folder}: {error.strerror}; name another place with "
            "XDG_CACHE_HOME"
        ) from error
    return str(folder)


class Mirror:
    """An extractor's folder on a server, and its local copy.

    Args:
        url: of the extractor's folder.
        folder: the copy's.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self._folder = url, folder

    @classmethod
    def of(cls, folder: Path) -> "Mirror | None":
        """That of an extractor's folder; None if its cache is no copy. Raises CacheError."""
        try:
            address = (folder.parent / _ADDRESS).read_text("utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise CacheError(
                f"can't read {folder.parent / _ADDRESS}: {error.strerror}; check its permissions"
            ) from error
        return cls(f"{address}/{folder.name}", folder)

    def pull(self) -> None:
        """Make the copy have what the server has. Raises CacheError."""
        for name, facts in sorted(self.weed().items()):
            if not (self._folder / name).exists():
                self._fetch(name, facts)

    def weed(self) -> dict[str, RemoteFile]:
        """Make the copy have nothing that the server has not; what that has, by name. Raises CacheError."""
        began = time.time()
        there = self._asked(self._listed, "read")
        for path in self._folder.glob(_PATTERN):
            # not one that another process has sent since
            if path.name not in there and path.stat().st_mtime < began - 1:
                path.unlink(missing_ok=True)
        return there

    def _listed(self) -> dict[str, RemoteFile]:
        try:
            found = list_remote(self.url)
        except FileNotFoundError:
            return {}
        return {name: facts for name, facts in found.items() if Path(name).match(_PATTERN) and "/" not in name}

    def _fetch(self, name: str, facts: RemoteFile) -> None:
        try:
            content = read_remote(f"{self.url}/{name}", facts)
        except FileNotFoundError:
            return  # merged since: its rows are in a file that comes with the next look
        except OSError as error:
            raise self._failed("read", error) from error
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(self._folder / name, content)

    def send(self, name: str, content: bytes) -> None:
        """Put a file on the server. Raises CacheError."""

        def put() -> None:
            fs, path = with_file_system(f"{self.url}/{name}")
            protocols = [fs.protocol] if isinstance(fs.protocol, str) else fs.protocol
            if not _WHOLE_AT_ONCE.isdisjoint(protocols):
                fs.pipe_file(path, content)
                return
            above, _, last = path.rpartition("/")
            fs.makedirs(above, exist_ok=True)
            fs.pipe_file(f"{above}/.{last}.tmp", content)
            fs.mv(f"{above}/.{last}.tmp", path)

        self._asked(lambda: tried(put), "write")

    def send_note(self) -> None:
        """Put the extractor's note on the server. Raises CacheError, OSError."""
        self.send(NOTE, (self._folder / NOTE).read_bytes())

    def remove(self, name: str) -> None:
        """Remove a file from the server, if it is there. Raises CacheError."""

        def remove() -> None:
            fs, path = with_file_system(f"{self.url}/{name}")
            try:
                fs.rm_file(path)
            except FileNotFoundError:
                return

        self._asked(lambda: tried(remove), "write")

    def set_aside(self, name: str) -> None:
        """Rename a damaged file on the server, if it is there. Raises CacheError."""

        def rename() -> None:
            fs, path = with_file_system(f"{self.url}/{name}")
            try:
                fs.mv(path, path + CORRUPT_SUFFIX)
            except FileNotFoundError:
                return

        self._asked(lambda: tried(rename), "write")

    def _asked(self, request: Callable[[], Given], what: str) -> Given:
        try:
            return request()
        except OSError as error:
            raise self._failed(what, error) from error

    def _failed(self, what: str, error: OSError) -> CacheError:
        return CacheError(
            f"can't {what} the bottleneck cache {self.url}: {error.strerror or error}; what is cached stays valid: "
            "check the address and what you may do there, and run the same command again"
        )
