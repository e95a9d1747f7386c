"""Small forms of pictures, made when a page asks for them, on a few threads, and kept while there is room."""

import asyncio
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from retrain.data import PictureForm
from retrain.errors import UnreadableImageError
from retrain.machine import cores
from retrain.options import ImageOptions
from retrain.report import PictureFiles
from retrain.serving.problems import Problem, busy
from retrain.serving.studio.pictures import Picture
from retrain.text import counted

__all__ = ["SIDES", "Thumbnails"]

SIDES = {"thumbnail": 224, "preview": 1024}  # pixels of the longer side; screens may have two for one of the page
_MOST_WAITING = 256  # pictures
_MOST_KEPT = 2**26  # bytes


class Thumbnails:
    """JPEGs of pictures. For one event loop.

    Args:
        root: the folder that paths are relative to.
        images: how large a file and a picture may be.
        depth: how pixels of more than 8 bits become 8.
    """

    def __init__(self, root: Path, images: ImageOptions, depth: str = PictureForm.depth) -> None:
        self._files = PictureFiles(root, images, depth)
        self._threads = ThreadPoolExecutor(cores(), "thumbnail")
        self._waiting = 0
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str, str], bytes] = OrderedDict()
        self._kept_bytes = 0

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def get(self, picture: Picture, kind: str) -> bytes:
        """A JPEG of one of SIDES. Raises Problem if the file is no picture, or too many are waiting."""
        key = (picture.path, picture.version, kind)
        found = self._known(key)
        if found is not None:
            return found
        if self._waiting >= _MOST_WAITING:
            raise busy(f"{counted(self._waiting, 'picture', 'is/are')} waiting already")
        self._waiting += 1
        try:
            made = await asyncio.get_running_loop().run_in_executor(self._threads, self._made, picture.path, kind)
        except UnreadableImageError as error:
            raise Problem(415, str(error)) from None
        finally:
            self._waiting -= 1
        self._keep(key, made)
        return made

    def _made(self, path: str, kind: str) -> bytes:
        return self._files.thumbnail(path, SIDES[kind])

    def _known(self, key: tuple[str, str, str]) -> bytes | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _keep(self, key: tuple[str, str, str], data: bytes) -> None:
        with self._lock:
            if key not in self._kept:
                self._kept_bytes += len(data)
            self._kept[key] = data
            while self._kept_bytes > _MOST_KEPT:
                _, oldest = self._kept.popitem(last=False)
                self._kept_bytes -= len(oldest)
